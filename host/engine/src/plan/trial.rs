//! A component's pattern as a step by itself, for those who try a component without a host: read and judged as in a pipeline.

use std::sync::Arc;

use tidemill_event::Field;
use tidemill_flow::{Isolation, Judge, OnFailing, Operator, StepId};
use tidemill_runtime::{Component, Limits, PatternText};

use crate::Fault;
use crate::pipeline::{PatternComponent, Step, StepKind, Text};
use crate::plan::PlannedComponent;
use crate::plan::check::Checker;
use crate::plan::pattern::{PatternCall, operator};
use crate::stored::Pin;

/// A step, and the fields behind it.
type Stepped = (Box<dyn Operator>, Vec<Field>);

/// The step over rows with these fields, and the fields of what comes out. `guest` makes who answers each of the component's calls.
/// Errors: the faults that an apply would tell.
pub fn pattern_step(
    component: &Arc<Component>,
    text: &PatternText,
    fields: &[Field],
    by: &[String],
    guest: impl Fn(PatternCall) -> Box<Judge>,
) -> Result<Stepped, Vec<Fault>> {
    let by = by.iter().map(|name| Text { text: name.clone(), line: 1 }).collect();
    let wanted = PatternComponent::on_trial(by);
    let step = Step { kind: StepKind::PatternComponent(wanted.clone()), path: "steps[0]".to_owned(), line: 1 };
    let planned = PlannedComponent {
        step_name: step.name(),
        pin: Pin::on_trial(&wanted.component.reference.text, &component.digest().to_string()),
        component: component.clone(),
        config: wanted.component.config.clone(),
        limits: Limits::default(),
        by: Vec::new(),
        ttl: None,
        on_failing: OnFailing::Hold,
    };
    let (planned, columns) = Checker::pattern_on_trial(&step, &wanted, Arc::new(planned), text, fields)?;
    let operator = operator(StepId(0), &planned, &Isolation::never_out, &|which, _| guest(which));
    Ok((operator, columns))
}
