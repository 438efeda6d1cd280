//! The forms rows go out in, chosen by `Accept`, and what writes them.
//!
//! ```text
//! application/x-ndjson   {"n":7,"_partition":0,"_offset":122,"_time":"…"}
//! text/event-stream      id: 0:123,1:99        what was taken so far, in every partition: a whole cut
//!                        data: {"n":7,…}
//! application/vnd.apache.arrow.stream          the columns as they are kept, `_partition`, `_offset`, `_time` behind them
//! ```

use std::io::{self, Write};
use std::time::Duration;

use http::HeaderMap;
use http::header::ACCEPT;
use tidemill_event::arrow_stream::ArrowStream;
use tidemill_event::json::{Place as LinePlace, RowEncoder};
use tidemill_event::{PartitionId, SchemaVersion};
use tidemill_log::{ReadLimit, Stream};

use super::cursor::Taken;
use super::cut::Places;
use crate::bounds::{EVENT_STREAM_RETRY, READ_BYTES, READ_COLUMNS_BYTES, READ_ROWS};
use crate::problem::{Kind, Problem};

/// A form of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object a line.
    Ndjson,
    /// Server-sent events.
    EventStream,
    /// An Arrow IPC stream.
    Arrow,
}

impl Form {
    /// The first form named in `Accept` that is given here; NDJSON if it names none.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let named = headers.get_all(ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
        let mut refused = Vec::new();
        for range in named {
            let mut parts = range.split(';').map(str::trim);
            let form = parts.next().unwrap_or_default().to_ascii_lowercase();
            if parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            match form.as_str() {
                "*/*" | "application/*" | "application/x-ndjson" | "application/ndjson" | "application/json" => {
                    return Ok(Self::Ndjson);
                }
                "text/event-stream" => return Ok(Self::EventStream),
                "application/vnd.apache.arrow.stream" => return Ok(Self::Arrow),
                other => refused.push(other.to_owned()),
            }
        }
        if refused.is_empty() {
            return Ok(Self::Ndjson);
        }
        let detail = format!("`{}` is not given here", refused.join("`, `"));
        let remedy =
            "ask for `application/x-ndjson`, `text/event-stream` or `application/vnd.apache.arrow.stream`, or leave `Accept` out";
        Err(Problem::new(Kind::NotAcceptable, detail, remedy))
    }

    /// The content type of the answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "text/event-stream",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// How much is read at once.
    pub(crate) fn read_limit(self) -> ReadLimit {
        let bytes_max = match self {
            Self::Ndjson | Self::EventStream => READ_BYTES,
            Self::Arrow => READ_COLUMNS_BYTES,
        };
        ReadLimit { rows_max: READ_ROWS, bytes_max }
    }

    /// What writes rows of `stream` in this form for a reader that begins at `places`.
    pub(crate) fn writer(self, stream: &Stream, places: Places, keep_alive: Duration) -> Box<dyn RowWriter> {
        match self {
            Self::Ndjson => Box::new(Lines::default()),
            Self::EventStream => Box::new(Events { lines: Lines::default(), places, keep_alive }),
            // All of it in the schema that is the newest now; what comes later is read as if it had that one.
            Self::Arrow => Box::new(Columns(ArrowStream::new(stream.definition().schema.clone()))),
        }
    }
}

/// Writes rows in one form. Everything it appends to `out` goes to the client.
pub(crate) trait RowWriter: Send {
    /// What comes before the first row.
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// The wanted rows of a block.
    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()>;

    /// What comes behind the last row.
    fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// After how long without rows the client is told that the host is still there, and how; `None` if the form has no such thing.
    fn keep_alive(&self) -> Option<(Duration, &'static [u8])>;
}

/// NDJSON.
#[derive(Default)]
pub(crate) struct Lines {
    encoder: Option<(SchemaVersion, PartitionId, RowEncoder)>,
}

impl Lines {
    fn encoder(&mut self, taken: &Taken) -> &mut RowEncoder {
        let (version, partition) = (taken.block.version, taken.partition);
        let known = self.encoder.take().filter(|known| (known.0, known.1) == (version, partition));
        let make = || (version, partition, RowEncoder::new(&taken.block.schema.schema, Some(LinePlace { partition })));
        &mut self.encoder.insert(known.unwrap_or_else(make)).2
    }
}

impl RowWriter for Lines {
    fn begin(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        // The first line is a row.
        Ok(())
    }

    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.encoder(taken);
        for run in &taken.runs {
            encoder.encode(&taken.block.rows, run.clone(), taken.block.start, out);
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        // The last line is a row.
        Ok(())
    }

    fn keep_alive(&self) -> Option<(Duration, &'static [u8])> {
        None
    }
}

/// Server-sent events, one a row.
struct Events {
    lines: Lines,
    places: Places,
    keep_alive: Duration,
}

impl RowWriter for Events {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(format!("retry: {}\n\n", EVENT_STREAM_RETRY.as_millis()).as_bytes());
        Ok(())
    }

    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()> {
        let encoder = self.lines.encoder(taken);
        for row in taken.runs.iter().cloned().flatten() {
            // Every row has the whole cut: wherever the connection breaks, nothing comes twice and nothing is left out.
            self.places.set(taken.partition, taken.block.start.plus(row + 1));
            write!(out, "id: {}\ndata: ", self.places)?;
            encoder.encode(&taken.block.rows, row..row + 1, taken.block.start, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        // An event is complete with its empty line.
        Ok(())
    }

    fn keep_alive(&self) -> Option<(Duration, &'static [u8])> {
        Some((self.keep_alive, b":\n\n"))
    }
}

/// An Arrow IPC stream.
struct Columns(ArrowStream);

impl RowWriter for Columns {
    fn begin(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        // The schema comes with the first rows, whose columns it describes.
        Ok(())
    }

    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()> {
        let place = (taken.partition, taken.block.start);
        let written = self.0.write(&taken.block.rows, &taken.block.schema.schema, place, &taken.runs, out);
        written.map_err(io::Error::other)
    }

    fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.finish(out).map_err(io::Error::other)
    }

    fn keep_alive(&self) -> Option<(Duration, &'static [u8])> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str) -> Result<Form, Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        Form::accepted(&headers).map_err(|problem| problem.kind())
    }

    #[test]
    fn the_first_form_that_is_given_counts() {
        assert_eq!(Form::accepted(&HeaderMap::new()).map_err(|problem| problem.kind()), Ok(Form::Ndjson));
        assert_eq!(check("text/html, */*;q=0.8"), Ok(Form::Ndjson));
        assert_eq!(check("Text/Event-Stream"), Ok(Form::EventStream));
        assert_eq!(check("text/event-stream, application/json"), Ok(Form::EventStream));
        assert_eq!(check("application/vnd.apache.arrow.stream"), Ok(Form::Arrow));
        assert_eq!(check("text/event-stream;q=0, application/json"), Ok(Form::Ndjson));
        assert_eq!(check("text/html, image/png"), Err(Kind::NotAcceptable));
    }
}
