//! The durable partitioned log: journal, tails, segments.
//!
//! ```text
//!  append ─► queue ─► group ─► journal ─► fdatasync ─► durable mark ─► acknowledgements, subscribers
//!                       │ the same rows
//!                       ▼
//!                     tails (memory, shared by all readers) ── rolled in the background ──► segments ─► journal files reused
//! ```
//! Above this crate nobody sees a journal position, only offsets and cuts. Bytes are drawn in `docs/formats/log.md`.

mod append;
mod disk;
mod durable;
mod error;
mod log;
mod partition;
mod settings;
mod stats;
mod stream;

pub use append::{Append, Appended, FrameRows, Gathered, OnDurable, Pending};
pub use disk::{Disk, DiskFile, RealDisk};
pub use durable::{Cut, Durable};
pub use error::{AppendError, CloseError, Damage, DiskError, OpenError, Poisoned, ReadError, StreamError};
pub use log::Log;
pub use partition::{Block, Listening, Partition, ReadLimit, Visibility};
pub use settings::LogSettings;
pub use stats::{LogStats, SYNC_BUCKETS};
pub use stream::Stream;
