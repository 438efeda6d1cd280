//! `tidemill explain`: why a match was told, and what is open of a key.

use serde_json::{Map, Value};
use tidemill_event::EventTime;

use crate::args::{ExplainCommand, ExplainKeyArgs, ExplainMatchArgs};
use crate::client::{Client, encoded};
use crate::commands::state::members;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::{span, table};

/// Asks, and shows the answer.
pub(crate) fn run(command: &ExplainCommand, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        ExplainCommand::Match(ExplainMatchArgs { pipeline, id }) => {
            let found = client.get(&format!("/v1/pipelines/{}/matches/{}", encoded(pipeline), encoded(id)))?;
            output.result(&found, || shown_match(&found))
        }
        ExplainCommand::Key(ExplainKeyArgs { pipeline, key }) => {
            let key = key.as_ref().map_or_else(String::new, |key| format!("?key={}", encoded(key)));
            let held = client.get(&format!("/v1/pipelines/{}/state{key}", encoded(pipeline)))?;
            output.result(&held, || shown_key(&held))
        }
    }
}

/// What was found, then a line for each event.
fn shown_match(found: &Value) -> String {
    let text = |member: &str| found[member].as_str().unwrap_or("-").to_owned();
    let length = |member: &str| found[member].as_i64().map_or_else(|| "-".to_owned(), shown_span);
    let by = match (found["timed_out"] == true, found["told_by"] == "time") {
        (true, _) => "its time was over",
        (false, true) => "the clock let it out",
        (false, false) => "an event let it out",
    };
    let took = match found["within_ms"].is_null() {
        true => length("took_ms"),
        false => format!("{} of {}: {} were left", length("took_ms"), length("within_ms"), length("left_ms")),
    };
    let mut lines = vec![
        format!("match     {}{}", text("match_id"), if found["timed_out"] == true { "  (a partial match)" } else { "" }),
        format!("step      {}", text("step")),
        format!("key       {}", found["key"]),
        format!("sought    {}", text("sought")),
        format!("told      {}: {by}", text("told")),
        format!("took      {took}"),
    ];
    lines.extend(found["skip"].as_str().map(|skip| format!("skip      {skip}")));
    lines.push(String::new());
    let events = found["events"].as_array().map_or(&[][..], Vec::as_slice);
    lines.extend(event_lines(events));
    let left_out = found["count"].as_u64().unwrap_or_default().saturating_sub(events.len() as u64);
    if left_out > 0 {
        lines.push(format!("… and {left_out} more, which were too long to be kept"));
    }
    let gone = events.iter().enumerate().filter_map(|(at, event)| Some((at + 1, event["gone"].as_str()?)));
    lines.extend(gone.map(|(number, why)| format!("event {number} is not in its stream as it was seen: {why}")));
    lines.join("\n")
}

/// Each step with what it holds.
fn shown_key(held: &Value) -> String {
    let mut lines = Vec::new();
    for step in held["steps"].as_array().into_iter().flatten() {
        let word = |member: &str| step[member].as_str().unwrap_or("-").to_owned();
        lines.push(format!("{}  key {}  event time {}", word("step"), step["key"], word("watermark")));
        for row in step["state"].as_array().into_iter().flatten() {
            lines.push(String::new());
            match row["waits_for"].is_null() {
                true => holding(row, &mut lines),
                false => partial_match(row, &word("watermark"), &mut lines),
            }
        }
        lines.push(String::new());
    }
    for other in held["others"].as_array().into_iter().flatten() {
        lines.push(format!("{}  {}", other["step"].as_str().unwrap_or("-"), other["why"].as_str().unwrap_or("-")));
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}

/// A partial match: what it waits for and until when, then its events.
fn partial_match(row: &Value, watermark: &str, lines: &mut Vec<String>) {
    let names: Vec<&str> = row["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let waits = if names.is_empty() { "nothing but time".to_owned() } else { names.join(" or ") };
    let until = match (time(&row["until"]), EventTime::parse_rfc3339(watermark)) {
        (Some(until), now) => {
            let left = now.map_or_else(String::new, |now| format!(", {} from now", shown_span((until.0 - now.0).max(0) / 1_000)));
            let then = match row["at_end"].as_str() {
                Some("match") => "then it is a match",
                Some(_) | None => "then its time is over",
            };
            format!(" until {}{left}; {then}", row["until"].as_str().unwrap_or("-"))
        }
        (None, _) => ", however long that takes".to_owned(),
    };
    let of = row["pattern"].as_str().map_or_else(String::new, |pattern| format!("{pattern} "));
    lines.push(format!("  {of}waits for {waits} since {}{until}", row["last"].as_str().unwrap_or("-")));
    let events = timed(row["events"].as_array().map_or(&[][..], Vec::as_slice));
    lines.extend(event_lines(&events).into_iter().map(|line| format!("    {line}")));
}

/// Anything else: its members, and its events as a table.
fn holding(row: &Value, lines: &mut Vec<String>) {
    let mut rest = row.clone();
    let events = rest.as_object_mut().and_then(|rest| rest.remove("events"));
    members("  ", &rest, lines);
    if let Some(events) = events.as_ref().and_then(Value::as_array).filter(|events| !events.is_empty()) {
        lines.extend(event_lines(&timed(events)).into_iter().map(|line| format!("    {line}")));
    }
}

/// Events with the time since the first and since the one before.
fn timed(events: &[Value]) -> Vec<Value> {
    let first = events.first().and_then(|event| time(&event["at"]));
    let mut previous = None;
    let timed = events.iter().map(|event| {
        let (at, mut event) = (time(&event["at"]), event.clone());
        let since = |from: Option<EventTime>| from.zip(at).map(|(from, at)| (at.0 - from.0).div_euclid(1_000));
        event["since_first_ms"] = since(first).into();
        event["since_previous_ms"] = since(previous).into();
        previous = at;
        event
    });
    timed.collect()
}

/// A line for each event under a head.
fn event_lines(events: &[Value]) -> Vec<String> {
    let cells = |event: &Value| {
        let taken_for = match (&event["stage"], &event["kinds"]) {
            (Value::String(stage), _) => stage.clone(),
            (_, Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            (_, _) => "-".to_owned(),
        };
        let since = |member: &str| event[member].as_i64().map_or_else(|| "-".to_owned(), shown_span);
        let place = match (&event["stream"], &event["partition"], &event["offset"]) {
            (Value::String(stream), Value::Number(partition), Value::Number(offset)) => format!("{stream} {partition}:{offset}"),
            (..) => "-".to_owned(),
        };
        let at = event["at"].as_str().unwrap_or("-").to_owned();
        vec![taken_for, at, since("since_first_ms"), since("since_previous_ms"), place, row(event).to_string()]
    };
    table(&["STAGE", "AT", "SINCE FIRST", "BEFORE", "WHERE", "ROW"], &events.iter().map(cells).collect::<Vec<_>>())
}

/// The columns of an event, without what the table says of it.
fn row(event: &Value) -> Value {
    let Value::Object(members) = event else { return Value::Null };
    if let Some(row) = members.get("row") {
        return row.clone();
    }
    let said = ["stage", "kinds", "at", "since_first_ms", "since_previous_ms"];
    let rest = members.iter().filter(|(name, _)| !said.contains(&name.as_str()));
    Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

fn time(value: &Value) -> Option<EventTime> {
    EventTime::parse_rfc3339(value.as_str()?)
}

fn shown_span(ms: i64) -> String {
    if ms < 0 { format!("-{}", span(ms.unsigned_abs())) } else { span(ms as u64) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_match_is_told_with_its_events_and_what_became_of_them() {
        let found = json!({
            "match_id": "018bcfe568f8-4f0e9d2c77a1b3e8", "pipeline": "p", "step": "steps[1].pattern", "key": {"ip": "10.0.0.7"},
            "sought": "begin a where x = 1, followed_by b where x = 2, within 60s", "timed_out": false,
            "told": "2026-11-22T10:00:41.500000Z", "told_by": "event", "took_ms": 41_500, "within_ms": 60_000, "left_ms": 18_500,
            "skip": "past_last", "count": 2,
            "events": [
                {"stage": "a", "at": "2026-11-22T10:00:00.000000Z", "since_first_ms": 0, "since_previous_ms": null,
                 "stream": "s", "partition": 1, "offset": 7, "row": {"x": 1}, "gone": "removed by retention: partition 1 begins at 9 now"},
                {"stage": "b", "at": "2026-11-22T10:00:41.500000Z", "since_first_ms": 41_500, "since_previous_ms": 41_500,
                 "stream": "s", "partition": 1, "offset": 12, "row": {"x": 2}, "event": {"x": 2}},
            ],
        });
        expect![[r#"
            match     018bcfe568f8-4f0e9d2c77a1b3e8
            step      steps[1].pattern
            key       {"ip":"10.0.0.7"}
            sought    begin a where x = 1, followed_by b where x = 2, within 60s
            told      2026-11-22T10:00:41.500000Z: an event let it out
            took      41 s of 60 s: 18 s were left
            skip      past_last

            STAGE                           AT  SINCE FIRST  BEFORE  WHERE   ROW
            a      2026-11-22T10:00:00.000000Z          0 s       -  s 1:7   {"x":1}
            b      2026-11-22T10:00:41.500000Z         41 s    41 s  s 1:12  {"x":2}
            event 1 is not in its stream as it was seen: removed by retention: partition 1 begins at 9 now"#]]
        .assert_eq(&shown_match(&found));
    }

    #[test]
    fn a_key_is_told_by_what_it_waits_for() {
        let held = json!({
            "pipeline": "p",
            "steps": [{
                "step": "steps[1].pattern", "key": {"ip": "10.0.0.7"}, "partition": 0, "watermark": "2026-11-22T10:00:10.000000Z",
                "state": [{
                    "stage": "a", "complete": false, "waits_for": ["a", "b"], "at_end": "timeout", "begun": "2026-11-22T10:00:00.000000Z",
                    "last": "2026-11-22T10:00:04.000000Z", "until": "2026-11-22T10:01:00.000000Z", "count": 2,
                    "events": [
                        {"stage": "a", "at": "2026-11-22T10:00:00.000000Z", "row": {"x": 1}},
                        {"stage": "a", "at": "2026-11-22T10:00:04.000000Z", "row": {"x": 1}},
                    ],
                }],
            }],
            "others": [{"step": "steps[2].correlate", "why": "holds nothing of it"}],
        });
        expect![[r#"
            steps[1].pattern  key {"ip":"10.0.0.7"}  event time 2026-11-22T10:00:10.000000Z

              waits for a or b since 2026-11-22T10:00:04.000000Z until 2026-11-22T10:01:00.000000Z, 50 s from now; then its time is over
                STAGE                           AT  SINCE FIRST  BEFORE  WHERE  ROW
                a      2026-11-22T10:00:00.000000Z          0 s       -  -      {"x":1}
                a      2026-11-22T10:00:04.000000Z        4.0 s   4.0 s  -      {"x":1}

            steps[2].correlate  holds nothing of it"#]]
        .assert_eq(&shown_key(&held));
    }
}
