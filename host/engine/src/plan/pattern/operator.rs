//! The operator of a planned pattern.

use tidemill_flow::pattern::{PatternSettings, PatternStep, RunExpression, StageCondition};
use tidemill_flow::{Composed, Operator, StepId};

use crate::plan::chain::{Condition, extend};
use crate::plan::pattern::{PlannedCondition, PlannedPattern};

/// Makes it. It has seen no row.
pub(in crate::plan) fn operator(step: StepId, planned: &PlannedPattern) -> Box<dyn Operator> {
    let condition = |planned: &PlannedCondition| match planned {
        PlannedCondition::Row(expression) => StageCondition::Row(Box::new(Condition(expression.clone()))),
        PlannedCondition::Run { expression, columns, values } => StageCondition::Run(Box::new(RunExpression {
            columns: columns.clone(),
            values: values.clone(),
            condition: Box::new(Condition(expression.clone())),
        })),
    };
    let settings = PatternSettings {
        step,
        by: planned.by.clone(),
        fields: planned.fields.clone(),
        kept: planned.kept.clone(),
        pattern: planned.pattern.clone(),
        conditions: planned.conditions.iter().map(condition).collect(),
        values: planned.values.clone(),
        order: planned.order,
        limits: planned.limits,
        measures: planned.measures.clone(),
        timeouts: planned.timeouts,
        judged: planned.judged,
    };
    let operator = Box::new(PatternStep::new(settings).expect("the pattern was examined, and its measures typed"));
    if planned.before.is_empty() && planned.after.is_empty() {
        return operator;
    }
    let hidden = planned.before.iter().map(|(field, _)| field.name.clone()).collect();
    let columns = planned.columns.iter().map(|field| field.name.clone()).collect();
    let (before, after) = (extend(step, &planned.before), extend(step, &planned.after));
    Box::new(Composed::new(before, operator, after, hidden, columns))
}
