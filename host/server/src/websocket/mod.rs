//! Events in and out over one WebSocket: `GET /v1/streams/{stream}/events` with `Upgrade: websocket`.
//!
//! ```text
//! handshake ─ session ─┬─ publish ───▶ ingest, as a POST with the same events
//!                      └─ subscribe ─▶ read, as a GET with the same query; a frame of rows when the socket takes it
//! ```
//! A browser sends its cookies and its reach into the local network along with a handshake from any page, so a handshake whose
//! `Origin` is not the host itself is refused.

mod closing;
mod frame;
mod handshake;
mod session;
mod subscription;

use std::sync::Arc;

use axum::response::Response;
use http::HeaderMap;
use http::header::UPGRADE;
use tidemill_log::Stream;

pub(crate) use self::handshake::Upgrade;
use self::session::Session;
use crate::accept::Kept;
use crate::auth::{Action, Caller, same_origin};
use crate::host::Host;
use crate::problem::Problem;

/// Whether a request asks for a WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers a handshake; the session goes on by itself until either side closes it or the host stops.
pub(crate) fn upgrade(
    host: &Host,
    caller: Caller,
    stream: Arc<Stream>,
    headers: &HeaderMap,
    upgrade: Upgrade,
    kept: Option<Kept>,
) -> Result<Response, Problem> {
    let (upgrade, response) = handshake::accept(headers, upgrade)?;
    if caller.may(Action::Read).is_err() {
        caller.may(Action::Send)?;
    }
    same_origin(headers)?;
    let session = Session::new(host.clone(), caller, stream);
    // The service waits for it when it drains.
    host.tasks().spawn(async move {
        match handshake::open(upgrade).await {
            Ok(socket) => session.run(socket).await,
            Err(error) => tracing::debug!(%error, "a connection broke off before it was a WebSocket"),
        }
        // Until here the connection counts as one, and as one that is being served.
        drop(kept);
    });
    Ok(response)
}
