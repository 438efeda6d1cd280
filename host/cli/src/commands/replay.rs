//! `tidemill replay`: a run beside a pipeline, over earlier rows or with another text: begun, looked at, compared, promoted, discarded.

use std::path::Path;

use serde_json::{Value, json};
use tidemill_event::{Clock, EventTime, units};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::{BetweenArgs, ReplayAction, ReplayArgs};
use crate::client::{Client, encoded};
use crate::clock::SystemClock;
use crate::commands::apply::pipeline_name;
use crate::commands::control::gone;
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Look, Paint};

/// Begins, shows, promotes or discards a replay.
pub(crate) fn run(args: &ReplayArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let name = &args.pipeline;
    let path = format!("/v1/pipelines/{}/replay", encoded(name));
    match args.action {
        None if args.from.is_empty() && args.with.is_none() => {
            let status = client.get(&path)?;
            output.result(&status, || super::status::page(&status, Paint::for_stdout()))
        }
        None => {
            let from = if args.from.is_empty() { json!("latest") } else { places(&args.from)? };
            let text = args.with.as_deref().map(|file| Text::read(file, Some(name))).transpose()?;
            let status = begin(client, name, &from, text.as_ref(), false)?;
            let run = status.get("run").map(Value::to_string).unwrap_or_default();
            output.result(&status, || {
                format!(
                    "run {run} replays {name} into streams called …@{run}\n  see how it does     tidemill replay {name}\n  what differs        tidemill replay {name} difference\n  let it take over    tidemill replay {name} promote\n  or forget it        tidemill replay {name} discard"
                )
            })
        }
        Some(ReplayAction::Promote) => {
            let answer = client.ask(Method::POST, &format!("{path}/promote"), &[], SendBody::none())?.expect_success()?;
            output.result(&answer, || promoted(name, &answer))
        }
        Some(ReplayAction::Difference) => {
            let compared = compare(client, name, &args.between)?;
            output.result(&compared, || page(&compared, Paint::for_stdout()))
        }
        Some(ReplayAction::Discard) => gone(client, output, &path, &format!("the replay of {name}")),
    }
}

fn promoted(name: &str, answer: &Value) -> String {
    let mut text = format!("run {} is {name}'s now", answer.get("run").map(Value::to_string).unwrap_or_default());
    for stream in answer.get("streams").and_then(Value::as_array).into_iter().flatten() {
        let member = |key: &str| stream.get(key).and_then(Value::as_str).unwrap_or("?");
        let from = stream.get("from").map(Value::to_string).unwrap_or_default();
        text.push_str(&format!(
            "\n  {}: its rows begin at {from}; what it made of the rows before is in {}",
            member("stream"),
            member("history")
        ));
    }
    text
}

/// `--from earliest`, a time, an offset, offsets with commas, or `STREAM=PLACE`, repeated.
pub(super) fn places(from: &[String]) -> Result<Value, Failure> {
    let by_stream: Vec<(&str, &str)> = from.iter().filter_map(|place| place.split_once('=')).collect();
    match from {
        [one] if by_stream.is_empty() => place(one),
        several if by_stream.len() == several.len() => {
            let named = by_stream.into_iter().map(|(stream, text)| Ok((stream.to_owned(), place(text)?)));
            Ok(Value::Object(named.collect::<Result<_, Failure>>()?))
        }
        _ => Err(Failure::wrong_use("say --from once, or --from STREAM=PLACE for each stream")),
    }
}

fn place(text: &str) -> Result<Value, Failure> {
    if text.starts_with('-') {
        return Ok(json!(time(text)?));
    }
    let numbers: Option<Vec<u64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    Ok(match numbers.as_deref() {
        Some([one]) => json!(one),
        Some(several) => json!(several),
        None => json!(text),
    })
}

/// An RFC 3339 time, or so long ago: `-7d`.
fn time(text: &str) -> Result<String, Failure> {
    let Some(ago) = text.strip_prefix('-') else { return Ok(text.to_owned()) };
    let ago = units::duration(ago).ok_or_else(|| {
        Failure::wrong_use(format!("`{text}` is no time: write one such as 2026-01-31T12:00:00Z, or how long ago, such as -7d"))
    })?;
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Ok(EventTime(SystemClock.now().0.saturating_sub(micros)).to_rfc3339())
}

/// The text of a pipeline, and the name it has.
pub(super) struct Text {
    pub(super) name: String,
    text: String,
}

impl Text {
    /// Reads a file, whose pipeline must be `expected` if that is said.
    pub(super) fn read(file: &Path, expected: Option<&str>) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::wrong_use(format!("cannot read `{}`: {error}", file.display())))?;
        let name = pipeline_name(file, &text)?;
        match expected {
            Some(expected) if expected != name => {
                Err(Failure::wrong_use(format!("{} is `pipeline: {name}`, and not {expected}", file.display())))
            }
            Some(_) | None => Ok(Self { name, text }),
        }
    }
}

/// Begins a run beside a pipeline; `ends_now`: over the rows that are there. Its status.
pub(super) fn begin(client: &Client, name: &str, from: &Value, text: Option<&Text>, ends_now: bool) -> Result<Value, Failure> {
    let mut body = json!({"from": from});
    if let Some(text) = text {
        body["pipeline"] = json!(text.text);
    }
    if ends_now {
        body["until"] = json!("now");
    }
    let body = body.to_string();
    let mut bytes = body.as_bytes();
    let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
    let path = format!("/v1/pipelines/{}/replay", encoded(name));
    client.ask(Method::POST, &path, &headers, SendBody::from_reader(&mut bytes))?.expect_success()
}

/// What a replay and its pipeline wrote differently.
pub(super) fn compare(client: &Client, name: &str, between: &BetweenArgs) -> Result<Value, Failure> {
    let mut path = format!("/v1/pipelines/{}/replay/difference?limit={}", encoded(name), between.show);
    for (word, text) in [("since", &between.since), ("until", &between.until)] {
        if let Some(text) = text {
            path.push_str(&format!("&{word}={}", encoded(&time(text)?)));
        }
    }
    client.get(&path)
}

/// A comparison for people: counts, then rows with `-` that the pipeline alone has and with `+` those of the replay.
pub(super) fn page(compared: &Value, paint: Paint) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let count = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let between = match (text(compared, "since"), text(compared, "until")) {
        (None, None) => String::new(),
        (since, until) => format!(
            "rows of {} to {}\n",
            since.unwrap_or_else(|| "the beginning".to_owned()),
            until.unwrap_or_else(|| "the end".to_owned())
        ),
    };
    let mut lines = vec![between];
    for stream in compared.get("streams").and_then(Value::as_array).into_iter().flatten() {
        let (live, replay) = (count(stream, "only_live"), count(stream, "only_replay"));
        lines.push(format!(
            "{}: {} rows are the same, {live} only in the live version, {replay} only in the new one ({})\n",
            text(stream, "stream").unwrap_or_default(),
            count(stream, "same"),
            text(stream, "of_replay").unwrap_or_default()
        ));
        for (member, sign, all) in [("live_rows", "-", live), ("replay_rows", "+", replay)] {
            let rows = stream.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            lines.extend(rows.iter().map(|row| {
                let line = format!("  {sign} {row}");
                format!("{}\n", paint.text(if sign == "-" { Look::Red } else { Look::Green }, &line))
            }));
            let left = all - (rows.len() as u64).min(all);
            if left > 0 && !rows.is_empty() {
                lines.push(format!("  {sign} and {left} more\n"));
            }
        }
    }
    lines.concat().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_times_and_offsets() {
        let read = |from: &[&str]| {
            places(&from.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).map_err(|failure| failure.message)
        };
        assert_eq!(read(&["earliest"]), Ok(json!("earliest")));
        assert_eq!(read(&["2026-01-31T12:00:00Z"]), Ok(json!("2026-01-31T12:00:00Z")));
        assert_eq!(read(&["1200"]), Ok(json!(1200)));
        assert_eq!(read(&["1200, 990"]), Ok(json!([1200, 990])));
        assert_eq!(read(&["a=earliest", "b=1,2"]), Ok(json!({"a": "earliest", "b": [1, 2]})));
        assert!(read(&["a=earliest", "7"]).is_err());
        let ago = read(&["-7d"]).expect("a time");
        assert!(ago.as_str().is_some_and(|time| EventTime::parse_rfc3339(time).is_some()), "{ago}");
        assert!(read(&["-7 days"]).is_err());
    }

    #[test]
    fn a_promotion_says_where_the_rows_are() {
        let answer = json!({"run": 7, "streams": [{"stream": "matches", "from": [12], "history": "matches@7"}]});
        assert_eq!(
            promoted("fraud", &answer),
            "run 7 is fraud's now\n  matches: its rows begin at [12]; what it made of the rows before is in matches@7"
        );
    }

    #[test]
    fn a_comparison_says_what_each_alone_has() {
        let compared = json!({"run": 7, "until": "2026-01-31T12:00:00Z", "streams": [{"stream": "matches", "of_replay": "matches@7",
            "same": 10, "only_live": 1, "only_replay": 3, "live_rows": [{"a": 1}], "replay_rows": [{"a": 2}, {"a": 3}]}]});
        assert_eq!(
            page(&compared, Paint::off()),
            "rows of the beginning to 2026-01-31T12:00:00Z\nmatches: 10 rows are the same, 1 only in the live version, 3 only in the new one (matches@7)\n  - {\"a\":1}\n  + {\"a\":2}\n  + {\"a\":3}\n  + and 1 more"
        );
    }
}
