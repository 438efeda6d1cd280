//! Replays of pipelines: begin, look at, promote, discard. What they mean is in `tidemill_engine`'s `replays`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tidemill_engine::{ControlError, Pipelines, ReplayFrom};
use tokio::task::block_in_place;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::said;
use crate::host::Host;
use crate::pipelines::{changed, parse};
use crate::problem::{Kind, Problem, ProblemDocument};

/// Where a replay begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginReplay {
    /// `earliest`, an RFC 3339 time, an offset (or a list of one for each partition), or an object of such by stream; streams that it
    /// leaves out begin where the pipeline once began.
    #[schema(value_type = Object)]
    from: Value,
}

/// Begin a replay: a new run beside the pipeline's own, with its own state, whose output goes to streams of its own (`matches@7`).
///
/// Components of a replay say and measure nothing, and files and standard output get nothing.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/replay", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    request_body = BeginReplay,
    responses(
        (status = 202, description = "It runs: its status", body = Object),
        (status = 400, description = "No place to begin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has a replay already, or the place is not there", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let remedy = "send `{\"from\": \"earliest\"}`, or another place";
    let request: BeginReplay = said(&host, request, remedy).await?;
    let from = ReplayFrom::parse(&request.from).map_err(|detail| Problem::new(Kind::BadParameter, detail, remedy))?;
    let status = changed(&host, &caller, &name, move |pipelines, tenant, name| {
        pipelines.replay(tenant, name, &from)?;
        pipelines.replay_status(tenant, name).ok_or_else(|| ControlError::Unknown(name.clone()))
    });
    Ok((StatusCode::ACCEPTED, Json(json!(status.await?))).into_response())
}

/// How a replay stands.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/replay", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "As the pipeline's own status", body = Object),
        (status = 404, description = "No such pipeline, or it has no replay", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let asked = parse(&name)?;
    let status = block_in_place(|| host.engine().pipelines().replay_status(caller.tenant(), &asked));
    let missing = || {
        let remedy = format!("begin one with POST /v1/pipelines/{asked}/replay");
        Problem::new(Kind::UnknownPipeline, format!("`{asked}` has no replay"), remedy)
    };
    Ok(Json(json!(status.ok_or_else(missing)?)))
}

/// Put the replay in place of the pipeline's run, at one cut of its streams: from there on it writes the pipeline's own targets.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/replay/promote", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "`run` is the pipeline's now; for each stream, `from` is where its rows begin and `history` where those before are", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No replay, too far behind, or one of the two runs does not run", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "They did not come together in time: both go on", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn promote_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let promoted = changed(&host, &caller, &name, Pipelines::promote).await?;
    Ok(Json(json!(promoted)))
}

/// End a replay and forget its state. The streams it wrote stay until they are deleted.
#[utoipa::path(
    delete, path = "/v1/pipelines/{name}/replay", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No replay", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    changed(&host, &caller, &name, Pipelines::discard).await?;
    Ok(StatusCode::NO_CONTENT)
}
