//! Rows that come out of a task, as frames of the streams they go to.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use tidemill_event::batch::{conform, times};
use tidemill_event::{PartitionId, Placement, SchemaVersion, StreamDefinition, StreamSchema};
use tidemill_flow::rule_set::ROUTE;
use tidemill_log::{FrameRows, Partition, Stream};

use crate::pipeline::Route;

/// A stream that a task writes to.
pub(crate) struct Output {
    stream: Arc<Stream>,
    /// The version its rows are written at: the one there was when the task began, so that what a change of the stream brings does
    /// not meet rows half way.
    version: SchemaVersion,
    definition: Arc<StreamDefinition>,
    placement: Option<Placement>,
    /// It takes rows of these routes alone; empty: every row.
    routes: Vec<Route>,
}

impl Output {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        let version = stream.version();
        let definition = stream.definition_at(version).expect("a stream has its own version");
        // Without a key the place must still be the same at every try, so it is the task's own partition and not the next in turn.
        let placement = (!definition.key.is_empty()).then(|| Placement::new(&definition));
        Self { stream, version, definition, placement, routes: Vec::new() }
    }

    /// The same, for rows of these routes alone; none: for every row.
    pub(crate) fn taking(self, routes: Vec<Route>) -> Self {
        Self { routes, ..self }
    }

    pub(crate) fn schema(&self) -> &StreamSchema {
        &self.definition.schema
    }

    /// A partition of the stream.
    pub(crate) fn partition(&self, partition: PartitionId) -> Option<&Arc<Partition>> {
        self.stream.partition(partition)
    }

    /// Where rows without a key go.
    pub(crate) fn place(&self, task: PartitionId) -> PartitionId {
        PartitionId(task.0 % self.definition.partitions)
    }

    /// One frame of rows that have the stream's columns already.
    pub(crate) fn frame(&self, partition: PartitionId, rows: RecordBatch) -> FrameRows {
        FrameRows { stream: self.stream.clone(), version: self.version, partition, rows }
    }

    /// Rows of `from`, as this stream has them and where it has them.
    pub(crate) fn frames(
        &mut self,
        rows: &RecordBatch,
        from: &StreamSchema,
        task: PartitionId,
        frames: &mut Vec<FrameRows>,
    ) -> Result<(), String> {
        let mine = self.mine(rows);
        let rows = mine.as_ref().unwrap_or(rows);
        let rows =
            conform(rows, from, &self.definition.schema).map_err(|error| format!("`{}`: {error}", self.stream.id().stream))?;
        let rows = retime(rows, &self.definition);
        let placed = match &mut self.placement {
            Some(placement) => placement.split(rows),
            None => vec![(self.place(task), rows)],
        };
        for (partition, rows) in placed {
            if rows.num_rows() > 0 {
                frames.push(self.frame(partition, rows));
            }
        }
        Ok(())
    }
}

impl Output {
    /// The rows of its routes; `None`: all of them.
    ///
    /// # Panics
    /// If rows have no text column `route`: that was checked when the pipeline was applied.
    fn mine(&self, rows: &RecordBatch) -> Option<RecordBatch> {
        if self.routes.is_empty() {
            return None;
        }
        let column = rows.column_by_name(ROUTE).expect("a column of routes");
        let texts = cast(column, &DataType::Utf8).expect("routes are text");
        let is_mine = |value: Option<&str>| {
            self.routes.iter().any(|route| match (route, value) {
                (Route::To(to), Some(value)) => to == value,
                (Route::None, None) => true,
                (Route::To(_), None) | (Route::None, Some(_)) => false,
            })
        };
        let keep: BooleanArray = texts.as_string::<i32>().iter().map(|value| Some(is_mine(value))).collect();
        Some(filter_record_batch(rows, &keep).expect("a bit for each row"))
    }
}

/// Rows keep their time, unless their new stream declares a time field that they have.
fn retime(rows: RecordBatch, definition: &StreamDefinition) -> RecordBatch {
    let Some(time) = &definition.time else { return rows };
    let Some(column) = rows.column_by_name(&time.field) else { return rows };
    let old = times(&rows);
    let declared: Vec<Option<i64>> = if let Some(column) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        column.iter().collect()
    } else if let Some(column) = column.as_any().downcast_ref::<Int64Array>() {
        let micros = time.unit.map_or(1, tidemill_event::TimeUnit::micros);
        column.iter().map(|value| value.map(|value| value.saturating_mul(micros))).collect()
    } else {
        return rows;
    };
    let new: Vec<i64> = declared.iter().enumerate().map(|(row, time)| time.unwrap_or_else(|| old.value(row))).collect();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    if let Some(last) = columns.last_mut() {
        *last = Arc::new(TimestampMicrosecondArray::from(new).with_timezone("UTC"));
    }
    RecordBatch::try_new(rows.schema(), columns).expect("only the times changed")
}
