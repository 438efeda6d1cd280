//! A vector's pattern as a `pattern` step.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::condition::sql;
use super::vector::Vector;
use crate::shape::Shape;

/// What columns and stages are called.
pub(super) struct Names {
    /// The fields of the events with their types.
    fields: BTreeMap<String, &'static str>,
    /// Columns of our own, called as no field is.
    number: String,
    time: String,
    clock: String,
    /// By the vector's name: ours.
    stages: BTreeMap<String, String>,
    /// Those that can have events.
    taking: Vec<String>,
}

impl Names {
    pub(super) fn of(vector: &Vector) -> Self {
        let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
        for event in &vector.events {
            for (name, value) in event.data.as_object().into_iter().flatten() {
                shapes.entry(name.clone()).or_default().see(value);
            }
        }
        let fields: BTreeMap<String, &'static str> =
            shapes.iter().map(|(name, shape)| (name.clone(), shape.type_name())).collect();
        let own = |name: &str| {
            let mut name = format!("vector_{name}");
            while fields.contains_key(&name) {
                name.push('x');
            }
            name
        };
        let (number, time, clock) = (own("number"), own("time"), own("clock"));
        let mut names = Self { fields, number, time, clock, stages: BTreeMap::new(), taking: Vec::new() };
        names.name(&vector.pattern["stages"]);
        names
    }

    fn name(&mut self, stages: &Value) {
        for element in stages.as_array().into_iter().flatten() {
            self.name(&element["group"]);
            let Some(name) = element["name"].as_str() else { continue };
            let next = format!("stage_{}", self.stages.len());
            self.stages.entry(name.to_owned()).or_insert(next);
            if !element["contiguity"].as_str().is_some_and(|word| word.starts_with("not")) {
                self.taking.push(name.to_owned());
            }
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub(super) fn type_of(&self, field: &str) -> Option<&'static str> {
        self.fields.get(field).copied()
    }

    pub(super) fn time(&self) -> &str {
        &self.time
    }

    /// Ours; a stage that is not there keeps a name that none has.
    pub(super) fn stage(&self, name: &str) -> String {
        self.stages.get(name).cloned().unwrap_or_else(|| "stage_unknown".to_owned())
    }

    /// The vector's names of the stages that can have events, and the column of each.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, String)> {
        self.taking.iter().map(|name| (name.as_str(), format!("events_of_{}", self.stage(name))))
    }

    /// The stream's definition.
    pub(super) fn definition(&self) -> Value {
        let mut fields: Vec<Value> = self.fields.iter().map(|(name, ty)| json!({"name": name, "type": ty})).collect();
        fields.push(json!({"name": self.number, "type": "int64"}));
        fields.push(json!({"name": self.time, "type": "int64", "nullable": false}));
        fields.push(json!({"name": self.clock, "type": "bool"}));
        json!({"fields": fields, "time": {"field": self.time, "unit": "ms"}, "partitions": 1})
    }

    /// The events as rows. A row of another key moves the clock on, where the vector does.
    pub(super) fn rows(&self, vector: &Vector) -> Vec<Value> {
        let mut rows = Vec::new();
        for event in &vector.events {
            let mut row = event.data.as_object().cloned().unwrap_or_default();
            row.insert(self.number.clone(), json!(event.number));
            row.insert(self.time.clone(), json!(event.time_ms));
            row.insert(self.clock.clone(), json!(false));
            rows.push(Value::Object(row));
        }
        if let (None, Some(to)) = (vector.lag_ms, vector.advance_to_ms) {
            rows.push(json!({self.time.clone(): to, self.clock.clone(): true}));
        }
        rows
    }

    /// Whether a row of results is of the events, and not of the row that moved the clock.
    pub(super) fn is_of_events(&self, row: &Value) -> bool {
        row[&self.clock] == Value::Bool(false)
    }
}

/// The pipeline of a vector.
pub(super) fn pipeline(vector: &Vector, names: &Names, stream: &str, result: &str) -> Result<Value> {
    let mut by: Vec<&str> = vector.key.iter().map(String::as_str).collect();
    by.push(&names.clock);
    let select: Map<String, Value> = names
        .columns()
        .map(|(name, column)| (column, json!(format!("array_agg({}.{}, 1000)", names.stage(name), names.number))))
        .collect();
    let mut step = json!({
        "by": by,
        "stages": stages(&vector.pattern["stages"], names)?,
        "skip": skip(&vector.skip, names)?,
        "select": select,
        "timeouts": vector.asks_timeouts(),
        "order": if vector.lag_ms.is_some() { "time" } else { "arrival" },
    });
    for window in vector.pattern["within"].as_array().into_iter().flatten() {
        let length = format!("{}ms", window["ms"].as_u64().context("a window without ms")?);
        match window["type"].as_str() {
            Some("first_and_last") => step["within"] = json!(length),
            Some("previous_and_current") => step["within_last"] = json!(length),
            other => bail!("no window {other:?}"),
        }
    }
    // Theirs is late at the watermark, ours before it: one ms less is the same.
    let disorder = vector.lag_ms.map_or(0, |lag| lag.saturating_sub(1).max(0));
    Ok(json!({
        "run": if vector.lag_ms.is_some() { "once" } else { "live" },
        "time": {"bound": "off"},
        "from": {"stream": stream, "out_of_orderness": format!("{disorder}ms"), "idle": "off"},
        "steps": [{"pattern": step}],
        "to": [{"stream": result}],
    }))
}

fn skip(skip: &Value, names: &Names) -> Result<Value> {
    let to = |end: &str| {
        let stage = names.stage(skip["stage"].as_str().unwrap_or_default());
        json!({end: stage, "must_exist": skip["error_if_missing"] == Value::Bool(true)})
    };
    Ok(match skip["strategy"].as_str() {
        None | Some("no_skip") => json!("none"),
        Some("skip_to_next") => json!("next"),
        Some("skip_past_last_event") => json!("past_last"),
        Some("skip_to_first") => to("first"),
        Some("skip_to_last") => to("last"),
        Some(other) => bail!("no strategy `{other}`"),
    })
}

fn stages(stages: &Value, names: &Names) -> Result<Vec<Value>> {
    let stages = stages.as_array().with_context(|| format!("no stages: {stages}"))?;
    stages.iter().enumerate().map(|(at, stage)| element(stage, at == 0, names)).collect()
}

fn element(element: &Value, is_first: bool, names: &Names) -> Result<Value> {
    let contiguity = element["contiguity"].as_str().with_context(|| format!("no contiguity in {element}"))?;
    let is_negation = contiguity.starts_with("not");
    let word = if is_first && !is_negation { "begin" } else { contiguity };
    let mut step = Map::new();
    if element.get("group").is_some() {
        step.insert(word.to_owned(), Value::Array(stages(&element["group"], names)?));
    } else {
        let name = element["name"].as_str().with_context(|| format!("a stage without a name: {element}"))?;
        step.insert(word.to_owned(), json!(names.stage(name)));
        step.insert("where".to_owned(), json!(sql(&element["where"], names)?));
        if let Some(until) = element.get("until") {
            step.insert("until".to_owned(), json!(sql(until, names)?));
        }
    }
    quantified(&element["quantifier"], &mut step)?;
    Ok(Value::Object(step))
}

fn quantified(quantifier: &Value, step: &mut Map<String, Value>) -> Result<()> {
    if quantifier.is_null() {
        return Ok(());
    }
    let is = |name: &str| quantifier[name] == Value::Bool(true);
    let (min, max) = (quantifier["min"].as_u64(), quantifier["max"].as_u64());
    let times = match (min, max) {
        (None, _) => None,
        (Some(min), None) => Some(format!("{min}..")),
        (Some(min), Some(max)) => Some(format!("{min}..{max}")),
    };
    step.extend(times.map(|times| ("times".to_owned(), json!(times))));
    if is("optional") {
        step.insert("optional".to_owned(), json!(true));
    }
    // Greedy with exactly once, said as a loop, is the same as without.
    if is("greedy") && (min, max) != (Some(1), Some(1)) {
        step.insert("greedy".to_owned(), json!(true));
    }
    if let Some(inner) = quantifier["inner"].as_str() {
        step.insert("inner".to_owned(), json!(inner));
    }
    if let Some(gap) = quantifier["gap_within_ms"].as_u64() {
        step.insert("gap".to_owned(), json!(format!("{gap}ms")));
    }
    Ok(())
}
