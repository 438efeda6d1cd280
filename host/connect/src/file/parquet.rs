//! Rows as a Parquet file.
//!
//! ```text
//! | the stream's fields … | _unknown (only unknown: keep) | _partition i32 | _offset i64 | _time timestamp(µs, UTC) |
//! ```
//! Types are Arrow's as `tidemill_event` gives them to fields: decimal(p,s) is DECIMAL, timestamp is TIMESTAMP(µs, UTC), json is
//! text. A dotted field is one column of that name. The host's columns are there, other than in NDJSON, because a table is joined
//! and sorted where a line is read. Row groups are closed when their encoders hold [`GROUP_BYTES_MAX`], which bounds the memory of
//! an open file.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use tidemill_event::{PartitionId, StreamSchema};
use tidemill_log::Block;

use super::part::Part;
use crate::SinkError;

/// Memory that the encoders of a row group may hold before it is closed.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Rows in a row group at most.
const GROUP_ROWS_MAX: usize = 128 << 10;

/// An unfinished file of one schema.
pub(super) struct ParquetRows {
    partition: PartitionId,
    of: StreamSchema,
    schema: SchemaRef,
    writer: ArrowWriter<Part>,
}

impl ParquetRows {
    /// A file for rows like those of `block`.
    pub(super) fn new(part: Part, partition: PartitionId, block: &Block) -> Result<Self, SinkError> {
        let of = block.schema.schema.clone();
        let mut fields: Vec<_> = of.arrow().fields().iter().cloned().collect();
        let time = fields.pop().expect("an event batch ends with its time");
        fields.push(Arc::new(Field::new("_partition", DataType::Int32, false)));
        fields.push(Arc::new(Field::new("_offset", DataType::Int64, false)));
        fields.push(time);
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("tidemill ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
            .build();
        let writer = ArrowWriter::try_new(part, schema.clone(), Some(properties)).map_err(wrong)?;
        Ok(Self { partition, of, schema, writer })
    }

    /// Whether a block has the file's columns.
    pub(super) fn fits(&self, block: &Block) -> bool {
        self.of == block.schema.schema
    }

    /// Adds a block; about how long the file will be.
    pub(super) fn add(&mut self, block: &Block) -> Result<u64, SinkError> {
        let rows = block.rows.num_rows();
        let mut columns = block.rows.columns().to_vec();
        let time = columns.pop().expect("an event batch ends with its time");
        let first = block.start.0 as i64;
        let partition: ArrayRef = Arc::new(Int32Array::from_value(self.partition.0 as i32, rows));
        let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + rows as i64));
        columns.extend([partition, offsets, time]);
        // Fields by name and place are those of the schema; a string column may come as a dictionary, which the writer takes too.
        let fields = self.schema.fields().iter().zip(&columns);
        let fields: Vec<_> =
            fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| wrong(error.into()))?;
        self.writer.write(&batch).map_err(wrong)?;
        if self.writer.memory_size() > GROUP_BYTES_MAX {
            self.writer.flush().map_err(wrong)?;
        }
        Ok((self.writer.bytes_written() + self.writer.in_progress_size()) as u64)
    }

    /// Writes what is left, and the footer.
    pub(super) fn finish(self) -> Result<Part, SinkError> {
        self.writer.into_inner().map_err(wrong)
    }
}

fn wrong(error: ParquetError) -> SinkError {
    SinkError::Format { format: "Parquet", what: error.to_string() }
}
