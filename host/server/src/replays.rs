//! Replays of pipelines: begin, look at, promote, discard. What they mean is in `tidemill_engine`'s `replays`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use tidemill_engine::{BeginReplay, CompareReplay, ControlError, Pipelines, ReplayFrom};
use tidemill_event::EventTime;
use tokio::task::block_in_place;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::body::said;
use crate::host::Host;
use crate::parameters::parameters;
use crate::pipelines::{changed, parse};
use crate::problem::{Kind, Problem, ProblemDocument};

/// Where a replay begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayToBegin {
    /// `earliest`, an RFC 3339 time, an offset (or a list of one for each partition), or an object of such by stream; streams that it
    /// leaves out begin where the pipeline once began.
    #[schema(value_type = Object)]
    from: Value,
    /// What it runs: another text than the pipeline's, YAML or JSON, to be compared with it. The pipeline need not be there.
    pipeline: Option<String>,
    /// `now`: it ends with the rows that are there now, as a back-test does; else it goes on.
    until: Option<Until>,
}

/// Where a replay ends.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Until {
    /// Behind the rows that are there.
    Now,
}

/// Which rows are compared.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Compared {
    /// Rows of this event time and later, RFC 3339; else from where the replay has seen everything.
    since: Option<String>,
    /// Rows before this event time; else how far both have come.
    until: Option<String>,
    /// Rows of each side that are shown, at most 1000.
    limit: Option<usize>,
}

/// Begin a replay: a new run beside the pipeline's own, with its own state, whose output goes to streams of its own (`matches@7`).
///
/// With `pipeline` it is a trial of that text: a shadow beside what runs, or with `until` a back-test over history.
/// Components of a replay say and measure nothing, and files and standard output get nothing.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/replay", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    request_body = ReplayToBegin,
    responses(
        (status = 202, description = "It runs: its status", body = Object),
        (status = 400, description = "No place to begin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It has a replay already, or the place is not there", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`pipeline` is wrong: `faults` says where", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let remedy = "send `{\"from\": \"earliest\"}`, or another place";
    let request: ReplayToBegin = said(&host, request, remedy).await?;
    let from = ReplayFrom::parse(&request.from).map_err(|detail| Problem::new(Kind::BadParameter, detail, remedy))?;
    let asked = BeginReplay { from, text: request.pipeline, ends_now: request.until.is_some() };
    let status = changed(&host, &caller, &name, move |pipelines, tenant, name| {
        pipelines.replay(tenant, name, &asked)?;
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

/// What the replay wrote and the pipeline did not, and the other way round: rows are the same if their time and all columns are.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/replay/difference", tag = "pipelines",
    params(("name" = String, Path, description = "Its name"), Compared),
    responses(
        (status = 200, description = "For each stream: how many rows are the same, only the pipeline's, only the replay's, and the first of them", body = Object),
        (status = 400, description = "No time", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "No replay, or too many rows", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn compare_replay(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let asked: Compared = parameters(&uri, "the parameters are since, until, limit")?;
    let time = |what: &str, text: Option<String>| {
        let wrong = |text: &str| {
            Problem::new(Kind::BadParameter, format!("`{what}`: `{text}` is no time"), "write one such as 2026-01-31T12:00:00Z")
        };
        text.map(|text| EventTime::parse_rfc3339(&text).ok_or_else(|| wrong(&text))).transpose()
    };
    let query = CompareReplay {
        since: time("since", asked.since)?,
        until: time("until", asked.until)?,
        examples: asked.limit.unwrap_or(20),
    };
    let compared = changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.compare_replay(tenant, name, &query));
    Ok(Json(json!(compared.await?)))
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
