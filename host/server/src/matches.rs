//! Why a match was told: `GET /v1/pipelines/{name}/matches/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use tidemill_engine::{ExplainedMatch, MatchId};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::host::Host;
use crate::pipelines::{blocking, parse, refused};
use crate::problem::{Kind, Problem, ProblemDocument};

/// Why a match was told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MatchAnswer {
    match_id: String,
    /// The pipeline.
    pipeline: String,
    /// Only its replay told it, the run of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<u64>,
    /// The step: `steps[1].pattern`.
    step: String,
    /// The key's columns.
    #[schema(value_type = Object)]
    key: Value,
    /// What was looked for, as the pipeline said it then.
    sought: String,
    /// It is a partial match whose time was over.
    timed_out: bool,
    /// The time of its row.
    told: String,
    /// `event`: one let it out; `time`: the clock did.
    told_by: &'static str,
    /// When its first event was.
    match_start: String,
    /// When its last one was.
    match_end: String,
    /// From the first to the last.
    took_ms: i64,
    /// How long it might have taken.
    within_ms: Option<i64>,
    /// What was left of that.
    left_ms: Option<i64>,
    /// What a match of a pattern discards.
    skip: Option<String>,
    /// How many events there are; more than `events` has if those were too long to be kept.
    count: u64,
    /// In their order, each with its `stage` (of a correlation: its `kinds`), `at`, `since_first_ms`, `since_previous_ms`, the `row` as the step saw it,
    /// and where it stands: `stream`, `partition`, `offset`, with the `event` as it is there, or why it is `gone`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
}

/// Why a match was told: its events with their stages and times, as the step saw them, and as their streams have them now. Of steps that say
/// `explain: true`; the id is the column `match_id` of a match's row.
#[utoipa::path(
    get, path = "/v1/pipelines/{name}/matches/{id}", tag = "pipelines",
    params(("name" = String, Path, description = "The pipeline"), ("id" = String, Path, description = "The match's `match_id`")),
    responses(
        (status = 200, description = "Why", body = MatchAnswer),
        (status = 400, description = "No id of a match", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such pipeline or match", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_match(
    State(host): State<Host>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<MatchAnswer>, Problem> {
    let (tenant, pipeline) = (caller.tenant().clone(), parse(&name)?);
    let asked: MatchId = id.parse().map_err(|error: tidemill_engine::MatchIdError| {
        Problem::new(
            Kind::BadParameter,
            error.to_string(),
            "it is the column `match_id` of the match's row, of a step that says `explain: true`",
        )
    })?;
    let found = blocking(&host, move |pipelines| pipelines.explain_match(&tenant, &pipeline, asked)).await?;
    let found = found.map_err(refused)?.ok_or_else(|| {
        let remedy = "retention may have removed it, or its step did not say `explain: true` when it was found";
        Problem::new(Kind::UnknownMatch, format!("nothing is kept of a match `{id}` of `{name}`"), remedy)
    })?;
    Ok(Json(found.into()))
}

impl From<ExplainedMatch> for MatchAnswer {
    fn from(found: ExplainedMatch) -> Self {
        let ExplainedMatch { match_id, pipeline, replay, step, key, sought, timed_out, told, told_by, .. } = found;
        let ExplainedMatch { match_start, match_end, took_ms, within_ms, left_ms, skip, count, events, .. } = found;
        Self {
            match_id,
            pipeline,
            replay,
            step,
            key,
            sought,
            timed_out,
            told,
            told_by,
            match_start,
            match_end,
            took_ms,
            within_ms,
            left_ms,
            skip,
            count,
            events,
        }
    }
}
