//! Pipelines: apply, look at, pause, resume, delete (contract §6). What a text means is the engine's to say.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_engine::{ApplyError, Change, ControlError, Fault, PipelineEntry, Pipelines};
use tidemill_event::{PipelineName, TenantName};
use tokio::task::spawn_blocking;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body::declaration;
use crate::host::Host;
use crate::parameters::parameters;
use crate::problem::{Kind, Problem, ProblemDocument};

/// How to apply.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyParameters {
    /// `true`: check everything, answer with the plan, change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What applying did, or with `dry_run` would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedPipeline {
    /// Its name.
    pipeline: String,
    /// Whether there was none of that name.
    created: bool,
    /// `false`: exactly this was applied already.
    changed: bool,
    /// Whether nothing was changed because only the plan was asked for.
    dry_run: bool,
    /// What is different from what ran before: `change` (added, removed, changed), `place`, `text`, `details`, and for steps with state
    /// `state` (`is`: kept, new or lost, and `why`).
    #[schema(value_type = Vec<Object>)]
    changes: Vec<Change>,
    /// Steps with their columns, components pinned by digest, targets.
    #[schema(value_type = Object)]
    plan: Value,
}

/// Every pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PipelineList {
    /// As applied, by name.
    #[schema(value_type = Vec<Object>)]
    pipelines: Vec<Value>,
}

/// Apply a pipeline: make it, or change it.
#[utoipa::path(
    put, path = "/v1/pipelines/{name}", tag = "pipelines",
    params(("name" = String, Path, description = "The name that the text has too"), ApplyParameters),
    request_body(description = "The pipeline", content((String = "application/yaml"), (serde_json::Value = "application/json"))),
    responses(
        (status = 200, description = "Changed, or `changed: false`; or the plan of a dry run", body = AppliedPipeline),
        (status = 201, description = "Made", body = AppliedPipeline),
        (status = 409, description = "It has a replay", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Larger than 1 MiB", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Neither YAML nor JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Wrong: `faults` names each with `path`, `line`, `error`, `remedy`; nothing was changed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "Stopping, or the log failed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_pipeline(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let name = parse(&name)?;
    let parameters: ApplyParameters = parameters(request.uri(), "the only parameter is `dry_run=true` or `dry_run=false`")?;
    let body = declaration(&host, request, &TYPES).await?;
    let text = std::str::from_utf8(&body).map_err(|error| {
        Problem::new(Kind::BadBody, format!("the pipeline is no UTF-8 at byte {}", error.valid_up_to()), "send UTF-8 text")
    })?;
    let (tenant, text, asked) = (caller.tenant().clone(), text.to_owned(), name.clone());
    // Planning parses SQL and may load components: longer than an async worker should be held.
    let applied = blocking(&host, move |pipelines| pipelines.apply(&tenant, &asked, &text, parameters.dry_run)).await?;
    let applied = applied.map_err(|error| match error {
        ApplyError::Faults { faults } => faulty(&format!(" with pipeline `{name}`"), &faults),
        ApplyError::Conflict(why) => refused(ControlError::Conflict(why)),
        ApplyError::Unavailable(why) => unavailable(why),
    })?;
    let made = applied.created && !parameters.dry_run;
    let answer = AppliedPipeline {
        pipeline: name.as_str().to_owned(),
        created: applied.created,
        changed: applied.changed,
        dry_run: parameters.dry_run,
        changes: applied.changes,
        plan: applied.plan,
    };
    Ok((if made { StatusCode::CREATED } else { StatusCode::OK }, Json(answer)).into_response())
}

/// YAML first: it is what a body without a content type is taken for, and every JSON text is one.
const TYPES: [&str; 5] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/json"];

/// A pipeline as applied.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "As applied, references pinned", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_pipeline(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let asked = parse(&name)?;
    let entry = host.engine().pipelines().get(caller.tenant(), &asked).ok_or_else(|| unknown(&asked))?;
    Ok(Json(entry.document))
}

/// Every pipeline as applied, by name.
#[utoipa::path(
    get, path = "/v1/pipelines", tag = "pipelines",
    responses((status = 200, description = "By name", body = PipelineList))
)]
pub(crate) async fn list_pipelines(State(host): State<Host>, caller: Caller) -> Json<PipelineList> {
    let entries = host.engine().pipelines().list(caller.tenant());
    let document = |PipelineEntry { name, mut document }: PipelineEntry| {
        if let Some(members) = document.as_object_mut() {
            members.entry("pipeline").or_insert_with(|| name.as_str().into());
        }
        document
    };
    Json(PipelineList { pipelines: entries.into_iter().map(document).collect() })
}

/// How a pipeline stands.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/status", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "`state` is running, finished, paused, held or failed; lag, event time, rates, tasks with checkpoints, component steps, targets outside, divergences, the replay", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_status(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    status_after(&host, &caller, &name, |_, _, _| Ok(())).await
}

/// Stop a pipeline's tasks behind a checkpoint.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/pause", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Paused: its status", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Not in this state", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pause_pipeline(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    status_after(&host, &caller, &name, Pipelines::pause).await
}

/// Let a paused, held or failed pipeline go on where it stopped.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/resume", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Goes on: its status", body = Object),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Not in this state", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume_pipeline(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    status_after(&host, &caller, &name, Pipelines::resume).await
}

/// Stop a pipeline and forget it, its replay too. Its target streams and dead letters stay.
#[utoipa::path(
    delete, path = "/v1/pipelines/{name}", tag = "pipelines",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_pipeline(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    changed(&host, &caller, &name, Pipelines::delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Parses the name, changes the caller's pipeline of that name off the async workers, and gives what that gave.
pub(super) async fn changed<T: Send + 'static>(
    host: &Host,
    caller: &Caller,
    name: &str,
    change: impl FnOnce(&Pipelines, &TenantName, &PipelineName) -> Result<T, ControlError> + Send + 'static,
) -> Result<T, Problem> {
    let name = parse(name)?;
    let tenant = caller.tenant().clone();
    blocking(host, move |pipelines| change(pipelines, &tenant, &name)).await?.map_err(refused)
}

/// The same; the answer is the pipeline's status then.
pub(super) async fn status_after(
    host: &Host,
    caller: &Caller,
    name: &str,
    change: impl FnOnce(&Pipelines, &TenantName, &PipelineName) -> Result<(), ControlError> + Send + 'static,
) -> Result<Json<Value>, Problem> {
    let status = changed(host, caller, name, move |pipelines, tenant, name| {
        change(pipelines, tenant, name)?;
        pipelines.status(tenant, name).ok_or_else(|| ControlError::Unknown(name.clone()))
    });
    Ok(Json(json!(status.await?)))
}

/// Calls the engine off the async workers.
pub(super) async fn blocking<T: Send + 'static>(
    host: &Host,
    call: impl FnOnce(&Pipelines) -> T + Send + 'static,
) -> Result<T, Problem> {
    let pipelines = host.engine().pipelines().clone();
    spawn_blocking(move || call(&pipelines)).await.map_err(|error| {
        tracing::error!(%error, "a change of a pipeline ended in a panic");
        Problem::new(Kind::Internal, "the change failed in the middle", "look at the pipeline's status, and report it")
    })
}

pub(super) fn parse(name: &str) -> Result<PipelineName, Problem> {
    name.parse().map_err(|error| Problem::new(Kind::BadParameter, format!("the pipeline's name: {error}"), "choose another name"))
}

pub(super) fn unknown(name: &PipelineName) -> Problem {
    let remedy = format!("apply it with PUT /v1/pipelines/{name}");
    Problem::new(Kind::UnknownPipeline, format!("there is no pipeline `{name}`"), remedy)
}

pub(super) fn refused(error: ControlError) -> Problem {
    match error {
        ControlError::Unknown(name) => unknown(&name),
        ControlError::Faults(faults) => faulty("", &faults),
        ControlError::Conflict(why) => Problem::new(Kind::Conflict, why, "GET …/status says how it stands"),
        ControlError::Unavailable(why) => unavailable(why),
    }
}

/// A text is wrong; `of` says whose.
fn faulty(of: &str, faults: &[Fault]) -> Problem {
    let list: Vec<Value> = faults.iter().map(|fault| json!(fault)).collect();
    let count = faults.len();
    let detail = if count == 1 { "one thing is wrong".to_owned() } else { format!("{count} things are wrong") };
    let detail = format!("{detail}{of}; nothing was changed");
    Problem::new(Kind::Invalid, detail, "correct what `faults` names").with("faults", list)
}

fn unavailable(why: String) -> Problem {
    Problem::new(Kind::Stopping, why, "send it again when /health/ready answers 200")
}
