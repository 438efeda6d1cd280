//! The forms in which lines of components go out, and the place that a follower of them names when it comes again.
//!
//! ```text
//! application/x-ndjson   {"sequence":17,"level":"warn",…}
//! text/event-stream      id: 9f3a41c2-18              the ring, and the sequence to ask for next
//!                        data: {"sequence":17,…}
//!                        event: gap                   lines that are not there any more
//!                        data: {"missed":12}          at most so many; null: the host was started again
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderMap;
use serde_json::json;
use tidemill_engine::LogLine;

use crate::bounds::EVENT_STREAM_RETRY;
use crate::problem::{Kind, Problem};
use crate::read::Form;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogForm {
    /// One JSON object a line; an empty line says that the host is there.
    Ndjson,
    /// Server-sent events; a comment does.
    EventStream,
}

impl LogForm {
    /// What `Accept` asks for.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        match Form::accepted(headers)? {
            Form::Ndjson => Ok(Self::Ndjson),
            Form::EventStream => Ok(Self::EventStream),
            Form::Arrow => {
                let remedy = "ask for `application/x-ndjson` or `text/event-stream`";
                Err(Problem::new(Kind::NotAcceptable, "lines of components are no columns", remedy))
            }
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "text/event-stream",
        }
    }

    /// What comes before the first line.
    pub(crate) fn begin(self, out: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {}
            Self::EventStream => out.extend_from_slice(format!("retry: {}\n\n", EVENT_STREAM_RETRY.as_millis()).as_bytes()),
        }
    }

    /// Lines of the ring `life`.
    pub(crate) fn lines(self, life: u64, lines: &[Arc<LogLine>], out: &mut Vec<u8>) {
        for line in lines {
            if self == Self::EventStream {
                out.extend_from_slice(format!("id: {}\ndata: ", LogPlace { life, next: line.sequence + 1 }).as_bytes());
            }
            // A line has only texts and numbers: it can be written.
            if serde_json::to_writer(&mut *out, &**line).is_ok() {
                out.extend_from_slice(self.end_of_line());
            }
        }
    }

    /// Where to go on, for somebody who has got no line yet: an event without data is none, and its id counts.
    pub(crate) fn place(self, at: LogPlace, out: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {}
            Self::EventStream => out.extend_from_slice(format!("id: {at}\n\n").as_bytes()),
        }
    }

    /// Lines before `at` are gone: at most `missed` of them that were wanted, or nobody knows how many.
    pub(crate) fn gap(self, at: LogPlace, missed: Option<u64>, out: &mut Vec<u8>) {
        match self {
            // There is no word for it among lines: `sequence` shows it.
            Self::Ndjson => {}
            Self::EventStream => {
                out.extend_from_slice(format!("id: {at}\nevent: gap\ndata: {}\n\n", json!({"missed": missed})).as_bytes());
            }
        }
    }

    /// Says that the host is there.
    pub(crate) fn still_here(self) -> &'static [u8] {
        match self {
            Self::Ndjson => b"\n",
            Self::EventStream => b":\n\n",
        }
    }

    fn end_of_line(self) -> &'static [u8] {
        match self {
            Self::Ndjson => b"\n",
            Self::EventStream => b"\n\n",
        }
    }
}

/// A place among the lines of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// Which ring: a start of the host begins another.
    pub(crate) life: u64,
    /// The sequence to ask for next.
    pub(crate) next: u64,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.life, self.next)
    }
}

impl FromStr for LogPlace {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let place = || {
            let (life, next) = text.split_once('-')?;
            Some(Self { life: u64::from_str_radix(life, 16).ok()?, next: next.parse().ok()? })
        };
        place().ok_or_else(|| {
            let detail = format!("`Last-Event-ID: {text}` is no place among lines");
            Problem::new(Kind::BadParameter, detail, "send an id as it came, or leave it out")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_gaps_are_events_with_a_place_behind_them() {
        let line = LogLine {
            sequence: 17,
            time: "2026-11-21T12:00:00.000000Z".to_owned(),
            level: "warn",
            step: "steps[0].rule".into(),
            component: "r@1.0.0".into(),
            partition: 2,
            message: "odd".to_owned(),
        };
        let written = |form: LogForm| {
            let mut out = Vec::new();
            form.begin(&mut out);
            form.gap(LogPlace { life: 0xab, next: 17 }, Some(3), &mut out);
            form.lines(0xab, &[Arc::new(line.clone())], &mut out);
            String::from_utf8(out).expect("text")
        };
        let json = r#"{"sequence":17,"time":"2026-11-21T12:00:00.000000Z","level":"warn","step":"steps[0].rule","component":"r@1.0.0","partition":2,"message":"odd"}"#;
        assert_eq!(written(LogForm::Ndjson), format!("{json}\n"));
        let retry = EVENT_STREAM_RETRY.as_millis();
        assert_eq!(
            written(LogForm::EventStream),
            format!(
                "retry: {retry}\n\nid: 00000000000000ab-17\nevent: gap\ndata: {{\"missed\":3}}\n\nid: 00000000000000ab-18\ndata: {json}\n\n"
            )
        );
    }

    #[test]
    fn a_place_reads_back() {
        let place = LogPlace { life: u64::MAX, next: 7 };
        assert_eq!(place.to_string().parse::<LogPlace>().ok(), Some(place));
        for wrong in ["", "7", "-7", "xyz-1", "ab-", "0:17"] {
            assert!(wrong.parse::<LogPlace>().is_err(), "{wrong}");
        }
    }
}
