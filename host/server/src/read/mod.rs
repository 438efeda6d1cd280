//! Events out: `GET /v1/streams/{stream}/events` (contract §4). Only rows that are on disk; order only inside a partition.
//!
//! ```text
//! query, Accept ─▶ query, form ─▶ reader ─ cursor ─▶ log        cut: places in all partitions, as text
//!                                   └─ form's writer ─▶ client
//! ```
//! Bytes are made when the client takes them: one read of the log at a time, off the async workers, and nothing is read ahead. A
//! reader that goes away ends with its connection. A WebSocket's subscriptions are readers too ([`crate::websocket`]).

mod cursor;
mod cut;
mod encoding;
mod form;
mod query;
mod reader;

use std::io;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use http::{HeaderMap, StatusCode, Uri};
use tidemill_log::Stream;

pub(crate) use self::cursor::Taken;
pub(crate) use self::cut::Places;
use self::encoding::Encoding;
pub(crate) use self::form::{Form, Lines, RowWriter};
pub(crate) use self::query::{Query, ReadParameters};
pub(crate) use self::reader::Reader;
use crate::accept::Kept;
use crate::auth::{Action, Caller};
use crate::host::Host;
use crate::problem::{Kind, Problem, ProblemDocument};
use crate::streams;
use crate::websocket::{self, Upgrade};

/// Where a reader of server-sent events goes on.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Read events.
///
/// One JSON object a line: the event's fields, then `_partition`, `_offset`, `_time`. As `text/event-stream` each row is an event
/// whose id says what was taken so far in every partition, `0:123,1:99`; the header `Last-Event-ID` resumes there, and is answered
/// with 204 when a reader that does not follow has everything. As `application/vnd.apache.arrow.stream` the rows come as record batches,
/// all of the newest schema, with the columns `_partition`, `_offset` and `_time` at the end. `Accept-Encoding` may ask for `zstd` or `gzip`.
///
/// With `Upgrade: websocket` the connection becomes a WebSocket that sends and subscribes, in frames of one JSON object each:
/// `{"type": "publish", "id": 1, "events": […]}` is answered with `{"type": "ack", "id": 1, "accepted": …}`, `{"type": "subscribe",
/// "id": "a", "from": …, "follow": true, "credit": 1000}` with frames of rows. The book's page on WebSockets has all of them.
#[utoipa::path(
    get, path = "/v1/streams/{stream}/events", tag = "events",
    params(
        ("stream" = String, Path, description = "Any stream, the host's `x.rejected` and `x.dead-letters` too"),
        ReadParameters,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event taken: reading goes on behind it"),
    ),
    responses(
        (status = 200, description = "Rows that are on disk", content(
            (String = "application/x-ndjson"),
            (String = "text/event-stream"),
            (String = "application/vnd.apache.arrow.stream"),
        )),
        (status = 101, description = "A WebSocket"),
        (status = 204, description = "`Last-Event-ID` names the end, and `follow` was not asked for"),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "The role may not read, or a WebSocket from a page of somebody else", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 406, description = "No such form of answer", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "Rows from there on were removed; `trim_point` is the first one kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_events(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    kept: Option<Extension<Kept>>,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let stream = streams::find(&host, &caller, &name)?;
    if websocket::is_asked(&headers) {
        return websocket::upgrade(&host, caller, stream, &headers, upgrade, kept.map(|kept| kept.0));
    }
    caller.may(Action::Read)?;
    let form = Form::accepted(&headers)?;
    let query = Query::parse(uri.query().unwrap_or_default(), &stream)?;
    let resumed = last_event_id(&headers, &query)?;
    let resume = match &resumed {
        Some(places) => places.clone(),
        None => committed(&host, &stream, &query),
    };
    // Browsers would ask for it in every stream of server-sent events, whose comments must come through at once.
    let encoding = Encoding::accepted(&headers).filter(|_| form != Form::EventStream);
    let writer = |places| {
        let plain = form.writer(&stream, places, host.settings().keep_alive);
        match encoding {
            None => plain,
            Some(encoding) => encoding.around(plain),
        }
    };
    let reader = Reader::open(&stream, &query, &resume, form.read_limit(), caller.ended().child_token(), writer)?;
    if resumed.is_some() && reader.is_empty() {
        // A browser connects again after every end but this one.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let mut response = Response::new(body(reader, host.clone(), caller));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    if form == Form::EventStream {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    Ok(response)
}

/// What a reader gives, as a body.
fn body(reader: Reader, host: Host, caller: Caller) -> Body {
    Body::from_stream(stream::unfold(Some((reader, host, caller)), |state| async move {
        let (mut reader, host, caller) = state?;
        // In both cases the body breaks off, so that nobody takes what came for all there is.
        if caller.ended().is_cancelled() && !host.stop().is_cancelled() {
            return Some((Err(io::Error::other("the token was revoked or has expired")), None));
        }
        match reader.next().await {
            Some(Ok(piece)) => Some((Ok(piece.bytes), Some((reader, host, caller)))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    }))
}

/// Where the query's consumer has committed; nowhere without one.
pub(crate) fn committed(host: &Host, stream: &Stream, query: &Query) -> Places {
    let committed = query.consumer.as_ref().and_then(|consumer| host.consumers().find(stream, consumer));
    committed.map_or_else(Places::default, |committed| committed.places)
}

/// The cut that `Last-Event-ID` names.
fn last_event_id(headers: &HeaderMap, query: &Query) -> Result<Option<Places>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or_default()).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let wrong = |why: String| {
        Problem::new(Kind::BadParameter, format!("`Last-Event-ID: {id}`: {why}"), "send an id as it came, with the same query")
    };
    let places = Places::parse(id).map_err(wrong)?;
    match places.0.keys().find(|partition| !query.partitions.contains(partition)) {
        Some(other) => Err(wrong(format!("partition {} is not read here", other.0))),
        None => Ok(Some(places)),
    }
}
