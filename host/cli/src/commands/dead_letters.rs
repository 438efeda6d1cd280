//! `tidemill dead-letters`: rows that a pipeline could not handle: list them, look at one, send them through their step again.

use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::{DeadLetterFilter, DeadLettersArgs, DeadLettersCommand};
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::Output;

/// Lists, shows or replays.
pub(crate) fn run(args: &DeadLettersArgs, client: &Client, output: Output) -> Result<(), Failure> {
    match &args.command {
        DeadLettersCommand::List { pipeline, filter } => list(pipeline, filter, client, output),
        DeadLettersCommand::Show { pipeline, id } => {
            let letter = client.get(&format!("{}/{}", path(pipeline), encoded(id)))?;
            output.result(&letter, || shown(&letter))
        }
        DeadLettersCommand::Replay { pipeline, ids, filter, all, force } => {
            let wanted = match (ids.as_slice(), *all || !filter.is_empty()) {
                ([], false) => return Err(Failure::wrong_use("say which: ids, filters such as --reason trap, or --all")),
                ([], true) => json!({"query": filter.query(), "force": force}),
                (_, true) => return Err(Failure::wrong_use("ids and filters exclude each other")),
                (ids, false) => json!({"ids": ids, "force": force}),
            };
            replay(pipeline, &wanted, client, output)
        }
    }
}

fn path(pipeline: &str) -> String {
    format!("/v1/pipelines/{}/dead-letters", encoded(pipeline))
}

fn list(pipeline: &str, filter: &DeadLetterFilter, client: &Client, output: Output) -> Result<(), Failure> {
    let members = filter.query();
    let parameters: Vec<String> = members
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", encoded(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))))
        .collect();
    let answer = client.get(&format!("{}?{}", path(pipeline), parameters.join("&")))?;
    output.result(&answer, || {
        let letters = answer["dead_letters"].as_array().map_or(&[][..], Vec::as_slice);
        if letters.is_empty() {
            return "no dead letters".to_owned();
        }
        letters.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn replay(pipeline: &str, wanted: &Value, client: &Client, output: Output) -> Result<(), Failure> {
    let (path, body) = (format!("{}/replay", path(pipeline)), wanted.to_string());
    let headers = [("content-type", "application/json")];
    let answer = client.ask(Method::POST, &path, &headers, SendBody::from_reader(&mut body.as_bytes()))?.expect_success()?;
    output.result(&answer, || {
        let mut lines = vec![format!("replayed   {}", answer["replayed"])];
        for refused in answer["refused"].as_array().into_iter().flatten() {
            lines.push(format!("refused    {}: {}", text(refused, "id"), text(refused, "why")));
        }
        lines.join("\n")
    })
}

fn text<'a>(letter: &'a Value, member: &str) -> &'a str {
    letter.get(member).and_then(Value::as_str).unwrap_or("-")
}

/// The longest event, row or error shown in a list.
const SHOWN_CHARS_MAX: usize = 100;

fn line(letter: &Value) -> String {
    let cut = |text: String| match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    // What was made of no single event, a window's result say, has a row alone.
    let row = cut(if letter["event"].is_null() { &letter["row"] } else { &letter["event"] }.to_string());
    let error = cut(text(letter, "error").to_owned());
    let again = if letter["replayed"] == true { "  (replayed)" } else { "" };
    format!("{:8} {:22} {:18} {}  {error}{again}", text(letter, "id"), text(letter, "reason"), text(letter, "step"), row)
}

/// One letter in full: what happened, where, and to what.
fn shown(letter: &Value) -> String {
    let mut lines =
        vec![format!("id         {}{}", text(letter, "id"), if letter["replayed"] == true { "  (replayed)" } else { "" })];
    for (name, member) in [("time", "time"), ("reason", "reason"), ("error", "error"), ("step", "step")] {
        lines.push(format!("{name:10} {}", text(letter, member)));
    }
    if letter["component"].is_string() {
        lines.push(format!("component  {}@{} ({})", text(letter, "component"), text(letter, "version"), text(letter, "digest")));
    }
    let is_of_event = letter["stream"].is_string();
    lines.push(match is_of_event {
        true => format!("from       {} partition {} offset {}", text(letter, "stream"), letter["partition"], letter["offset"]),
        false => format!("from       partition {}, made of no single event", letter["partition"]),
    });
    if let Some(backtrace) = letter["backtrace"].as_str() {
        lines.push("backtrace".to_owned());
        lines.extend(backtrace.lines().map(|frame| format!("  {frame}")));
    }
    for (name, member) in [("event", "event"), (if is_of_event { "row before the step" } else { "row" }, "row")] {
        if !letter[member].is_null() {
            lines.push(name.to_owned());
            let pretty = serde_json::to_string_pretty(&letter[member]).unwrap_or_default();
            lines.extend(pretty.lines().map(|line| format!("  {line}")));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_line_or_its_whole_story() {
        let letter = json!({
            "id": "0:17", "replayed": true, "time": "2026-11-21T12:00:00.000000Z", "reason": "trap", "error": "boom (unreachable)",
            "step": "steps[1].rule", "component": "geo", "version": "1.2.0", "digest": "sha256:ab", "stream": "clicks",
            "partition": 0, "offset": 4711, "backtrace": "boom at byte 0x7\nmain", "event": {"n": 1}, "row": null,
        });
        assert_eq!(line(&letter), "0:17     trap                   steps[1].rule      {\"n\":1}  boom (unreachable)  (replayed)");
        let result = json!({"id": "0:18", "time": "2026-11-21T12:00:00.000000Z", "reason": "expression", "error": "sum is out of range",
            "step": "steps[0].window", "stream": null, "partition": 0, "offset": null, "event": null, "row": {"k": "a"}});
        assert_eq!(line(&result), "0:18     expression             steps[0].window    {\"k\":\"a\"}  sum is out of range");
        let all = shown(&result);
        assert!(all.ends_with("from       partition 0, made of no single event\nrow\n  {\n    \"k\": \"a\"\n  }"), "{all}");
        assert_eq!(
            shown(&letter),
            "id         0:17  (replayed)\ntime       2026-11-21T12:00:00.000000Z\nreason     trap\nerror      boom (unreachable)\n\
             step       steps[1].rule\ncomponent  geo@1.2.0 (sha256:ab)\nfrom       clicks partition 0 offset 4711\nbacktrace\n  boom at byte 0x7\n  main\nevent\n  {\n    \"n\": 1\n  }"
        );
    }
}
