//! A pattern's component under trial: the host's own step, with what the component says as its pattern.

use std::sync::Arc;

use tidemill_engine::{PatternCall, pattern_step as step_of};
use tidemill_event::{CallFailure, Field, RuleAnswer, RuleCall};
use tidemill_flow::{Guest, Operator};
use tidemill_runtime::Component;

use crate::exit::Failure;
use crate::trial_step::Sandbox;

/// The step, and the fields of what comes out of it. An error is a pattern that a pipeline would refuse.
pub(crate) fn pattern_step(
    component: &Arc<Component>,
    fields: &[Field],
    by: &[String],
    mut sandbox: Sandbox,
) -> Result<(Box<dyn Operator>, Vec<Field>), Failure> {
    let opened = sandbox.open().map_err(|failure| Failure::failed(failure.to_string()))?;
    let text = opened.pattern().expect("the component is a pattern").clone();
    let guest = |which| -> Box<dyn Guest<RuleAnswer>> { Box::new(Calling { sandbox: sandbox.another(), which }) };
    step_of(component, &text, fields, by, guest).map_err(|faults| {
        let told: Vec<String> =
            faults.iter().map(|fault| format!("{}: {} ({})", fault.path, fault.error, fault.remedy)).collect();
        Failure::failed(format!("a host would refuse its pattern: {}", told.join("; ")))
    })
}

/// One of its calls, in a sandbox of its own.
struct Calling {
    sandbox: Sandbox,
    which: PatternCall,
}

impl Guest<RuleAnswer> for Calling {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let instance = self.sandbox.open()?;
        match self.which {
            PatternCall::Judge => instance.judge_stages(call),
            PatternCall::Ask => instance.ask(call),
            PatternCall::Shape => instance.shape(call),
        }
    }

    fn replace(&mut self) {
        Guest::<RuleAnswer>::replace(&mut self.sandbox);
    }
}
