//! The calls that the aggregates of a step make while it takes one batch, and what the batch's outcome has to know of them.

use std::sync::Arc;

use tidemill_event::{CallFailure, Ending, Reason, Usage};

use crate::aggregate::component::AggregateGuest;
use crate::outcome::{CallReport, RecordedEnding};
use crate::{Outcome, StepId};

/// A call that did not return.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) ending: Ending,
    pub(crate) error: Arc<str>,
    pub(crate) backtrace: Arc<str>,
}

impl Failed {
    /// Whose words are not there any more.
    pub(crate) fn without_words(ending: Ending) -> Self {
        Self { ending, error: "".into(), backtrace: "".into() }
    }

    pub(crate) fn reason(&self) -> Reason {
        Reason::Ending(self.ending)
    }
}

/// Of the batch in hand.
#[derive(Debug)]
pub(crate) struct AggregateCalls {
    step: StepId,
    /// Endings of the first time, if this is another.
    recorded: Vec<RecordedEnding>,
    endings: Vec<RecordedEnding>,
    reports: Vec<CallReport>,
    /// Of the next `update`.
    number: u32,
}

impl AggregateCalls {
    pub(crate) fn new() -> Self {
        Self { step: StepId(0), recorded: Vec::new(), endings: Vec::new(), reports: Vec::new(), number: 0 }
    }

    /// A batch begins.
    pub(crate) fn begin(&mut self, step: StepId, output: &mut Outcome) {
        self.step = step;
        self.number = 0;
        self.recorded = output.take_recorded(step);
    }

    /// The batch ends: what was called becomes part of its outcome.
    pub(crate) fn end(&mut self, output: &mut Outcome) {
        output.endings.append(&mut self.endings);
        output.calls.append(&mut self.reports);
    }

    /// Makes an `update`, or lets it end as it did before.
    pub(crate) fn update<A>(
        &mut self,
        rows: usize,
        guest: &mut dyn AggregateGuest,
        make: impl FnOnce(&mut dyn AggregateGuest) -> Result<A, CallFailure>,
        usage: impl FnOnce(&A) -> Usage,
    ) -> Result<A, Failed> {
        let number = self.number;
        self.number += 1;
        if let Some(at) = self.recorded.iter().position(|ending| ending.call == number) {
            let recorded = self.recorded.swap_remove(at);
            self.endings.push(recorded);
            guest.replace();
            return Err(Failed::without_words(recorded.ending));
        }
        let made = self.call(rows, guest, make, usage);
        if let Err(failed) = &made {
            self.endings.push(RecordedEnding { step: self.step, call: number, ending: failed.ending });
        }
        made
    }

    /// Makes another call: nothing of it is recorded.
    pub(crate) fn call<A>(
        &mut self,
        rows: usize,
        guest: &mut dyn AggregateGuest,
        make: impl FnOnce(&mut dyn AggregateGuest) -> Result<A, CallFailure>,
        usage: impl FnOnce(&A) -> Usage,
    ) -> Result<A, Failed> {
        let step = self.step;
        match make(guest) {
            Ok(answer) => {
                self.reports.push(CallReport { step, rows, ending: None, usage: usage(&answer) });
                Ok(answer)
            }
            Err(CallFailure { ending, message, backtrace, usage }) => {
                self.reports.push(CallReport { step, rows, ending: Some(ending), usage });
                guest.replace();
                Err(Failed { ending, error: message.into(), backtrace: backtrace.into() })
            }
        }
    }
}
