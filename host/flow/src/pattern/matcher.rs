//! The matcher of one key: events and time in, matches and timeouts out. A pure value; the buffer and the automaton are the caller's, because all
//! keys share them.
//!
//! ```text
//! advance(t)   runs whose time is over end: a timeout, or, if they waited for nothing to come, a match          deadline ≤ t
//! take(event)  each run does all that the event lets it do; then matches leave, or wait for runs begun earlier  (skip strategies)
//! ```
//! Before an event is taken the clock is at its time. Runs are in the order in which they came to be, and so is what comes out of one event: nothing hangs on
//! hash order, on other keys, or on how often the clock was moved in between.

use crate::pattern::automaton::{Automaton, NO_PATIENCE, Then};
use crate::pattern::buffer::{Buffer, NO_NODE};
use crate::pattern::condition::{Answers, Bits, Condition};
use crate::pattern::leaving::{ResolvedSkip, SkipFailed};
use crate::pattern::run::{
    Candidate, Found, Held, KeyRuns, Passed, Run, RunJudge, RunLimits, RunView, Tally, TooManyRuns, Trigger,
};
use crate::pattern::shape::{Pattern, PredicateId};
use crate::pattern::{PatternRefused, compile};

/// A compiled pattern, ready to follow runs.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) automaton: Automaton,
    pub(super) skip: ResolvedSkip,
    pub(crate) limits: RunLimits,
    pub(crate) tally: Tally,
    /// Room for the runs of one key while they move.
    room: Vec<Run>,
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
        let skip = ResolvedSkip::new(&pattern.skip, &automaton);
        Ok(Self { automaton, skip, limits, tally: Tally::default(), room: Vec::new() })
    }

    /// When a run's time is over.
    pub(crate) fn deadline(&self, run: &Run) -> i64 {
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
        key.deadline = key.runs.iter().map(|run| self.deadline(run)).min().unwrap_or(i64::MAX);
    }

    /// The clock is at `now`: whatever was due until then happens, one instant after the other.
    pub(crate) fn advance(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        now: i64,
        found: &mut Vec<Found>,
    ) -> Result<(), SkipFailed> {
        let mut left = Ok(());
        while let Some(due) = key.deadline().filter(|due| *due <= now) {
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
            left = left.and(self.let_out(key, buffer, absences, due, Trigger::Time, found));
            self.settle(key);
        }
        left
    }

    /// An event of the key.
    pub(crate) fn take(
        &mut self,
        key: &mut KeyRuns,
        buffer: &mut Buffer,
        event: &Candidate,
        judge: &mut dyn RunJudge,
        found: &mut Vec<Found>,
    ) -> Passed {
        let bits = Bits { holds: event.holds, unknown: event.unknown };
        let mut moved = std::mem::take(&mut self.room);
        let mut taken = NO_NODE;
        let (mut matches, mut is_refused) = (Vec::new(), false);
        for run in &key.runs {
            self.step(run, &mut moved, &mut matches, buffer, event, bits, &mut taken, judge);
            buffer.release(run.node);
        }
        if self.automaton.may_begin(bits) {
            let start = Run { state: self.automaton.start, node: NO_NODE, begun: event.moment, last: event.moment.time };
            let there = moved.len();
            self.step(&start, &mut moved, &mut matches, buffer, event, bits, &mut taken, judge);
            // What it completes by itself takes nobody's place.
            is_refused = self.limits.too_many == TooManyRuns::DeadLetter && moved.len() > self.limits.runs_max.max(there);
            if is_refused {
                self.tally.buried += 1;
                moved.drain(there..).for_each(|run| buffer.release(run.node));
            }
        }
        if taken != NO_NODE {
            buffer.let_go(taken);
        }
        key.replace(&moved);
        moved.clear();
        self.room = moved;
        if key.runs.len() > self.limits.runs_max {
            self.bound(key, buffer);
        }
        let left = if matches.is_empty() && key.held.is_empty() {
            Ok(())
        } else {
            self.let_out(key, buffer, matches, event.moment.time, Trigger::Event, found)
        };
        self.settle(key);
        Passed { left, is_refused }
    }

    /// What [`Matcher::take`] may ask about the runs of a key: the ends of their chains, and the predicates. Some may come more than once.
    pub(crate) fn questions(&self, key: &KeyRuns, event: &Candidate, ask: &mut dyn FnMut(u32, PredicateId)) {
        let bits = Bits { holds: event.holds, unknown: event.unknown };
        let start = self.automaton.may_begin(bits).then_some((self.automaton.start, NO_NODE, 0));
        let waiting = key.runs.iter().map(|run| (run.state, run.node, event.moment.time.saturating_sub(run.last)));
        for (state, node, waited) in waiting.chain(start) {
            for step in self.automaton.state(state).moves.iter().filter(|step| step.patience > waited) {
                step.when.asks(bits).for_each(|predicate| ask(node, predicate));
                if let Then::Take(_, to) = step.then {
                    let ends = &self.automaton.state(to).ends;
                    ends.iter().flat_map(|end| end.asks(bits)).for_each(|predicate| ask(node, predicate));
                }
            }
        }
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
        let (mut is_stopped, mut is_full) = (false, false);
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
                        is_full = true;
                        continue;
                    }
                    if *taken == NO_NODE {
                        *taken = buffer.event(event.moment, event.row);
                    }
                    let ends = to == automaton.end || automaton.state(to).ends.iter().any(|end| test(end, buffer));
                    let node = buffer.take(*taken, stage, run.node);
                    judge.took(&RunView { buffer, node });
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
        } else if is_full {
            // Passed over, the event would leave a run that may take nothing and never ends, and finished matches would wait behind it.
            tally.ended += 1;
            let needs_more = |run: &mut Run| !automaton.state(run.state).ends_alone(automaton.end);
            runs.extract_if(runs_before.., needs_more).for_each(|run| buffer.release(run.node));
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
            TooManyRuns::RefuseNew | TooManyRuns::DeadLetter => {
                self.tally.refused += over as u64;
                let kept = self.limits.runs_max;
                key.runs.drain(kept..)
            }
        };
        gone.for_each(|run| buffer.release(run.node));
    }
}
