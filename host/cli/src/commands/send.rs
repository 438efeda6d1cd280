//! `tidemill send`: a file of events into a stream.
//!
//! ```text
//! file ─ batch: whole rows, 512 KiB ─▶ sender: packed, named, sent until it is answered ─▶ totals
//! ```
//! Every request has a name (a producer for the run, and where in the file its rows begin), so that one without an answer is sent
//! again and nothing is doubled, whatever became of the host meanwhile. A JSON array or an Arrow stream goes whole.

mod batch;
mod form;
mod names;
mod packing;
mod sender;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use self::batch::Batch;
use self::form::{Form, form};
use self::names::Producer;
pub(crate) use self::packing::Packing;
use self::sender::{Sender, Totals};
use crate::args::SendArgs;
use crate::client::Client;
use crate::exit::{Failure, NOT_REACHED};
use crate::output::Output;

/// Sends the file; fails if no row of it was taken.
pub(crate) fn run(args: &SendArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let producer = Producer::new(args.producer.as_deref())?;
    let (mut input, size_bytes) = open(&args.file)?;
    // Whoever is never reached is told at once, and not after as long as a host may be away.
    client.get("/health/live")?;
    let bar = output.bar(size_bytes);
    let packing = args.compress.unwrap_or_else(|| Packing::for_host(client.base()));
    let mut sender = Sender::new(client, &args.stream, &producer, packing, args.retry_for, bar.clone());
    let sent = match form(args, &mut input)? {
        Form::Whole(content_type) => whole(&mut sender, &mut input, content_type),
        Form::Rows(rows, content_type) => batches(&mut sender, &mut input, Batch::new(rows), content_type),
    };
    bar.finish_and_clear();
    let totals = sender.into_totals();
    // What was taken before the host refused or went away is told too: it stays.
    if let Err(mut failure) = sent {
        if totals.accepted > 0 {
            failure.message.push_str(&format!("\n{} rows were taken before", totals.accepted));
        }
        if failure.code == NOT_REACHED {
            let name = producer.name();
            failure.message.push_str(&format!("\nsend the same file with --producer {name} to go on where this ended"));
        }
        return Err(failure);
    }
    told(args, &producer, &totals, output)
}

fn told(args: &SendArgs, producer: &Producer, totals: &Totals, output: Output) -> Result<(), Failure> {
    for rejection in &totals.rejections {
        eprintln!("{}", rejection_line(rejection));
    }
    if totals.rejected > totals.rejections.len() as u64 {
        eprintln!("… all of them with reasons: tidemill tail {}.rejected", args.stream);
    }
    let value = json!({
        "stream": args.stream, "producer": producer.name(), "accepted": totals.accepted, "rejected_total": totals.rejected,
        "rejected": totals.rejections, "taken_before": totals.taken_before,
    });
    output.result(&value, || {
        let mut line = format!("{} accepted, {} rejected", totals.accepted, totals.rejected);
        if totals.taken_before > 0 {
            let before = format!("; {} were taken by an earlier run of producer {}", totals.taken_before, producer.name());
            line.push_str(&before);
        }
        line
    })?;
    if totals.accepted == 0 && totals.rejected > 0 {
        return Err(Failure::refused("every row was rejected", None));
    }
    Ok(())
}

/// A file or standard input.
type Input = BufReader<Box<dyn Read>>;

/// The input, and its size if it has one.
fn open(path: &Path) -> Result<(Input, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((BufReader::with_capacity(64 << 10, Box::new(std::io::stdin())), None));
    }
    let unreadable = |error| Failure::wrong_use(format!("cannot read `{}`: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    Ok((BufReader::with_capacity(64 << 10, Box::new(file)), Some(size_bytes)))
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot read: {error}"))
}

fn whole(sender: &mut Sender<'_>, input: &mut impl Read, content_type: &'static str) -> Result<(), Failure> {
    let mut body = Vec::new();
    input.read_to_end(&mut body).map_err(unreadable)?;
    sender.is_of(&body);
    sender.request(0, &body, content_type, &|_| None).map(|_| ())
}

fn batches(sender: &mut Sender<'_>, input: &mut Input, mut batch: Batch, content_type: &'static str) -> Result<(), Failure> {
    let mut is_first = true;
    loop {
        let ended = batch.fill(input).map_err(unreadable)?;
        // A table without rows goes once: the host says whether its header is one.
        if batch.rows() == 0 && !(is_first && batch.has_header()) {
            if ended {
                return Ok(());
            }
            batch.clear();
            continue;
        }
        if std::mem::take(&mut is_first) {
            sender.is_of(batch.beginning());
        }
        let known = sender.request(batch.at_byte(), batch.body(), content_type, &|row| batch.line(row))?;
        match known {
            None => batch.clear(),
            // An earlier run sent these when the file was shorter: the others are new.
            Some(rows) if (1..=batch.rows() as u64).contains(&rows) => batch.drop_rows(rows as usize),
            Some(rows) => {
                return Err(Failure::wrong_use(format!(
                    "this is not the file that was sent under this name: there, {rows} rows followed byte {}\n  choose another --producer",
                    batch.at_byte()
                )));
            }
        }
        if ended && batch.rows() == 0 {
            return Ok(());
        }
    }
}

fn rejection_line(rejection: &Value) -> String {
    let text = |key: &str| rejection.get(key).and_then(Value::as_str);
    let place = match (rejection.get("line"), rejection.get("index")) {
        (Some(line), _) => format!("line {line}"),
        (None, Some(index)) => format!("row {index}"),
        (None, None) => "a row".to_owned(),
    };
    let field = text("field").map_or_else(String::new, |field| format!(", `{field}`"));
    format!("rejected {place}{field}: {}", text("error").unwrap_or("no reason given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_row_is_named_by_its_line() {
        let rejection = json!({"index": 1, "line": 4, "field": "amount", "error": "not a number"});
        assert_eq!(rejection_line(&rejection), "rejected line 4, `amount`: not a number");
    }
}
