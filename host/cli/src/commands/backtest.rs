//! `tidemill backtest`: what another text of a pipeline would have made of the rows there are, beside what the one that runs made of them.

use std::time::Duration;

use serde_json::Value;
use ureq::SendBody;
use ureq::http::Method;

use crate::args::BacktestArgs;
use crate::client::{Client, encoded};
use crate::commands::replay::{Text, begin, compare, page, places};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::Paint;

/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs the text over history, compares, and forgets the run unless it is to be kept.
pub(crate) fn run(args: &BacktestArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let text = Text::read(&args.file, None)?;
    let path = format!("/v1/pipelines/{}/replay", encoded(&text.name));
    begin(client, &text.name, &places(&args.from)?, Some(&text), true)?;
    let told = finished(client, &path).and_then(|status| Ok((status, compare(client, &text.name, &args.between)?)));
    if !args.keep {
        client.ask(Method::DELETE, &path, &[], SendBody::none())?.expect_success()?;
    }
    let (status, mut compared) = told?;
    for member in ["rows_in", "rows_out", "late", "dead_letters"] {
        compared[member] = status.get(member).cloned().unwrap_or_default();
    }
    output.result(&compared, || {
        let number = |member: &str| compared.get(member).and_then(Value::as_u64).unwrap_or(0);
        let mut head = format!("{}: {} rows in, {} out", text.name, number("rows_in"), number("rows_out"));
        for (member, word) in [("late", "late"), ("dead_letters", "dead letters")] {
            if number(member) > 0 {
                head.push_str(&format!(", {} {word}", number(member)));
            }
        }
        if number("rows_in") == 0 {
            return format!("{head}\nthere are no rows from {} on, so nothing was compared", args.from.join(", "));
        }
        format!("{head}\n{}", page(&compared, Paint::for_stdout()))
    })
}

/// Waits until it has taken every row. Its status.
fn finished(client: &Client, path: &str) -> Result<Value, Failure> {
    loop {
        let status = client.get(path)?;
        match status.get("state").and_then(Value::as_str) {
            Some("running") => std::thread::sleep(LOOK_EVERY),
            Some("finished") => return Ok(status),
            state => {
                let why = status.get("last_error").and_then(Value::as_str).unwrap_or("its status says no more");
                return Err(Failure::failed(format!("the back-test is {}: {why}", state.unwrap_or("nowhere"))));
            }
        }
    }
}
