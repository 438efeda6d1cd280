//! The operators of one task of a plan.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use tidemill_event::Field;
use tidemill_expr::Expression;
use tidemill_flow::{
    Chain, Computed, Extend, Isolation, Keyed, KeyedTable, NamedProjection, Operator, Predicate, Projection, RuleSettings,
    RuleStep, Select, StepId, Tested, TransformSettings, TransformStep, Where,
};
use tidemill_runtime::{Grants, Runtime};

use crate::plan::call::ComponentCall;
use crate::plan::check::keep;
use crate::plan::{CallControl, CallMetricsFamilies, Plan, PlannedComponent, PlannedKind};

/// Makes them. State is empty; instances are made at their first call.
pub(crate) fn chain(
    plan: &Plan,
    runtime: &Runtime,
    grants: &Grants,
    control: &Arc<CallControl>,
    metrics: &CallMetricsFamilies,
) -> Chain {
    let pipeline: Arc<str> = plan.definition.name.as_str().into();
    let call = |step: u32, planned: &Arc<PlannedComponent>| ComponentCall {
        step,
        pipeline: pipeline.clone(),
        planned: planned.clone(),
        runtime: runtime.clone(),
        grants: grants.clone(),
        control: control.clone(),
        metrics: metrics.of(&plan.tenant, &plan.definition.name, planned),
        instance: None,
    };
    let steps = plan
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| -> Box<dyn Operator> {
            let id = StepId(at as u32);
            match &step.kind {
                PlannedKind::Where(condition) => Box::new(Where::new(id, Box::new(Condition(condition.clone())))),
                PlannedKind::Select(columns) => Box::new(Select::new(id, projections(columns))),
                PlannedKind::Extend(columns) => Box::new(Extend::new(id, projections(columns))),
                PlannedKind::Rule { component, keep: kept, answer } => {
                    let description = component.component.description();
                    let settings = RuleSettings {
                        step: id,
                        columns: description.columns.clone(),
                        outputs: description.outputs.clone(),
                        keep: keep(*kept),
                        flag: answer.clone(),
                        keyed: keyed(component),
                        isolation: Isolation::new(component.on_failing),
                    };
                    Box::new(RuleStep::new(settings, Box::new(call(id.0, component))))
                }
                PlannedKind::Transform { component, keep_input } => {
                    let description = component.component.description();
                    let settings = TransformSettings {
                        step: id,
                        columns: description.columns.clone(),
                        outputs: description.outputs.clone(),
                        time: description.time.as_deref().map(Into::into),
                        keep_input: *keep_input,
                        keyed: keyed(component),
                        isolation: Isolation::new(component.on_failing),
                    };
                    Box::new(TransformStep::new(settings, Box::new(call(id.0, component))))
                }
            }
        })
        .collect();
    Chain::new(steps)
}

fn keyed(component: &PlannedComponent) -> Option<Keyed> {
    let description = component.component.description();
    (!description.state.is_empty())
        .then(|| Keyed { by: component.by.clone(), table: KeyedTable::new(description.first_row().clone()) })
}

fn projections(columns: &[(Field, Expression)]) -> Vec<NamedProjection> {
    columns
        .iter()
        .map(|(field, expression)| NamedProjection { field: field.clone(), projection: Box::new(Column(expression.clone())) })
        .collect()
}

/// An expression as a condition.
struct Condition(Expression);

impl Predicate for Condition {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let evaluated = self.0.evaluate(rows);
        Tested { passes: evaluated.values.as_boolean().clone(), failed: evaluated.failed }
    }
}

/// An expression as a column.
struct Column(Expression);

impl Projection for Column {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let evaluated = self.0.evaluate(rows);
        Computed { values: evaluated.values, failed: evaluated.failed }
    }
}
