//! The step: rows of many keys in, matches out.
//!
//! ```text
//! rows ──► order by time ──► conditions over rows, a bit per variable ──► each key's search, row by row ──► rows of matches
//!                                                  timers: WITHIN is over ──┘   end of all rows ──┘
//! ```
//! A match has the time at which it was known, so that it is on time for the next step: that of the row that decided it, or the last instant of
//! `WITHIN`. What comes out is in the order of (input row that let it out, instant, first row): neither the cut of batches nor the order of keys in memory
//! shows.

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Breaker, Field, FieldType};

use crate::aggregate::AggregateRefused;
use crate::group::KeyIndex;
use crate::pattern::order::{Ordered, Waiting};
use crate::pattern::{Moment, PatternOrder, PatternReport, PatternTally, Tally};
use crate::recognize::columns::TermColumns;
use crate::recognize::explaining::Explaining;
use crate::recognize::judge::{Conditions, Definition, Judging};
use crate::recognize::kept::{Kept, Slot};
use crate::recognize::key_rows::{Found, KeyRow};
use crate::recognize::output::{Emitted, MatchOutput, NamedTerm, RowsPerMatch};
use crate::recognize::program::Program;
use crate::recognize::refused::RowPatternRefused;
use crate::recognize::search::{MatchLimits, MatchTally, Now, Reach, Search};
use crate::recognize::shape::{AfterMatch, RowPattern, VariableId};
use crate::recognize::terms::{Surroundings, Term, View};
use crate::{Explained, FlowBatch, Judged, Marks, NamedProjection, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// What the step does.
pub struct MatchSettings {
    /// Which step it is.
    pub step: StepId,
    /// `PARTITION BY`; none: one key for all.
    pub by: Vec<Field>,
    /// The columns of the rows, `_time` aside.
    pub fields: Vec<Field>,
    /// Those that terms are of, `_time` perhaps among them; where all rows of a match come out, all of `fields`, and `_time` behind them.
    pub kept: Vec<Field>,
    /// The names of the pattern's variables, by number.
    pub variables: Vec<Arc<str>>,
    /// `PATTERN`.
    pub pattern: RowPattern,
    /// `DEFINE`, by variable.
    pub definitions: Vec<Definition>,
    /// `AFTER MATCH SKIP`.
    pub skip: AfterMatch,
    /// `WITHIN`: the last row is less than this behind the first.
    pub within: Option<Duration>,
    /// Which rows come out.
    pub rows: RowsPerMatch,
    /// What measures look at.
    pub terms: Vec<NamedTerm>,
    /// `MEASURES`: computed of the terms.
    pub measures: Vec<NamedProjection>,
    /// Whether a match has an id, and what is shown of its rows; they are among `kept`.
    pub explained: Explained,
    /// Bounds for each key.
    pub limits: MatchLimits,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// Why a step cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MatchRefused {
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] RowPatternRefused),
    /// An aggregate.
    #[error(transparent)]
    Aggregate(#[from] AggregateRefused),
}

/// The step.
pub struct MatchStep {
    step: StepId,
    conditions: Conditions,
    output: MatchOutput,
    fields: Vec<Field>,
    /// What was reported last.
    reported: PatternTally,
    kept: Kept,
}

/// Where something that was found goes among the others: what let it out, the instant, time before rows, its first row.
type Rank = (u32, i64, bool, Moment);

/// What a batch finds.
#[derive(Default)]
struct Batch {
    emitted: Vec<(Rank, Emitted)>,
    /// Keys that may have changed; each is held until the end of the batch.
    touched: Vec<u32>,
    /// The key of each row.
    slots: Vec<u32>,
    found: Vec<Found>,
    /// Kept rows that nobody needs once what was found is told.
    gone: Vec<u32>,
}

impl MatchStep {
    /// A step that has seen no row. Errors: the pattern, or an aggregate that does not go with its argument.
    ///
    /// # Panics
    /// If there is not a definition for each variable, or a term is of a column that is not kept: both were checked when the pipeline was applied.
    pub fn new(settings: MatchSettings) -> Result<Self, MatchRefused> {
        let MatchSettings { step, by, fields, mut kept, variables, pattern, definitions, skip, .. } = settings;
        let MatchSettings { within, rows, terms, measures, explained, limits, judged, .. } = settings;
        assert_eq!(definitions.len(), variables.len(), "a definition for each variable");
        let program = Program::new(&pattern, skip)?;
        let micros = within.map(|within| i64::try_from(within.as_micros()).unwrap_or(i64::MAX));
        let all_terms = || {
            let conditions = definitions.iter().flat_map(|definition| [&definition.of_row, &definition.of_match]).flatten();
            conditions.flat_map(|condition| &condition.terms).chain(&terms).map(|named| &named.term)
        };
        let is_aggregate = |term: &Term| matches!(term, Term::Aggregate { .. });
        if all_terms().any(is_aggregate) && kept.iter().all(|field| &*field.name != TIME_COLUMN) {
            // Aggregates may ask for the time of each row.
            kept.push(Field::new(TIME_COLUMN, FieldType::Timestamp(None), false));
        }
        let offsets: Vec<i32> = all_terms().filter_map(physical).collect();
        let furthest = |back: bool| {
            let reach = offsets.iter().filter(|offset| (**offset < 0) == back).map(|offset| offset.unsigned_abs() as usize);
            reach.max().unwrap_or(0)
        };
        let (before, behind) = (furthest(true), furthest(false));
        let has_numbers = all_terms().any(|term| *term == Term::MatchNumber);
        let of = |terms: Vec<NamedTerm>| TermColumns::new(terms, variables.clone(), &kept, micros);
        let explaining = explained.map(|shown| Explaining { variables: variables.clone(), shown });
        let output = MatchOutput::new(rows, of(terms)?, measures, explaining);
        let conditions = Conditions::new(definitions, of)?;
        let has_unmatched = rows == RowsPerMatch::AllWithUnmatched;
        let looks_back = conditions.looks_back();
        let search = Search::new(program, Reach { looks_back, within, before, behind, has_numbers, has_unmatched }, limits);
        let waiting = Waiting::new(PatternOrder::Time, judged, fields.clone());
        let kept = Kept::new(KeyIndex::new(by), waiting, search, kept);
        Ok(Self { step, conditions, output, fields, reported: PatternTally::default(), kept })
    }

    /// The columns that come out, `_time` aside.
    pub fn columns(&self) -> Vec<Field> {
        self.output.fields(&self.kept.index, &self.fields)
    }

    /// What it did beside its rows, since it was made.
    pub fn tally(&self) -> MatchTally {
        self.kept.search.tally
    }

    /// The same in the words of a pattern: what is open are keys that wait for rows, what ended are readings that were not followed, what was refused
    /// are rows that were given up.
    fn report(&mut self) -> Option<PatternReport> {
        let MatchTally { matches, rows_given_up, ways_given_up, failed } = self.tally();
        let bounded = Tally { ended: ways_given_up, refused: rows_given_up, buried: 0, skip_failed: 0 };
        let now = PatternTally { matches, timeouts: 0, bounded, failed, runs: self.kept.open_keys() };
        PatternReport::of(self.step, now, &mut self.reported)
    }

    /// The rows to their keys, with what the conditions over rows say of them.
    fn admit(&mut self, ordered: &Ordered, marks: &Marks, batch: &mut Batch) {
        let Kept { index, rows: stored, slots, .. } = &mut self.kept;
        index.slots_of(&ordered.rows.rows, &mut batch.slots);
        slots.resize_with(index.slots(), Slot::default);
        let added = stored.add(&ordered.rows.rows, 0..ordered.moments.len() as u32);
        for ((slot, moment), row) in batch.slots.iter().zip(&ordered.moments).zip(added) {
            slots[*slot as usize].key.rows.push_back(KeyRow { moment: *moment, row, holds: 0 });
            if !std::mem::replace(&mut slots[*slot as usize].is_touched, true) {
                // Its name is needed until the rows are told.
                index.hold(*slot);
                batch.touched.push(*slot);
                slots[*slot as usize].origin = 0;
            }
        }
        self.judge(&batch.touched, Now::of(marks.end()));
    }

    /// Answers the conditions over rows for all rows of these keys that have their neighbours by then.
    fn judge(&mut self, keys: &[u32], now: Now) {
        let Kept { slots, search, rows: stored, .. } = &mut self.kept;
        let taken = [VariableId(0)];
        let mut views = Vec::new();
        for slot in keys {
            let key = &slots[*slot as usize].key;
            let complete = search.complete(key, key.rows.len(), now);
            views.extend((key.judged..complete).map(|row| View {
                rows: Surroundings::Row(key, row),
                taken: &taken,
                all: &taken,
                number: 0,
                of: 0,
            }));
        }
        if views.is_empty() {
            return;
        }
        let mut holds = self.conditions.of_rows(&views, stored).into_iter();
        for slot in keys {
            let key = &mut slots[*slot as usize].key;
            let complete = search.complete(key, key.rows.len(), now);
            for row in key.judged..complete {
                key.rows[row].holds = holds.next().expect("an answer for each row");
            }
            key.judged = key.judged.max(complete);
        }
    }

    /// Each row to the search of its key.
    fn rows(&mut self, ordered: &Ordered, marks: &Marks, batch: &mut Batch) {
        let Kept { search, rows: stored, slots, .. } = &mut self.kept;
        let mut judging = Judging { conditions: &mut self.conditions, kept: stored, taken: Vec::new() };
        for (row, moment) in ordered.moments.iter().enumerate() {
            let (slot, origin) = (batch.slots[row], ordered.rows.origin[row]);
            let of = &mut slots[slot as usize];
            // Time has gone on since the key's last row, by the watermark before this one and then by its own time.
            for now in [marks.before(origin).0, moment.time] {
                while let Some(deadline) = search.deadline(&of.key).filter(|deadline| *deadline <= now && of.key.arrived > 0) {
                    search.run(&mut of.key, Now::Time(deadline), &mut judging, &mut batch.found, &mut batch.gone);
                    batch.by_time(slot, of.origin, deadline, marks, Some(origin));
                }
            }
            of.origin = origin;
            of.key.arrived += 1;
            search.run(&mut of.key, Now::Row, &mut judging, &mut batch.found, &mut batch.gone);
            batch.by_row(slot, origin, *moment);
        }
    }

    /// Keys whose time is over by the watermark behind the batch.
    fn time(&mut self, marks: &Marks, batch: &mut Batch) {
        let end = marks.end();
        let due = if end == Watermark::END { self.kept.open() } else { self.kept.take_due(end.0) };
        for slot in &due {
            let of = &mut self.kept.slots[*slot as usize];
            if !std::mem::replace(&mut of.is_touched, true) {
                self.kept.index.hold(*slot);
                batch.touched.push(*slot);
                of.origin = 0;
            }
        }
        self.judge(&due, Now::of(end));
        let Kept { search, rows: stored, slots, .. } = &mut self.kept;
        let mut judging = Judging { conditions: &mut self.conditions, kept: stored, taken: Vec::new() };
        for slot in due {
            let of = &mut slots[slot as usize];
            while let Some(deadline) = search.deadline(&of.key).filter(|deadline| *deadline <= end.0) {
                search.run(&mut of.key, Now::Time(deadline), &mut judging, &mut batch.found, &mut batch.gone);
                batch.by_time(slot, of.origin, deadline, marks, None);
            }
            if end == Watermark::END {
                let last = of.key.rows.back().map_or(i64::MIN, |row| row.moment.time);
                search.run(&mut of.key, Now::End, &mut judging, &mut batch.found, &mut batch.gone);
                batch.by_end(slot, of.origin, marks.start().0.max(last), marks);
            }
        }
    }
}

impl Batch {
    /// What the clock let out at `at`. It comes out with the input row whose watermark did it, but not before the key's own last row; what the key's
    /// next row pushed out without the watermark, with that one.
    fn by_time(&mut self, slot: u32, last: u32, at: i64, marks: &Marks, next: Option<u32>) {
        for found in self.found.drain(..) {
            let by_watermark = marks.lets_out(at.saturating_sub(1)).filter(|out| next.is_none_or(|next| *out <= next));
            let origin = by_watermark.or(next).unwrap_or(0).max(last);
            let rank = (origin, at, false, found.begun);
            self.emitted.push((rank, Emitted { found, slot, origin, time: at.saturating_sub(1), by_time: true }));
        }
    }

    fn by_row(&mut self, slot: u32, origin: u32, moment: Moment) {
        for found in self.found.drain(..) {
            let rank = (origin, moment.time, true, found.begun);
            self.emitted.push((rank, Emitted { found, slot, origin, time: moment.time, by_time: false }));
        }
    }

    /// What the end of all rows let out.
    fn by_end(&mut self, slot: u32, last: u32, time: i64, marks: &Marks) {
        let origin = marks.lets_out(i64::MAX - 1).unwrap_or(0).max(last);
        for found in self.found.drain(..) {
            self.emitted.push(((origin, i64::MAX, true, found.begun), Emitted { found, slot, origin, time, by_time: true }));
        }
    }
}

impl Now {
    fn of(watermark: Watermark) -> Self {
        if watermark == Watermark::END { Self::End } else { Self::Time(watermark.0) }
    }
}

impl Operator for MatchStep {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let ordered = self.kept.waiting.pass(self.step, input, &marks, output);
        let mut batch = Batch::default();
        self.admit(&ordered, &marks, &mut batch);
        self.rows(&ordered, &marks, &mut batch);
        for slot in &batch.touched {
            self.kept.note(*slot);
        }
        self.time(&marks, &mut batch);
        self.kept.search.tally.failed += self.conditions.take_failed();
        batch.emitted.sort_by_key(|(rank, _)| *rank);
        let emitted: Vec<Emitted> = batch.emitted.into_iter().map(|(_, one)| one).collect();
        let rows = self.output.tell(self.step, &emitted, &self.kept.index, &self.kept.rows, output);
        for row in batch.gone {
            self.kept.rows.remove(row);
        }
        for slot in batch.touched {
            self.kept.slots[slot as usize].is_touched = false;
            self.kept.note(slot);
            self.kept.index.release(slot);
        }
        let Kept { rows: stored, slots, .. } = &mut self.kept;
        stored.compact(slots.iter().flat_map(|slot| &slot.key.rows).map(|row| row.row));
        // Rows that began nothing leave no key behind.
        self.kept.index.forget_unheld(&batch.slots);
        // What is due is looked up without being able to change anything.
        self.kept.deadlines.next();
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
        let end = self.kept.has_open().then_some(Watermark::END);
        self.kept.waiting.due().into_iter().chain(timer).chain(end).min()
    }
}

/// How far before or behind another row a term looks.
fn physical(term: &Term) -> Option<i32> {
    match term {
        Term::Column { place, .. } | Term::Classifier(place) => Some(place.physical),
        Term::MatchNumber | Term::Aggregate { .. } => None,
    }
}
