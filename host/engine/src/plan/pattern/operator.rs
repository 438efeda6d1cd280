//! The operator of a planned pattern.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use tidemill_expr::Expression;
use tidemill_flow::pattern::{
    AskedCondition, ByComponent, ComponentPattern, ConditionGuest, ListedPattern, PatternList, PatternListSettings,
    PatternSettings, PatternStep, RunExpression, SharedConditions, StageCondition,
};
use tidemill_flow::rule_set::SharedPredicate;
use tidemill_flow::{Composed, Isolation, Judge, Operator, Predicate, StepId, Tested};

use crate::plan::chain::{Condition, extend};
use crate::plan::pattern::{PatternCall, PlannedCondition, PlannedDetector, PlannedPattern, PlannedPatterns};

/// Makes it. It has seen no row.
///
/// `isolation` is how the calls of its component are, `guest` who makes them.
pub(crate) fn operator(
    step: StepId,
    planned: &PlannedPattern,
    isolation: &dyn Fn() -> Isolation,
    guest: &dyn Fn(PatternCall, &PlannedDetector) -> Box<Judge>,
) -> Box<dyn Operator> {
    let asked = planned.detector.as_ref().filter(|detector| detector.asks()).map(|detector| ConditionGuest {
        guest: guest(PatternCall::Ask, detector),
        columns: detector.description().columns.clone(),
        so_far: detector.so_far.clone(),
        conditions: detector.text.conditions as u32,
    });
    let operator = matching(step, planned, asked);
    let Some(detector) = &planned.detector else { return operator };
    let description = detector.description();
    let shape = description.matching.shapes.then(|| {
        let outputs = description.outputs.clone();
        (description.matching.found.clone(), outputs, guest(PatternCall::Shape, detector))
    });
    Box::new(ByComponent::new(ComponentPattern {
        operator,
        columns: description.columns.clone(),
        predicates: detector.predicates(),
        judge: guest(PatternCall::Judge, detector),
        isolation: isolation(),
        shape,
        told: detector.told.iter().map(|field| field.name.clone()).collect(),
    }))
}

/// Many of them.
pub(crate) fn list_operator(step: StepId, planned: &PlannedPatterns) -> Box<dyn Operator> {
    let predicate = |expression: &Expression| SharedPredicate {
        columns: expression.columns().to_vec(),
        predicate: Box::new(Condition(expression.clone())),
    };
    let conditions = SharedConditions {
        conditions: planned.conditions.clone(),
        predicates: planned.predicates.iter().map(predicate).collect(),
    };
    let listed = |(name, pattern): &(Arc<str>, PlannedPattern)| ListedPattern {
        name: name.clone(),
        shape: pattern.state.shape.clone(),
        settings: settings(step, pattern, None),
        after: extend(step, &pattern.after),
    };
    let list = PatternList::new(PatternListSettings {
        step,
        fields: planned.fields.clone(),
        order: planned.order,
        judged: planned.judged,
        conditions,
        patterns: planned.patterns.iter().map(listed).collect(),
        columns: planned.columns.clone(),
    });
    let list = list.expect("the patterns were examined, and their measures typed");
    if planned.before.is_empty() {
        return Box::new(list);
    }
    let hidden = planned.before.iter().map(|(field, _)| field.name.clone()).collect();
    let columns = list.fields().iter().map(|field| field.name.clone()).collect();
    Box::new(Composed::new(extend(step, &planned.before), Box::new(list), None, hidden, columns))
}

/// The pattern alone.
fn matching(step: StepId, planned: &PlannedPattern, asked: Option<ConditionGuest>) -> Box<dyn Operator> {
    let operator =
        Box::new(PatternStep::new(settings(step, planned, asked)).expect("the pattern was examined, and its measures typed"));
    if planned.before.is_empty() && planned.after.is_empty() {
        return operator;
    }
    let hidden = planned.before.iter().map(|(field, _)| field.name.clone()).collect();
    let columns = planned.columns.iter().map(|field| field.name.clone()).collect();
    let (before, after) = (extend(step, &planned.before), extend(step, &planned.after));
    Box::new(Composed::new(before, operator, after, hidden, columns))
}

fn settings(step: StepId, planned: &PlannedPattern, asked: Option<ConditionGuest>) -> PatternSettings {
    let condition = |planned: &PlannedCondition| match planned {
        PlannedCondition::Shared(number) => StageCondition::Shared(*number),
        PlannedCondition::Row(expression) => StageCondition::Row(Box::new(Condition(expression.clone()))),
        PlannedCondition::Run { expression, columns, values } => StageCondition::Run(Box::new(RunExpression {
            columns: columns.clone(),
            values: values.clone(),
            condition: Box::new(Condition(expression.clone())),
        })),
        PlannedCondition::Judged([column]) => StageCondition::Row(Box::new(Is(column.clone()))),
        PlannedCondition::Asked { gate, number, .. } => {
            StageCondition::Asked(AskedCondition { gate: gate.clone(), number: *number })
        }
    };
    PatternSettings {
        step,
        by: planned.by.clone(),
        fields: planned.fields.clone(),
        kept: planned.kept.clone(),
        pattern: planned.pattern.clone(),
        conditions: planned.conditions.iter().map(condition).collect(),
        values: planned.values.clone(),
        asked,
        order: planned.order,
        limits: planned.limits,
        measures: planned.measures.clone(),
        timeouts: planned.timeouts,
        explained: planned.explained.as_ref().map(|explained| explained.shown.clone()),
        judged: planned.judged,
        draining: planned.draining,
    }
}

/// A column that says it.
struct Is(Arc<str>);

impl Predicate for Is {
    fn test(&self, rows: &RecordBatch) -> Tested {
        let column = rows.column_by_name(&self.0).expect("the component has judged the row before");
        Tested { passes: column.as_boolean().clone(), failed: Vec::new() }
    }
}
