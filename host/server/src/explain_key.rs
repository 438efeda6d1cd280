//! What all steps of a pipeline hold of a key: `GET /v1/pipelines/{name}/state?key=…`.

use axum::Json;
use axum::extract::{Path, State};
use http::Uri;
use serde::Serialize;
use tidemill_engine::ExplainedKey;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::host::Host;
use crate::key_state::{KeyParameters, KeyStateAnswer, problem};
use crate::parameters::parameters;
use crate::pipelines::{blocking, parse};
use crate::problem::{Problem, ProblemDocument};

/// What the steps of a pipeline hold of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyAnswer {
    /// The pipeline.
    pipeline: String,
    /// Steps that hold something of it, in their order.
    steps: Vec<KeyStateAnswer>,
    /// Steps with state that say nothing of it.
    others: Vec<OtherStep>,
}

/// A step that says nothing of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OtherStep {
    /// The step: `steps[0].machine`.
    step: String,
    /// It holds nothing, has another key, or cannot say.
    why: String,
}

/// What all steps of a pipeline hold of a key: open partial matches, machines, gathered events. Each is as of a commit that is on disk.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/state", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), KeyParameters),
    responses(
        (status = 200, description = "What they hold", body = KeyAnswer),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The pipeline is not running", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_key(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<KeyAnswer>, Problem> {
    let KeyParameters { key } = parameters(&uri, "the parameter is `key`")?;
    let (tenant, name) = (caller.tenant().clone(), parse(&name)?);
    let found = blocking(&host, move |pipelines| pipelines.explain_key(&tenant, &name, key.as_deref())).await?;
    let ExplainedKey { pipeline, steps, others } = found.map_err(problem)?;
    let others = others.into_iter().map(|(step, why)| OtherStep { step, why }).collect();
    Ok(Json(KeyAnswer { pipeline, steps: steps.into_iter().map(Into::into).collect(), others }))
}
