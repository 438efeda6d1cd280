//! What a step of a pipeline holds of one key, as of its last commit: `GET /v1/pipelines/{name}/steps/{step}/state?key=…`.

use axum::Json;
use axum::extract::{Path, State};
use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_engine::{StateOfKey, StateOfKeyError};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::host::Host;
use crate::parameters::parameters;
use crate::pipelines::{blocking, parse, refused};
use crate::problem::{Kind, Problem, ProblemDocument};

/// Which key.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyParameters {
    /// The key: of one column its value, `o-17`; of several an object of them, `{"shop": 3, "user": "ann"}`, which is also how a null is said.
    /// A step with one key for all takes none.
    pub(crate) key: Option<String>,
}

/// What a step holds of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyStateAnswer {
    /// The pipeline.
    pipeline: String,
    /// The step: `steps[0].machine`.
    step: String,
    /// The key's columns.
    #[schema(value_type = Object)]
    key: Value,
    /// The partition, of what the step's stage reads, that the key lies in.
    partition: u32,
    /// How far event time was there.
    watermark: Option<String>,
    /// What is held, in the step's own form; never empty.
    #[schema(value_type = Vec<Object>)]
    state: Vec<Value>,
}

/// What a step holds of a key: the state of its machine, the partial matches of a pattern, the state of a component. As of a commit that is
/// on disk: rows that wait for their time, or that were not taken yet, are not in it.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/steps/{step}/state", tag = "pipelines",
    params(
        ("name" = String, Path, description = "The pipeline"),
        ("step" = String, Path, description = "Its number from 0, its name (`steps[0].machine`), or its word (`machine`) if there is one of it"),
        KeyParameters,
    ),
    responses(
        (status = 200, description = "What it holds", body = KeyStateAnswer),
        (status = 400, description = "No key of the step", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline or step, or nothing is held of the key", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The pipeline is not running", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The step keeps nothing that could be shown", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_key_state(
    State(host): State<Host>,
    caller: Caller,
    Path((name, step)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<KeyStateAnswer>, Problem> {
    let KeyParameters { key } = parameters(&uri, "the parameter is `key`")?;
    let (tenant, name) = (caller.tenant().clone(), parse(&name)?);
    let found = blocking(&host, move |pipelines| pipelines.state_of_key(&tenant, &name, &step, key.as_deref())).await?;
    Ok(Json(found.map_err(problem)?.into()))
}

impl From<StateOfKey> for KeyStateAnswer {
    fn from(held: StateOfKey) -> Self {
        let StateOfKey { pipeline, step, key, partition, watermark, state } = held;
        Self { pipeline, step, key, partition, watermark, state }
    }
}

pub(crate) fn problem(error: StateOfKeyError) -> Problem {
    let detail = error.to_string();
    match error {
        StateOfKeyError::Control(error) => refused(error),
        StateOfKeyError::UnknownStep { .. } => Problem::new(Kind::UnknownStep, detail, "GET …/status lists the steps"),
        StateOfKeyError::Nothing { .. } => Problem::new(
            Kind::UnknownKey,
            detail,
            "no row of the key has come so far, its state is over, or its rows wait for their time: those are not shown",
        ),
        StateOfKeyError::BadKey { .. } => Problem::new(Kind::BadParameter, detail, "a key is read as its columns are in JSON"),
        StateOfKeyError::CannotBeAsked { .. } => {
            let remedy = "all steps with state say what they hold of a key, but windows whose aggregates are components";
            Problem::new(Kind::Invalid, detail, remedy)
        }
    }
}
