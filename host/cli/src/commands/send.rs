//! `tidemill send`: a file of events into a stream.
//!
//! Lines go in requests small enough to be one entry of the log, taken whole or not at all, so that one the host was too busy for
//! can be sent again without doubling rows. A JSON array goes whole.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::{SendArgs, SendFormat};
use crate::client::{Answer, Client, encoded};
use crate::exit::Failure;
use crate::output::Output;

/// Lines are gathered up to here; then they are a request.
const REQUEST_BYTES: usize = 512 << 10;
/// The host takes no longer line; reading more of one would only grow memory.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How many rejections are shown, over all requests.
const REJECTIONS_SHOWN: usize = 20;
/// How often a request is repeated that the host was too busy for.
const REPEATS_MAX: u32 = 30;
const PAUSE_DEFAULT: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Sends the file; fails if no row of it was taken.
pub(crate) fn run(args: &SendArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let (mut input, size_bytes) = open(&args.file)?;
    let bar = output.bar(size_bytes);
    let mut sender = Sender::new(client, &args.stream, bar.clone());
    let sent = match form(args, &mut input)? {
        Form::Whole(content_type) => sender.whole(&mut input, content_type),
        Form::Table => sender.table(&mut input),
        Form::Lines(content_type) => sender.lines(&mut input, content_type),
    };
    bar.finish_and_clear();
    let totals = sender.totals;
    // What was taken before the host refused or went away is told too: it stays.
    if let Err(mut failure) = sent {
        if totals.accepted > 0 {
            failure.message.push_str(&format!("\n{} rows were taken before", totals.accepted));
        }
        return Err(failure);
    }
    for rejection in &totals.rejections {
        eprintln!("{}", rejection_line(rejection));
    }
    if totals.rejected > totals.rejections.len() as u64 {
        eprintln!("… all of them with reasons: tidemill tail {}.rejected", args.stream);
    }
    let value = json!({
        "stream": args.stream, "accepted": totals.accepted, "rejected_total": totals.rejected, "rejected": totals.rejections,
    });
    output.result(&value, || format!("{} accepted, {} rejected", totals.accepted, totals.rejected))?;
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

/// How a file is sent.
enum Form {
    /// In one request of this content type.
    Whole(&'static str),
    /// Some records at a time, each time behind the header row.
    Table,
    /// Line by line, as this content type.
    Lines(&'static str),
}

fn form(args: &SendArgs, input: &mut impl BufRead) -> Result<Form, Failure> {
    const JSON: Form = Form::Whole("application/json");
    let format = args.text.then_some(SendFormat::Text).or(args.format);
    let extension = args.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let format = format.or(match extension {
        "json" => Some(SendFormat::Json),
        "csv" => Some(SendFormat::Csv),
        "arrow" | "arrows" => Some(SendFormat::Arrow),
        _ => None,
    });
    match format {
        Some(SendFormat::Text) => return Ok(Form::Lines("text/plain")),
        Some(SendFormat::Ndjson) => return Ok(Form::Lines("application/x-ndjson")),
        Some(SendFormat::Json) => return Ok(JSON),
        Some(SendFormat::Csv) => return Ok(Form::Table),
        Some(SendFormat::Arrow) => return Ok(Form::Whole("application/vnd.apache.arrow.stream")),
        Some(SendFormat::Cloudevents) | None => {}
    }
    let begin = input.fill_buf().map_err(|error| Failure::failed(format!("cannot read `{}`: {error}", args.file.display())))?;
    let first = begin.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_array = first == Some(&b'[');
    Ok(match format {
        Some(SendFormat::Cloudevents) if is_array => Form::Whole("application/cloudevents-batch+json"),
        Some(SendFormat::Cloudevents) => Form::Whole("application/cloudevents+json"),
        _ if is_array => JSON,
        _ => Form::Lines("application/x-ndjson"),
    })
}

/// What all requests together came to.
#[derive(Debug, Default)]
struct Totals {
    accepted: u64,
    rejected: u64,
    /// The first ones, with `line` counted from 1 where the file has lines.
    rejections: Vec<Value>,
}

struct Sender<'a> {
    client: &'a Client,
    path: String,
    bar: ProgressBar,
    totals: Totals,
}

impl<'a> Sender<'a> {
    fn new(client: &'a Client, stream: &str, bar: ProgressBar) -> Self {
        let path = format!("/v1/streams/{}/events", encoded(stream));
        Self { client, path, bar, totals: Totals::default() }
    }

    fn whole(&mut self, input: &mut impl Read, content_type: &str) -> Result<(), Failure> {
        let mut body = Vec::new();
        input.read_to_end(&mut body).map_err(|error| Failure::failed(format!("cannot read: {error}")))?;
        self.request(&body, content_type, &|_| None)
    }

    fn table(&mut self, input: &mut impl BufRead) -> Result<(), Failure> {
        let unreadable = |error| Failure::failed(format!("cannot read: {error}"));
        let mut header = Vec::new();
        let mut line = 1 + record(input, &mut header).map_err(unreadable)?;
        let mut sent = false;
        loop {
            let mut body = header.clone();
            let mut lines = Vec::new();
            while body.len() < REQUEST_BYTES {
                let begin = body.len();
                let length = record(input, &mut body).map_err(unreadable)?;
                if length == 0 {
                    break;
                }
                // Blank lines are no rows.
                if !body[begin..].trim_ascii().is_empty() {
                    lines.push(line);
                }
                line += length;
            }
            if lines.is_empty() && sent {
                return Ok(());
            }
            let ended = lines.is_empty();
            self.request(&body, "text/csv", &|index| lines.get(usize::try_from(index).ok()?).copied())?;
            sent = true;
            if ended {
                return Ok(());
            }
        }
    }

    fn lines(&mut self, input: &mut impl BufRead, content_type: &str) -> Result<(), Failure> {
        let mut body = Vec::with_capacity(REQUEST_BYTES + (1 << 16));
        let mut first_line = 1_u64;
        loop {
            let ended = fill(input, &mut body).map_err(|error| Failure::failed(format!("cannot read: {error}")))?;
            if !body.is_empty() {
                let lines = &body;
                let skips_blank = content_type != "text/plain";
                self.request(lines, content_type, &|index| Some(first_line + line_of_row(lines, index, skips_blank)))?;
            }
            if ended {
                return Ok(());
            }
            first_line += body.iter().filter(|byte| **byte == b'\n').count() as u64;
            body.clear();
        }
    }

    /// One request, repeated while the host is too busy. `line` finds the line of a row of this request.
    fn request(&mut self, body: &[u8], content_type: &str, line: &dyn Fn(u64) -> Option<u64>) -> Result<(), Failure> {
        let headers = [("content-type", content_type), ("content-length", &body.len().to_string())];
        let mut repeats = 0;
        let answer = loop {
            let answer = self.client.ask(Method::POST, &self.path, &headers, SendBody::from_reader(&mut &*body))?;
            // Rows that were taken already would be doubled.
            let untouched = answer.body.get("accepted").and_then(Value::as_u64).unwrap_or(0) == 0;
            let again = matches!(answer.status, 429 | 503) && untouched;
            if !again || repeats == REPEATS_MAX {
                break answer;
            }
            repeats += 1;
            self.bar.set_message("the host is busy, waiting");
            std::thread::sleep(answer.retry_after.unwrap_or(PAUSE_DEFAULT).min(PAUSE_MAX));
            self.bar.set_message("");
        };
        self.bar.inc(body.len() as u64);
        self.count(answer, line)
    }

    fn count(&mut self, answer: Answer, line: &dyn Fn(u64) -> Option<u64>) -> Result<(), Failure> {
        let number = |key: &str| answer.body.get(key).and_then(Value::as_u64);
        self.totals.accepted += number("accepted").unwrap_or(0);
        let rejected = number("rejected_total");
        self.totals.rejected += rejected.unwrap_or(0);
        let listed = answer.body.get("rejected").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for rejection in listed.iter().take(REJECTIONS_SHOWN.saturating_sub(self.totals.rejections.len())) {
            let mut rejection = rejection.clone();
            let line = rejection.get("index").and_then(Value::as_u64).and_then(line);
            if let (Some(line), Some(members)) = (line, rejection.as_object_mut()) {
                members.insert("line".to_owned(), json!(line));
            }
            self.totals.rejections.push(rejection);
        }
        // 422 with rows in it: all of this request was rejected, which other requests may not share.
        if answer.status == 422 && rejected.is_some_and(|rejected| rejected > 0) {
            return Ok(());
        }
        answer.expect_success().map(|_| ())
    }
}

/// Whole lines up to the request's size; true when the input ended.
fn fill(input: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<bool> {
    while body.len() < REQUEST_BYTES {
        let begin = body.len();
        // A byte more than the host takes is enough for it to reject the line; the rest of the line is passed over.
        input.by_ref().take(LINE_BYTES_MAX + 2).read_until(b'\n', body)?;
        if body.len() == begin {
            return Ok(true);
        }
        if body.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
            body.push(b'\n');
        }
    }
    Ok(false)
}

/// Appends one record of a table, with the line ends inside its quotes; how many lines it has, 0 at the input's end.
fn record(input: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<u64> {
    let (mut lines, mut quotes) = (0, 0);
    let begin = body.len();
    loop {
        let from = body.len();
        input.by_ref().take(LINE_BYTES_MAX + 2).read_until(b'\n', body)?;
        if body.len() == from {
            return Ok(lines);
        }
        lines += 1;
        quotes += body[from..].iter().filter(|byte| **byte == b'"').count();
        let is_whole = quotes % 2 == 0;
        // A record the host does not take anyhow is not gathered further than it takes to say so.
        if is_whole || (body.len() - begin) as u64 > LINE_BYTES_MAX {
            if body.last() != Some(&b'\n') {
                input.skip_until(b'\n')?;
                body.push(b'\n');
            }
            return Ok(lines);
        }
    }
}

/// The line, from 0, of the request's row `index`: blank lines are no rows in NDJSON, but are in text.
fn line_of_row(body: &[u8], index: u64, skips_blank: bool) -> u64 {
    let mut rows = 0;
    for (line, text) in body.split(|byte| *byte == b'\n').enumerate() {
        if skips_blank && text.trim_ascii().is_empty() {
            continue;
        }
        if rows == index {
            return line as u64;
        }
        rows += 1;
    }
    index
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
    fn records_end_outside_quotes() {
        let mut input = BufReader::new(&b"a,b\n1,\"x\ny\"\n2,z"[..]);
        let mut next = || {
            let mut body = Vec::new();
            let lines = record(&mut input, &mut body).expect("reads");
            (lines, String::from_utf8(body).expect("UTF-8"))
        };
        assert_eq!(next(), (1, "a,b\n".to_owned()));
        assert_eq!(next(), (2, "1,\"x\ny\"\n".to_owned()));
        assert_eq!(next(), (1, "2,z\n".to_owned()));
        assert_eq!(next(), (0, String::new()));
    }

    #[test]
    fn a_rejected_row_is_named_by_its_line() {
        assert_eq!(line_of_row(b"{}\n\n \nx\n", 1, true), 3);
        assert_eq!(line_of_row(b"a\n\nb\n", 2, false), 2);
        let rejection = json!({"index": 1, "line": 4, "field": "amount", "error": "not a number"});
        assert_eq!(rejection_line(&rejection), "rejected line 4, `amount`: not a number");
    }

    #[test]
    fn lines_are_never_cut_in_two_and_long_ones_do_not_grow_memory() {
        let long = "x".repeat(3 << 20);
        let text = format!("a\n{long}\nb");
        let (mut input, mut body) = (BufReader::new(text.as_bytes()), Vec::new());
        let mut lines = Vec::new();
        loop {
            body.clear();
            let ended = fill(&mut input, &mut body).expect("reads");
            lines.extend(body.split_inclusive(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()));
            if ended {
                break;
            }
        }
        assert_eq!((lines[0].as_slice(), lines[2].as_slice(), lines.len()), (&b"a"[..], &b"b"[..], 3));
        assert_eq!(lines[1].len() as u64, LINE_BYTES_MAX + 2, "long enough to be rejected");
    }
}
