//! What the header of a request with events says: the form of its rows, how they are packed. Refuses what would be taken wrongly
//! later: unknown types and encodings, promises that cannot be kept.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};

use crate::bounds::JSON_BODY_BYTES_MAX;
use crate::problem::{Kind, Problem};

/// The form of a body of events (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// One value or an array: taken wholly at its end, or nothing of it.
    Json,
    /// One value a line: each line stands alone.
    Ndjson,
    /// Each line becomes `{"line": …}`.
    Text,
    /// A header row that names the columns, then records.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A CloudEvent in its JSON form, taken as [`Content::Json`] is.
    CloudEvent,
    /// An array of them.
    CloudEvents,
    /// A CloudEvent whose attributes are header lines and whose data is the body.
    CloudEventBinary,
}

impl Content {
    /// Whether nothing of the body counts before its end is known to be right.
    pub(crate) fn is_whole(self) -> bool {
        match self {
            Self::Json | Self::CloudEvent | Self::CloudEvents | Self::CloudEventBinary => true,
            Self::Ndjson | Self::Text | Self::Csv | Self::Arrow => false,
        }
    }
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

const TAKEN: &str = "send `application/json` (one event or an array), `application/x-ndjson`, `text/csv`, `text/plain`, `application/vnd.apache.arrow.stream`, `application/cloudevents+json` or `application/cloudevents-batch+json`, in UTF-8";

static CLOUD_EVENT_VERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// Reads the header of a request with events.
pub(crate) fn content(headers: &HeaderMap) -> Result<Content, Problem> {
    let refuse = |detail: String| Err(Problem::new(Kind::WrongType, detail, TAKEN));
    // Its content type is that of the event's data.
    if headers.contains_key(&CLOUD_EVENT_VERSION) && !is_structured(headers) {
        return Ok(Content::CloudEventBinary);
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return refuse("the request has no `Content-Type`".to_owned());
    };
    // What nearly every request says, without taking it apart.
    match value.as_bytes() {
        b"application/json" => return whole(headers, Content::Json),
        b"application/x-ndjson" => return Ok(Content::Ndjson),
        b"text/plain" => return Ok(Content::Text),
        _ => {}
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let content = match essence.as_str() {
        "application/json" => Content::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Content::Ndjson,
        "text/plain" => Content::Text,
        "text/csv" | "application/csv" => Content::Csv,
        "application/vnd.apache.arrow.stream" => Content::Arrow,
        "application/cloudevents+json" => Content::CloudEvent,
        "application/cloudevents-batch+json" => Content::CloudEvents,
        _ => return refuse(format!("content type `{text}` is not read")),
    };
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "charset" if !value.eq_ignore_ascii_case("utf-8") && !value.eq_ignore_ascii_case("us-ascii") => {
                return refuse(format!("charset `{value}` is not read"));
            }
            "header" if content == Content::Csv && !value.eq_ignore_ascii_case("present") => {
                return refuse("CSV without a header row is not read: its first line must name the columns".to_owned());
            }
            _ => {}
        }
    }
    if content.is_whole() { whole(headers, content) } else { Ok(content) }
}

/// Whether the body is a CloudEvent in JSON, whatever other lines say of it.
fn is_structured(headers: &HeaderMap) -> bool {
    let begin = b"application/cloudevents";
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..begin.len()))
        .is_some_and(|value| value.eq_ignore_ascii_case(begin))
}

/// A body that is held until its end: one that says it is too large is refused before it comes.
fn whole(headers: &HeaderMap, content: Content) -> Result<Content, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > JSON_BODY_BYTES_MAX) { Err(json_too_large()) } else { Ok(content) }
}

/// A body that is held until its end, over its bound.
pub(crate) fn json_too_large() -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("a body of one JSON value has at most {JSON_BODY_BYTES_MAX} bytes, because it is taken wholly or not at all"),
        "send the events as `application/x-ndjson`, which has no limit",
    )
}

/// How the body of a request with events is packed.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Ok(Encoding::Identity) };
    let text = line.as_bytes();
    match text {
        _ if lines.next().is_some() => {}
        _ if text.eq_ignore_ascii_case(b"identity") => return Ok(Encoding::Identity),
        _ if text.eq_ignore_ascii_case(b"gzip") || text.eq_ignore_ascii_case(b"x-gzip") => return Ok(Encoding::Gzip),
        _ if text.eq_ignore_ascii_case(b"zstd") => return Ok(Encoding::Zstd),
        _ => {}
    }
    let detail = format!("content encoding `{}` is not read", String::from_utf8_lossy(text));
    Err(Problem::new(Kind::WrongType, detail, "pack the body once, with `gzip` or `zstd`, or not at all"))
}

/// When a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ack {
    /// When its rows are on disk.
    #[default]
    Disk,
    /// When they are on their way to the journal: a crash may lose them. Nobody else sees them earlier or later for it.
    Memory,
}

/// Reads the query of a request with events.
pub(crate) fn query(query: Option<&str>) -> Result<Ack, Problem> {
    let mut ack = Ack::Disk;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        return Err(match (name, value) {
            ("ack", "disk") => {
                ack = Ack::Disk;
                continue;
            }
            ("ack", "memory") => {
                ack = Ack::Memory;
                continue;
            }
            ("ack", other) => {
                Problem::new(Kind::BadParameter, format!("`ack={other}` means nothing"), "write `ack=disk` or `ack=memory`")
            }
            (other, _) => Problem::new(Kind::BadParameter, format!("`{other}` is no parameter of this request"), "leave it out"),
        });
    }
    Ok(ack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().expect("a header name");
            headers.append(name, value.parse().expect("a header value"));
        }
        headers
    }

    fn check(lines: &[(&str, &str)]) -> Result<Content, Kind> {
        content(&headers(lines)).map_err(|problem| problem.kind())
    }

    #[test]
    fn content_types() {
        assert_eq!(check(&[("content-type", "application/json")]), Ok(Content::Json));
        assert_eq!(check(&[("content-type", "Application/JSON; charset=\"UTF-8\"")]), Ok(Content::Json));
        assert_eq!(check(&[("content-type", "application/x-ndjson")]), Ok(Content::Ndjson));
        assert_eq!(check(&[("content-type", "text/plain;charset=utf-8")]), Ok(Content::Text));
        assert_eq!(check(&[("content-type", "text/plain; charset=latin1")]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-type", "text/csv; header=present; charset=utf-8")]), Ok(Content::Csv));
        assert_eq!(check(&[("content-type", "text/csv; header=absent")]), Err(Kind::WrongType));
        assert_eq!(check(&[]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-type", "application/json"), ("content-length", "33554433")]), Err(Kind::TooLarge));
        assert_eq!(check(&[("content-type", "text/plain"), ("content-length", "33554433")]), Ok(Content::Text));
    }

    #[test]
    fn cloud_events_come_three_ways() {
        let structured = ("content-type", "application/cloudevents+json; charset=utf-8");
        assert_eq!(check(&[structured]), Ok(Content::CloudEvent));
        assert_eq!(check(&[structured, ("ce-specversion", "1.0")]), Ok(Content::CloudEvent));
        assert_eq!(check(&[("content-type", "application/cloudevents-batch+json")]), Ok(Content::CloudEvents));
        assert_eq!(check(&[("content-type", "image/png"), ("ce-specversion", "1.0")]), Ok(Content::CloudEventBinary));
        assert_eq!(check(&[("ce-specversion", "1.0")]), Ok(Content::CloudEventBinary));
    }

    #[test]
    fn encodings() {
        let check = |lines: &[(&str, &str)]| encoding(&headers(lines)).map_err(|problem| problem.kind());
        assert_eq!(check(&[]), Ok(Encoding::Identity));
        assert_eq!(check(&[("content-encoding", "identity")]), Ok(Encoding::Identity));
        assert_eq!(check(&[("content-encoding", "GZip")]), Ok(Encoding::Gzip));
        assert_eq!(check(&[("content-encoding", "zstd")]), Ok(Encoding::Zstd));
        assert_eq!(check(&[("content-encoding", "br")]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-encoding", "gzip, gzip")]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-encoding", "gzip"), ("content-encoding", "gzip")]), Err(Kind::WrongType));
    }

    #[test]
    fn the_answer_waits_for_the_disk_unless_asked_otherwise() {
        assert_eq!(query(None), Ok(Ack::Disk));
        assert_eq!(query(Some("ack=disk")), Ok(Ack::Disk));
        assert_eq!(query(Some("ack=memory")), Ok(Ack::Memory));
        assert_eq!(query(Some("ack=never")).map_err(|problem| problem.kind()), Err(Kind::BadParameter));
        assert_eq!(query(Some("partition=1")).map_err(|problem| problem.kind()), Err(Kind::BadParameter));
    }
}
