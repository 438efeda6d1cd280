//! Arrow at the rim: an IPC stream (`application/vnd.apache.arrow.stream`) becomes tables, and a table's rows go into columns by name.
//!
//! ```text
//! chunks ─► TableReader ─ message: length, header, body, each bounded before it is kept ─► schema · dictionary · Table
//! Table ─ row by row ─► RowDecoder::table_row ─► RecordBatch
//! ```
//! Columns go by name; a struct column goes along the dotted paths of the schema. A value is taken as its type is (integers of every
//! width, floats, texts, bytes, timestamps of every unit), and where the types differ, as the JSON text it would be written as: so the
//! rules are those of JSON, and nothing else is coerced. NaN and infinities are out of range. Dictionary columns are taken,
//! with deltas and replacements. Texts of a column that is marked as `arrow.json` are the JSON they hold, and `_unknown` of what was read
//! from a stream stands for the fields in it.
//!
//! Nothing that is sent is believed: lengths are bounded before they are kept, types are looked at before they are built, what
//! is packed and dictionaries that grow go only as far as what came pays for, and what arrow-ipc still panics on is a fault of the request.

mod check;
mod infer;
mod json;
mod message;
mod packed;
mod rows;
mod table;

pub use infer::infer;
pub use message::{TableFault, TableReader};
pub(crate) use rows::BoundTable;
pub use table::Table;
