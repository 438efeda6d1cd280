//! The OpenAPI document, generated from the handlers. `docs/openapi.json` is its checked-in copy; a test compares them.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::OpenApi;

use crate::problem::{Kind, Problem};
use crate::{
    backup, checkpoints, components, consumers, dead_letters, explain_key, health, ingest, key_state, matches, metrics,
    pipeline_logs, pipelines, problem, read, replays, streams, tables, tokens,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidemill",
        description = "Streams of events in, kept on disk, worked on by components, results out. Every refusal is an RFC 9457 problem document that says what to change.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        health::live,
        health::ready,
        metrics::metrics,
        openapi,
        backup::get_backup,
        streams::list_streams,
        streams::get_stream,
        streams::put_stream,
        streams::delete_stream,
        ingest::post_events,
        read::get_events,
        consumers::list_consumers,
        consumers::get_consumer,
        consumers::commit,
        consumers::delete_consumer,
        components::list_components,
        components::get_component,
        components::put_component,
        components::delete_component,
        pipelines::list_pipelines,
        pipelines::get_pipeline,
        pipelines::put_pipeline,
        pipelines::delete_pipeline,
        pipelines::get_status,
        pipelines::pause_pipeline,
        pipelines::resume_pipeline,
        key_state::get_key_state,
        explain_key::get_key,
        matches::get_match,
        dead_letters::list_dead_letters,
        dead_letters::get_dead_letter,
        dead_letters::replay_dead_letters,
        pipeline_logs::get_logs,
        replays::post_replay,
        replays::get_replay,
        replays::promote_replay,
        replays::compare_replay,
        replays::delete_replay,
        checkpoints::list_checkpoints,
        checkpoints::post_checkpoint,
        checkpoints::delete_checkpoint,
        checkpoints::restore_checkpoint,
        checkpoints::get_snapshot,
        checkpoints::put_snapshot,
        tables::list_tables,
        tables::get_table,
        tables::get_rows,
        tables::put_table,
        tables::delete_table,
        tokens::list_tokens,
        tokens::get_token,
        tokens::post_token,
        tokens::delete_token,
    ),
    components(schemas(problem::ProblemDocument)),
    tags(
        (name = "streams", description = "What events look like, and how they are placed"),
        (name = "events", description = "Events in and out"),
        (name = "components", description = "What users bring: rules and transforms"),
        (name = "pipelines", description = "What is done with events"),
        (name = "tables", description = "What lookups look up"),
        (name = "tokens", description = "Who may do what"),
        (name = "host", description = "The host itself; without a credential"),
    )
)]
struct Document;

/// The document as JSON text, members in the order of their names, with a line feed at its end.
pub(crate) fn document() -> Result<String, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    document.sort_all_objects();
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "host",
    responses((status = 200, description = "OpenAPI", body = serde_json::Value))
)]
pub(crate) async fn openapi() -> Response {
    match document() {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => Problem::new(Kind::Internal, error.to_string(), "report it").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_EXPECT=1` writes the copy anew (`cargo xtask generate` does).
    #[test]
    fn the_checked_in_copy_is_what_the_handlers_say() {
        expect_test::expect_file!["../../../docs/openapi.json"].assert_eq(&document().expect("a document"));
    }
}
