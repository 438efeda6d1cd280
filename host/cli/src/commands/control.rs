//! `tidemill pause`, `resume`, `delete` and `replay`: what a person does to a pipeline that is applied.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::{DeleteArgs, PipelinesArgs, ReplayAction, ReplayArgs};
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::Paint;

/// Pauses each pipeline, in order; the first refusal ends it.
pub(crate) fn pause(args: &PipelinesArgs, client: &Client, output: Output) -> Result<(), Failure> {
    each(args, client, output, "pause", |name| format!("{name} is paused: `tidemill resume {name}` lets it go on"))
}

/// Resumes each pipeline.
pub(crate) fn resume(args: &PipelinesArgs, client: &Client, output: Output) -> Result<(), Failure> {
    each(args, client, output, "resume", |name| format!("{name} goes on where it stopped"))
}

fn each(
    args: &PipelinesArgs,
    client: &Client,
    output: Output,
    action: &str,
    told: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    for name in &args.pipelines {
        let path = format!("/v1/pipelines/{}/{action}", encoded(name));
        let status = client.ask(Method::POST, &path, &[], SendBody::none())?.expect_success()?;
        output.result(&status, || told(name))?;
    }
    Ok(())
}

/// Deletes each pipeline, after asking a person whether that is meant.
pub(crate) fn delete(args: &DeleteArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let names = args.pipelines.join(", ");
    sure(args.yes, &format!("delete {names}, with the state of the components? What was written stays."))?;
    for name in &args.pipelines {
        gone(client, output, &format!("/v1/pipelines/{}", encoded(name)), name)?;
    }
    Ok(())
}

/// Deletes what is at `path`, and says so.
pub(crate) fn gone(client: &Client, output: Output, path: &str, what: &str) -> Result<(), Failure> {
    client.ask(Method::DELETE, path, &[], SendBody::none())?.expect_success()?;
    output.result(&json!({"deleted": what}), || format!("deleted {what}"))
}

/// Asks a person; a program must say `--yes`.
pub(crate) fn sure(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::wrong_use(format!("{question} Say --yes where nobody can be asked.")));
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stdin().lock().read_line(&mut line));
    match asked {
        Ok(_) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) => Err(Failure::failed("nothing was done")),
        Err(error) => Err(Failure::failed(format!("cannot ask: {error}"))),
    }
}

/// Begins, shows, promotes or discards a replay.
pub(crate) fn replay(args: &ReplayArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let name = &args.pipeline;
    let path = format!("/v1/pipelines/{}/replay", encoded(name));
    match args.action {
        None if args.from.is_empty() => {
            let status = client.get(&path)?;
            output.result(&status, || super::status::page(&status, Paint::for_stdout()))
        }
        None => {
            let body = json!({"from": places(&args.from)?}).to_string();
            let mut bytes = body.as_bytes();
            let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
            let status = client.ask(Method::POST, &path, &headers, SendBody::from_reader(&mut bytes))?.expect_success()?;
            let run = status.get("run").map(Value::to_string).unwrap_or_default();
            output.result(&status, || {
                format!(
                    "run {run} replays {name} into streams called …@{run}\n  see how it does     tidemill replay {name}\n  let it take over    tidemill replay {name} promote\n  or forget it        tidemill replay {name} discard"
                )
            })
        }
        Some(ReplayAction::Promote) => {
            let answer = client.ask(Method::POST, &format!("{path}/promote"), &[], SendBody::none())?.expect_success()?;
            output.result(&answer, || promoted(name, &answer))
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
fn places(from: &[String]) -> Result<Value, Failure> {
    let by_stream: Vec<(&str, &str)> = from.iter().filter_map(|place| place.split_once('=')).collect();
    match from {
        [one] if by_stream.is_empty() => Ok(place(one)),
        several if by_stream.len() == several.len() => {
            Ok(by_stream.into_iter().map(|(stream, text)| (stream.to_owned(), place(text))).collect())
        }
        _ => Err(Failure::wrong_use("say --from once, or --from STREAM=PLACE for each stream")),
    }
}

fn place(text: &str) -> Value {
    let numbers: Option<Vec<u64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([one]) => json!(one),
        Some(several) => json!(several),
        None => json!(text),
    }
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
    }

    #[test]
    fn a_promotion_says_where_the_rows_are() {
        let answer = json!({"run": 7, "streams": [{"stream": "matches", "from": [12], "history": "matches@7"}]});
        assert_eq!(
            promoted("fraud", &answer),
            "run 7 is fraud's now\n  matches: its rows begin at [12]; what it made of the rows before is in matches@7"
        );
    }
}
