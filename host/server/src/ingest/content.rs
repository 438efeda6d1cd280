//! Which form the rows of a request have. Refuses what would be taken wrongly later: unknown types, encodings, promises that
//! this version cannot keep.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

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
}

const TAKEN: &str =
    "send `application/json` (one event or an array), `application/x-ndjson` or `text/plain`, in UTF-8 and not compressed";

/// Reads the header of a request with events.
pub(crate) fn content(headers: &HeaderMap) -> Result<Content, Problem> {
    let refuse = |detail: String| Err(Problem::new(Kind::WrongType, detail, TAKEN));
    for promise in ["idempotency-key", "tidemill-producer", "tidemill-sequence"] {
        if headers.contains_key(promise) {
            return Err(Problem::new(
                Kind::NotSupportedYet,
                format!("`{promise}` asks for retries to be recognised, which this version does not do"),
                "leave the header out, and count on a retry being taken a second time",
            ));
        }
    }
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refuse(format!("content encoding `{}` is not read", String::from_utf8_lossy(encoding.as_bytes())));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return refuse("the request has no `Content-Type`".to_owned());
    };
    // What nearly every request says, without taking it apart.
    match value.as_bytes() {
        b"application/json" => return json(headers),
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
        _ => return refuse(format!("content type `{text}` is not read")),
    };
    for parameter in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("charset")
        {
            let charset = value.trim().trim_matches('"');
            if !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("us-ascii") {
                return refuse(format!("charset `{charset}` is not read"));
            }
        }
    }
    if content == Content::Json { json(headers) } else { Ok(content) }
}

/// A JSON body is held until its end: one that says it is too large is refused before it comes.
fn json(headers: &HeaderMap) -> Result<Content, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > JSON_BODY_BYTES_MAX) { Err(json_too_large()) } else { Ok(Content::Json) }
}

/// An `application/json` body over its bound.
pub(crate) fn json_too_large() -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("an `application/json` body has at most {JSON_BODY_BYTES_MAX} bytes, because it is taken wholly or not at all"),
        "send the events as `application/x-ndjson`, which has no limit",
    )
}

/// Reads the query of a request with events: there is nothing to choose yet.
pub(crate) fn query(query: Option<&str>) -> Result<(), Problem> {
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        return Err(match (name, value) {
            ("ack", "disk") => continue,
            ("ack", "memory") => Problem::new(
                Kind::NotSupportedYet,
                "`ack=memory` is not supported by this version: every answer waits for the disk",
                "leave `ack` out",
            ),
            ("ack", other) => Problem::new(Kind::BadParameter, format!("`ack={other}` means nothing"), "leave `ack` out"),
            (other, _) => Problem::new(Kind::BadParameter, format!("`{other}` is no parameter of this request"), "leave it out"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&str, &str)]) -> Result<Content, Kind> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().expect("a header name");
            headers.insert(name, value.parse().expect("a header value"));
        }
        content(&headers).map_err(|problem| problem.kind())
    }

    #[test]
    fn content_types() {
        assert_eq!(check(&[("content-type", "application/json")]), Ok(Content::Json));
        assert_eq!(check(&[("content-type", "Application/JSON; charset=\"UTF-8\"")]), Ok(Content::Json));
        assert_eq!(check(&[("content-type", "application/x-ndjson")]), Ok(Content::Ndjson));
        assert_eq!(check(&[("content-type", "text/plain;charset=utf-8")]), Ok(Content::Text));
        assert_eq!(check(&[("content-type", "text/plain; charset=latin1")]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-type", "text/csv")]), Err(Kind::WrongType));
        assert_eq!(check(&[]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-type", "application/json"), ("content-encoding", "gzip")]), Err(Kind::WrongType));
        assert_eq!(check(&[("content-type", "application/json"), ("content-encoding", "identity")]), Ok(Content::Json));
        assert_eq!(check(&[("content-type", "application/json"), ("content-length", "33554433")]), Err(Kind::TooLarge));
        assert_eq!(check(&[("content-type", "text/plain"), ("content-length", "33554433")]), Ok(Content::Text));
        assert_eq!(check(&[("content-type", "application/json"), ("idempotency-key", "a")]), Err(Kind::NotSupportedYet));
    }

    #[test]
    fn promises_of_later_versions_are_refused() {
        assert_eq!(query(None), Ok(()));
        assert_eq!(query(Some("ack=disk")), Ok(()));
        assert_eq!(query(Some("ack=memory")).map_err(|problem| problem.kind()), Err(Kind::NotSupportedYet));
        assert_eq!(query(Some("partition=1")).map_err(|problem| problem.kind()), Err(Kind::BadParameter));
    }
}
