//! The calls of a pattern's component. Each has a sandbox of its own, made when it is first called: most patterns have only one of them.

use std::sync::Arc;

use tidemill_event::{CallFailure, Ending, RuleAnswer, RuleCall, Usage};
use tidemill_flow::{Guest, Judge, StepId};
use tidemill_runtime::PatternText;

use crate::plan::call::ComponentCall;
use crate::plan::chain::MakeCall;
use crate::plan::pattern::PlannedDetector;

/// Which of the calls of a pattern's component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternCall {
    /// Predicates over rows.
    Judge,
    /// Conditions over runs.
    Ask,
    /// Rows of matches.
    Shape,
}

impl PlannedDetector {
    /// The calls that are made of it.
    pub(crate) fn calls(&self) -> impl Iterator<Item = PatternCall> {
        let is_made = |call: &PatternCall| match call {
            PatternCall::Judge => true,
            PatternCall::Ask => self.asks(),
            PatternCall::Shape => self.description().matching.shapes,
        };
        [PatternCall::Judge, PatternCall::Ask, PatternCall::Shape].into_iter().filter(is_made)
    }

    /// Who makes one of them.
    pub(in crate::plan) fn guest(&self, which: PatternCall, step: StepId, call: &MakeCall<'_>) -> Box<Judge> {
        Box::new(PatternGuest { call: call(step.0, &self.component), which, text: self.text.clone() })
    }
}

struct PatternGuest {
    call: ComponentCall,
    which: PatternCall,
    /// What the pipeline was planned with.
    text: Arc<PatternText>,
}

impl Guest<RuleAnswer> for PatternGuest {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let Self { call: component, which, text } = self;
        component.verdicts(call, |instance| {
            if instance.pattern() != Some(&**text) {
                // Numbers of predicates would mean others.
                let message = "it describes another pattern than when the pipeline was applied".to_owned();
                let usage = Usage::default();
                return Err(CallFailure { ending: Ending::InvalidOutput, message, backtrace: String::new(), usage });
            }
            match which {
                PatternCall::Judge => instance.judge_stages(call),
                PatternCall::Ask => instance.ask(call),
                PatternCall::Shape => instance.shape(call),
            }
        })
    }

    fn replace(&mut self) {
        Guest::<RuleAnswer>::replace(&mut self.call);
    }
}
