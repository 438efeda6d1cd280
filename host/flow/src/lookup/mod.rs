//! `lookup`: rows beside which stand columns of a table, found by key.
//!
//! ```text
//!  rows ─ key columns ─► TableIndex (one per table version and key columns, shared by all tasks) ─► number of a table's row, or none
//!                                                                                                │
//!  rows + taken columns ◄──────────────────────── take ◄─────────────────────────────────────────┘
//! ```
//! A table is a value of one version and never changes: which version a batch looks up is the task's to say ([`Outcome::with_tables`]) and
//! to record, so that a replay looks up the same. Equality is as in a join: a null matches nothing. Where several rows of a table have
//! one key, the last one counts.
//!
//! [`Outcome::with_tables`]: crate::Outcome::with_tables

mod domains;
mod index;
mod latest;
mod layer;
mod networks;
mod step;
mod table;

#[cfg(test)]
mod latest_tests;
#[cfg(test)]
mod model_tests;

pub use index::{BadKey, KeyFault, TableIndex, check_key};
pub use latest::{GONE_KEPT_MICROS, LatestLookup, LatestRows, NewRows, Passed};
pub use step::{Lookup, LookupReport, LookupSettings, Missing};
pub use table::{Found, IndexedTable, LookupTable};
