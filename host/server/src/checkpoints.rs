//! Named checkpoints of pipelines: take, list, restore, delete, and as files. What they mean is in `tidemill_engine`'s `checkpoints`.

use std::io::{self, Read};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tidemill_engine::{CheckpointName, Pipelines, SnapshotError};
use tidemill_event::{PipelineName, TenantName};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::{content_type, said};
use crate::bounds::SNAPSHOT_PIECES_MAX;
use crate::host::Host;
use crate::pipelines::{changed, parse, refused};
use crate::problem::{Kind, Problem, ProblemDocument};

/// The checkpoint to take.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeCheckpoint {
    /// What it is called, formed as a pipeline's name.
    name: String,
}

fn parse_checkpoint(name: &str) -> Result<CheckpointName, Problem> {
    let wrong = |error| Problem::new(Kind::BadParameter, format!("the checkpoint's name: {error}"), "choose another name");
    name.parse().map_err(wrong)
}

/// The checkpoints of a pipeline, by name.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/checkpoints", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline")),
    responses(
        (status = 200, description = "`checkpoints`: each with `name`, `taken_at`, `plan`, `run`, `keys`, `bytes`, and `from`: per stream the next row of each partition", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_checkpoints(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let checkpoints = changed(&host, &caller, &name, Pipelines::checkpoints).await?;
    Ok(Json(json!({"checkpoints": checkpoints})))
}

/// Take a checkpoint: the state of every step as it is now, kept until it is deleted, with the rows that come behind it.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/checkpoints", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline")),
    request_body = TakeCheckpoint,
    responses(
        (status = 201, description = "It is there", body = Object),
        (status = 400, description = "No name", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "There is one of that name, or there are too many", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "A task could not save its state", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_checkpoint(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let request: TakeCheckpoint = said(&host, request, "send `{\"name\": \"before-upgrade\"}`").await?;
    let checkpoint = parse_checkpoint(&request.name)?;
    let taken =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.take_checkpoint(tenant, name, &checkpoint));
    Ok((StatusCode::CREATED, Json(json!(taken.await?))).into_response())
}

/// Forget a checkpoint. Runs that began with it go on.
#[utoipa::path(
    delete, path = "/v1/pipelines/{name}/checkpoints/{checkpoint}", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("checkpoint" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No such checkpoint", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_checkpoint(
    State(host): State<Host>,
    caller: Caller,
    Path((name, checkpoint)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let checkpoint = parse_checkpoint(&checkpoint)?;
    changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.delete_checkpoint(tenant, name, &checkpoint)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin a run with a checkpoint: beside the pipeline's own, with its own output streams, as a replay does. `…/replay/promote` puts it in
/// the pipeline's place.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/checkpoints/{checkpoint}/restore", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("checkpoint" = String, Path, description = "Its name")),
    responses(
        (status = 202, description = "It runs: `run`, and `lost`: state of the checkpoint that no step of the plan goes on with", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No such checkpoint, it does not fit the plan (it says why), its rows are gone, or there is a replay", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn restore_checkpoint(
    State(host): State<Host>,
    caller: Caller,
    Path((name, checkpoint)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let checkpoint = parse_checkpoint(&checkpoint)?;
    let restored =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.restore_checkpoint(tenant, name, &checkpoint));
    Ok((StatusCode::ACCEPTED, Json(json!(restored.await?))).into_response())
}

/// A checkpoint as a file (docs/formats/checkpoint-file.md). One that does not end with its last frame is not whole.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/checkpoints/{checkpoint}/snapshot", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("checkpoint" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The file, as long as it takes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No such checkpoint", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_snapshot(
    State(host): State<Host>,
    caller: Caller,
    Path((name, checkpoint)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let checkpoint = parse_checkpoint(&checkpoint)?;
    let file =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.export_checkpoint(tenant, name, &checkpoint));
    let file = file.await?;
    let (sender, receiver) = channel::<io::Result<Bytes>>(SNAPSHOT_PIECES_MAX);
    // It ends by itself when the receiver is gone.
    drop(host.tasks().spawn_blocking(move || {
        for piece in file {
            // An error cuts the connection, so that nobody takes the half for the whole.
            let piece = piece.map(Bytes::from).map_err(io::Error::other);
            if sender.blocking_send(piece).is_err() {
                return;
            }
        }
    }));
    let pieces = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) });
    let mut response = Response::new(Body::from_stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Such a file as a checkpoint of the pipeline. Nothing stays of one that is damaged.
#[utoipa::path(
    put, path = "/v1/pipelines/{name}/checkpoints/{checkpoint}/snapshot", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("checkpoint" = String, Path, description = "Its name")),
    request_body(description = "The file", content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "It is there", body = Object),
        (status = 400, description = "The file is damaged or not whole", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "There is one of that name, or there are too many", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_snapshot(
    State(host): State<Host>,
    caller: Caller,
    Path((name, checkpoint)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    content_type(&request, &["application/octet-stream"])?;
    let (name, checkpoint) = (parse(&name)?, parse_checkpoint(&checkpoint)?);
    let (sender, receiver) = channel::<io::Result<Bytes>>(SNAPSHOT_PIECES_MAX);
    let (tenant, pipelines): (TenantName, Pipelines) = (caller.tenant().clone(), host.engine().pipelines().clone());
    let taking = spawn_blocking(move || take(&pipelines, &tenant, &name, &checkpoint, receiver));
    let mut body = request.into_body();
    loop {
        let piece = match timeout(host.settings().body_idle, body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => Ok(piece),
                Err(_trailers) => continue,
            },
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing of the body came for a while")),
            Ok(None) => break,
        };
        let is_over = piece.is_err();
        // Who took enough of it says why.
        if sender.send(piece).await.is_err() || is_over {
            break;
        }
    }
    drop(sender);
    taking.await.map_err(|error| Problem::new(Kind::Internal, error.to_string(), "report it"))?
}

fn take(
    pipelines: &Pipelines,
    tenant: &TenantName,
    name: &PipelineName,
    checkpoint: &CheckpointName,
    receiver: Receiver<io::Result<Bytes>>,
) -> Result<Response, Problem> {
    let mut body = BodyReader { receiver, piece: Bytes::new() };
    match pipelines.import_checkpoint(tenant, name, checkpoint, &mut body) {
        Ok(taken) => Ok((StatusCode::CREATED, Json(json!(taken))).into_response()),
        Err(SnapshotError::Refused(error)) => Err(refused(error)),
        Err(error @ (SnapshotError::Damaged { .. } | SnapshotError::Read { .. })) => {
            Err(Problem::new(Kind::BadBody, error.to_string(), "send the file again, or another copy of it"))
        }
    }
}

/// A body for a thread that reads.
struct BodyReader {
    receiver: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
