//! Tables: what lookups look up. A table is replaced as a whole; each version is immutable, has a number, and is known by its digest.
//!
//! ```text
//! body ─ read/ ─► rows of one schema ─ content.rs ─► tables/{64 hex digits}.table     written new, synced, renamed, folder synced
//!                                                   table/{tenant}/{name}  →  which versions there are, the newest last     in the log
//!                                                        │
//! registry.rs: what is used is loaded ─► TableHandle ─► TableVersion ─► indexes, one per key columns, shared by all tasks
//! ```
//! The bytes come first, so a document never names bytes that are not there. A commit names the versions that its batch looked up; those
//! behind no checkpoint are kept (`sweep.rs`), so that a replay looks up the same. What nothing names any more is deleted. Tables that are
//! kept up to date from a stream are in `kept/`.

mod bounds;
mod content;
mod fields;
mod kept;
mod read;
mod registry;
mod stored;
mod sweep;
mod users;
mod version;

pub use content::TableContent;
pub use fields::{fields_json, parse_fields};
pub use kept::{FromStream, KeptStatus};
pub use read::{TableFormat, TableRowFault, TableRows};
pub use registry::{TableEntry, Tables};
pub use sweep::TablesHold;
pub use users::{DeleteTableError, PutTable, PutTableError, TablePut};

pub(crate) use kept::Keeper;
pub(crate) use version::{TableHandle, TableUse, TableVersion};
