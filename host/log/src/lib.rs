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
mod cache;
mod change;
mod columns;
mod core;
mod definition;
mod disk;
mod durable;
mod error;
mod fair;
mod follow;
mod frame;
mod group;
mod journal;
mod layout;
mod log;
mod manifest;
mod mark;
mod partition;
mod planted;
mod prepare;
mod preparer;
mod recovery;
mod repair;
mod requests;
mod retention;
mod roller;
mod segment;
mod settings;
#[cfg(feature = "power-cut-disk")]
pub mod simulated;
mod snapshot;
mod space;
mod stats;
mod store;
mod stream;
mod syncer;
mod tail;
mod threads;
mod verify;
mod walk;
mod wire;
mod writer;

pub use append::{Append, Appended, FrameRows, Gathered, OnDurable, Pending};
pub use disk::{Disk, DiskFile, RealDisk};
pub use durable::{Cut, Durable};
pub use error::{AppendError, CloseError, Damage, DiskError, OpenError, Poisoned, ReadError, StreamError};
pub use log::Log;
pub use partition::{Block, Hold, Listening, Partition, ReadLimit, Visibility};
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use repair::{Loss, LostRows, RepairError, cut, damage_in};
pub use requests::{RequestMark, RequestSeen, RequestState};
pub use settings::LogSettings;
#[cfg(feature = "power-cut-disk")]
pub use simulated::PowerCutDisk;
pub use snapshot::{Snapshot, SnapshotContent, SnapshotError, SnapshotFile, SnapshotReader};
pub use stats::{LogStats, SYNC_BUCKETS};
pub use stream::Stream;
pub use verify::{Fault, Verified, verify};

/// For this crate's benchmarks only.
#[doc(hidden)]
pub mod bench {
    /// Appends a frame's payload and returns its checksum.
    pub fn encode_frame(rows: &arrow_array::RecordBatch, out: &mut Vec<u8>) -> u32 {
        crate::columns::encode_rows(rows, out);
        crc32c::crc32c(out)
    }
}
