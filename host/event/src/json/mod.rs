//! JSON at the rim: bytes become event batches and event batches become bytes, with no tree of values in between.
//!
//! ```text
//! x-ndjson ─► utf8_start ───► whole lines ────┐
//! x-ndjson, plain ─► LineSplitter ─► line ────┤
//! application/json ► BodySplitter ─► element ─┴► RowDecoder ─► RecordBatch ─► … ─► RowEncoder ─► NDJSON
//! ```
//! Rules are those of the contract: an integer is taken where a float is declared and nothing else is coerced; what does not fit is
//! refused with its field; of repeated names the last counts; fields the schema does not name come back where they were.
//!
//! Not here: requests, content types, compression. Nothing recurses along what a client nests, and nothing grows past
//! [`DecodeLimits`].

mod body;
mod cells;
mod column;
mod container;
mod decode;
mod encode;
mod fault;
mod fields;
mod glue;
mod infer;
mod instant;
mod lines;
mod number;
mod repeats;
mod run;
mod spread;
mod syntax;
mod unknown;
mod value;
mod walk;

pub use body::{BodySplitter, SyntaxFault};
pub(crate) use cells::is_plain_json;
pub(crate) use column::{Column, Reading, Refusal, Values, Why};
pub(crate) use container::{compact as compact_value, members, plain_name};
pub use decode::{DecodePath, RowDecoder};
pub use encode::{Place, RowEncoder};
pub use fault::RowFault;
pub(crate) use fault::type_name;
pub(crate) use infer::may_be_field;
pub use infer::{INFERRED_FIELDS_MAX, infer};
pub use lines::{Line, LineSplitter, TOO_LONG_KEPT_BYTES};
pub(crate) use number::Unfit;
pub(crate) use value::{ColumnWriter, write_decimal, write_float, write_integer, write_text, write_time};

/// How much a decoder takes. Both bounds refuse the row that meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Objects and arrays that may be open at once, the row itself among them; at most 128.
    pub depth_max: u32,
    /// The longest row, in bytes.
    pub line_bytes_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { depth_max: 64, line_bytes_max: 1 << 20 }
    }
}

/// Whether a line holds nothing but JSON's white space: such NDJSON lines are skipped.
pub fn is_blank(line: &[u8]) -> bool {
    syntax::skip_space(line, 0) == line.len()
}

/// As much of some bytes as is UTF-8, from their beginning on.
pub fn utf8_start(bytes: &[u8]) -> &str {
    simdutf8::compat::from_utf8(bytes)
        .or_else(|error| simdutf8::compat::from_utf8(&bytes[..error.valid_up_to()]))
        .unwrap_or_default()
}

/// The compact text of one JSON value with white space around it, if it is valid, in UTF-8 and not nested deeper than rows may be:
/// what a json column may hold.
pub fn compact(json: &[u8]) -> Option<String> {
    simdutf8::basic::from_utf8(json).ok()?;
    String::from_utf8(container::compact(json, DecodeLimits::default().depth_max).ok()?).ok()
}

/// Appends `{"line": …}` for a line of UTF-8 text: the row that [`RowDecoder::text_line`] takes.
pub fn line_json(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"line\":");
    value::write_text(line, out);
    out.push(b'}');
}
