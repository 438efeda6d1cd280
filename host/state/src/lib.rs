//! Checkpoints of keyed state, of every task of the host, in one log-structured merge tree.
//!
//! A checkpoint is written in slices under its own number and *made true by somebody else* (an entry in the log). The store never
//! decides which checkpoint counts: [`StateStore::load`] is told, and forgets what lies above. So a crash between any two writes
//! leaves either the old checkpoint or the new one, never a mixture.
//!
//! ```text
//!  key    task length u16 | task | operator u32 | key, 00 as 00 ff | 00 00 | checkpoint u64   big-endian: keys lie in the order of
//!  value  0                                    the key is gone as of this checkpoint          their bytes, versions of a key together,
//!         1 | bytes                            its state as of this checkpoint                oldest first
//! ```
//! Whoever writes a key may know what there is of it already ([`Stored`]): then replacing it needs no look at the tree.
//! It must not know what a key or a value means.

mod cold;
mod key;
mod loading;
mod replaced;
#[cfg(feature = "simulated")]
mod simulated;
mod snapshot;
mod store;
mod task;
mod tree;

pub use cold::Cold;
pub use loading::{Loaded, LoadedEntry, Loading};
pub use replaced::Replaced;
#[cfg(feature = "simulated")]
pub use simulated::SimulatedTree;
pub use snapshot::{Hold, ImportError, StateRecord, StateSnapshot};
pub use store::{Change, StateError, StateStore, Stored, Written};
pub use task::{CheckpointId, TaskId};
