//! Whether the host lives, and whether it serves requests.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::host::Host;
use crate::problem::{Problem, ProblemDocument};

/// The process lives.
#[utoipa::path(get, path = "/health/live", tag = "host", responses((status = 200, description = "It lives", body = String)))]
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// Requests are served.
#[utoipa::path(
    get, path = "/health/ready", tag = "host",
    responses(
        (status = 200, description = "Requests are served", body = String),
        (status = 503, description = "The host is stopping", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn ready(State(host): State<Host>) -> Response {
    // The log and the engine are open before the service is made, and requests are served as soon as this can be asked.
    if host.stop().is_cancelled() { Problem::stopping().into_response() } else { "ready\n".into_response() }
}
