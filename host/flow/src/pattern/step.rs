//! The step: rows of many keys in, matches and timeouts out.
//!
//! ```text
//! rows ──► order (by time, or as they come) ──► predicates, a bit per row ──► each key's matcher ──► matches by what let them out ──► rows
//!                                                                    timers ──┘ W ≥ first + within
//! ```
//! A row that begins no run is looked up among the keys that have one, and leaves nothing behind; where a pattern passes over whatever fits no stage, not even that. What comes out is in the order of (input row that let it out, instant, event), so that
//! neither the cut of batches nor the order of keys in memory shows.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;
use tidemill_event::{Breaker, Field, Reason};

use crate::aggregate::AggregateRefused;
use crate::group::{KeyIndex, Wanted};
use crate::pattern::PatternRefused;
use crate::pattern::asking::{Asking, ConditionGuest, bury};
use crate::pattern::automaton::StageId;
use crate::pattern::buffer::Moment;
use crate::pattern::condition::Bits;
use crate::pattern::conditions::{FRESH, StageCondition, Tested, of_runs, test_rows};
use crate::pattern::kept::{Kept, Slot};
use crate::pattern::matcher::Matcher;
use crate::pattern::order::{Ordered, PatternOrder, Waiting};
use crate::pattern::output::{Emitted, MatchOutput, Measure};
use crate::pattern::round::Meeting;
use crate::pattern::run::{Found, RunLimits, Tally, Trigger};
use crate::pattern::running::{RunValue, Running};
use crate::pattern::shape::Pattern;
use crate::pattern::telling::Telling;
use crate::where_step::without;
use crate::{Explained, FlowBatch, Judged, Marks, MatchId, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// What the step does.
pub struct PatternSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// The columns of the rows, `_time` aside.
    pub fields: Vec<Field>,
    /// Those of them that measures and conditions over runs look at: what is kept of an event that was taken.
    pub kept: Vec<Field>,
    /// What is looked for.
    pub pattern: Pattern,
    /// What its predicates say, by number.
    pub conditions: Vec<StageCondition>,
    /// What conditions ask of runs, by number.
    pub values: Vec<RunValue>,
    /// Who answers those that are a component's.
    pub asked: Option<ConditionGuest>,
    /// The order of rows.
    pub order: PatternOrder,
    /// Bounds for each key.
    pub limits: RunLimits,
    /// What a match says of its events.
    pub measures: Vec<Measure>,
    /// Whether runs whose time was over are told too.
    pub timeouts: bool,
    /// Whether a match has an id, and what is shown of its events; they are among `kept`.
    pub explained: Explained,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// Why a step cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PatternStepRefused {
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternRefused),
    /// A measure.
    #[error(transparent)]
    Measure(#[from] AggregateRefused),
}

/// What it did beside its rows, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatternTally {
    /// Matches told.
    pub matches: u64,
    /// Runs whose time was over, told or not.
    pub timeouts: u64,
    /// What the bounds of a key did.
    pub bounded: Tally,
    /// Predicates that failed on a row: no, and counted.
    pub failed: u64,
    /// Runs there are, of all keys.
    pub runs: u64,
}

impl PatternTally {
    /// That of another pattern with it.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self {
            matches: self.matches + other.matches,
            timeouts: self.timeouts + other.timeouts,
            bounded: Tally {
                ended: self.bounded.ended + other.bounded.ended,
                refused: self.bounded.refused + other.bounded.refused,
                buried: self.bounded.buried + other.bounded.buried,
                skip_failed: self.bounded.skip_failed + other.bounded.skip_failed,
            },
            failed: self.failed + other.failed,
            runs: self.runs + other.runs,
        }
    }

    /// What came to it since it was `before`. Runs are those there are.
    fn since(&self, before: &Self) -> Self {
        Self {
            matches: self.matches - before.matches,
            timeouts: self.timeouts - before.timeouts,
            bounded: Tally {
                ended: self.bounded.ended - before.bounded.ended,
                refused: self.bounded.refused - before.bounded.refused,
                buried: self.bounded.buried - before.bounded.buried,
                skip_failed: self.bounded.skip_failed - before.bounded.skip_failed,
            },
            failed: self.failed - before.failed,
            runs: self.runs,
        }
    }
}

/// What a pattern step did with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternReport {
    /// The step.
    pub step: StepId,
    /// What came to its counts; runs are those there are.
    pub tally: PatternTally,
}

impl PatternReport {
    /// Of what is to be reported now, if it is anything else than what was last.
    pub(crate) fn of(step: StepId, now: PatternTally, reported: &mut PatternTally) -> Option<Self> {
        let before = std::mem::replace(reported, now);
        (now != before).then(|| Self { step, tally: now.since(&before) })
    }
}

/// The step.
pub struct PatternStep {
    step: StepId,
    order: PatternOrder,
    conditions: Vec<StageCondition>,
    of_runs: u64,
    asking: Option<Asking>,
    output: MatchOutput,
    explained: Explained,
    tally: PatternTally,
    /// What was reported last.
    reported: PatternTally,
    kept: Kept,
}

/// Where something that was found goes among the others: what let it out, the instant, time before events, the event.
type Rank = (u32, i64, bool, u64);

/// What a batch finds.
#[derive(Default)]
pub(crate) struct Batch {
    emitted: Vec<(Rank, Emitted)>,
    /// Keys whose runs may have changed; each is held until the end of the batch.
    pub(crate) touched: Vec<u32>,
    /// The key of each row, as far as it was wanted.
    slots: Vec<u32>,
    pub(crate) found: Vec<Found>,
    /// Rows that completed a match without anything to skip to, and those that would have begun one too many.
    pub(crate) failed: Vec<(usize, Reason, String)>,
}

impl PatternStep {
    /// A step that has seen no row. Errors: the pattern, or a measure.
    ///
    /// # Panics
    /// If a predicate of the pattern has no condition.
    pub fn new(settings: PatternSettings) -> Result<Self, PatternStepRefused> {
        let PatternSettings { step, by, fields, kept, pattern, conditions, values, order, .. } = settings;
        let PatternSettings { asked, limits, measures, timeouts, explained, judged, .. } = settings;
        let matcher = Matcher::new(&pattern, limits)?;
        assert!(matcher.automaton.predicates <= conditions.len(), "a condition for each predicate");
        let running = Running::new(values, &kept, |stage| matcher.automaton.stage(stage));
        let mut output = MatchOutput::new(measures, timeouts, order, |stage| matcher.automaton.stage(stage))?;
        output.has_ids = explained.is_some();
        let of_runs = of_runs(&conditions);
        let kept = Kept::new(KeyIndex::new(by), Waiting::new(order, judged, fields), matcher, kept, running);
        let asking = asked.map(|asked| Asking::new(step, asked));
        Ok(Self {
            step,
            order,
            conditions,
            of_runs,
            asking,
            output,
            explained,
            tally: PatternTally::default(),
            reported: PatternTally::default(),
            kept,
        })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.kept.index)
    }

    /// The stage of a name: for conditions over runs.
    pub fn stage(&self, name: &str) -> Option<StageId> {
        self.kept.matcher.automaton.stage(name)
    }

    /// What it did so far.
    pub fn tally(&self) -> PatternTally {
        PatternTally { bounded: self.kept.matcher.tally, runs: self.kept.open, ..self.tally }
    }

    /// Entries of its runs, and how many of them changed.
    pub(crate) fn entries(&self) -> (usize, usize) {
        (self.kept.entries.len(), self.kept.entries.changed_len())
    }

    /// Whether a row of which these predicates hold may begin a run.
    pub(crate) fn begins(&self, holds: u64) -> bool {
        self.kept.matcher.automaton.may_begin(Bits { holds, unknown: self.of_runs })
    }

    /// Whether rows of which no predicate holds need not be looked at.
    pub(crate) fn passes_over(&self) -> bool {
        self.of_runs == 0 && self.kept.matcher.automaton.passes_over && self.order == PatternOrder::Time
    }

    /// Whether the clock ends a run.
    pub(crate) fn is_due(&self, end: Watermark) -> bool {
        self.kept.deadlines.seen().is_some_and(|due| due <= end.0)
    }

    /// The columns of rows that it looks at.
    pub(crate) fn looks_at(&self) -> &[Field] {
        self.kept.waiting.fields()
    }

    /// A predicate that somebody else asked failed on a row.
    pub(crate) fn count_failed(&mut self) {
        self.tally.failed += 1;
    }

    /// What it did since it was last asked, if it did anything.
    fn report(&mut self) -> Option<PatternReport> {
        PatternReport::of(self.step, self.tally(), &mut self.reported)
    }

    /// Rows in their order, and what the predicates say of them; then the clock behind the batch. Answers with the matches.
    pub(crate) fn meet(&mut self, ordered: &Ordered, tested: &Tested, marks: &Marks, output: &mut Outcome) -> FlowBatch {
        let mut batch = Batch::default();
        self.rows(ordered, tested, marks, &mut batch, output);
        self.time(marks, &mut batch);
        if !batch.failed.is_empty() {
            batch.failed.sort_by_key(|(row, ..)| *row);
            output.bury(&ordered.rows, self.step, std::mem::take(&mut batch.failed));
        }
        let rows = self.tell(&mut batch, ordered, output);
        for slot in batch.touched {
            self.kept.slots[slot as usize].leave();
            self.kept.note_entry(slot);
            self.kept.index.release(slot);
        }
        // Rows that began nothing leave no key behind.
        self.kept.index.forget_unheld(&batch.slots);
        // What is due is looked up without being able to change anything.
        self.kept.deadlines.next();
        rows
    }

    /// Each row to the matcher of its key.
    fn rows(&mut self, ordered: &Ordered, tested: &Tested, marks: &Marks, batch: &mut Batch, output: &mut Outcome) {
        let Ordered { rows, moments } = ordered;
        self.tally.failed += tested.failed;
        let mut slots = Vec::new();
        let Kept { index, matcher, buffer, rows: stored, slots: keys, running, .. } = &mut self.kept;
        running.meet(&rows.rows);
        let bits = |row| tested.bits(row, self.of_runs);
        // By time the clock says the same of a key whether its rows that change nothing are looked at or not; by arrival, rows are its clock.
        let passes_over = matcher.automaton.passes_over && self.order == PatternOrder::Time;
        let wanted = |row| match bits(row) {
            bits if matcher.automaton.may_begin(bits) => Wanted::Any,
            Bits { holds: 0, unknown: 0 } if passes_over => Wanted::Nothing,
            _ => Wanted::Known,
        };
        index.slots_wanted(&rows.rows, wanted, &mut slots);
        keys.resize_with(index.slots(), Slot::default);
        let mut meeting = Meeting {
            conditions: &self.conditions,
            of_runs: self.of_runs,
            rows,
            moments,
            tested,
            slots: &slots,
            marks,
            index,
            matcher,
            buffer,
            stored,
            keys,
            running,
            failed: 0,
        };
        let unanswered = match &mut self.asking {
            Some(asking) => meeting.in_rounds(asking, batch, output),
            None => {
                meeting.in_order(batch);
                Vec::new()
            }
        };
        self.tally.failed += meeting.failed;
        bury(unanswered, rows, self.step, output);
        for slot in &batch.touched {
            self.kept.note_deadline(*slot);
        }
        batch.slots = slots;
    }

    /// Keys whose runs' time is over by the watermark behind the batch.
    fn time(&mut self, marks: &Marks, batch: &mut Batch) {
        let end = marks.end();
        while let Some(slot) = self.kept.deadlines.pop(end.0) {
            let Kept { index, matcher, buffer, slots, .. } = &mut self.kept;
            let key = &mut slots[slot as usize];
            if key.touch() {
                index.hold(slot);
                batch.touched.push(slot);
            }
            let origin = key.origin;
            let _ = matcher.advance(&mut key.runs, buffer, end.0, &mut batch.found);
            batch.by_time(slot, origin, marks, None);
            self.kept.note_deadline(slot);
        }
    }

    /// Rows of what was found, in order; then nobody needs it any more.
    fn tell(&mut self, batch: &mut Batch, ordered: &Ordered, output: &mut Outcome) -> FlowBatch {
        let mut emitted = std::mem::take(&mut batch.emitted);
        emitted.sort_by_key(|(rank, _)| *rank);
        let Kept { buffer, rows: stored, index, matcher, .. } = &mut self.kept;
        // Events of this batch that runs or matches hold are kept; the batch itself is not.
        let fresh = buffer.take_fresh(FRESH);
        let places = fresh.iter().map(|event| buffer.taken(*event).row & !FRESH);
        let added = stored.add(&ordered.rows.rows, places);
        fresh.iter().zip(added).for_each(|(event, row)| buffer.rename(*event, row));
        let mut told = Vec::with_capacity(emitted.len());
        for (_, one) in &emitted {
            if one.found.is_match {
                self.tally.matches += 1;
            } else {
                self.tally.timeouts += 1;
            }
            if one.found.is_match || self.output.has_timeouts {
                told.push(*one);
            }
        }
        let evidence = self.explained.as_ref().map_or_else(Vec::new, |shown| {
            Telling { step: self.step, stages: &matcher.automaton.stages, index, buffer, rows: stored, shown }.evidence(&told)
        });
        let ids: Vec<MatchId> = evidence.iter().map(|evidence| evidence.id).collect();
        output.evidence.extend(evidence);
        let (rows, unsaid) = self.output.rows(&told, &ids, index, buffer, stored);
        emitted.iter().for_each(|(_, one)| buffer.release(one.found.node));
        buffer.take_gone().into_iter().filter(|row| row & FRESH == 0).for_each(|row| stored.remove(row));
        stored.compact(buffer.rows());
        if unsaid.is_empty() {
            return rows;
        }
        let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
        let keep = without(all, unsaid.iter().map(|(row, ..)| *row));
        output.bury(&rows, self.step, unsaid);
        rows.filtered(&keep)
    }
}

impl Batch {
    /// What the clock let out. It comes out with the input row whose watermark did it, but not before the key's own last event; what the key's next event
    /// pushed out without the watermark, with that one.
    pub(crate) fn by_time(&mut self, slot: u32, last: u32, marks: &Marks, next: Option<u32>) {
        for found in self.found.drain(..) {
            let by_watermark = marks.lets_out(found.at.saturating_sub(1));
            let by_watermark = by_watermark.filter(|out| next.is_none_or(|next| *out <= next));
            let origin = by_watermark.or(next).unwrap_or(0).max(last);
            let time = found.at.saturating_sub(1);
            self.emitted.push(((origin, found.at, false, found.begun.number), Emitted { found, slot, origin, time }));
        }
    }

    pub(crate) fn by_event(&mut self, slot: u32, origin: u32, moment: Moment) {
        for found in self.found.drain(..) {
            debug_assert!(found.trigger == Trigger::Event && found.is_match, "an event lets out matches only");
            let emitted = Emitted { found, slot, origin, time: moment.time };
            self.emitted.push(((origin, moment.time, true, moment.number), emitted));
        }
    }
}

impl Operator for PatternStep {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let ordered = self.kept.waiting.pass(self.step, input, &marks, output);
        let tested = test_rows(&self.conditions, &ordered.rows.rows);
        let rows = self.meet(&ordered, &tested, &marks, output);
        output.patterns.extend(self.report());
        rows
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.kept)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        let timer = self.kept.deadlines.seen().map(Watermark);
        self.kept.waiting.due().into_iter().chain(timer).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use arrow_schema::Schema;
    use tidemill_event::batch::time_field;
    use tidemill_event::{EventTime, FieldType};

    use super::*;
    use crate::pattern::{Contiguity, Element, PredicateId};
    use crate::{Predicate, Tested};

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
        let elements = vec![
            Element::stage("a", Contiguity::Next, PredicateId(0)),
            Element::stage("b", Contiguity::FollowedBy, PredicateId(1)),
        ];
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
}
