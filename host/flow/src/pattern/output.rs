//! The row a match becomes: its key, when it began and ended, and measures over its events.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, StringArray, TimestampMicrosecondArray};
use arrow_schema::Field as ArrowField;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType, Reason};

use crate::aggregate::{AggregateRefused, Aggregates};
use crate::batch::{assemble, field_of};
use crate::group::KeyIndex;
use crate::pattern::automaton::StageId;
use crate::pattern::buffer::Buffer;
use crate::pattern::order::PatternOrder;
use crate::pattern::run::Found;
use crate::rows::Rows;
use crate::{AggregateCall, FlowBatch, MATCH_ID, MatchId};

/// When the first event of a match was.
pub const MATCH_START: &str = "match_start";
/// When the last one was.
pub const MATCH_END: &str = "match_end";
/// Whether the row is a run whose time was over; only where timeouts are told.
pub const TIMED_OUT: &str = "timed_out";

/// An aggregate over a match's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Over those of this stage; `None`: over all.
    pub stage: Option<Arc<str>>,
    /// Which. It has no filter of its own.
    pub call: AggregateCall,
}

/// What was found, with the key and the input row that let it out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emitted {
    pub(crate) found: Found,
    pub(crate) slot: u32,
    pub(crate) origin: u32,
    /// The time the row has.
    pub(crate) time: i64,
}

/// Makes rows of matches.
pub(crate) struct MatchOutput {
    measures: Aggregates,
    /// The stages that a measure is over, and the column that says so.
    stages: Vec<(StageId, Arc<str>)>,
    pub(crate) has_timeouts: bool,
    pub(crate) has_ids: bool,
    order: PatternOrder,
}

/// Rows, and those that could not be said with the reason.
pub(crate) type Said = (FlowBatch, Vec<(usize, Reason, String)>);

impl MatchOutput {
    /// # Panics
    /// If a measure has a filter, or is over a stage that is not there: names were checked when the pipeline was applied.
    pub(crate) fn new(
        measures: Vec<Measure>,
        has_timeouts: bool,
        order: PatternOrder,
        stage: impl Fn(&str) -> Option<StageId>,
    ) -> Result<Self, AggregateRefused> {
        let (mut calls, mut stages) = (Vec::new(), Vec::new());
        for Measure { stage: name, mut call } in measures {
            assert!(call.filter.is_none(), "a measure has no filter of its own");
            if let Some(name) = name {
                let id = stage(&name).unwrap_or_else(|| panic!("no stage `{name}` in the pattern"));
                // No column of a user begins with a null byte.
                let column: Arc<str> = format!("\0{name}").into();
                call.filter = Some(column.clone());
                if !stages.iter().any(|(known, _)| *known == id) {
                    stages.push((id, column));
                }
            }
            calls.push(call);
        }
        Ok(Self { measures: Aggregates::new(&calls)?, stages, has_timeouts, has_ids: false, order })
    }

    /// The columns, `_time` aside.
    pub(crate) fn fields(&self, index: &KeyIndex) -> Vec<Field> {
        let mut fields = index.by().to_vec();
        fields.extend(self.has_ids.then(|| Field::new(MATCH_ID, FieldType::String, false)));
        fields.push(Field::new(MATCH_START, FieldType::Timestamp(None), false));
        fields.push(Field::new(MATCH_END, FieldType::Timestamp(None), false));
        if self.has_timeouts {
            fields.push(Field::new(TIMED_OUT, FieldType::Bool, false));
        }
        fields.extend(self.measures.fields().cloned());
        fields
    }

    /// One row for each, in their order. `ids` are those of all, or of none.
    pub(crate) fn rows(&mut self, emitted: &[Emitted], ids: &[MatchId], index: &KeyIndex, buffer: &Buffer, kept: &Rows) -> Said {
        let groups: Vec<u32> = emitted.iter().map(|_| self.measures.allocate()).collect();
        let (mut starts, mut ends) = (Vec::with_capacity(emitted.len()), Vec::with_capacity(emitted.len()));
        let (mut of, mut events) = (Vec::new(), Vec::new());
        for (one, group) in emitted.iter().zip(&groups) {
            let first = events.len();
            events.extend(buffer.chain(one.found.node).map(|(stage, taken)| (stage, taken.row, taken.moment.time)));
            events[first..].reverse();
            of.resize(events.len(), *group);
            starts.push(one.found.begun.time);
            ends.push(events[first..].iter().map(|(.., time)| *time).max().unwrap_or(one.found.begun.time));
        }
        if self.measures.fields().next().is_some() {
            self.measure(&of, &events, kept);
        }
        let results = self.measures.finish(&groups);
        groups.into_iter().for_each(|group| self.measures.release(group));
        let mut columns: Vec<(ArrowField, ArrayRef)> = Vec::new();
        for (field, column) in index.by().iter().zip(index.columns(emitted.iter().map(|one| one.slot))) {
            columns.push((field_of(field, &column), column));
        }
        if self.has_ids {
            let ids: ArrayRef = Arc::new(ids.iter().map(|id| Some(id.to_string())).collect::<StringArray>());
            columns.push((Field::new(MATCH_ID, FieldType::String, false).arrow(), ids));
        }
        let timestamp = |name: &str, times: Vec<i64>| {
            let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
            (Field::new(name, FieldType::Timestamp(None), false).arrow(), column)
        };
        columns.push(timestamp(MATCH_START, starts));
        columns.push(timestamp(MATCH_END, ends));
        if self.has_timeouts {
            let timed_out: BooleanArray = emitted.iter().map(|one| Some(!one.found.is_match)).collect();
            columns.push((Field::new(TIMED_OUT, FieldType::Bool, false).arrow(), Arc::new(timed_out)));
        }
        columns.extend(results.columns);
        let times: Vec<i64> = emitted.iter().map(|one| one.time).collect();
        columns.push((time_field(), Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))));
        let (fields, columns) = columns.into_iter().map(|(field, column)| (Arc::new(field), column)).unzip();
        let rows = assemble(fields, columns, emitted.len());
        (FlowBatch { rows, origin: emitted.iter().map(|one| one.origin).collect() }, results.failed)
    }

    fn measure(&mut self, of: &[u32], events: &[(StageId, u32, i64)], kept: &Rows) {
        let mut fields: Vec<Arc<ArrowField>> =
            kept.fields().iter().map(|field| Arc::new(field.arrow().with_nullable(true))).collect();
        let mut columns = kept.gather(events.iter().map(|(_, row, _)| Some(*row)));
        for (stage, name) in &self.stages {
            let is_in: BooleanArray = events.iter().map(|(of, ..)| Some(of == stage)).collect();
            fields.push(Arc::new(Field::new(name, FieldType::Bool, false).arrow()));
            columns.push(Arc::new(is_in));
        }
        fields.push(Arc::new(time_field()));
        // `first` and `last` go by time; where the order is that of arrival, places in the match are their time.
        let times: Vec<i64> = match self.order {
            PatternOrder::Time => events.iter().map(|(.., time)| *time).collect(),
            PatternOrder::Arrival => (0..events.len() as i64).collect(),
        };
        columns.push(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
        let lost = self.measures.update(of, &assemble(fields, columns, events.len()));
        assert!(lost.is_empty(), "no measure is a component");
    }
}
