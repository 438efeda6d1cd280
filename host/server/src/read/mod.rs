//! Events out: `GET /v1/streams/{stream}/events` (contract §4). Only rows that are on disk; order only inside a partition.
//!
//! Lines are made when the client takes them: one read of the log at a time, off the async workers, and nothing is read ahead. A
//! reader that goes away ends with its connection. Without `follow`, partitions come one after the other and end where they
//! ended when the request came; with it, whichever has rows is read next.

mod cursor;
mod query;

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::future::select_all;
use futures_util::stream;
use http::HeaderMap;
use http::Uri;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use tidemill_event::{EventTime, Offset};
use tidemill_log::{Partition, ReadError, Stream, Visibility};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::cursor::Cursor;
pub(crate) use self::query::ReadParameters;
use self::query::{Place, Query};
use crate::host::Host;
use crate::problem::{Kind, Problem, ProblemDocument};
use crate::streams;

/// Read events.
///
/// One JSON object a line: the event's fields, then `_partition`, `_offset`, `_time`.
#[utoipa::path(
    get, path = "/v1/streams/{stream}/events", tag = "events",
    params(("stream" = String, Path, description = "Any stream, the host's `x.rejected` and `x.dead-letters` too"), ReadParameters),
    responses(
        (status = 200, description = "Rows that are on disk", body = String, content_type = "application/x-ndjson"),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 406, description = "No such form of answer yet", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "Rows from there on were removed; `trim_point` is the first one kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_events(
    State(host): State<Host>,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let stream = streams::find(&host, &name)?;
    accepts_ndjson(&headers)?;
    let query = Query::parse(uri.query().unwrap_or_default(), &stream)?;
    let reader = Reader::open(&stream, query, host.stop().clone())?;
    let lines = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Some(Ok(lines)) => Some((Ok(lines), Some(reader))),
            // The body breaks off, so that nobody takes what came for all there is.
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

fn accepts_ndjson(headers: &HeaderMap) -> Result<(), Problem> {
    let mut accepted = headers.get_all(ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')).peekable();
    if accepted.peek().is_none() {
        return Ok(());
    }
    let mut refused = Vec::new();
    for form in accepted {
        let form = form.split(';').next().unwrap_or_default().trim();
        match form {
            "*/*" | "application/*" | "application/x-ndjson" | "application/ndjson" | "application/json" => return Ok(()),
            other => refused.push(other.to_owned()),
        }
    }
    let detail = format!("`{}` is not given by this version", refused.join("`, `"));
    Err(Problem::new(Kind::NotAcceptable, detail, "ask for `application/x-ndjson`, or leave `Accept` out"))
}

/// A request to read, on its way through the partitions.
struct Reader {
    cursors: Vec<Cursor>,
    /// The ends of the followed partitions, in the order of the cursors; empty without `follow`.
    ends: Vec<watch::Receiver<Offset>>,
    /// The cursor that is looked at next.
    turn: usize,
    left: u64,
    stop: CancellationToken,
}

impl Reader {
    fn open(stream: &Stream, query: Query, stop: CancellationToken) -> Result<Self, Problem> {
        let chosen: Vec<&Arc<Partition>> = query.partitions.iter().filter_map(|partition| stream.partition(*partition)).collect();
        // Subscribed before the ends are read: no row can come in between unseen.
        let ends = if query.follow {
            chosen.iter().map(|partition| partition.subscribe(Visibility::Durable)).collect()
        } else {
            Vec::new()
        };
        let cursors = chosen.into_iter().map(|partition| cursor(partition, &query)).collect::<Result<_, _>>()?;
        Ok(Self { cursors, ends, turn: 0, left: query.limit.unwrap_or(u64::MAX), stop })
    }

    /// The next lines; `None` at the end. Dropping the future loses at most what a client that is gone would have got.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            if self.left == 0 {
                return None;
            }
            let Some(turn) = self.next_turn() else {
                if self.ends.is_empty() || !self.wait().await {
                    return None;
                }
                continue;
            };
            let mut cursor = self.cursors.swap_remove(turn);
            let left = self.left;
            let read = move || {
                let mut lines = Vec::new();
                let rows = cursor.read(left, &mut lines);
                (cursor, rows, lines)
            };
            // Reading may wait for the disk, and writing lines takes longer than an async worker should be held.
            let Ok((cursor, rows, lines)) = spawn_blocking(read).await else {
                return Some(Err(io::Error::other("reading failed")));
            };
            let last = self.cursors.len();
            self.cursors.push(cursor);
            self.cursors.swap(turn, last);
            match rows {
                Ok(rows) => self.left -= rows,
                Err(error) => {
                    tracing::warn!(%error, "a reader is cut off");
                    return Some(Err(io::Error::other(error)));
                }
            }
            // A follower goes on to the next partition, so that a busy one does not hide the others.
            if !self.ends.is_empty() {
                self.turn = turn + 1;
            }
            if !lines.is_empty() {
                return Some(Ok(lines.into()));
            }
        }
    }

    /// The next cursor with rows to read, from `turn` on, around once.
    fn next_turn(&self) -> Option<usize> {
        let count = self.cursors.len();
        (0..count).map(|step| (self.turn + step) % count).find(|turn| self.cursors[*turn].has_more())
    }

    /// Waits until any partition has grown; false when the host stops.
    async fn wait(&mut self) -> bool {
        for end in &mut self.ends {
            end.mark_unchanged();
        }
        if self.next_turn().is_some() {
            return true;
        }
        let grown = select_all(self.ends.iter_mut().map(|end| Box::pin(end.changed())));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            (grown, _, _) = grown => grown.is_ok(),
        }
    }
}

/// Where reading a partition begins and ends.
fn cursor(partition: &Arc<Partition>, query: &Query) -> Result<Cursor, Problem> {
    let now = partition.end(Visibility::Durable);
    let since = time(Some(query.from));
    let until = time(query.until);
    let start = match query.from {
        Place::Earliest => partition.trim_point(),
        Place::Latest => now,
        Place::Offset(offset) if offset < partition.trim_point() => {
            let error = ReadError::Trimmed { from: offset, trim_point: partition.trim_point() };
            let remedy = "begin at `trim_point`, or with `from=earliest`";
            return Err(Problem::new(Kind::Trimmed, error.to_string(), remedy).with("trim_point", partition.trim_point().0));
        }
        Place::Offset(offset) => offset,
        Place::Time(time) => partition.seek(time).max(partition.trim_point()),
    };
    let end = match (query.follow, query.until) {
        (true, _) => None,
        (false, Some(Place::Offset(offset))) => Some(offset.min(now)),
        (false, _) => Some(now),
    };
    Ok(Cursor::new(partition.clone(), start, end).between(since, until))
}

fn time(place: Option<Place>) -> Option<EventTime> {
    match place {
        Some(Place::Time(time)) => Some(time),
        Some(Place::Earliest | Place::Latest | Place::Offset(_)) | None => None,
    }
}
