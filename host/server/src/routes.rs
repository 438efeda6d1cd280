//! Which path leads to which handler.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post};
use http::{Method, Uri};

use crate::host::Host;
use crate::problem::{Kind, Problem};
use crate::{
    backup, checkpoints, components, consumers, dead_letters, explain_key, health, ingest, key_state, matches, metrics, openapi,
    pipeline_logs, pipelines, read, replays, streams, tables, tokens,
};

/// Every route. Requests with events come here only if the accept loop did not answer them already.
pub(crate) fn router(host: Host) -> Router {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/openapi.json", get(openapi::openapi))
        .route("/v1/backup", get(backup::get_backup))
        .route("/v1/streams", get(streams::list_streams))
        .route("/v1/streams/{stream}", get(streams::get_stream).put(streams::put_stream).delete(streams::delete_stream))
        .route("/v1/streams/{stream}/events", get(read::get_events).post(ingest::post_events))
        .route("/v1/streams/{stream}/consumers", get(consumers::list_consumers))
        .route("/v1/streams/{stream}/consumers/{consumer}", get(consumers::get_consumer).delete(consumers::delete_consumer))
        .route("/v1/streams/{stream}/consumers/{consumer}/commit", post(consumers::commit))
        .route("/v1/components", get(components::list_components))
        .route(
            "/v1/components/{name}/versions/{version}",
            get(components::get_component).put(components::put_component).delete(components::delete_component),
        )
        .route("/v1/pipelines", get(pipelines::list_pipelines))
        .route(
            "/v1/pipelines/{name}",
            get(pipelines::get_pipeline).put(pipelines::put_pipeline).delete(pipelines::delete_pipeline),
        )
        .route("/v1/pipelines/{name}/status", get(pipelines::get_status))
        .route("/v1/pipelines/{name}/steps/{step}/state", get(key_state::get_key_state))
        .route("/v1/pipelines/{name}/state", get(explain_key::get_key))
        .route("/v1/pipelines/{name}/matches/{id}", get(matches::get_match))
        .route("/v1/pipelines/{name}/dead-letters", get(dead_letters::list_dead_letters))
        .route("/v1/pipelines/{name}/dead-letters/replay", post(dead_letters::replay_dead_letters))
        .route("/v1/pipelines/{name}/dead-letters/{id}", get(dead_letters::get_dead_letter))
        .route("/v1/pipelines/{name}/pause", post(pipelines::pause_pipeline))
        .route("/v1/pipelines/{name}/resume", post(pipelines::resume_pipeline))
        .route("/v1/pipelines/{name}/logs", get(pipeline_logs::get_logs))
        .route("/v1/pipelines/{name}/checkpoints", get(checkpoints::list_checkpoints).post(checkpoints::post_checkpoint))
        .route("/v1/pipelines/{name}/checkpoints/{checkpoint}", delete(checkpoints::delete_checkpoint))
        .route("/v1/pipelines/{name}/checkpoints/{checkpoint}/restore", post(checkpoints::restore_checkpoint))
        .route(
            "/v1/pipelines/{name}/checkpoints/{checkpoint}/snapshot",
            get(checkpoints::get_snapshot).put(checkpoints::put_snapshot),
        )
        .route("/v1/pipelines/{name}/replay", get(replays::get_replay).post(replays::post_replay).delete(replays::delete_replay))
        .route("/v1/pipelines/{name}/replay/promote", post(replays::promote_replay))
        .route("/v1/pipelines/{name}/replay/difference", get(replays::compare_replay))
        .route("/v1/tables", get(tables::list_tables))
        .route("/v1/tables/{table}", get(tables::get_table).put(tables::put_table).delete(tables::delete_table))
        .route("/v1/tables/{table}/rows", get(tables::get_rows))
        .route("/v1/tokens", get(tokens::list_tokens).post(tokens::post_token))
        .route("/v1/tokens/{id}", get(tokens::get_token).delete(tokens::delete_token))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(host.clone(), metrics::time_request))
        // Every handler bounds its body itself.
        .layer(DefaultBodyLimit::disable())
        .with_state(host)
}

async fn unknown(uri: Uri) -> Problem {
    let detail = format!("there is nothing at `{}`", uri.path());
    Problem::new(Kind::UnknownRoute, detail, "GET /v1/openapi.json describes every path")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not take {method}", uri.path());
    Problem::new(Kind::WrongMethod, detail, "GET /v1/openapi.json describes the methods of every path")
}
