//! Panes into rows: key columns, the window, the aggregates, and the last instant that could still matter as the time.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, Reason};

use crate::aggregate::Aggregates;
use crate::batch::{assemble, field_of};
use crate::group::KeyIndex;
use crate::where_step::without;
use crate::window::{Bounds, output_fields};
use crate::{FlowBatch, Outcome, StepId};

/// A result of one key in one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pane {
    pub(crate) slot: u32,
    /// What its aggregates are of.
    pub(crate) group: u32,
    /// The window's bounds, or its number.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The last instant that could still matter.
    pub(crate) time: EventTime,
    /// The input row that let it out.
    pub(crate) origin: u32,
}

/// The rows of `panes`, in their order. A pane one of whose aggregates cannot be said is a dead row; one all of whose rows were at fault is none.
pub(crate) fn rows_of(
    panes: &[Pane],
    index: &KeyIndex,
    aggregates: &Aggregates,
    bounds: Bounds,
    step: StepId,
    output: &mut Outcome,
) -> FlowBatch {
    rows_beside(panes, index, aggregates, bounds, Vec::new()).without_failed(step, output, |_| true)
}

/// Panes as rows, with those of them that cannot be said.
pub(crate) struct PaneRows {
    rows: FlowBatch,
    failed: Vec<(usize, Reason, String)>,
    unseen: Vec<usize>,
}

/// Likewise, with more columns behind the aggregates.
pub(crate) fn rows_beside(
    panes: &[Pane],
    index: &KeyIndex,
    aggregates: &Aggregates,
    bounds: Bounds,
    beside: Vec<(ArrowField, ArrayRef)>,
) -> PaneRows {
    let groups: Vec<u32> = panes.iter().map(|pane| pane.group).collect();
    let results = aggregates.finish(&groups);
    let times = |time: &dyn Fn(&Pane) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(panes.iter().map(time)).with_timezone("UTC"))
    };
    let mut columns: Vec<(ArrowField, ArrayRef)> = index
        .by()
        .iter()
        .zip(index.columns(panes.iter().map(|pane| pane.slot)))
        .map(|(field, column)| (field_of(field, &column), column))
        .collect();
    let bounding: Vec<ArrayRef> = match bounds {
        Bounds::Times => vec![times(&|pane| pane.start), times(&|pane| pane.end)],
        Bounds::Number => vec![Arc::new(Int64Array::from_iter_values(panes.iter().map(|pane| pane.start)))],
        Bounds::None => Vec::new(),
    };
    let fields: Vec<Field> = output_fields(&[], bounds, [].into_iter(), None);
    columns.extend(fields.iter().map(Field::arrow).zip(bounding));
    columns.extend(results.columns);
    columns.extend(beside);
    columns.push((time_field(), times(&|pane| pane.time.0)));
    let (fields, columns) = columns.into_iter().map(|(field, column)| (Arc::new(field), column)).unzip();
    let rows = FlowBatch { rows: assemble(fields, columns, panes.len()), origin: panes.iter().map(|pane| pane.origin).collect() };
    PaneRows { rows, failed: results.failed, unseen: results.unseen }
}

impl PaneRows {
    /// Those that can be said. `mourned`: whether one that cannot becomes a dead row; else it just goes.
    pub(crate) fn without_failed(self, step: StepId, output: &mut Outcome, mourned: impl Fn(usize) -> bool) -> FlowBatch {
        let Self { rows, mut failed, unseen } = self;
        if failed.is_empty() && unseen.is_empty() {
            return rows;
        }
        let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
        let keep = without(all, failed.iter().map(|(place, ..)| *place).chain(unseen));
        let kept = rows.filtered(&keep);
        failed.retain(|(place, ..)| mourned(*place));
        output.bury_results(&rows, step, failed);
        kept
    }
}
