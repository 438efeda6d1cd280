//! The operators of one task of a stage.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use tidemill_event::Field;
use tidemill_expr::Expression;
use tidemill_flow::correlate::{CorrelateSettings, CorrelateStep, EventKind};
use tidemill_flow::machine::{Assigned, MachineSettings, MachineState, MachineStep, MachineTimeout, Transition};
use tidemill_flow::recognize::{Definition, MatchLimits, MatchSettings, MatchStep, NamedTerm, TermPredicate};
use tidemill_flow::rule_set::{RuleComponent, RuleSet, RuleSetSettings, SharedPredicate, SharedValue};
use tidemill_flow::{
    AlertSettings, AlertStep, AsOfJoin, AsOfSettings, ByClock, Chain, ComponentAggregate, Composed, Computed, CountWindow,
    Extend, FunctionCall, IntervalJoin, Isolation, JoinKind, JoinSettings, JoinSide, Keyed, KeyedTable, Limit, LimitSettings,
    Lookup, LookupSettings, Meter, Metering, NamedProjection, OnFailing, Operator, Origin, Over, OverSettings, PanedWindow,
    PanedWindows, Predicate, ProcessStep, Projection, RuleSettings, RuleStep, Sample, Select, SessionWindow, SidedJoin,
    SlicedWindow, StepId, Tested, TransformSettings, TransformStep, Where, WindowJoin, WindowJoinSettings, WindowSettings,
    WithFunctions,
};
use tidemill_runtime::{Grants, Runtime};

use crate::plan::aggregates::{PlannedAggregate, PlannedAggregates};
use crate::plan::call::ComponentCall;
use crate::plan::check_steps::keep;
use crate::plan::machine::{PlannedState, PlannedTimeout, PlannedTransition};
use crate::plan::meters::{PlannedMeter, StepMeters};
use crate::plan::pattern;
use crate::plan::process::settings;
use crate::plan::rules::PlannedValue;
use crate::plan::{
    Bounds, CallControl, CallMetricsFamilies, Plan, PlannedAlert, PlannedCall, PlannedComponent, PlannedCorrelate,
    PlannedDefinition, PlannedJoin, PlannedKind, PlannedLimit, PlannedMachine, PlannedMatch, PlannedOrigin, PlannedOver,
    PlannedRules, PlannedSide, PlannedWindow, Stage, Windows,
};

/// Makes them. State is empty; instances are made at their first call.
pub(crate) fn chain(
    plan: &Plan,
    stage: &Stage,
    runtime: &Runtime,
    grants: &Grants,
    control: &Arc<CallControl>,
    metrics: &CallMetricsFamilies,
) -> Chain {
    let pipeline: Arc<str> = plan.definition.name.as_str().into();
    let call = &|step: u32, planned: &Arc<PlannedComponent>| ComponentCall {
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
        .filter(|(at, _)| stage.steps.contains(&(*at as u32)))
        .map(|(at, step)| -> Box<dyn Operator> {
            let id = StepId(at as u32);
            let operator: Box<dyn Operator> = match &step.kind {
                PlannedKind::Where(condition) => Box::new(Where::new(id, Box::new(Condition(condition.clone())))),
                PlannedKind::Select(columns) => Box::new(Select::new(id, projections(columns))),
                PlannedKind::Extend(columns) => Box::new(Extend::new(id, projections(columns))),
                PlannedKind::Lookup(lookup) => Box::new(Lookup::new(LookupSettings {
                    step: id,
                    keys: lookup.keys.clone(),
                    take: lookup.take.clone(),
                    missing: lookup.missing,
                })),
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
                PlannedKind::Process { component, by } => {
                    Box::new(ProcessStep::new(settings(id, component, by), Box::new(call(id.0, component))))
                }
                PlannedKind::Join(planned) => join(id, planned),
                PlannedKind::Window(planned) => window(id, planned, call),
                PlannedKind::Over(planned) => over(id, planned, call),
                PlannedKind::Limit(planned) => Box::new(limit(id, planned)),
                PlannedKind::Alert(planned) => Box::new(alert(plan, id, planned)),
                PlannedKind::Metrics(planned) => {
                    let to = metrics.user.of_step(plan.tenant.as_str(), plan.definition.name.as_str(), &plan.step_name(id.0));
                    Box::new(metering(id, planned, StepMeters::new(to, control.clone(), planned)))
                }
                PlannedKind::Pattern(planned) => {
                    let on_failing = planned.detector.as_ref().map_or(OnFailing::Hold, |detector| detector.component.on_failing);
                    let isolation = || Isolation::new(on_failing);
                    pattern::operator(id, planned, &isolation, &|which, detector| detector.guest(which, id, call))
                }
                PlannedKind::Patterns(planned) => pattern::list_operator(id, planned),
                PlannedKind::Match(planned) => recognize(id, planned),
                PlannedKind::Correlate(planned) => Box::new(correlate(id, planned)),
                PlannedKind::Origin(PlannedOrigin { stream, partition, offset }) => {
                    Box::new(Origin::new(id, stream.clone(), partition.clone(), offset.clone()))
                }
                PlannedKind::Machine(planned) => Box::new(machine(id, planned)),
                PlannedKind::Rules(planned) => Box::new(rules(id, planned, call)),
                PlannedKind::Sample(planned) => {
                    Box::new(Sample::new(id, planned.by.clone(), planned.rate).expect("a rate was read as one"))
                }
            };
            if step.calls.is_empty() {
                return operator;
            }
            let function = |planned: &PlannedCall| FunctionCall {
                value: planned.value.clone(),
                arguments: projections(&planned.arguments),
                isolation: Isolation::new(planned.component.on_failing),
                guest: Box::new(call(id.0, &planned.component)),
            };
            Box::new(WithFunctions::new(operator, step.calls.iter().map(function).collect()))
        })
        .collect();
    Chain::new(steps)
}

/// What is planned was checked with the same types.
const CHECKED: &str = "aggregates were checked with their arguments";

/// Makes the sandbox of a component for a step.
pub(super) type MakeCall<'a> = dyn Fn(u32, &Arc<PlannedComponent>) -> ComponentCall + 'a;

fn components(step: StepId, planned: &PlannedAggregates, call: &MakeCall<'_>) -> Vec<ComponentAggregate> {
    let one = |own: &PlannedAggregate| {
        let description = own.component.component.description();
        ComponentAggregate {
            place: own.place,
            value: own.value.clone(),
            arguments: own.arguments.clone(),
            filter: own.filter.clone(),
            first: description.first_row().clone(),
            retracts: description.retracts,
            guest: Box::new(call(step.0, &own.component)),
        }
    };
    planned.components.iter().map(one).collect()
}

fn window(step: StepId, planned: &PlannedWindow, call: &MakeCall<'_>) -> Box<dyn Operator> {
    let settings = WindowSettings {
        step,
        by: planned.by.clone(),
        aggregates: planned.aggregates.calls.clone(),
        components: components(step, &planned.aggregates, call),
        lateness: planned.lateness,
        judged: planned.judged,
        top: planned.top.clone(),
    };
    let mut after = extend(step, &planned.aggregates.after);
    let operator: Box<dyn Operator> = match (&planned.windows, planned.panes) {
        (Windows::Sliced(slicing), None) => {
            let window = SlicedWindow::new(*slicing, settings).expect(CHECKED);
            // Keys may be ranked by what is computed: then that comes first.
            match after.take_if(|_| planned.top.is_some()) {
                Some(computed) => Box::new(window.computing(computed)),
                None => Box::new(window),
            }
        }
        (Windows::Session(gap), None) => Box::new(SessionWindow::new(gap.clone(), settings).expect(CHECKED)),
        (Windows::Sliced(slicing), Some(panes)) => {
            let window = PanedWindow::new(PanedWindows::Sliced(*slicing), panes, settings).expect(CHECKED);
            match after.take_if(|_| planned.top.is_some()) {
                Some(computed) => Box::new(window.computing(computed)),
                None => Box::new(window),
            }
        }
        (Windows::Session(gap), Some(panes)) => {
            let windows = PanedWindows::Session { gap: gap.clone(), longest: planned.longest };
            Box::new(PanedWindow::new(windows, panes, settings).expect(CHECKED))
        }
        // They speak when they are full: panes of them are refused.
        (Windows::Count(rows), _) => Box::new(CountWindow::new(*rows, settings).expect(CHECKED)),
    };
    let operator = if planned.by_clock { Box::new(ByClock::new(operator)) } else { operator };
    composed(step, &planned.aggregates, &planned.columns, operator, after)
}

fn join(step: StepId, planned: &PlannedJoin) -> Box<dyn Operator> {
    let side = |side: &PlannedSide| JoinSide { alias: side.alias.clone(), fields: side.fields.clone(), key: side.key.clone() };
    let condition = planned.condition.clone().map(|condition| Box::new(Condition(condition)) as Box<dyn Predicate>);
    let (kind, left, right, judged) = (planned.kind, side(&planned.left), side(&planned.right), planned.judged);
    let filter = |side: &PlannedSide| side.filter.clone().map(|filter| Where::new(step, Box::new(Condition(filter))));
    let filters = (filter(&planned.left), filter(&planned.right));
    let join: Box<dyn Operator> = match planned.bounds {
        Bounds::Within(low_micros, high_micros) => {
            let settings = JoinSettings { step, kind, left, right, low_micros, high_micros, condition, judged };
            Box::new(IntervalJoin::new(settings))
        }
        Bounds::AsOf(direction, tolerance_micros) => {
            let keeps_unmatched = kind == JoinKind::Left;
            Box::new(AsOfJoin::new(AsOfSettings { step, keeps_unmatched, left, right, direction, tolerance_micros, judged }))
        }
        Bounds::Window(slicing) => {
            Box::new(WindowJoin::new(WindowJoinSettings { step, kind, slicing, left, right, condition, judged }))
        }
    };
    match filters {
        (None, None) => join,
        (left, right) => Box::new(SidedJoin::new(left, right, join)),
    }
}

fn over(step: StepId, planned: &PlannedOver, call: &MakeCall<'_>) -> Box<dyn Operator> {
    let settings = OverSettings {
        step,
        by: planned.by.clone(),
        rows: planned.rows,
        aggregates: planned.aggregates.calls.clone(),
        components: components(step, &planned.aggregates, call),
        fields: planned.fields.clone(),
        judged: planned.judged,
    };
    let after = extend(step, &planned.aggregates.after);
    composed(step, &planned.aggregates, &planned.columns, Box::new(Over::new(settings).expect(CHECKED)), after)
}

fn recognize(step: StepId, planned: &PlannedMatch) -> Box<dyn Operator> {
    let condition = |condition: &Option<(Vec<NamedTerm>, Expression)>| {
        condition.clone().map(|(terms, expression)| TermPredicate { terms, predicate: Box::new(Condition(expression)) })
    };
    let definition = |of: &PlannedDefinition| Definition { of_row: condition(&of.of_row), of_match: condition(&of.of_match) };
    let settings = MatchSettings {
        step,
        by: planned.by.clone(),
        fields: planned.fields.clone(),
        kept: planned.kept.clone(),
        variables: planned.variables.clone(),
        pattern: planned.pattern.clone(),
        definitions: planned.definitions.iter().map(definition).collect(),
        skip: planned.skip,
        within: planned.within,
        rows: planned.rows,
        terms: planned.terms.clone(),
        measures: projections(&planned.measures),
        explained: planned.explained.as_ref().map(|explained| explained.shown.clone()),
        limits: MatchLimits::default(),
        judged: planned.judged,
    };
    let operator = Box::new(MatchStep::new(settings).expect("the pattern was checked, and aggregates with their arguments"));
    let hidden = planned.before.iter().map(|(field, _)| field.name.clone()).collect();
    let columns = planned.columns.iter().map(|field| field.name.clone()).collect();
    Box::new(Composed::new(extend(step, &planned.before), operator, None, hidden, columns))
}

fn limit(step: StepId, planned: &PlannedLimit) -> Limit {
    Limit::new(LimitSettings {
        step,
        by: planned.by.clone(),
        rows: planned.rows,
        per: planned.per,
        lateness: planned.lateness,
        judged: planned.judged,
        flag: planned.flag.clone(),
    })
}

fn metering(step: StepId, planned: &[PlannedMeter], to: StepMeters) -> Metering {
    let meter = |meter: &PlannedMeter| Meter {
        value: Box::new(Column(meter.value.clone())),
        labels: meter.labels.iter().map(|(_, label)| Box::new(Column(label.clone())) as Box<dyn Projection>).collect(),
    };
    Metering::new(step, planned.iter().map(meter).collect(), Box::new(to))
}

fn correlate(step: StepId, planned: &PlannedCorrelate) -> CorrelateStep {
    let kind = |(name, condition): &(String, Expression)| EventKind {
        name: name.as_str().into(),
        condition: Box::new(Condition(condition.clone())),
    };
    let settings = CorrelateSettings {
        step,
        by: planned.by.clone(),
        fields: planned.fields.clone(),
        kept: planned.kept.clone(),
        shown: planned.shown.clone(),
        explained: planned.explained.as_ref().map(|explained| explained.shown.clone()),
        judged: planned.judged,
        kinds: planned.kinds.iter().map(kind).collect(),
        value: planned.value.as_ref().map(|value| Box::new(Column(value.clone())) as Box<dyn Projection>),
        needed: planned.needed,
        within_micros: i64::try_from(planned.within.as_micros()).unwrap_or(i64::MAX).max(1),
        events_max: planned.events_max,
    };
    CorrelateStep::new(settings).expect("the kinds were counted when the text was read")
}

fn machine(step: StepId, planned: &PlannedMachine) -> MachineStep {
    let column = |expression: &Expression| Box::new(Column(expression.clone()));
    let condition = |expression: &Expression| Box::new(Condition(expression.clone())) as Box<dyn Predicate>;
    let assigned = |assigned: &[(u32, Expression)]| -> Vec<Assigned> {
        assigned.iter().map(|(place, expression)| Assigned { place: *place, value: column(expression) }).collect()
    };
    let timeout = |timeout: &PlannedTimeout| MachineTimeout {
        after_micros: timeout.after_micros,
        to: timeout.to,
        set: assigned(&timeout.set),
        emit: assigned(&timeout.emit),
    };
    let state = |state: &PlannedState| MachineState {
        name: state.name.as_str().into(),
        is_final: state.is_final,
        entry: assigned(&state.entry),
        exit: assigned(&state.exit),
        timeout: state.timeout.as_ref().map(timeout),
    };
    let transition = |transition: &PlannedTransition| Transition {
        from: transition.from.clone(),
        to: transition.to,
        trigger: transition.trigger,
        guard: transition.guard.as_ref().map(condition),
        set: assigned(&transition.set),
        emit: assigned(&transition.emit),
        tells: transition.tells,
    };
    MachineStep::new(MachineSettings {
        step,
        by: planned.by.clone(),
        fields: planned.fields.clone(),
        order: planned.order,
        judged: planned.judged,
        states: planned.states.iter().map(state).collect(),
        initial: planned.initial,
        triggers: planned.triggers.iter().map(condition).collect(),
        transitions: planned.transitions.iter().map(transition).collect(),
        variables: planned.variables.clone(),
        columns: planned.columns.clone(),
        tells_illegal: planned.tells_illegal,
    })
}

fn alert(plan: &Plan, step: StepId, planned: &PlannedAlert) -> AlertStep {
    let text = |(field, expression): &(Field, Expression)| NamedProjection {
        field: field.clone(),
        projection: Box::new(Column(expression.clone())),
    };
    let pipeline: Arc<str> = plan.definition.name.as_str().into();
    AlertStep::new(AlertSettings {
        step,
        name: planned.name.clone().unwrap_or_else(|| pipeline.clone()),
        severity: planned.severity.as_str().into(),
        pipeline,
        step_name: plan.step_name(step.0).into(),
        when: planned.when.clone().map(|when| Box::new(Condition(when)) as Box<dyn Predicate>),
        summary: text(&planned.summary),
        labels: planned.labels.iter().map(text).collect(),
    })
}

fn rules(step: StepId, planned: &PlannedRules, call: &MakeCall<'_>) -> RuleSet {
    let predicate = |expression: &Expression| SharedPredicate {
        columns: expression.columns().to_vec(),
        predicate: Box::new(Condition(expression.clone())),
    };
    let value = |PlannedValue { field, expression, of }: &PlannedValue| SharedValue {
        columns: expression.columns().to_vec(),
        value: NamedProjection { field: field.clone(), projection: Box::new(Column(expression.clone())) },
        of: *of,
    };
    let component = |planned: &Arc<PlannedComponent>| {
        let description = planned.component.description();
        RuleComponent {
            columns: description.columns.clone(),
            outputs: description.outputs.clone(),
            isolation: Isolation::new(planned.on_failing),
            guest: Box::new(call(step.0, planned)),
        }
    };
    RuleSet::new(RuleSetSettings {
        predicates: planned.predicates.iter().map(predicate).collect(),
        values: planned.values.iter().map(value).collect(),
        components: planned.components.iter().map(component).collect(),
        ..planned.settings(step)
    })
}

/// With what is computed before and behind it; by itself where that is nothing.
fn composed(
    step: StepId,
    planned: &PlannedAggregates,
    columns: &[Field],
    operator: Box<dyn Operator>,
    after: Option<Extend>,
) -> Box<dyn Operator> {
    if planned.before.is_empty() && planned.after.is_empty() {
        return operator;
    }
    let hidden = planned.before.iter().map(|(field, _)| field.name.clone()).collect();
    let columns = columns.iter().map(|field| field.name.clone()).collect();
    Box::new(Composed::new(extend(step, &planned.before), operator, after, hidden, columns))
}

pub(super) fn extend(step: StepId, columns: &[(Field, Expression)]) -> Option<Extend> {
    (!columns.is_empty()).then(|| Extend::new(step, projections(columns)))
}

fn keyed(component: &PlannedComponent) -> Option<Keyed> {
    let description = component.component.description();
    (!description.state.is_empty()).then(|| Keyed {
        by: component.by.clone(),
        table: KeyedTable::new(description.first_row().clone()).living(component.ttl),
    })
}

fn projections(columns: &[(Field, Expression)]) -> Vec<NamedProjection> {
    columns
        .iter()
        .map(|(field, expression)| NamedProjection { field: field.clone(), projection: Box::new(Column(expression.clone())) })
        .collect()
}

/// An expression as a condition.
pub(super) struct Condition(pub(super) Expression);

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
