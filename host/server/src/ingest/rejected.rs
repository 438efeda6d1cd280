//! Rows that were not taken, gathered as rows of `{stream}.rejected`, with the bytes they came with.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use tidemill_event::json::{RowFault, compact};
use tidemill_event::{EventTime, rejection_definition};

use crate::bounds::REJECTED_ROW_BYTES_MAX;

/// Rejected rows of one request, not yet appended.
#[derive(Default)]
pub(crate) struct RejectedRows {
    /// Made with the first one: few requests have any.
    columns: Option<Box<Columns>>,
    size: usize,
}

#[derive(Default)]
struct Columns {
    times: Vec<i64>,
    reasons: StringBuilder,
    errors: StringBuilder,
    events: StringBuilder,
    bytes: BinaryBuilder,
}

impl RejectedRows {
    /// Adds a row that arrived at `time`. A readable one is kept as JSON, any other as bytes.
    pub(crate) fn push(&mut self, time: EventTime, fault: &RowFault, row: &[u8]) {
        let kept = &row[..row.len().min(REJECTED_ROW_BYTES_MAX)];
        let columns = self.columns.get_or_insert_default();
        columns.times.push(time.0);
        columns.reasons.append_value(fault.reason.as_str());
        columns.errors.append_value(&fault.error);
        match compact(kept) {
            Some(event) => {
                columns.events.append_value(event);
                columns.bytes.append_null();
            }
            None => {
                columns.events.append_null();
                columns.bytes.append_value(kept);
            }
        }
        self.size += kept.len() + 64;
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.columns.as_ref().map_or(0, |columns| columns.times.len())
    }

    /// About how many bytes they have.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The rows as an event batch of `{stream}.rejected`; empty again afterwards.
    pub(crate) fn finish(&mut self, stream: &str) -> RecordBatch {
        let count = self.rows();
        let mut rows = std::mem::take(self).columns.unwrap_or_default();
        let mut stream_names = StringBuilder::with_capacity(count, count * stream.len());
        let mut times = TimestampMicrosecondBuilder::with_capacity(count).with_timezone("UTC");
        times.append_slice(&rows.times);
        let times: ArrayRef = Arc::new(times.finish());
        for _ in 0..count {
            stream_names.append_value(stream);
        }
        let schema = rejection_definition(1).schema.arrow();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "time" | tidemill_event::batch::TIME_COLUMN => times.clone(),
                "reason" => Arc::new(rows.reasons.finish()),
                "error" => Arc::new(rows.errors.finish()),
                "stream" => Arc::new(stream_names.finish()),
                "event" => Arc::new(rows.events.finish()),
                "bytes" => Arc::new(rows.bytes.finish()),
                _ => new_null_array(field.data_type(), count),
            }
        });
        let columns: Vec<ArrayRef> = columns.collect();
        debug_assert!(columns.iter().all(|column| column.len() == count));
        RecordBatch::try_new(Arc::new(schema), columns).expect("columns were built from the schema")
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use tidemill_event::Reason;

    use super::*;

    #[test]
    fn readable_rows_become_json_and_others_stay_bytes() {
        let mut rows = RejectedRows::default();
        let fault = |reason| RowFault { reason, field: None, error: "no".into() };
        rows.push(EventTime(5), &fault(Reason::Schema), b" {\"a\" : \"x \\\" y\",\n \"b\":1.10} ");
        rows.push(EventTime(6), &fault(Reason::Malformed), b"{\"a\":\xff");
        let batch = rows.finish("clicks");
        assert_eq!(rows.rows(), 0);
        let text = |name: &str| batch.column_by_name(name).expect("a column").as_string::<i32>().clone();
        assert_eq!(text("event").value(0), r#"{"a":"x \" y","b":1.10}"#);
        assert!(text("event").is_null(1));
        assert_eq!(text("stream").value(1), "clicks");
        assert_eq!(text("reason").value(0), "schema");
        assert_eq!(batch.column_by_name("bytes").expect("a column").as_binary::<i32>().value(1), b"{\"a\":\xff");
        assert_eq!(tidemill_event::batch::times(&batch).values(), &[5, 6]);
    }
}
