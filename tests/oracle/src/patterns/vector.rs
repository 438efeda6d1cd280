//! One vector: what is looked for, over which events, and what should be found.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An event with its number and its time.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) number: i64,
    pub(super) time_ms: i64,
    pub(super) data: Value,
}

/// A match or a timeout: the numbers of its events by stage, as sorted text; of a timeout with its time.
pub(super) type Finding = String;

/// What should come out.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) matches: Vec<Finding>,
    /// `None`: nobody asks for them.
    pub(super) timeouts: Option<Vec<Finding>>,
    /// A match has nothing to skip to.
    pub(super) has_error: bool,
}

/// A vector.
#[derive(Debug)]
pub(super) struct Vector {
    pub(super) pattern: Value,
    pub(super) skip: Value,
    pub(super) events: Vec<Event>,
    pub(super) key: Option<String>,
    /// `None`: events are met as they come.
    pub(super) lag_ms: Option<i64>,
    /// The clock goes on so far.
    pub(super) advance_to_ms: Option<i64>,
    /// `None`: the pattern is to be refused.
    pub(super) expected: Option<Expected>,
}

impl Vector {
    /// A vector with its events.
    pub(super) fn new(value: &Value) -> Result<Self> {
        let mut events = Vec::new();
        for event in value["events"].as_array().into_iter().flatten() {
            let number = event["i"].as_i64().context("an event without `i`")?;
            let time_ms = event["ts"].as_i64().context("an event without `ts`")?;
            events.push(Event { number, time_ms, data: event["data"].clone() });
        }
        let asks_timeouts = value["report_timeouts"] == Value::Bool(true);
        let expected = value.get("expected").map(|expected| Expected {
            matches: findings(&expected["matches"], false),
            timeouts: asks_timeouts.then(|| findings(&expected["timeouts"], true)),
            has_error: expected["error"] == Value::Bool(true),
        });
        Self::with(value, events, expected)
    }

    /// A query over a file beside it: only its events with a key count, and `seq` is their number.
    pub(super) fn query(value: &Value, folder: &Path) -> Result<Self> {
        let file = value["file"].as_str().context("no `file`")?;
        let time = value["event_time"]["field"].as_str().context("no field of the event time")?;
        let text = crate::folder::read(folder, file)?;
        let mut events = Vec::new();
        for data in crate::api::lines(&text)? {
            if value["key_by"].as_str().is_some_and(|key| data[key].is_null()) {
                continue;
            }
            let number = data["seq"].as_i64().context("an event without `seq`")?;
            let time_ms = data[time].as_i64().with_context(|| format!("an event without `{time}`"))?;
            events.push(Event { number, time_ms, data });
        }
        let asks_timeouts = value["report_timeouts"] == Value::Bool(true);
        let expected = Expected {
            matches: findings(&value["expected"], false),
            timeouts: asks_timeouts.then(|| findings(&value["expected_timeouts"], true)),
            has_error: false,
        };
        Self::with(value, events, Some(expected))
    }

    fn with(value: &Value, events: Vec<Event>, expected: Option<Expected>) -> Result<Self> {
        let pattern = value["pattern"].clone();
        if !pattern.is_object() {
            bail!("no `pattern`");
        }
        let lag_ms = match value.get("event_time") {
            None | Some(Value::Null) => None,
            Some(event_time) => Some(event_time["watermark_lag_ms"].as_i64().context("no `watermark_lag_ms`")?),
        };
        Ok(Self {
            pattern,
            skip: value["after_match_skip"].clone(),
            events,
            key: value["key_by"].as_str().map(str::to_owned),
            lag_ms,
            advance_to_ms: value["advance_to"].as_i64(),
            expected,
        })
    }

    pub(super) fn asks_timeouts(&self) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.timeouts.is_some())
    }
}

/// Sorted, so that they compare as multisets.
fn findings(list: &Value, are_timeouts: bool) -> Vec<Finding> {
    let one = |finding: &Value| {
        let stages = finding["stages"].as_object().into_iter().flatten();
        // Maps of JSON are in the order of their names.
        let stages: Vec<(String, String)> = stages.map(|(name, events)| (name.clone(), events.to_string())).collect();
        said(stages, are_timeouts.then(|| finding["timeout_ts"].as_i64().unwrap_or_default()))
    };
    let mut all: Vec<Finding> = list.as_array().into_iter().flatten().map(one).collect();
    all.sort();
    all
}

/// `a=[0,1] b=[3]`, of a timeout with `at 17`.
pub(super) fn said(mut stages: Vec<(String, String)>, timeout_ms: Option<i64>) -> Finding {
    stages.sort();
    let stages: Vec<String> = stages.into_iter().map(|(name, events)| format!("{name}={events}")).collect();
    let at = timeout_ms.map_or_else(String::new, |at| format!(" at {at}"));
    format!("{}{at}", stages.join(" "))
}
