//! Events in: `POST /v1/streams/{stream}/events` (contract §3). Parses the request, lets rows be decoded as they come, and
//! answers when they are on disk.
//!
//! ```text
//! header ─ content ─▶ body ─ pieces (unpack) ─▶ rows ─┬─ small: the stream's shared builder (door) ─┬─▶ journal ─▶ verdict
//!                                                     └─ drive, upload: a decoder of its own ───────┘
//! ```
//! A small body of known length goes into its stream's shared builder, everything else is an [`upload`].

mod content;
mod door;
mod drive;
mod pieces;
mod rejected;
mod retry;
mod rows;
mod small;
mod teller;
mod unpack;
mod upload;
mod valid;
mod verdict;

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request};
use http_body::Body;
use tidemill_log::RequestState;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use self::content::{Ack, Content};
pub(crate) use self::content::{Encoding, encoding};
use self::door::Door;
pub(crate) use self::door::Doors;
pub(crate) use self::pieces::Pieces;
use self::retry::{RequestName, Turn};
use self::upload::Upload;
pub(crate) use self::upload::{append_problem, stream_problem};
use self::valid::WhileValid;
pub(crate) use self::verdict::Accepted;
use self::verdict::Verdict;
use crate::auth::Caller;
use crate::bounds::{OVERLOAD_WAIT, SHARED_BODY_BYTES_MAX};
use crate::host::Host;
use crate::problem::{Problem, ProblemDocument};
use crate::reply::Reply;

/// Take events in.
///
/// A row that does not fit is rejected alone, kept in `{stream}.rejected`, and named in the answer. `application/json` is taken
/// wholly or, if it is no JSON to its end, not at all; in NDJSON and text each line stands alone.
#[utoipa::path(
    post, path = "/v1/streams/{stream}/events", tag = "events",
    params(
        ("stream" = String, Path, description = "A stream of your own; dotted ones are the host's"),
        ("ack" = Option<String>, Query, description = "`disk` (default) answers when the rows are on disk; `memory` before, with `\"durable\": false`: a crash may lose them"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request, for a day or so: another one of that name is answered as the first was, with `\"duplicate\": true`, whatever its body; one that broke off goes on behind the rows that are decided"),
        ("Tidemill-Producer" = Option<String>, Header, description = "Names it too, together with `Tidemill-Sequence`"),
        ("Tidemill-Sequence" = Option<u64>, Header, description = "Which of the producer's requests: they go up, gaps are allowed"),
    ),
    request_body(
        description = "One event or an array of them (at most 32 MiB); one event a line; a table whose first line names the columns, or an Arrow IPC stream; lines of text, which become `{\"line\": …}`; CloudEvents (with `ce-…` header lines, any content type is that of their data). `Content-Encoding` may be gzip or zstd",
        content(
            (serde_json::Value = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (String = "text/plain"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (serde_json::Value = "application/cloudevents+json"),
            (serde_json::Value = "application/cloudevents-batch+json"),
        )
    ),
    responses(
        (status = 200, description = "At least one row is on disk, or there was none", body = Accepted),
        (status = 400, description = "Not JSON to its end (`byte` says where), no header row, not what its encoding says, a wrong name or parameter", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such stream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body stood still, or one that is held whole came too slowly; `accepted` rows stay", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "A number of a producer whose answer is forgotten: whether it was taken is not known (`forgotten_through` says up to which number). Or a retry with another body than the one of which rows are taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "A body of one JSON value over 32 MiB, or a packed one that unpacks to too much; `accepted` rows stay", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "A type or encoding that is not read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Every row was rejected; with `accepted`, `rejected`, `rejected_total`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "No room just now, or stopping; with `Retry-After` and `accepted`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "The host's disk is nearly full: with `Retry-After` and `accepted`; reading goes on", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_events(
    State(host): State<Host>,
    caller: Caller,
    Path(stream): Path<String>,
    request: Request<axum::body::Body>,
) -> Response {
    post(&host, &caller, &stream, request).await.map(Reply::into_body)
}

/// The same for any body: the accept loop calls it before the router.
pub(crate) async fn post<B>(host: &Host, caller: &Caller, stream: &str, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    match take(host, caller, stream, request).await {
        Ok(verdict) => {
            let (accepted, rejected) = verdict.decided_now();
            host.metrics().events(accepted, rejected);
            verdict.answer()
        }
        Err(problem) => problem.into_response().map(Reply::from),
    }
}

async fn take<B>(host: &Host, caller: &Caller, stream: &str, request: Request<B>) -> Result<Verdict, Problem>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    let (head, body) = request.into_parts();
    let Wanted { door, ack, name, content, encoding } = match Wanted::read(host, caller, stream, &head) {
        Ok(wanted) => wanted,
        Err(problem) => {
            pieces::pass_over(&head.headers, body).await;
            return Err(problem);
        }
    };
    let length = body.size_hint().exact();
    let shared = encoding == Encoding::Identity
        && !matches!(content, Content::CloudEventBinary | Content::Arrow)
        && length.is_some_and(|length| length <= SHARED_BODY_BYTES_MAX)
        && name.is_none()
        && !door.stream().definition().schema.infer;
    if shared {
        let body = small::whole(host, Pieces::new(encoding, body)).await?;
        return small::take(host, &door, content, ack, &body).await;
    }
    let pieces = Pieces::new(encoding, WhileValid::new(body, host, caller));
    // In a box: a small request, which waits above, is no larger for it.
    Box::pin(async move {
        let admitted = async {
            let named = match name {
                Some(name) => Some((name.clone(), door.turns().take(&name).await?)),
                None => None,
            };
            let uploads = host.uploads().acquire_owned();
            let busy = |_| Problem::overloaded("too many large requests at once");
            Ok((named, timeout(OVERLOAD_WAIT, uploads).await.map_err(busy)?.map_err(|_| Problem::stopping())?))
        };
        let (named, turn) = match admitted.await {
            Ok(admitted) => admitted,
            Err(problem) => {
                pieces.drain().await;
                return Err(problem);
            }
        };
        // A task of the service, so that it outlives the connection (see `upload`).
        let asked = Asked { content, ack, named, headers: head.headers };
        let task = drive(host.clone(), door, asked, pieces, length.is_some(), turn);
        host.tasks().spawn(task).await.unwrap_or_else(|_| Err(Problem::stopping()))
    })
    .await
}

/// What the head of a request says.
struct Wanted {
    door: Arc<Door>,
    ack: Ack,
    name: Option<RequestName>,
    content: Content,
    encoding: Encoding,
}

impl Wanted {
    fn read(host: &Host, caller: &Caller, stream: &str, head: &Parts) -> Result<Self, Problem> {
        Ok(Self {
            door: host.doors().find(caller.tenant(), stream)?,
            ack: content::query(head.uri.query())?,
            name: retry::name(&head.headers)?,
            content: content::content(&head.headers)?,
            encoding: content::encoding(&head.headers)?,
        })
    }
}

/// What a request asks for, besides its body.
struct Asked {
    content: Content,
    ack: Ack,
    /// Which request it is, and its turn among those of that name.
    named: Option<(RequestName, Turn)>,
    headers: HeaderMap,
}

/// A task of the service: reads the body to its end.
async fn drive<B>(
    host: Host,
    door: Arc<Door>,
    asked: Asked,
    mut pieces: Pieces<B>,
    known_length: bool,
    _turn: OwnedSemaphorePermit,
) -> Result<Verdict, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let arrival = host.clock().now();
    let mut upload = Upload::new(door.clone(), asked.content, arrival).acknowledged(asked.ack);
    let is_named = asked.named.is_some();
    if let Some((name, _)) = &asked.named {
        let seen = match door.log().request(door.stream(), &name.writer, name.sequence) {
            RequestState::New => None,
            RequestState::Seen(seen) => Some(seen),
            RequestState::Forgotten { through } => {
                pieces.drain().await;
                return Err(name.forgotten(through));
            }
        };
        if let Some(answer) = seen.as_ref().and_then(|seen| seen.answer.as_deref())
            && let Some(verdict) = Verdict::remembered(answer)
        {
            pieces.drain().await;
            return Ok(verdict);
        }
        upload = upload.named(name.clone(), seen.as_ref());
    }
    let outcome = match asked.content {
        Content::Arrow => drive::tables(&host, &mut upload, &mut pieces, known_length).await,
        Content::CloudEventBinary => drive::cloud_event(&host, &mut upload, &asked.headers, &mut pieces).await,
        content if content.is_whole() => drive::whole(&host, &mut upload, &mut pieces).await,
        _ => drive::rows(&host, &mut upload, &mut pieces, known_length).await,
    };
    if is_named && outcome.is_err() {
        // Its retry must find on disk what is on its way, or would take it again.
        let _ = upload.settle().await;
    }
    // Others of its name have their turn.
    drop(asked.named);
    match outcome {
        Ok(()) => Ok(std::mem::take(&mut upload.verdict)),
        Err(problem) => {
            let (accepted, rejected) = upload.verdict.decided_now();
            host.metrics().events(accepted, rejected);
            pieces.drain().await;
            Err(upload.verdict.members(problem))
        }
    }
}
