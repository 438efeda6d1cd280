//! A backup as one tar stream: written from a running host, checked on its way, read into a new data directory.
//!
//! ```text
//! backup.json          first: formats, version, time, cut, names of secrets, the parts whose sizes are known
//! state/00000001 …     records of keyed state, each part with a checksum of its own
//! components/….wasm tables/….table
//! log/segments/… log/journal/… log/mark log/manifest
//! seal.json            last: every part before it with its length and SHA-256
//! ```
//! Nothing is held whole on either side. What has no seal, or not exactly what the seal names, is no backup (`docs/formats/backup.md`).
//! This crate knows neither HTTP nor when somebody wants a backup.

mod check;
mod manifest;
mod part;
mod read;
mod restore;
mod state_part;
mod write;

pub use check::check;
pub use manifest::{DATA_FORMAT, FORMAT, Manifest, PartBytes, Seal, SealedPart, StreamCut};
pub use read::{Complete, ReadError};
pub use restore::{RestoreError, Restored, restore};
pub use write::{WriteError, Written, write};
