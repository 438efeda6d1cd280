//! Checkpoints of keyed state, of every task of the host, in one log-structured merge tree.
//!
//! A checkpoint is written in slices under its own number and *made true by somebody else* (an entry in the log). The store never
//! decides which checkpoint counts: [`StateStore::load`] is told, and forgets what lies above. So a crash between any two writes
//! leaves either the old checkpoint or the new one, never a mixture.
//!
//! ```text
//!  key    task length u16 | task | operator u32 | key length u32 | key | checkpoint u64      big-endian: versions of a key lie
//!  value  0                                    the key is gone as of this checkpoint         together, oldest first
//!         1 | bytes                            its state as of this checkpoint
//! ```
//! It must not know what a key or a value means.

mod key;
#[cfg(feature = "simulated")]
mod simulated;
mod snapshot;
mod store;
mod task;
mod tree;

#[cfg(feature = "simulated")]
pub use simulated::SimulatedTree;
pub use snapshot::{Hold, ImportError, StateRecord, StateSnapshot};
pub use store::{Change, Loaded, StateError, StateStore, Written};
pub use task::{CheckpointId, TaskId};
