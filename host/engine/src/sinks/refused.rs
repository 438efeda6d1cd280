//! Rows that a receiver refused for good, as rows of `{pipeline}.dead-letters`: for targets with `on_refused: dead_letters`.
//!
//! They are on disk before the sink goes on. A crash between the two has the batch sent again and refused again, and its rows are
//! there twice: nothing is lost, and `offset` tells which are the same.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use tidemill_connect::{RefusedRows, SinkError};
use tidemill_event::batch::times;
use tidemill_event::json::RowEncoder;
use tidemill_event::{OffsetRange, PartitionId, Reason};
use tidemill_log::{Append, Block, FrameRows, Log, Partition, ReadLimit, Stream, Visibility};

/// Bytes and rows that are taken over at a time.
const READ: ReadLimit = ReadLimit { rows_max: 1_024, bytes_max: 256 << 10 };

/// Where the refused rows of one sink and partition go.
#[derive(Clone)]
pub(super) struct DeadLetters {
    pub(super) log: Log,
    /// `{pipeline}.dead-letters`.
    pub(super) stream: Arc<Stream>,
    pub(super) pipeline: String,
    /// `to[1].webhook`.
    pub(super) target: String,
    /// What the sink reads.
    pub(super) partition: Arc<Partition>,
}

impl RefusedRows for DeadLetters {
    fn keep(&self, range: OffsetRange, said: &str) -> Result<(), SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError::Log(error.to_string());
        let mut from = range.start;
        while from < range.end {
            let rows_max = READ.rows_max.min(usize::try_from(range.end.0 - from.0).unwrap_or(usize::MAX));
            let block = self.partition.read(from, ReadLimit { rows_max, ..READ }, Visibility::Durable);
            let block = block.map_err(|error| failed(&error))?.ok_or_else(|| failed(&"the refused rows are gone"))?;
            from = block.start.plus(block.rows.num_rows());
            let (version, definition) = self.stream.current();
            let fields = definition.schema.fields.iter();
            let columns = fields.map(|field| self.column(&field.name, field.ty.arrow(), &block, said));
            let columns: Vec<ArrayRef> = columns.chain([time_of(&block)]).collect();
            let rows = RecordBatch::try_new(Arc::new(definition.schema.arrow()), columns).map_err(|error| failed(&error))?;
            // The stream may be older than the pipeline's partitions; its tasks do the same.
            let partition = PartitionId(self.partition.key().partition.0 % definition.partitions);
            let frame = FrameRows { stream: self.stream.clone(), version, partition, rows };
            let append = Append { atomic: false, ..Append::atomic(vec![frame]) };
            let pending = self.log.append_waiting(append).map_err(|error| failed(&error))?;
            pending.wait().map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

impl DeadLetters {
    /// What a column of the stream says of refused rows; null where it says nothing.
    fn column(&self, name: &str, ty: arrow_schema::DataType, block: &Block, said: &str) -> ArrayRef {
        let count = block.rows.num_rows();
        let text = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef;
        let first = block.start.0 as i64;
        match name {
            "time" => time_of(block),
            "reason" => text(Reason::RefusedByTarget.as_str()),
            "error" => text(said),
            "stream" => text(self.partition.key().stream.stream.as_str()),
            "partition" => Arc::new(Int64Array::from_value(i64::from(self.partition.key().partition.0), count)),
            "offset" => Arc::new(Int64Array::from_iter_values(first..first + count as i64)),
            "pipeline" => text(&self.pipeline),
            "step" => text(&self.target),
            "event" => {
                let encoder = RowEncoder::new(&block.schema.schema, None);
                Arc::new(StringArray::from_iter_values((0..count).map(|row| encoder.one(&block.rows, row))))
            }
            _ => new_null_array(&ty, count),
        }
    }
}

fn time_of(block: &Block) -> ArrayRef {
    Arc::new(times(&block.rows).clone())
}
