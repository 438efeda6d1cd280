//! Components: check, compile, cache, instantiate, limit, call; the only crate that knows wasmtime.
//!
//! ```text
//! bytes ──prepare──► Component ──instantiate──► Instance ──judge, transform, …─► answer, or how the call ended
//!         check, compile or     a sandbox,         Arrow buffers straight into guest memory;
//!         load, describe        start, open        what comes back is checked and shares one buffer
//! ```
//!
//! A guest is a stranger: it can make a call fail in one of the ways [`tidemill_event::Ending`] lists, and nothing else. It never makes
//! the host panic, wait, or believe something that does not hold. An [`Instance`] belongs to one task; after any failure but
//! a guest error it is dead, and a new one costs microseconds. This crate knows nothing of streams, pipelines or names.

mod answer;
mod artefact;
mod boundary;
mod cache;
mod check;
mod compile;
mod component;
mod decode;
mod description;
mod digest;
mod encode;
mod engine;
mod failure;
mod first;
mod grant;
mod instance;
mod limits;
mod logging;
mod metrics;
mod pattern;
mod piece;
mod process;
mod refused;
mod room;
mod runtime;
mod sandbox;
mod shape;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod ticker;
mod wire;

pub use compile::{Compiler, CompilerProcess, compile_one};
pub use component::{Component, Kind};
pub use description::{Description, StateField};
pub use digest::{Digest, DigestError};
pub use engine::Interruption;
pub use grant::{Grant, Grants};
pub use instance::{Instance, InstanceSettings};
pub use limits::{CompileLimits, LOG_LINE_BYTES_MAX, Limits, MEMORY_BYTES_MAX, ShapeLimits};
pub use logging::{GuestLog, LogLevel, SilentLog};
pub use metrics::{GuestMetrics, Measurement, MetricFault, MetricKind, SilentMetrics};
pub use pattern::{Matching, PatternText};
pub use process::{Lifetime, Memory, SideOutput, TableDescription};
pub use refused::Refused;
pub use runtime::{Runtime, RuntimeError, RuntimeSettings};
