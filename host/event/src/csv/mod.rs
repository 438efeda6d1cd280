//! CSV at the rim (RFC 4180, `text/csv`): bytes become records, records become rows, with no text of them kept in between.
//!
//! ```text
//! chunks ─► RecordSplitter ─► first record: Header ─► every other: Record ─► RowDecoder::record
//! ```
//! The header row names the columns; dotted names are the paths of the schema. A value is taken as its column's type reads it from plain
//! text. An empty field is null, an empty field in quotes is an empty text. Where the schema does not say (unknown columns, columns of an
//! inferred stream, json columns), what is written like a JSON number, `true` or `false` is that, and everything else is a text. Quotes
//! may hold separators, line ends and doubled quotes; blank lines are no rows.
//!
//! Not here: other separators, and files without a header row.

mod header;
mod record;
mod split;

pub use header::{COLUMNS_MAX, Header, HeaderFault};
pub use record::Record;
pub use split::{RecordSplitter, Split};
