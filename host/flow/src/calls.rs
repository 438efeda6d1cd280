//! What component steps share: one call per batch, and what happens when it does not return.
//!
//! A failing batch is halved until the failing rows are alone; every other row is answered, in order, as if they had never been there:
//!
//! ```text
//! rows  0 1 2 3 4 5 6 7        5 is poison
//! call  ───────────────        0  fails: halves
//!       ───────                1  returns, its state counts
//!               ───────        2  fails: halves
//!               ───            3  fails: halves          at most ceil(log2 n) levels
//!               ─              4  returns
//!                 ─            5  fails, alone: dead
//!                   ───        6  returns
//! ```
//! Always the left half first, because the state of its keys feeds the right one. A failing call leaves no state, so it costs nothing but
//! time. The time of a batch has a bound: after [`FAILED_CALLS_MAX`] failing calls what is left is put back and comes before any new row.
//!
//! A step whose rows keep failing is taken out by its [`Breaker`]; [`OnFailing`] says what becomes of the rows meanwhile. Then a probe of
//! [`PROBE_ROWS_MAX`] rows is made from time to time, and whether it decides that the component works again is the breaker's affair.
//!
//! Where the halves were cut follows from which calls failed, and those are recorded; so a replay cuts alike and repeats none of them.

use std::ops::Range;
use std::time::Duration;

use arrow_array::RecordBatch;
use tidemill_event::{Breaker, BreakerSettings, BreakerState, Ending, Field, RuleAnswer, RuleCall, TransformAnswer, Usage};

use crate::columns::Columns;
use crate::gathered::Together;
use crate::outcome::Ended;
use crate::{FlowBatch, Guest, Keyed, Outcome, StepId, Wait};

/// Failing calls that one step makes of one batch; then the rest waits for the next one. One row at least is decided each time.
pub const FAILED_CALLS_MAX: u32 = 64;
/// A passed deadline is worth so many failing calls: it took long.
const DEADLINE_WEIGHT: u32 = 8;
/// How often a row is tried alone when its call may end otherwise the next time.
const TRIES_MAX: u32 = 3;
/// Rows of a probe.
pub const PROBE_ROWS_MAX: usize = 16;
/// When a component counts as failing: of the last hundred or two rows at least half, and at least 32, ended a call.
pub const BREAKER: BreakerSettings = BreakerSettings {
    failed_min: 32,
    failed_percent: 50,
    window: 128,
    wait: Duration::from_secs(1),
    wait_max: Duration::from_secs(60),
};

/// What becomes of rows while a step's breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailing {
    /// They skip the step, unjudged: what it adds is null.
    Pass,
    /// They wait, and so does everything behind them.
    Hold,
    /// They wait for a person.
    Stop,
}

/// How a component step treats a component that fails.
#[derive(Debug, Clone)]
pub struct Isolation {
    /// What becomes of rows while it is out.
    pub on_failing: OnFailing,
    /// Takes it out.
    pub breaker: Breaker,
}

impl Isolation {
    /// With a breaker that knows nothing yet.
    pub fn new(on_failing: OnFailing) -> Self {
        Self { on_failing, breaker: Breaker::new(BREAKER) }
    }

    /// Without a breaker to speak of: for trials of a component, where every row is to be judged.
    pub fn never_out() -> Self {
        let breaker = Breaker::new(BreakerSettings { failed_min: u32::MAX, ..BREAKER });
        Self { on_failing: OnFailing::Hold, breaker }
    }
}

/// What answers of components have in common.
pub(crate) trait Answer {
    fn usage(&self) -> Usage;
    fn take_state(&mut self) -> Option<RecordBatch>;
}

impl Answer for RuleAnswer {
    fn usage(&self) -> Usage {
        self.usage
    }

    fn take_state(&mut self) -> Option<RecordBatch> {
        self.state.take()
    }
}

impl Answer for TransformAnswer {
    fn usage(&self) -> Usage {
        self.usage
    }

    fn take_state(&mut self) -> Option<RecordBatch> {
        self.state.take()
    }
}

/// What became of rows that stand behind each other.
pub(crate) enum Fate<A> {
    Answered(A),
    /// One row.
    Dead(Ended),
    /// The step was skipped.
    Passed,
    PutBack(Wait),
}

/// What a component remembers between calls, and how a call is made with it.
pub(crate) trait Remembers<A> {
    /// Who answers.
    type Guest: ?Sized;

    /// Something else may have to happen between two calls: what a call made has to be looked at before the next one.
    const STOPS_BETWEEN_CALLS: bool = false;

    /// One call for some rows, whose declared columns are `columns`; what it remembers changes if it returned, and only then.
    fn call(
        &mut self,
        step: StepId,
        number: u32,
        columns: RecordBatch,
        input: &FlowBatch,
        output: &mut Outcome,
        guest: &mut Self::Guest,
    ) -> Called<A>;
}

/// What became of a call.
pub(crate) enum Called<A> {
    Answered(A),
    Ended(Ended),
    /// It counts for nothing: only the first so many of its rows may share one.
    Fewer(usize),
    /// The same, and something else has to happen before the others are taken.
    Until(usize),
}

impl<A> From<Result<A, Ended>> for Called<A> {
    fn from(answer: Result<A, Ended>) -> Self {
        match answer {
            Ok(answer) => Self::Answered(answer),
            Err(ended) => Self::Ended(ended),
        }
    }
}

/// State rows, one per key, or nothing at all.
impl<A: Answer + 'static> Remembers<A> for Option<Keyed> {
    type Guest = dyn Guest<A>;

    fn call(
        &mut self,
        step: StepId,
        number: u32,
        columns: RecordBatch,
        input: &FlowBatch,
        output: &mut Outcome,
        guest: &mut Self::Guest,
    ) -> Called<A> {
        let Some(Keyed { by, table }) = self else {
            return Called::from(output.call(step, number, guest, &RuleCall { columns, state: None }));
        };
        let gathered = match table.gather_together(input, by, output) {
            Together::All(gathered) => gathered,
            Together::Rows(rows) => return Called::Fewer(rows),
        };
        let state = Some(table.state(&gathered));
        let mut answer = output.call(step, number, guest, &RuleCall { columns, state });
        match answer.as_mut().ok().and_then(Answer::take_state) {
            Some(state) => table.scatter(gathered, &state),
            None => table.abandon(gathered),
        }
        Called::from(answer)
    }
}

/// The calls of one step.
pub(crate) struct Calls<M = Option<Keyed>> {
    pub(crate) step: StepId,
    pub(crate) columns: Columns,
    /// The number of a batch's first call.
    pub(crate) first_number: u32,
    pub(crate) memory: M,
    pub(crate) isolation: Isolation,
}

/// What became of the rows of a batch, up to the first that was not decided, and the number of the next call.
pub(crate) struct Decided<A> {
    pub(crate) fates: Vec<(Range<usize>, Fate<A>)>,
    pub(crate) rows: usize,
    pub(crate) next_number: u32,
}

impl<M> Calls<M> {
    pub(crate) fn new(step: StepId, columns: Vec<Field>, memory: M, isolation: Isolation) -> Self {
        Self { step, columns: Columns::new(columns), first_number: 0, memory, isolation }
    }

    /// Takes a batch of at least one row through the component.
    pub(crate) fn decide<A>(&mut self, input: &FlowBatch, output: &mut Outcome, guest: &mut M::Guest) -> Decided<A>
    where
        M: Remembers<A>,
    {
        let number = self.first_number;
        Judging { number, spent: 0, rows_max: usize::MAX, stopped: None, calls: self, input, output, guest }.all()
    }
}

impl<M> Calls<M> {
    /// Takes a batch of at least one row through the component, of rows that can neither wait nor skip it: each is answered or dead. `counted` are the number of
    /// the next call and the failing calls of the batch so far; when those are as many as it may have, what is left ends as the last one did.
    pub(crate) fn decide_now<A>(
        &mut self,
        input: &FlowBatch,
        (number, spent): (&mut u32, &mut u32),
        output: &mut Outcome,
        guest: &mut M::Guest,
    ) -> Vec<(Range<usize>, Fate<A>)>
    where
        M: Remembers<A>,
    {
        let mut fates = Vec::with_capacity(1);
        let mut judging =
            Judging { number: *number, spent: *spent, rows_max: usize::MAX, stopped: None, calls: self, input, output, guest };
        let dead = |fates: &[(Range<usize>, Fate<A>)]| {
            fates.iter().rev().find_map(|(_, fate)| if let Fate::Dead(ended) = fate { Some(ended.clone()) } else { None })
        };
        let mut decided = 0;
        // Each time one row at least is decided; with the first that is dead there are words for all that are not asked any more.
        while decided < input.len() && dead(&fates).is_none() {
            decided = judging.isolate(decided..input.len(), true, &mut fates);
        }
        (*number, *spent) = (judging.number, judging.spent);
        if let Some(ended) = dead(&fates) {
            fates.extend((decided..input.len()).map(|row| (row..row + 1, Fate::Dead(ended.clone()))));
        }
        fates
    }
}

impl Calls {
    /// Where a step has several components, each has numbers of its own.
    pub(crate) fn numbered_from(self, first_number: u32) -> Self {
        Self { first_number, ..self }
    }

    /// Takes a batch of at least one row through the component. `take` makes rows of an answer to some of them, `pass` of rows that skip
    /// the step. `None`: no row is left.
    pub(crate) fn run<A: Answer + 'static>(
        &mut self,
        input: &FlowBatch,
        output: &mut Outcome,
        guest: &mut (dyn Guest<A> + 'static),
        take: impl Fn(&FlowBatch, A, &mut Outcome) -> FlowBatch,
        pass: impl Fn(&FlowBatch) -> FlowBatch,
    ) -> Option<FlowBatch> {
        let attempts = output.attempts(self.step);
        let Decided { fates, .. } = self.decide(input, output, guest);
        let mut made = Vec::with_capacity(fates.len());
        for (range, fate) in fates {
            let rows = &*input.part(&range);
            match fate {
                Fate::Answered(answer) => made.push(take(rows, answer, output)),
                Fate::Dead(ended) => output.bury_all(rows, self.step, &ended),
                Fate::Passed => made.push(pass(rows)),
                Fate::PutBack(wait) => output.put_back(self.step, rows.compact(), wait, attempts),
            }
        }
        (!made.is_empty()).then(|| FlowBatch::concat(made))
    }

    /// Time went by, by some rows or without any: what has lived long enough goes.
    pub(crate) fn forget(&mut self, output: &Outcome) {
        if let Some(keyed) = &mut self.memory {
            keyed.table.forget(output);
        }
    }
}

/// One batch under way.
struct Judging<'a, A, M: Remembers<A>> {
    calls: &'a mut Calls<M>,
    input: &'a FlowBatch,
    output: &'a mut Outcome,
    guest: &'a mut M::Guest,
    /// Of the next call.
    number: u32,
    /// Failing calls, by weight.
    spent: u32,
    /// No call takes more rows: one was told to take fewer. Whoever answers may take twice as many the next time, so that a batch that has to be
    /// cut often is not looked at as a whole each time.
    rows_max: usize,
    /// Rows from here on have to wait for something else.
    stopped: Option<usize>,
}

impl<A, M: Remembers<A>> Judging<'_, A, M> {
    fn all(mut self) -> Decided<A> {
        let rows = self.input.len();
        let mut fates = Vec::with_capacity(1);
        let mut from = 0;
        if self.calls.isolation.breaker.state() != BreakerState::Closed {
            let now = self.output.clock();
            if self.calls.isolation.breaker.poll(now) == BreakerState::HalfOpen {
                from = rows.min(PROBE_ROWS_MAX);
                from = self.probe(0..from, &mut fates);
            }
        }
        if self.stopped.is_none() && self.calls.isolation.breaker.state() == BreakerState::Closed {
            from = self.isolate(from..rows, true, &mut fates);
        }
        // If less was decided than that, nothing behind it is: rows keep their order.
        if let Some(stopped) = self.stopped.filter(|stopped| from >= *stopped) {
            return Decided { fates, rows: stopped, next_number: self.number };
        }
        if from < rows {
            fates.push((from..rows, self.without(from > 0)));
        }
        Decided { fates, rows, next_number: self.number }
    }

    /// What becomes of rows that are not judged now.
    fn without(&self, decided: bool) -> Fate<A> {
        let Isolation { on_failing, breaker } = &self.calls.isolation;
        match (breaker.state(), on_failing) {
            (BreakerState::Closed, _) => {
                assert!(decided, "a batch decides one row at least");
                Fate::PutBack(Wait::Not)
            }
            (BreakerState::Open { .. } | BreakerState::HalfOpen, OnFailing::Pass) => Fate::Passed,
            (BreakerState::Open { .. } | BreakerState::HalfOpen, OnFailing::Hold | OnFailing::Stop) => Fate::PutBack(Wait::Held),
        }
    }

    /// A few rows while the breaker is half open. If they show that the component still fails, those that failed are treated like all
    /// others meanwhile: they are not its dead. Answers with the first row behind it.
    fn probe(&mut self, rows: Range<usize>, fates: &mut Vec<(Range<usize>, Fate<A>)>) -> usize {
        let mut probed = Vec::new();
        let start = rows.start;
        let end = self.isolate(rows, false, &mut probed);
        let all = end - start;
        let failed = probed.iter().filter(|(_, fate)| matches!(fate, Fate::Dead(_))).count();
        let now = self.output.clock();
        self.calls.isolation.breaker.record((all - failed) as u32, failed as u32, now);
        let closed = self.calls.isolation.breaker.state() == BreakerState::Closed;
        for (range, fate) in probed {
            let fate = match fate {
                Fate::Dead(_) if !closed => self.without(true),
                Fate::Dead(_) | Fate::Answered(_) | Fate::Passed | Fate::PutBack(_) => fate,
            };
            fates.push((range, fate));
        }
        end
    }

    /// Judges rows from the left until all are decided, or, if it is `bounded`, the breaker opens or the batch has cost enough. Answers
    /// with the first row that is not decided.
    fn isolate(&mut self, rows: Range<usize>, bounded: bool, fates: &mut Vec<(Range<usize>, Fate<A>)>) -> usize {
        let first = rows.start;
        let mut left = Vec::new();
        if !rows.is_empty() {
            left.push((rows.clone(), 1));
        }
        while let Some((range, tries)) = left.pop() {
            if bounded && range.start > first && self.spent >= FAILED_CALLS_MAX {
                return range.start;
            }
            if range.len() > self.rows_max {
                let middle = range.start + self.rows_max;
                self.cut(range, middle, &mut left);
                continue;
            }
            let part = self.input.part(&range);
            let columns = self.calls.columns.of(&part.rows);
            match self.calls.memory.call(self.calls.step, self.number, columns, &part, self.output, self.guest) {
                Called::Until(rows) => {
                    let middle = range.start + rows;
                    self.stop_at(range, middle, &mut left);
                }
                Called::Fewer(rows) => {
                    self.rows_max = 2 * rows;
                    let middle = range.start + rows;
                    self.cut(range, middle, &mut left);
                }
                Called::Answered(answer) => {
                    self.number += 1;
                    self.rows_max = self.rows_max.max(range.len().saturating_mul(2));
                    self.count(bounded, range.len(), 0);
                    fates.push((range, Fate::Answered(answer)));
                }
                Called::Ended(ended) => {
                    self.number += 1;
                    let may_differ = ended.ending == Ending::Deadline;
                    self.spent += if may_differ { DEADLINE_WEIGHT } else { 1 };
                    if range.len() > 1 {
                        let middle = range.start + range.len() / 2;
                        self.cut(range, middle, &mut left);
                    } else if may_differ && tries < TRIES_MAX {
                        left.push((range, tries + 1));
                    } else {
                        self.count(bounded, 0, 1);
                        let next = range.end;
                        fates.push((range, Fate::Dead(ended)));
                        if bounded && self.calls.isolation.breaker.state() != BreakerState::Closed {
                            return next;
                        }
                    }
                }
            }
        }
        self.stopped.unwrap_or(rows.end)
    }

    /// The rows of a range are judged in two calls.
    fn cut(&mut self, range: Range<usize>, middle: usize, left: &mut Vec<(Range<usize>, u32)>) {
        if M::STOPS_BETWEEN_CALLS {
            return self.stop_at(range, middle, left);
        }
        left.push((middle..range.end, 1));
        left.push((range.start..middle, 1));
    }

    /// Only the rows of a range before the middle are judged now, and nothing behind it.
    fn stop_at(&mut self, range: Range<usize>, middle: usize, left: &mut Vec<(Range<usize>, u32)>) {
        self.stopped = Some(middle);
        left.clear();
        left.push((range.start..middle, 1));
    }

    /// Rows decided, for the breaker; those of a probe count together.
    fn count(&mut self, bounded: bool, succeeded: usize, failed: u32) {
        if bounded {
            let succeeded = u32::try_from(succeeded).unwrap_or(u32::MAX);
            // Only a failure may open it, and only an opening needs the time.
            let now = if failed > 0 { self.output.clock() } else { tidemill_event::EventTime(0) };
            self.calls.isolation.breaker.record(succeeded, failed, now);
        }
    }
}
