//! What whole-host tests share: a real `tidemill` process on its own data directory, and plain HTTP to it.
//!
//! Nothing of the host is linked in here: these tests know what the outside sees and nothing else.

mod answer;
mod artefacts;
mod cycles;
mod host;
pub mod judging;
mod receiver;
mod wire;

pub use answer::{Answer, request, request_with, request_within};
pub use artefacts::{guest, judge, shared_data, target_dir, tidemill, tidemill_command, variant};
pub use cycles::{Cycles, Judged, judged};
pub use host::{Host, HostOptions, eventually};
pub use receiver::{Delivery, Receiver, Reply};
pub use wire::Connection;
