//! Rows as lines of JSON, without the host's fields.

use std::ops::Range;

use tidemill_event::json::RowEncoder;
use tidemill_log::Block;

/// Appends rows of a block, each with a line feed.
pub(crate) fn encode_rows(block: &Block, rows: Range<usize>, out: &mut Vec<u8>) {
    // A schema per block: a stream may change its columns between two of them.
    RowEncoder::new(&block.schema.schema, None).encode(&block.rows, rows, block.start, out);
}
