//! Dead letters of a pipeline: look at them, and send them through their step again. What that means is the engine's to say.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{Request, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_engine::{DeadLetterChoice, DeadLetterId, DeadLetterQuery, RefusedLetter};
use tidemill_event::EventTime;
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::body::said;
use crate::host::Host;
use crate::parameters::parameters;
use crate::pipelines::changed;
use crate::problem::{Kind, Problem, ProblemDocument};

/// Which dead letters.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterParameters {
    /// Only those with this reason, such as `trap`.
    reason: Option<String>,
    /// Only those of this step, such as `steps[1].rule`.
    step: Option<String>,
    /// Only those of this component.
    component: Option<String>,
    /// Only those of this version of it.
    version: Option<String>,
    /// Only those whose event has this time or a later one (RFC 3339).
    since: Option<String>,
    /// Only those whose event is earlier (RFC 3339).
    until: Option<String>,
    /// Only those that were not replayed.
    #[serde(default)]
    open: bool,
    /// At most that many, the last ones; 100 unless said.
    limit: Option<usize>,
}

/// Dead letters, in the order in which they are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    /// Each with `id`, `replayed`, and the columns of the stream.
    #[schema(value_type = Vec<Object>)]
    dead_letters: Vec<Value>,
}

/// What to replay: `ids`, or a `query`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// Dead letters by id, `partition:offset`.
    ids: Option<Vec<String>>,
    /// Every one that fits.
    query: Option<DeadLetterParameters>,
    /// Those too that were replayed before.
    #[serde(default)]
    force: bool,
}

/// What was replayed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayAnswer {
    /// How many go through their step again.
    replayed: usize,
    /// Which do not, and why.
    refused: Vec<RefusedReplay>,
}

/// A dead letter that is not replayed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedReplay {
    /// `partition:offset`.
    id: String,
    /// Why not.
    why: String,
}

/// The dead letters of a pipeline.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/dead-letters", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), DeadLetterParameters),
    responses(
        (status = 200, description = "Those that fit", body = DeadLetterList),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_dead_letters(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<DeadLetterList>, Problem> {
    let known = "parameters are `reason`, `step`, `component`, `version`, `since`, `until`, `open` and `limit`";
    let query = query(parameters(&uri, known)?)?;
    let dead_letters =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.dead_letters(tenant, name, &query)).await?;
    Ok(Json(DeadLetterList { dead_letters }))
}

/// One dead letter of a pipeline.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/dead-letters/{id}", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("id" = String, Path, description = "`partition:offset`")),
    responses(
        (status = 200, description = "With `id`, `replayed`, and the columns of the stream", body = Object),
        (status = 404, description = "No such pipeline or dead letter", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_dead_letter(
    State(host): State<Host>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let asked = parse_id(&id)?;
    let letter =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.dead_letter(tenant, name, asked)).await?;
    letter.map(Json).ok_or_else(|| {
        Problem::new(Kind::UnknownRoute, format!("`{name}` has no dead letter `{id}`"), "GET …/dead-letters lists what there is")
    })
}

/// Send dead letters through the step they failed in again, and on from there, by the pipeline as it is now. Each once, unless `force` is said.
#[utoipa::path(
    post, path = "/v1/pipelines/{name}/dead-letters/replay", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline")),
    request_body(content = ReplayRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "On their way, and that is on disk; what does not go is named", body = ReplayAnswer),
        (status = 404, description = "No such pipeline", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is not running", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Neither `ids` nor `query`, or both", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn replay_dead_letters(
    State(host): State<Host>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Json<ReplayAnswer>, Problem> {
    let remedy = "send `{\"ids\": [\"0:17\"]}` or `{\"query\": {\"reason\": \"trap\"}}`";
    let wanted: ReplayRequest = said(&host, request, remedy).await?;
    let choice = match (wanted.ids, wanted.query) {
        (Some(ids), None) => DeadLetterChoice::Ids(ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?),
        (None, Some(parameters)) => DeadLetterChoice::Query(query(parameters)?),
        (Some(_), Some(_)) | (None, None) => {
            let remedy = "send one of them: `{\"ids\": [\"0:17\"]}` or `{\"query\": {}}`, which is every one";
            return Err(Problem::new(Kind::Invalid, "there must be either `ids` or `query`", remedy));
        }
    };
    let force = wanted.force;
    let replayed =
        changed(&host, &caller, &name, move |pipelines, tenant, name| pipelines.replay_dead_letters(tenant, name, choice, force))
            .await?;
    let refused = |RefusedLetter { id, why }: RefusedLetter| RefusedReplay { id: id.to_string(), why };
    Ok(Json(ReplayAnswer { replayed: replayed.replayed, refused: replayed.refused.into_iter().map(refused).collect() }))
}

fn query(parameters: DeadLetterParameters) -> Result<DeadLetterQuery, Problem> {
    let DeadLetterParameters { reason, step, component, version, since, until, open, limit } = parameters;
    let time = |name: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => EventTime::parse_rfc3339(&text).map(Some).ok_or_else(|| {
            let detail = format!("`{name}={text}` is no time");
            Problem::new(Kind::BadParameter, detail, "write it as RFC 3339: `2026-11-21T12:00:00Z`")
        }),
    };
    let (since, until) = (time("since", since)?, time("until", until)?);
    Ok(DeadLetterQuery { reason, step, component, version, since, until, open, limit })
}

fn parse_id(text: &str) -> Result<DeadLetterId, Problem> {
    text.parse().map_err(|error| Problem::new(Kind::BadParameter, format!("{error}"), "an id is `partition:offset`: `0:17`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ids_are_read_or_refused() {
        let parameters = |since: &str| DeadLetterParameters { since: Some(since.to_owned()), ..DeadLetterParameters::default() };
        assert_eq!(query(parameters("1970-01-01T00:00:01Z")).expect("a time").since, Some(EventTime(1_000_000)));
        assert!(query(parameters("yesterday")).is_err());
        assert_eq!(parse_id("3:17").expect("an id").to_string(), "3:17");
        for wrong in ["", "3", "3:", ":17", "a:b", "1:2:3", "-1:2"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
