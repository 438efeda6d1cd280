//! A plan as JSON: what `?dry_run=true` and an apply answer.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_event::Field;
use tidemill_flow::{AggregateCall, StepId, Ttl, TtlClock};

use crate::own_streams::OwnStream;
use crate::pipeline::{Route, Run};
use crate::plan::aggregates::PlannedAggregates;
use crate::plan::component::type_name;
use crate::plan::{Plan, PlannedCall, PlannedKind, PlannedTarget, Stage};
use crate::stored::StoredPipeline;

/// The plan, and what putting it in place of `previous` changes.
pub(crate) fn describe(plan: &Plan, previous: Option<&StoredPipeline>) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let mut described = json!({"step": plan.step_name(at as u32), "columns": columns(&step.fields)});
            if let Some(lookup) = step.kind.lookup() {
                let version = lookup.table.current();
                described["table"] = json!(lookup.table.name.as_str());
                described["version"] = json!(version.number);
                described["rows"] = json!(version.rows_len());
            }
            if let Some(component) = plan.component_of(at as u32, None) {
                described["component"] = json!(component.label());
                described["digest"] = json!(component.pin.digest);
                if let Some(ttl) = component.ttl {
                    described["ttl"] = json!(lifetime(ttl));
                }
            }
            if !step.calls.is_empty() {
                let call = |call: &PlannedCall| json!({"call": &*call.value.name, "component": call.component.label()});
                described["calls"] = step.calls.iter().map(call).collect();
            }
            if let PlannedKind::Window(window) = &step.kind {
                described["window"] = json!(window.described);
                described["aggregates"] = json!(aggregates(&window.aggregates));
                if !window.lateness.is_zero() {
                    described["lateness"] = json!(length(Some(window.lateness)));
                }
                let is_silent = window.is_global && window.panes.is_none_or(|panes| panes.early.is_none());
                if is_silent && plan.definition.run == Run::Live {
                    let warning = "a global window ends with its rows, and those of a live pipeline have no end: it never says anything. Add `early: 10s`, or `run: once`";
                    described["warnings"] = json!([warning]);
                }
                if let Some(top) = &window.top {
                    described["top"] = json!(top.n);
                }
            }
            if let PlannedKind::Over(over) = &step.kind {
                described["rows"] = json!(over.rows);
                described["aggregates"] = json!(aggregates(&over.aggregates));
            }
            if let PlannedKind::Join(join) = &step.kind {
                described["join"] = json!(join.described);
                described["key"] = json!(join.keys);
                if join.keys.is_empty() {
                    described["note"] = json!("without an equality in `on` every row is compared with every other, in one task");
                }
            }
            if let PlannedKind::Limit(limit) = &step.kind {
                described["rows"] = json!(limit.rows);
                described["within"] = json!(length(Some(limit.per)));
                described["lateness"] = json!(length(Some(limit.lateness)));
            }
            if let PlannedKind::Machine(machine) = &step.kind {
                described["machine"] = machine.described();
            }
            if let PlannedKind::Correlate(correlate) = &step.kind {
                described["correlate"] = correlate.described();
            }
            if let PlannedKind::Rules(rules) = &step.kind {
                described["rules"] = rules.described();
            }
            if let PlannedKind::Alert(alert) = &step.kind {
                described["severity"] = json!(alert.severity.as_str());
                described["alerts"] = json!(OwnStream::Alerts.name(&plan.definition.name).to_string());
            }
            if let PlannedKind::Metrics(meters) = &step.kind {
                described["metrics"] = json!(meters.iter().map(|meter| &meter.name).collect::<Vec<_>>());
            }
            if let PlannedKind::Pattern(pattern) = &step.kind {
                described["pattern"] = json!(pattern.described);
                described["conditions"] = json!(pattern.conditions.len());
                described["automaton_states"] = json!(pattern.states);
                described["runs_max"] = json!(pattern.limits.runs_max);
                if let Some(detector) = &pattern.detector {
                    described["predicates"] = json!(detector.text.predicates);
                }
                if !pattern.warnings.is_empty() {
                    described["warnings"] = json!(pattern.warnings);
                }
            }
            if let PlannedKind::Patterns(patterns) = &step.kind {
                described["patterns"] = patterns.described();
            }
            if let PlannedKind::Match(planned) = &step.kind {
                described["variables"] = json!(planned.variables.iter().map(|name| &**name).collect::<Vec<_>>());
                described["within"] = json!(length(planned.within));
                if let Some(note) = planned.note {
                    described["note"] = json!(note);
                }
            }
            if let PlannedKind::Sample(sample) = &step.kind {
                described["rate"] = json!(sample.rate);
                described["by"] = json!(sample.by.iter().map(|field| &*field.name).collect::<Vec<_>>());
            }
            if let Some(explained) = plan.explained(StepId(at as u32), None) {
                let kept: Vec<&str> = explained.shown.iter().map(|name| &**name).collect();
                described["explain"] =
                    json!({"stream": OwnStream::Matches.name(&plan.definition.name).to_string(), "kept": kept});
            }
            if let Some(by) = plan.key_of(at as u32) {
                described["by"] = json!(by);
            }
            if let Some(state) = plan.state_of(at as u32) {
                let kept = previous.is_some_and(|previous| previous.has_state(state.operator));
                described["state"] = json!(if kept { "kept" } else { "new" });
            }
            described
        })
        .collect();
    let targets: Vec<Value> = plan
        .targets
        .iter()
        .map(|target| match target {
            PlannedTarget::Stream { name, there, definition, of, routes, left_out } => {
                let mut described = json!({
                    "stream": name.as_str(),
                    "output": of.as_ref().map(|of| &of.output),
                    "exists": there.is_some(),
                    "partitions": definition.partitions,
                    "key": definition.key,
                    "columns": columns(&definition.schema.fields),
                });
                if !routes.is_empty() {
                    let name = |route: &Route| match route {
                        Route::To(to) => json!(to),
                        Route::None => json!("none"),
                    };
                    described["routes"] = routes.iter().map(name).collect();
                }
                if !left_out.is_empty() {
                    described["warnings"] = left_out.iter().map(|column| json!(format!(
                        "`{column}` is left out: `{name}` has no such field and drops what it does not know; add the field to the stream (`PUT /v1/streams/{name}`) and apply this again, or write to another one"
                    ))).collect();
                }
                described
            }
            PlannedTarget::File(file) => {
                json!({"file": {"path": file.path, "format": file.format.as_str()}, "delivery": "exactly once"})
            }
            PlannedTarget::Webhook(webhook) => json!({"webhook": {"url": webhook.settings.place()}, "delivery": "once per key"}),
            PlannedTarget::Stdout => json!({"stdout": {}, "delivery": "at least once"}),
        })
        .collect();
    json!({
        "pipeline": plan.definition.name.as_str(),
        "run": match plan.definition.run { Run::Live => "live", Run::Once => "once" },
        "from": plan.sources.list.iter().map(|source| json!({
            "stream": source.name(),
            "version": source.version.0,
            "partitions": source.stream.partitions().len(),
            "out_of_orderness": length(Some(source.out_of_orderness)),
            "idle": length(source.idle),
        })).collect::<Vec<_>>(),
        "time": {"bound": length(plan.time.bound), "max_drift": length(plan.time.drift_max)},
        "functions": plan.functions.iter().map(|function| json!({
            "name": function.name,
            "kind": function.component.component.kind().as_str(),
            "component": function.component.label(),
            "digest": function.component.pin.digest,
        })).collect::<Vec<_>>(),
        "tasks": plan.tasks(),
        "gathered": plan.sources.gathered,
        "stages": stages(plan),
        "steps": steps,
        "to": targets,
    })
}

/// `1h`, `1h by wall clock`.
fn lifetime(ttl: Ttl) -> String {
    let after = length(Some(Duration::from_micros(ttl.micros.unsigned_abs())));
    match ttl.clock {
        TtlClock::EventTime => after,
        TtlClock::WallClock => format!("{after} by wall clock"),
    }
}

/// Where rows are placed anew, if they are anywhere.
fn stages(plan: &Plan) -> Vec<Value> {
    if plan.stages.len() == 1 {
        return Vec::new();
    }
    let described = |(number, stage): (usize, &Stage)| {
        let keys: Vec<&[_]> = stage.reads.iter().map(|inner| inner.key.as_slice()).collect();
        json!({
            "stage": number,
            "tasks": stage.tasks,
            "steps": stage.steps.clone().map(|step| plan.step_name(step)).collect::<Vec<_>>(),
            "reads": stage.reads.iter().map(|inner| inner.name(&plan.definition.name).to_string()).collect::<Vec<_>>(),
            "by": keys,
            "why": stage.why,
        })
    };
    (1..).zip(&plan.stages).map(described).collect()
}

/// Each with the column it is of: `max(delay_min)`.
fn aggregates(planned: &PlannedAggregates) -> Vec<String> {
    let call = |call: &AggregateCall| {
        let of = call.argument.as_ref().map_or("*", |field| &*field.name);
        let filter = call.filter.as_ref().map_or_else(String::new, |name| format!(" filter (where {name})"));
        format!("{}({of}){filter}", call.aggregate)
    };
    let mut shown: Vec<String> = planned.calls.iter().map(call).collect();
    for own in &planned.components {
        let of: Vec<&str> = own.arguments.iter().map(|argument| &*argument.column).collect();
        let filter = own.filter.as_ref().map_or_else(String::new, |name| format!(" filter (where {name})"));
        shown.insert(own.place.min(shown.len()), format!("{}({}){filter}", own.component.label(), of.join(", ")));
    }
    shown
}

/// As the grammar writes it: `90s`, `250ms`, `off`.
pub(super) fn length(duration: Option<Duration>) -> String {
    let Some(duration) = duration else { return "off".to_owned() };
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis % unit == 0);
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

fn columns(fields: &[Field]) -> Vec<Value> {
    fields.iter().map(|field| json!({"name": &*field.name, "type": type_name(field.ty), "nullable": field.nullable})).collect()
}
