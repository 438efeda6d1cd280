//! Keys that come and go, by the million: what is left of them.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use tidemill_event::batch::time_field;
use tidemill_event::{EventTime, Field, FieldType};

use crate::pattern::kept::Kept;
use crate::pattern::{
    Contiguity, Element, Pattern, PatternOrder, PatternSettings, PatternStep, PredicateId, RunLimits, StageCondition,
};
use crate::{FlowBatch, Judged, Marks, Operator, Outcome, Predicate, StepId, StepState, Tested, Watermark};

/// The value is that.
struct Is(i64);

impl Predicate for Is {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let values = rows.column_by_name("v").expect("a value");
        let values = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(values);
        Tested { passes: BooleanArray::from_unary(values, |value| value == self.0), failed: Vec::new() }
    }
}

/// A million keys begin a match each and never end it: what was kept of them goes when their time is over, and so does the room they took.
#[test]
fn keys_that_came_and_went_leave_nothing() {
    const ROWS: i64 = 4096;
    const BATCHES: i64 = 256;
    let fields = vec![Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true)];
    let elements =
        vec![Element::stage("a", Contiguity::Next, PredicateId(0)), Element::stage("b", Contiguity::FollowedBy, PredicateId(1))];
    let mut step = PatternStep::new(PatternSettings {
        step: StepId(0),
        by: fields[..1].to_vec(),
        fields: fields.clone(),
        kept: fields[1..].to_vec(),
        pattern: Pattern { within: Some(Duration::from_micros(100)), ..Pattern::new(elements) },
        conditions: [1, 2].map(|value| StageCondition::Row(Box::new(Is(value)))).into(),
        values: Vec::new(),
        asked: None,
        order: PatternOrder::Time,
        limits: RunLimits::default(),
        measures: Vec::new(),
        timeouts: false,
        explained: None,
        judged: Judged::ByTask,
        draining: false,
    })
    .expect("a sound pattern");
    let schema = Arc::new(Schema::new(fields.iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>()));
    let rows_of = |from: i64, count: i64| {
        let keys: StringArray = (from..from + count).map(|row| Some(format!("key-{row}"))).collect();
        let values = Int64Array::from_iter_values((0..count).map(|_| 1));
        let times = TimestampMicrosecondArray::from_iter_values(from..from + count).with_timezone("UTC");
        RecordBatch::try_new(schema.clone(), vec![Arc::new(keys), Arc::new(values), Arc::new(times)]).expect("an event batch")
    };
    for batch in 0..BATCHES {
        let from = batch * ROWS;
        let before = (from - 1..from + ROWS - 1).collect();
        let marks = Marks::new(Watermark(from - 1), before, None, Watermark(from + ROWS - 1));
        step.apply(FlowBatch::new(rows_of(from, ROWS)), &mut Outcome::new(EventTime(0)).with_marks(marks));
        assert!(step.tally().runs <= 100, "{} runs are open", step.tally().runs);
    }
    let marks = Marks::passing(Watermark(BATCHES * ROWS - 1), Watermark::END);
    step.apply(FlowBatch::new(rows_of(0, 0)), &mut Outcome::new(EventTime(0)).with_marks(marks));
    assert_eq!((step.tally().runs, step.tally().timeouts), (0, (BATCHES * ROWS) as u64));
    let Kept { index, buffer, rows, deadlines, slots, .. } = &mut step.kept;
    assert_eq!((buffer.len(), deadlines.queued()), ((0, 0), 0));
    assert!(index.slots() <= 3 * ROWS as usize && slots.len() <= 3 * ROWS as usize, "{} keys have room", index.slots());
    assert!(rows.slots() <= 3 * ROWS as usize, "{} rows have room", rows.slots());
    assert_eq!(step.kept.len(), 0, "no entry is left");
}
