//! Arrow at the rim: an IPC stream (`application/vnd.apache.arrow.stream`) becomes tables, and a table's rows go into columns by name.
//!
//! ```text
//! chunks ─► TableReader ─ message: length, header, body, each bounded before it is kept ─► schema · dictionary · Table
//! Table ─ row by row ─► RowDecoder::table_row ─► RecordBatch
//! ```
//! Columns go by name; a struct column goes along the dotted paths of the schema. A value is taken as its type is (integers of every
//! width, floats, texts, bytes, timestamps of every unit), and where the types differ, as the JSON text it would be written as: so the
//! rules are those of JSON, and nothing else is coerced. NaN and infinities are out of range. Dictionary columns are taken.
//!
//! Nothing that is sent is believed: lengths are bounded before they are kept, types are looked at before they are built, compressed
//! batches and dictionary deltas are refused, and what arrow-ipc still panics on is a fault of the request.

mod check;
mod json;
mod message;
mod rows;
mod table;

pub use message::{TableFault, TableReader};
pub(crate) use rows::BoundTable;
pub use table::Table;
