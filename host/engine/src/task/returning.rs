//! What comes before new rows: rows that waited for their time, and rows that stand in line before a step. Each is a commit of its own that takes no input; what it took follows from its record and from the task's state.
//!
//! ```text
//!                     ┌─ a step is out, `hold` ──► nothing is taken until its probe is due   (held)
//! rows in line or due ┤
//!                     └─ else they go through their step and those behind it ─► one commit   (before any new row)
//! a step is out, `stop` ──► the task fails; resuming it makes the probe
//! ```

use tidemill_event::{Breaker, BreakerState, EventTime};
use tidemill_flow::{BREAKER, Group, OnFailing, Outcome, StepBreaker, StepId};

use crate::task::TaskState;
use crate::task::committing::Taken;
use crate::task::machine::{Task, cpu_time};
use crate::task::record::{Back, Commit};

/// Why rows are dead whose step is no more.
pub(super) const HOMELESS: &str =
    "it waited to come back to this step, which is gone or has other columns since the pipeline was changed";

/// What stands before new rows.
pub(super) enum Ahead {
    /// Nothing; rows that wait are due then.
    Clear(Option<EventTime>),
    /// A batch of rows that had waited was taken.
    Worked,
    /// Nothing may be taken before then.
    Blocked(EventTime),
    /// A step is out whose policy is to stop.
    Stopped(String),
}

/// What to take next.
enum Next {
    Line(StepId),
    Due,
    Blocked(StepId, EventTime),
    Stopped(StepId),
    Clear(Option<EventTime>),
}

impl Task {
    /// The time of the next batch; it never steps back.
    pub(super) fn tick(&mut self) -> EventTime {
        self.clock = self.clock.max(self.parts.clock.now());
        self.clock
    }

    /// Takes what comes before new rows, if anything may be taken.
    pub(super) fn ahead(&mut self) -> Result<Ahead, String> {
        let now = self.tick();
        self.enter(self.plan_number);
        if std::mem::take(&mut self.resumed) {
            self.probed |= self.probe();
        }
        if !self.homeless.is_empty() {
            self.bury_homeless(now)?;
            return Ok(Ahead::Worked);
        }
        match self.next(now) {
            Next::Line(step) => self.take_back(Some(step), now),
            Next::Due => self.take_back(None, now),
            Next::Blocked(step, until) => {
                self.block(step, until);
                Ok(Ahead::Blocked(until))
            }
            Next::Stopped(step) => Ok(Ahead::Stopped(format!(
                "{} keeps failing and is taken out (`on_failing: stop`): push and apply a version that works, or resume the pipeline to try again",
                self.label(step)
            ))),
            Next::Clear(due) => {
                self.unblock();
                Ok(Ahead::Clear(due))
            }
        }
    }

    fn next(&mut self, now: EventTime) -> Next {
        let mut shut: Vec<(StepId, EventTime)> = Vec::new();
        for StepBreaker { step, breaker, on_failing, .. } in self.chain.breakers() {
            let BreakerState::Open { until } = breaker.state() else { continue };
            match on_failing {
                OnFailing::Pass => {}
                OnFailing::Hold if until <= now => {}
                OnFailing::Hold => shut.push((step, until)),
                OnFailing::Stop => return Next::Stopped(step),
            }
        }
        let is_shut = |step: &StepId| shut.iter().any(|(other, _)| other == step);
        if let Some(step) = self.waiting.lines().into_iter().find(|step| !is_shut(step)) {
            return Next::Line(step);
        }
        let due = self.waiting.next_due();
        if due.is_some_and(|due| due <= now) {
            return Next::Due;
        }
        match shut.into_iter().min_by_key(|(_, until)| *until) {
            Some((step, until)) => Next::Blocked(step, due.map_or(until, |due| due.min(until))),
            None => Next::Clear(due),
        }
    }

    /// A change of plan closes every breaker: it may bring what was wrong to an end, and whoever made it wants to see.
    pub(super) fn enter(&mut self, plan: u64) {
        if std::mem::replace(&mut self.breakers_of, plan) != plan {
            for StepBreaker { breaker, .. } in self.chain.breakers() {
                *breaker = Breaker::new(BREAKER);
            }
        }
    }

    /// Open breakers let a probe through now. Answers whether there was one.
    pub(super) fn probe(&mut self) -> bool {
        let mut any = false;
        for StepBreaker { breaker, .. } in self.chain.breakers() {
            any |= matches!(breaker.state(), BreakerState::Open { .. });
            breaker.probe();
        }
        any
    }

    fn take_back(&mut self, line: Option<StepId>, now: EventTime) -> Result<Ahead, String> {
        let rows_max = self.rows_wanted();
        let group = match line {
            Some(step) => self.waiting.take_line(step, rows_max),
            None => self.waiting.take_due(now, rows_max),
        };
        let group = group.expect("rows that are next are there");
        let begun = cpu_time();
        let back = Back { step: group.step.0, rows: group.rows.len() as u64, line: line.is_some() };
        let marks = self.time.steady(&group.sources);
        let mut outcome = Outcome::new(now)
            .with_marks(marks)
            .with_tables(self.lookups.tables())
            .with_sources(&group.sources)
            .entering(group.step, group.attempts);
        let output = self.chain.run_from(group.step, group.rows, &mut outcome);
        let commit = self.settle(Taken { back: Some(back), ..Taken::default() }, &group.sources, &output, &mut outcome, now);
        self.commit(commit, &group.sources, output, &outcome, begun)?;
        Ok(Ahead::Worked)
    }

    /// Takes the rows again that a commit took back. `None`: they are not there, so something before came out otherwise.
    pub(super) fn back_again(&mut self, back: Back, clock: EventTime) -> Option<Group> {
        // Of another plan, what waited for its steps has no place in this one's.
        if !self.homeless.is_empty() && self.breakers_of != self.plan_number {
            return None;
        }
        let rows = usize::try_from(back.rows).unwrap_or(usize::MAX);
        let group = if back.line { self.waiting.take_line(StepId(back.step), rows) } else { self.waiting.take_due(clock, rows) };
        group.filter(|group| group.step.0 == back.step)
    }

    /// Rows whose step is another one since the plan was changed are dead.
    fn bury_homeless(&mut self, now: EventTime) -> Result<(), String> {
        for number in std::mem::take(&mut self.homeless) {
            let begun = cpu_time();
            for group in self.waiting.take_numbers(&[number]) {
                let mut outcome = Outcome::new(now);
                group.bury(HOMELESS, &mut outcome);
                let output = self.nothing();
                let taken = Taken { homeless: vec![number], ..Taken::default() };
                let commit = self.settle(taken, &group.sources, &output, &mut outcome, now);
                self.commit(commit, &group.sources, output, &outcome, begun)?;
            }
        }
        Ok(())
    }

    /// Says once that a component was taken out, and once that it is back. Not in a run that is silent; what happened in a life before
    /// this one was told then.
    pub(super) fn tell_of_breakers(&mut self) {
        let open = self.open_breakers();
        let before = std::mem::replace(&mut self.out, open);
        if self.silent {
            return;
        }
        for (step, component) in self.out.iter().filter(|out| !before.contains(out)) {
            tracing::warn!(task = %self.shared.id, "{} keeps failing and is taken out", self.label_of(*step, Some(*component)));
            if let Some(planned) = self.plan.component_of(step.0, Some(*component)) {
                self.calls.of(&self.plan.tenant, &self.plan.definition.name, planned).taken_out.inc();
            }
        }
        for (step, component) in before.iter().filter(|out| !self.out.contains(out)) {
            tracing::info!(task = %self.shared.id, "{} is back", self.label_of(*step, Some(*component)));
        }
    }

    /// Components that are taken out now: their step, and their place in it.
    pub(super) fn open_breakers(&mut self) -> Vec<(StepId, u32)> {
        let is_open = |of: &StepBreaker<'_>| matches!(of.breaker.state(), BreakerState::Open { .. });
        self.chain.breakers().filter(is_open).map(|of| (of.step, of.component)).collect()
    }

    /// Shows that it waits for a component.
    fn block(&mut self, step: StepId, until: EventTime) {
        if std::mem::replace(&mut self.blocked, true) {
            return;
        }
        let why = format!(
            "{} keeps failing: nothing is taken until it works again (`on_failing: hold`), the next try is at {until}",
            self.label(step)
        );
        tracing::warn!(task = %self.shared.id, "{why}");
        self.shared.update(|seen| {
            seen.state = TaskState::Held;
            seen.last_error = Some(why);
        });
    }

    fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.shared.update(|seen| {
                if seen.state == TaskState::Held {
                    seen.state = TaskState::Running;
                    seen.last_error = None;
                }
            });
        }
    }

    /// `steps[1].rule (geo@1.0.0)`.
    pub(super) fn label(&self, step: StepId) -> String {
        format!("{} ({})", self.plan.step_name(step.0), self.plan.components_shown(step.0))
    }

    /// The same of one of its components: `steps[1].rules[3].rule (geo@1.0.0)`.
    fn label_of(&self, step: StepId, component: Option<u32>) -> String {
        match self.plan.component_of(step.0, component) {
            Some(planned) => format!("{} ({})", planned.step_name, planned.label()),
            None => self.label(step),
        }
    }

    /// What happened before a committed batch, beside its rows.
    pub(super) fn prepare_again(&mut self, committed: &Commit) -> EventTime {
        self.enter(committed.plan);
        if committed.probe {
            self.probe();
        }
        if let Some(clock) = committed.clock {
            self.clock = self.clock.max(EventTime(clock));
        }
        self.clock
    }
}
