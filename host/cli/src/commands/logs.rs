//! `tidemill logs`: what the components of a pipeline said last, and say.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::args::LogsArgs;
use crate::client::{Client, encoded};
use crate::exit::{Failure, NOT_REACHED};
use crate::output::{Output, line_out};
use crate::paint::{Look, Paint};

/// How often a follower knocks when the host went away, and for how long.
const KNOCK_EVERY: Duration = Duration::from_secs(1);
const KNOCK_FOR: Duration = Duration::from_secs(60);

/// Prints lines until the end, or with `-f` until Ctrl-C.
pub(crate) fn run(args: &LogsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    if args.follow { follow(args, client, output) } else { print(args, client, output) }
}

fn print(args: &LogsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let lines = BufReader::new(client.stream(&path(args, false))?);
    let mut out = std::io::stdout().lock();
    for line in lines.lines() {
        let line = line.map_err(|error| went_away(client, &error))?;
        line_out(&mut out, shown(line, output, paint).as_bytes())?;
    }
    Ok(())
}

/// Goes on where it was when the host comes back.
fn follow(args: &LogsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let mut place: Option<String> = None;
    let mut away: Option<Instant> = None;
    loop {
        let ended = connected(args, client, output, &mut place, &mut away);
        match ended {
            Err(failure) if failure.code != NOT_REACHED || place.is_none() => return Err(failure),
            Err(failure) if away.is_some_and(|since| since.elapsed() > KNOCK_FOR) => return Err(failure),
            Ok(()) | Err(_) => {}
        }
        if away.is_none() {
            away = Some(Instant::now());
            eprintln!("the host at {} went away; trying for a minute", client.base());
        }
        std::thread::sleep(KNOCK_EVERY);
    }
}

/// One connection: prints what comes until it ends.
fn connected(
    args: &LogsArgs,
    client: &Client,
    output: Output,
    place: &mut Option<String>,
    away: &mut Option<Instant>,
) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let mut headers = vec![("accept", "text/event-stream")];
    let resumed = place.clone();
    if let Some(place) = &resumed {
        headers.push(("last-event-id", place));
    }
    let lines = BufReader::new(client.stream_with(&path(args, resumed.is_some()), &headers)?);
    *away = None;
    let mut event = Event::default();
    for line in lines.lines() {
        let line = line.map_err(|error| went_away(client, &error))?;
        let Some(Event { id, name, data }) = event.line(&line) else { continue };
        if let Some(data) = data {
            let text = match name.as_deref() {
                Some("gap") if output == Output::Text => gap(&data),
                _ => shown(data, output, paint),
            };
            line_out(&mut std::io::stdout().lock(), text.as_bytes())?;
        }
        // Behind the print: what was not shown comes again.
        if id.is_some() {
            *place = id;
        }
    }
    Ok(())
}

/// A server-sent event as its lines come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    name: Option<String>,
    data: Option<String>,
}

impl Event {
    /// Takes a line; the event, when this one ends it.
    fn line(&mut self, line: &str) -> Option<Self> {
        if line.is_empty() {
            let event = std::mem::take(self);
            return (event != Self::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => self.id = Some(value),
            "event" => self.name = Some(value),
            "data" => self.data = Some(value),
            // A comment, `retry`, or what a newer host says.
            _ => {}
        }
        None
    }
}

fn gap(data: &str) -> String {
    let missed = serde_json::from_str::<Value>(data).ok().and_then(|gap| gap["missed"].as_u64());
    match missed {
        Some(missed) => format!("… up to {missed} lines are not kept any more …"),
        None => "… the host was started again: what was said before that is not kept …".to_owned(),
    }
}

fn went_away(client: &Client, error: &std::io::Error) -> Failure {
    Failure::not_reached(format!("the host at {} went away: {error}", client.base()))
}

fn shown(line: String, output: Output, paint: Paint) -> String {
    match output {
        Output::Json => line,
        Output::Text => serde_json::from_str(&line).map_or(line, |said: Value| text(&said, paint)),
    }
}

/// `resumed`: it goes on behind a line, and wants all there is.
fn path(args: &LogsArgs, resumed: bool) -> String {
    let mut parameters = Vec::new();
    if !resumed {
        parameters.push(format!("limit={}", args.limit));
    }
    if let Some(step) = &args.step {
        parameters.push(format!("step={}", encoded(step)));
    }
    if let Some(level) = &args.level {
        parameters.push(format!("level={}", encoded(level)));
    }
    if args.follow {
        parameters.push("follow=true".to_owned());
    }
    format!("/v1/pipelines/{}/logs?{}", encoded(&args.pipeline), parameters.join("&"))
}

fn text(said: &Value, paint: Paint) -> String {
    let member = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let level = member("level");
    let look = match level {
        "error" => Look::Red,
        "warn" => Look::Yellow,
        "debug" => Look::Dim,
        _ => Look::Bold,
    };
    let place = match member("step") {
        "" => "host".to_owned(),
        step => format!("{step} {}", member("component")),
    };
    let partition = said.get("partition").and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{} {} {} {}",
        paint.text(Look::Dim, member("time")),
        paint.text(look, &format!("{level:<5}")),
        paint.text(Look::Dim, &format!("{place} [{partition}]")),
        member("message")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_when_who_and_what() {
        let said = json!({"sequence": 3, "time": "2026-11-21T12:00:00.000000Z", "level": "warn", "step": "steps[0].rule", "component": "r@1.0.0",
            "partition": 2, "message": "odd"});
        assert_eq!(text(&said, Paint::off()), "2026-11-21T12:00:00.000000Z warn  steps[0].rule r@1.0.0 [2] odd");
    }

    #[test]
    fn every_flag_is_in_the_request() {
        let args = LogsArgs {
            pipeline: "fraud".to_owned(),
            follow: true,
            step: Some("steps[0].rule".to_owned()),
            level: Some("warn".to_owned()),
            limit: 7,
        };
        let rest = "step=steps%5B0%5D.rule&level=warn&follow=true";
        assert_eq!(path(&args, false), format!("/v1/pipelines/fraud/logs?limit=7&{rest}"));
        assert_eq!(path(&args, true), format!("/v1/pipelines/fraud/logs?{rest}"));
    }

    #[test]
    fn events_come_line_by_line_and_a_place_alone_is_one() {
        let mut event = Event::default();
        let text = "retry: 1000\n\nid: a-1\nevent: gap\ndata: {\"missed\":3}\n\n:\n\nid: a-2\ndata: {\"n\": 1}\n\nid: a-9\n\n";
        let events: Vec<Event> = text.lines().filter_map(|line| event.line(line)).collect();
        let of = |id: &str, name: Option<&str>, data: Option<&str>| Event {
            id: Some(id.to_owned()),
            name: name.map(str::to_owned),
            data: data.map(str::to_owned),
        };
        let gap_data = "{\"missed\":3}";
        assert_eq!(events, [of("a-1", Some("gap"), Some(gap_data)), of("a-2", None, Some("{\"n\": 1}")), of("a-9", None, None)]);
        assert_eq!(gap(gap_data), "… up to 3 lines are not kept any more …");
        assert!(gap("{\"missed\":null}").contains("started again"));
    }
}
