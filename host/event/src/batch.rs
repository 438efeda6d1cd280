//! Event batches: Arrow record batches with the host's columns behind the stream's own.
//!
//! ```text
//! | schema field 0 | … | schema field n-1 | _unknown (only unknown: keep) | _time |
//!                                            Utf8, nullable: a JSON object   Timestamp(µs, UTC), never null
//! ```
//! A string column is `Utf8` or `Dictionary(UInt32, Utf8)`, batch by batch; every other column has its declared type. Row order is
//! partition order. Offsets are not a column: a batch at a place in a partition is contiguous.

mod checksum;
mod concat;
mod conform;

pub use checksum::checksum;
pub use concat::concat;
pub use conform::{ConformError, conform};

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field as ArrowField};

use crate::schema::{TYPE_METADATA, timestamp_type};

/// Event time of each row; always the last column.
pub const TIME_COLUMN: &str = "_time";
/// Fields the schema does not name, as one JSON object; second to last, only where they are kept.
pub const UNKNOWN_COLUMN: &str = "_unknown";
/// Names that reading adds to a row and ingestion drops from one.
pub const HOST_FIELDS: [&str; 3] = ["_partition", "_offset", "_time"];

/// The Arrow field of `_time`.
pub fn time_field() -> ArrowField {
    ArrowField::new(TIME_COLUMN, timestamp_type(), false)
}

/// The Arrow field of `_unknown`.
pub fn unknown_field() -> ArrowField {
    ArrowField::new(UNKNOWN_COLUMN, DataType::Utf8, true).with_metadata([(TYPE_METADATA.to_owned(), "json".to_owned())].into())
}

/// The event times of a batch.
///
/// # Panics
/// If the batch is no event batch: its last column is not `_time`.
pub fn times(batch: &RecordBatch) -> &TimestampMicrosecondArray {
    let last = batch.num_columns().checked_sub(1).expect("an event batch has a time column");
    batch.column(last).as_primitive::<TimestampMicrosecondType>()
}

/// Bytes in the buffers of a batch, shared ones counted in full: what queues and caches are bounded by.
pub fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.get_buffer_memory_size()).sum()
}
