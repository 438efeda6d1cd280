//! Rows that a receiver refused for good, as rows of `{pipeline}.dead-letters`: for targets with `on_refused: dead_letters`.
//!
//! They are on disk before the sink goes on, and the entry that has them says for which batch that is (`RequestMark`): asked again
//! after a crash, it keeps nothing twice, for as long as the log remembers requests (24 hours).

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use tidemill_connect::{BatchKey, RefusedRows, SinkError};
use tidemill_event::batch::times;
use tidemill_event::json::RowEncoder;
use tidemill_event::{Offset, Reason};
use tidemill_log::{Append, Block, FrameRows, Log, Partition, ReadLimit, RequestMark, Stream, Visibility};

/// Bytes and rows that are taken over at a time.
const READ: ReadLimit = ReadLimit { rows_max: 1_024, bytes_max: 256 << 10 };

/// Where the refused rows of one sink and partition go, and come from when they are sent again.
#[derive(Clone)]
pub(super) struct DeadLetters {
    pub(super) log: Log,
    /// `{pipeline}.dead-letters`.
    pub(super) stream: Arc<Stream>,
    pub(super) pipeline: String,
    /// As status names it: `webhook: https://…`.
    pub(super) target: String,
    /// What the sink reads.
    pub(super) partition: Arc<Partition>,
}

impl RefusedRows for DeadLetters {
    fn is_kept(&self, key: &BatchKey<'_>) -> bool {
        self.kept_rows(key) >= key.range.end.0 - key.range.start.0
    }

    fn keep(&self, key: &BatchKey<'_>, said: &str) -> Result<(), SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError::Log(error.to_string());
        let (start, end) = (key.range.start, key.range.end);
        let mut from = Offset(start.0 + self.kept_rows(key));
        while from < end {
            let rows_max = READ.rows_max.min(usize::try_from(end.0 - from.0).unwrap_or(usize::MAX));
            let block = self.partition.read(from, ReadLimit { rows_max, ..READ }, Visibility::Durable);
            let block = block.map_err(|error| failed(&error))?.ok_or_else(|| failed(&"the refused rows are gone"))?;
            from = block.start.plus(block.rows.num_rows());
            let (version, definition) = self.stream.current();
            let fields = definition.schema.fields.iter();
            let columns = fields.map(|field| self.column(&field.name, field.ty.arrow(), &block, said));
            let columns: Vec<ArrayRef> = columns.chain([time_of(&block)]).collect();
            let rows = RecordBatch::try_new(Arc::new(definition.schema.arrow()), columns).map_err(|error| failed(&error))?;
            let kept = from.0 - start.0;
            let request = RequestMark {
                stream: self.stream.clone(),
                writer: writer(key).into(),
                sequence: Some(start.0),
                rows: kept,
                accepted: kept,
                answer: None,
            };
            let frame = FrameRows { stream: self.stream.clone(), version, partition: self.place(), rows };
            let append = Append { atomic: false, requests: vec![request], ..Append::atomic(vec![frame]) };
            let pending = self.log.append_waiting(append).map_err(|error| failed(&error))?;
            pending.wait().map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// Whose batches they are: a stream made anew has offsets that were there before, a sink's life is its own.
fn writer(key: &BatchKey<'_>) -> String {
    format!("refused-{}-{}", key.life, key.partition)
}

impl DeadLetters {
    /// How many of a batch's first rows are among the dead letters.
    fn kept_rows(&self, key: &BatchKey<'_>) -> u64 {
        self.log.request(&self.stream, &writer(key), Some(key.range.start.0)).seen().map_or(0, |seen| seen.rows)
    }

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
