//! Events in: `POST /v1/streams/{stream}/events` (contract §3). Parses the request, lets rows be decoded as they come, and
//! answers when they are on disk.
//!
//! A small body of known length goes into its stream's shared builder ([`door`]): one pass over the bytes under a short lock, one
//! answer per group of the journal. Everything else is an [`upload`].

mod content;
mod door;
mod rejected;
mod upload;
mod verdict;

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use tidemill_event::json::{BodySplitter, Line, LineSplitter, RowDecoder, RowFault, SyntaxFault, is_blank};
use tidemill_event::{EventTime, PartitionId};
use tidemill_log::{Append, FrameRows};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::block_in_place;
use tokio::time::timeout;

use self::content::{Content, json_too_large};
use self::door::Door;
pub(crate) use self::door::{Doors, NotKept};
use self::rejected::RejectedRows;
use self::upload::Upload;
pub(crate) use self::upload::{append_problem, stream_problem};
pub(crate) use self::verdict::Accepted;
use self::verdict::Verdict;
use crate::bounds::{JSON_BODY_BYTES_MAX, LINE_BYTES_MAX, OVERLOAD_WAIT, SHARED_BODY_BYTES_MAX};
use crate::host::Host;
use crate::problem::{Kind, Problem, ProblemDocument};

/// Take events in.
///
/// A row that does not fit is rejected alone, kept in `{stream}.rejected`, and named in the answer. `application/json` is taken
/// wholly or, if it is no JSON to its end, not at all; in NDJSON and text each line stands alone.
#[utoipa::path(
    post, path = "/v1/streams/{stream}/events", tag = "events",
    params(("stream" = String, Path, description = "A stream of your own; dotted ones are the host's")),
    request_body(
        description = "One event or an array of them (at most 32 MiB); one event a line; or lines of text, which become `{\"line\": …}`",
        content(
            (serde_json::Value = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/plain"),
        )
    ),
    responses(
        (status = 200, description = "At least one row is on disk, or there was none", body = Accepted),
        (status = 400, description = "Not JSON to its end (`byte` says where), a wrong name or parameter, or a promise of a later version", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body stood still; `accepted` rows stay", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "An `application/json` body over 32 MiB", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "A type or encoding that is not read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Every row was rejected; with `accepted`, `rejected`, `rejected_total`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "No room just now, or stopping; with `Retry-After` and `accepted`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_events(
    State(host): State<Host>,
    Path(stream): Path<String>,
    request: Request<axum::body::Body>,
) -> Response {
    post(&host, &stream, request).await
}

/// The same for any body: the accept loop calls it before the router.
pub(crate) async fn post<B>(host: &Host, stream: &str, request: Request<B>) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    match take(host, stream, request).await {
        Ok(verdict) => {
            host.metrics().events(verdict.accepted(), verdict.rejected());
            verdict.answer()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn take<B>(host: &Host, stream: &str, request: Request<B>) -> Result<Verdict, Problem>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    let door = host.doors().find(host.tenant(), stream)?;
    content::query(request.uri().query())?;
    let content = content::content(request.headers())?;
    let body = request.into_body();
    let declared = !door.stream().definition().schema.infer;
    match body.size_hint().exact() {
        Some(length) if length <= SHARED_BODY_BYTES_MAX && declared => {
            let body = whole(host, body).await?;
            small(host, &door, content, &body).await
        }
        exact => {
            // A task of the service, so that it outlives the connection (see `upload`).
            let uploads = host.uploads().acquire_owned();
            let busy = |_| Problem::overloaded("too many large requests at once");
            let turn = timeout(OVERLOAD_WAIT, uploads).await.map_err(busy)?.map_err(|_| Problem::stopping())?;
            let task = drive(host.clone(), door, content, body, exact.is_some(), turn);
            host.tasks().spawn(task).await.unwrap_or_else(|_| Err(Problem::stopping()))
        }
    }
}

/// A small body, whole.
async fn whole<B>(host: &Host, mut body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut pieces: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(piece) = next(host, &mut body).await? {
        match &mut pieces {
            None if first.is_empty() => first = piece,
            None => pieces = Some([first.as_ref(), piece.as_ref()].concat().as_slice().into()),
            Some(pieces) => pieces.extend_from_slice(&piece),
        }
    }
    Ok(pieces.map_or(first, BytesMut::freeze))
}

/// The next piece of a body; `None` at its end.
async fn next<B>(host: &Host, body: &mut B) -> Result<Option<Bytes>, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    loop {
        // What is there already costs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => Ok(frame),
            None => timeout(host.settings().body_idle, body.frame()).await,
        };
        match frame {
            Err(_) => {
                let idle = host.settings().body_idle.as_secs_f32();
                let detail = format!("nothing of the body came for {idle} s");
                return Err(Problem::new(Kind::BodyTooSlow, detail, "send the body without pauses, or smaller requests"));
            }
            Ok(None) => return Ok(None),
            // Trailers mean nothing here.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => return Ok(Some(piece)),
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => {
                let detail = format!("the body broke off: {error}");
                return Err(Problem::new(Kind::BadBody, detail, "send the request again, with its body whole"));
            }
        }
    }
}

/// The rows of a small body go into the stream's shared builder.
async fn small(host: &Host, door: &Arc<Door>, content: Content, body: &[u8]) -> Result<Verdict, Problem> {
    let arrival = host.clock().now();
    let mut verdict = Verdict::default();
    let mut rejected = RejectedRows::default();
    let single = content == Content::Json && body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if content == Content::Json && !single {
        // Rows in the shared builder cannot be taken back: the syntax must be known to hold before the first one.
        check_syntax(body)?;
    }
    let mut syntax = Ok(());
    let mut good_rows = 0;
    let settled = door.share(body.len() * 2 + 64, |decoder| {
        let mut row = |row: &[u8], decode: fn(&mut RowDecoder, &[u8], EventTime) -> Result<(), RowFault>| {
            let index = verdict.next_row();
            match decode(decoder, row, arrival) {
                Ok(()) => good_rows += 1,
                Err(fault) => {
                    rejected.push(arrival, &fault, row);
                    verdict.reject(index, fault);
                }
            }
        };
        match content {
            Content::Json if single => row(body, RowDecoder::row),
            Content::Json => {
                let mut each = |element: &[u8]| row(element, RowDecoder::row);
                let mut splitter = BodySplitter::new(LINE_BYTES_MAX);
                syntax = splitter.push(body, &mut each);
                if syntax.is_ok() {
                    syntax = splitter.finish(&mut each);
                }
            }
            Content::Ndjson => lines(body, &mut |line| {
                if !is_blank(line) {
                    row(line, RowDecoder::row);
                }
            }),
            Content::Text => lines(body, &mut |line| row(line, RowDecoder::text_line)),
        }
    });
    let settled = settled.map_err(NotKept::problem)?;
    if single && verdict.rejected() > 0 {
        // A fault may hide that what follows it is no JSON.
        check_syntax(body)?;
    }
    debug_assert!(syntax.is_ok(), "the syntax was checked before");
    let rejected = keep(door, &mut rejected);
    if let Some(settled) = settled {
        settled.await.unwrap_or(Err(NotKept::Stopped)).map_err(NotKept::problem)?;
        verdict.accept(good_rows);
    }
    match rejected {
        Ok(None) => {}
        Ok(Some(kept)) => _ = kept.await.map_err(|_| verdict.members(NotKept::Stopped.problem()))?,
        Err(problem) => return Err(verdict.members(problem)),
    }
    Ok(verdict)
}

/// Appends rejected rows to `{stream}.rejected`.
fn keep(door: &Door, rejected: &mut RejectedRows) -> Result<Option<tidemill_log::Pending>, Problem> {
    if rejected.rows() == 0 {
        return Ok(None);
    }
    let rows = rejected.finish(door.stream().id().stream.as_str());
    let stream = block_in_place(|| door.rejected_stream()).map_err(|error| stream_problem(&error))?;
    let frame = FrameRows { version: stream.version(), stream, partition: PartitionId(0), rows };
    let append = Append { frames: vec![frame], atomic: false, requests: Vec::new(), on_durable: None };
    door.log().append(append).map(Some).map_err(|error| append_problem(&error))
}

fn lines(body: &[u8], row: &mut dyn FnMut(&[u8])) {
    // A small body has no line over the bound, and so no line that is too long.
    let mut each = |line: Line<'_>| match line {
        Line::Complete(line) | Line::TooLong { bytes_start: line } => row(line),
    };
    let mut splitter = LineSplitter::new(LINE_BYTES_MAX);
    splitter.push(body, &mut each);
    splitter.finish(&mut each);
}

/// 400 with the byte, unless the body is JSON to its end.
fn check_syntax(body: &[u8]) -> Result<(), Problem> {
    let mut splitter = BodySplitter::new(LINE_BYTES_MAX);
    splitter.push(body, &mut |_| ()).map_err(|fault| not_json(&fault))?;
    splitter.finish(&mut |_| ()).map_err(|fault| not_json(&fault))
}

fn not_json(fault: &SyntaxFault) -> Problem {
    Problem::new(
        Kind::BadBody,
        format!("the body is no JSON at byte {}: {}", fault.byte, fault.error),
        "correct it there; nothing of the body was taken. `application/x-ndjson` takes each line on its own",
    )
    .with("byte", fault.byte)
}

/// Reads a body to its end, decoding and appending as it comes.
async fn drive<B>(
    host: Host,
    door: Arc<Door>,
    content: Content,
    body: B,
    known_length: bool,
    _turn: OwnedSemaphorePermit,
) -> Result<Verdict, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut upload = Upload::new(door, content, host.clock().now());
    let outcome = match content {
        Content::Json => drive_json(&host, &mut upload, body).await,
        Content::Ndjson | Content::Text => drive_lines(&host, &mut upload, body, known_length).await,
    };
    match outcome {
        Ok(()) => Ok(std::mem::take(&mut upload.verdict)),
        Err(problem) => {
            host.metrics().events(upload.verdict.accepted(), upload.verdict.rejected());
            Err(upload.verdict.members(problem))
        }
    }
}

async fn drive_json<B>(host: &Host, upload: &mut Upload, mut body: B) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut splitter = BodySplitter::new(LINE_BYTES_MAX);
    let mut length = 0;
    let mut room: Option<OwnedSemaphorePermit> = None;
    while let Some(piece) = next(host, &mut body).await? {
        length += piece.len() as u64;
        if length > JSON_BODY_BYTES_MAX {
            return Err(json_too_large());
        }
        let more = host
            .json_room()
            .try_acquire_many_owned(piece.len() as u32)
            .map_err(|_| Problem::overloaded("too many large `application/json` bodies at once"))?;
        match &mut room {
            None => room = Some(more),
            Some(room) => room.merge(more),
        }
        splitter.push(&piece, &mut |row| upload.row(row)).map_err(|fault| not_json(&fault))?;
    }
    splitter.finish(&mut |row| upload.row(row)).map_err(|fault| not_json(&fault))?;
    upload.flush().await?;
    upload.settle().await
}

async fn drive_lines<B>(host: &Host, upload: &mut Upload, mut body: B, known_length: bool) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut splitter = LineSplitter::new(LINE_BYTES_MAX);
    let ended = loop {
        // A body that comes in drips is appended as it comes, each time with what came while the last append was syncing.
        let drips = !known_length && upload.has_rows();
        let waiting = upload.is_waiting();
        let piece = tokio::select! {
            biased;
            piece = next(host, &mut body) => piece,
            settled = upload.settle_oldest(), if drips && waiting => {
                settled?;
                continue;
            }
            () = std::future::ready(()), if drips && !waiting => {
                upload.flush().await?;
                continue;
            }
        };
        match piece {
            Ok(Some(piece)) => {
                upload.arrived(host.clock().now());
                splitter.push(&piece, &mut |line| take_line(upload, line));
                upload.submit().await?;
            }
            Ok(None) => {
                splitter.finish(&mut |line| take_line(upload, line));
                break Ok(());
            }
            // The line that broke off is not taken, the complete ones before it are.
            Err(problem) => break Err(problem),
        }
    };
    upload.flush().await?;
    upload.settle().await?;
    ended
}

fn take_line(upload: &mut Upload, line: Line<'_>) {
    match line {
        Line::Complete(line) if upload.content() == Content::Ndjson && is_blank(line) => {}
        Line::Complete(line) => upload.row(line),
        Line::TooLong { bytes_start } => upload.line_too_long(bytes_start),
    }
}
