//! The matcher of one key: events and time in, matches and timeouts out. A pure value; the buffer and the automaton are the caller's, because all
//! keys share them.
//!
//! ```text
//! advance(t)   runs whose time is over end: a timeout, or, if they waited for nothing to come, a match          deadline ≤ t
//! take(event)  each run does all that the event lets it do; then matches leave, or wait for runs begun earlier  (skip strategies)
//! ```
//! Before an event is taken the clock is at its time. Runs are in the order in which they came to be, and so is what comes out of one event: nothing hangs on
//! hash order, on other keys, or on how often the clock was moved in between.

use crate::pattern::automaton::{Automaton, NO_PATIENCE, StageId, StateId, Then};
use crate::pattern::buffer::{Buffer, Moment, NO_NODE};
use crate::pattern::condition::{Answers, Bits, Condition};
use crate::pattern::shape::{Pattern, PredicateId, Skip};
use crate::pattern::{PatternRefused, compile};

/// An event on its way through the matcher.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Where it stands. Without order of time, numbers ascend and times need not.
    pub moment: Moment,
    /// What the caller calls it.
    pub row: u32,
    /// The predicates that hold of it, a bit each.
    pub holds: u64,
    /// Predicates whose answer hangs on what a run has taken: [`RunJudge`] is asked.
    pub unknown: u64,
}

/// Conditions that look at what a run has taken so far.
pub trait RunJudge {
    /// Whether `predicate` holds of `event` for a run. Asked at most once per predicate, run and event.
    fn holds(&mut self, predicate: PredicateId, event: &Candidate, run: &RunView<'_>) -> bool;
}

/// For patterns without such conditions.
#[derive(Debug, Clone, Copy)]
pub struct NoJudge;

impl RunJudge for NoJudge {
    fn holds(&mut self, predicate: PredicateId, _: &Candidate, _: &RunView<'_>) -> bool {
        panic!("nobody said that {predicate:?} looks at runs")
    }
}

/// What a run has taken.
pub struct RunView<'a> {
    buffer: &'a Buffer,
    node: u32,
}

impl RunView<'_> {
    /// Its events in a stage, the last one first.
    pub fn events(&self, stage: StageId) -> impl Iterator<Item = (Moment, u32)> {
        let chain = self.buffer.chain(self.node);
        chain.filter(move |(of, _)| *of == stage).map(|(_, taken)| (taken.moment, taken.row))
    }
}

/// What let a match out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The event that came.
    Event,
    /// The clock.
    Time,
}

/// What is found: a match, or a run whose time was over. Its chain is the reader's, who gives it back with [`PatternMatcher::put_away`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) is_match: bool,
    pub(crate) node: u32,
    /// Where it began.
    pub(crate) begun: Moment,
    /// Of a match the time at which it is known, of a timeout when it was over.
    pub(crate) at: i64,
    pub(crate) trigger: Trigger,
}

/// A run that has taken at least one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) state: StateId,
    pub(crate) node: u32,
    pub(crate) begun: Moment,
    /// When it took the last event.
    pub(crate) last: i64,
}

/// A match that waits for runs that began before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) node: u32,
    pub(crate) begun: Moment,
    pub(crate) at: i64,
}

/// What is kept of a key.
#[derive(Debug, Default)]
pub(crate) struct KeyRuns {
    pub(crate) runs: Vec<Run>,
    pub(crate) held: Vec<Held>,
    /// No run's time is over before then.
    pub(crate) deadline: Option<i64>,
}

impl KeyRuns {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.held.is_empty()
    }
}

/// What happens where a key has too many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyRuns {
    /// The runs that began first end, without a timeout.
    EndOldest,
    /// Runs that come to be over the bound are not followed.
    RefuseNew,
}

/// Bounds for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Runs of a key. Each costs some 60 bytes, beside the events they share.
    pub runs_max: usize,
    /// Events of a run; one that would take more ends.
    pub events_max: u32,
    /// What happens at `runs_max`.
    pub too_many: TooManyRuns,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { runs_max: 10_000, events_max: 10_000, too_many: TooManyRuns::EndOldest }
    }
}

/// A match that its own pattern does not allow: the stage to skip to has no event in it, or is where it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a match cannot skip to stage `{0:?}`: it has no event there, or begins with it")]
pub struct SkipFailed(pub StageId);

/// What the matcher did beside what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that ended because there were too many.
    pub ended: u64,
    /// Runs that were not followed because there were too many, or because they had taken too much.
    pub refused: u64,
}

/// A compiled pattern, ready to follow runs.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) automaton: Automaton,
    skip: ResolvedSkip,
    pub(crate) limits: RunLimits,
    pub(crate) tally: Tally,
    /// Room for the runs of one key while they move.
    room: Vec<Run>,
}

/// The strategy with its stage.
#[derive(Debug, Clone, Copy)]
enum ResolvedSkip {
    None,
    ToNext,
    PastLast,
    To { stage: StageId, is_first: bool, must_exist: bool },
}

/// What a match discards.
enum Prune {
    Nothing,
    /// All begun before.
    Before(Moment),
    /// All begun at or before.
    UpTo(Moment),
}

struct Asked<'a> {
    judge: &'a mut dyn RunJudge,
    event: &'a Candidate,
    view: RunView<'a>,
    known: u64,
    value: u64,
}

impl Answers for Asked<'_> {
    fn holds(&mut self, predicate: PredicateId) -> bool {
        let bit = 1 << predicate.0;
        if self.known & bit == 0 {
            self.known |= bit;
            if self.judge.holds(predicate, self.event, &self.view) {
                self.value |= bit;
            }
        }
        self.value & bit != 0
    }
}

impl Matcher {
    pub(crate) fn new(pattern: &Pattern, limits: RunLimits) -> Result<Self, PatternRefused> {
        let automaton = compile::compile(pattern)?;
        let to = |stage: &str| automaton.stage(stage).expect("it was checked");
        let skip = match &pattern.skip {
            Skip::None => ResolvedSkip::None,
            Skip::ToNext => ResolvedSkip::ToNext,
            Skip::PastLast => ResolvedSkip::PastLast,
            Skip::ToFirst(target) => ResolvedSkip::To { stage: to(&target.stage), is_first: true, must_exist: target.must_exist },
            Skip::ToLast(target) => ResolvedSkip::To { stage: to(&target.stage), is_first: false, must_exist: target.must_exist },
        };
        Ok(Self { automaton, skip, limits, tally: Tally::default(), room: Vec::new() })
    }

    /// When a run's time is over.
    fn deadline(&self, run: &Run) -> i64 {
        let patience = self.automaton.state(run.state).patience;
        let of_last = if patience == NO_PATIENCE { i64::MAX } else { run.last.saturating_add(patience) };
        self.automaton.within.map_or(of_last, |within| of_last.min(run.begun.time.saturating_add(within)))
    }

    /// Whether an event may begin a run.
    #[inline]
    pub(crate) fn may_begin(&self, event: &Candidate) -> bool {
        self.automaton.may_begin(Bits { holds: event.holds, unknown: event.unknown })
    }

    /// Computes the least deadline of a key's runs again.
    pub(crate) fn settle(&self, key: &mut KeyRuns) {
        let least = key.runs.iter().map(|run| self.deadline(run)).min();
        key.deadline = least.filter(|least| *least < i64::MAX);
    }

    /// The clock is at `now`: whatever was due until then happens, one instant after the other.
    pub(crate) fn advance(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        now: i64,
        found: &mut Vec<Found>,
    ) -> Result<(), SkipFailed> {
        while let Some(due) = key.deadline.filter(|due| *due <= now) {
            let mut runs = std::mem::take(&mut key.runs);
            let mut absences = Vec::new();
            runs.retain(|run| {
                if self.deadline(run) > due {
                    return true;
                }
                let Run { node, begun, .. } = *run;
                if self.automaton.state(run.state).is_absence {
                    absences.push(Held { node, begun, at: due });
                } else {
                    found.push(Found { is_match: false, node, begun, at: due, trigger: Trigger::Time });
                }
                false
            });
            key.runs = runs;
            let left = self.let_out(key, buffer, absences, due, Trigger::Time, found);
            self.settle(key);
            left?;
        }
        Ok(())
    }

    /// An event of the key.
    pub(crate) fn take(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        event: &Candidate,
        judge: &mut dyn RunJudge,
        found: &mut Vec<Found>,
    ) -> Result<(), SkipFailed> {
        let bits = Bits { holds: event.holds, unknown: event.unknown };
        let before = std::mem::replace(&mut key.runs, std::mem::take(&mut self.room));
        let mut taken = NO_NODE;
        let mut matches = Vec::new();
        for run in &before {
            self.step(run, &mut key.runs, &mut matches, buffer, event, bits, &mut taken, judge);
            buffer.release(run.node);
        }
        if self.automaton.may_begin(bits) {
            let start = Run { state: self.automaton.start, node: NO_NODE, begun: event.moment, last: event.moment.time };
            self.step(&start, &mut key.runs, &mut matches, buffer, event, bits, &mut taken, judge);
        }
        if taken != NO_NODE {
            buffer.let_go(taken);
        }
        self.room = before;
        self.room.clear();
        if key.runs.len() > self.limits.runs_max {
            self.bound(key, buffer);
        }
        let left = if matches.is_empty() && key.held.is_empty() {
            Ok(())
        } else {
            self.let_out(key, buffer, matches, event.moment.time, Trigger::Event, found)
        };
        self.settle(key);
        left
    }

    /// All that the event lets a run do.
    #[expect(
        clippy::too_many_arguments,
        reason = "the two lists, the event and who knows about it; a struct would only rename them"
    )]
    fn step(
        &mut self,
        run: &Run,
        runs: &mut Vec<Run>,
        matches: &mut Vec<Held>,
        buffer: &mut Buffer,
        event: &Candidate,
        bits: Bits,
        taken: &mut u32,
        judge: &mut dyn RunJudge,
    ) {
        let (runs_before, matches_before, time) = (runs.len(), matches.len(), event.moment.time);
        let waited = if run.node == NO_NODE { 0 } else { time.saturating_sub(run.last) };
        let (mut known, mut value) = (0, 0);
        let mut is_stopped = false;
        let Self { automaton, tally, limits, .. } = self;
        for step in &automaton.state(run.state).moves {
            let mut test = |condition: &Condition, buffer: &Buffer| {
                let view = RunView { buffer, node: run.node };
                let mut asked = Asked { judge, event, view, known, value };
                let holds = condition.test(bits, &mut asked);
                (known, value) = (asked.known, asked.value);
                holds
            };
            if step.patience <= waited || !test(&step.when, buffer) {
                continue;
            }
            match step.then {
                Then::Stop => is_stopped = true,
                // Nobody waits for a beginning.
                Then::Ignore(_) if run.node == NO_NODE => {}
                Then::Ignore(to) => {
                    buffer.hold(run.node);
                    if to == automaton.end {
                        matches.push(Held { node: run.node, begun: run.begun, at: time });
                    } else {
                        runs.push(Run { state: to, ..*run });
                    }
                }
                Then::Take(stage, to) => {
                    if buffer.length(run.node) >= limits.events_max {
                        tally.refused += 1;
                        continue;
                    }
                    if *taken == NO_NODE {
                        *taken = buffer.event(event.moment, event.row);
                    }
                    let ends = to == automaton.end || automaton.state(to).ends.iter().any(|end| test(end, buffer));
                    let node = buffer.take(*taken, stage, run.node);
                    if ends {
                        matches.push(Held { node, begun: run.begun, at: time });
                    }
                    if to != automaton.end {
                        if ends {
                            buffer.hold(node);
                        }
                        runs.push(Run { state: to, node, begun: run.begun, last: time });
                    }
                }
            }
        }
        if is_stopped {
            runs.drain(runs_before..).for_each(|run| buffer.release(run.node));
            matches.drain(matches_before..).for_each(|held| buffer.release(held.node));
        }
    }

    /// Matches that may leave do, the earliest first; the others wait for runs that began before them.
    fn let_out(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        matches: Vec<Held>,
        now: i64,
        trigger: Trigger,
        found: &mut Vec<Found>,
    ) -> Result<(), SkipFailed> {
        let out = |held: Held| Found { is_match: true, node: held.node, begun: held.begun, at: now, trigger };
        if let ResolvedSkip::None = self.skip {
            found.extend(matches.into_iter().map(out));
            return Ok(());
        }
        key.held.extend(matches);
        key.held.sort_by_key(|held| held.begun);
        while let Some(first) = key.held.first().copied() {
            if key.runs.iter().any(|run| run.begun < first.begun) {
                break;
            }
            key.held.remove(0);
            let prune = match self.prune(buffer, &first) {
                Ok(prune) => prune,
                Err(error) => {
                    buffer.release(first.node);
                    return Err(error);
                }
            };
            let is_gone = |begun: Moment| match prune {
                Prune::Nothing => false,
                Prune::Before(moment) => begun < moment,
                Prune::UpTo(moment) => begun <= moment,
            };
            key.runs.extract_if(.., |run| is_gone(run.begun)).for_each(|run| buffer.release(run.node));
            key.held.extract_if(.., |held| is_gone(held.begun)).for_each(|held| buffer.release(held.node));
            found.push(out(first));
        }
        Ok(())
    }

    fn prune(&self, buffer: &Buffer, found: &Held) -> Result<Prune, SkipFailed> {
        match self.skip {
            ResolvedSkip::None => Ok(Prune::Nothing),
            ResolvedSkip::ToNext => Ok(Prune::UpTo(found.begun)),
            ResolvedSkip::PastLast => {
                Ok(buffer.chain(found.node).map(|(_, taken)| taken.moment).max().map_or(Prune::Nothing, Prune::UpTo))
            }
            ResolvedSkip::To { stage, is_first, must_exist } => {
                let mut of_stage = buffer.chain(found.node).filter(|(of, _)| *of == stage).map(|(_, taken)| taken.moment);
                let to = if is_first { of_stage.last() } else { of_stage.next() };
                match to {
                    None if must_exist => Err(SkipFailed(stage)),
                    Some(to) if must_exist && to == found.begun => Err(SkipFailed(stage)),
                    None => Ok(Prune::Nothing),
                    Some(to) => Ok(Prune::Before(to)),
                }
            }
        }
    }

    /// A key has more runs than it may.
    fn bound(&mut self, key: &mut KeyRuns, buffer: &mut Buffer) {
        let over = key.runs.len() - self.limits.runs_max;
        let gone = match self.limits.too_many {
            TooManyRuns::EndOldest => {
                self.tally.ended += over as u64;
                // Runs are in the order of their beginnings, unless times fell.
                key.runs.sort_by_key(|run| run.begun);
                key.runs.drain(..over)
            }
            TooManyRuns::RefuseNew => {
                self.tally.refused += over as u64;
                let kept = self.limits.runs_max;
                key.runs.drain(kept..)
            }
        };
        gone.for_each(|run| buffer.release(run.node));
    }
}
