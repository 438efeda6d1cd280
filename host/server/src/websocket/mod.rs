//! Events in and out over one WebSocket: `GET /v1/streams/{stream}/events` with `Upgrade: websocket`.
//!
//! ```text
//! handshake ─ session ─┬─ publish ───▶ ingest, as a POST with the same events
//!                      └─ subscribe ─▶ read, as a GET with the same query; a frame of rows when the socket takes it
//! ```
//! A browser sends its cookies and its reach into the local network along with a handshake from any page, so a handshake whose
//! `Origin` is not the host itself is refused.

mod frame;
mod session;
mod subscription;

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use http::HeaderMap;
use http::header::{HOST, ORIGIN, UPGRADE};
use tidemill_log::Stream;

use self::session::Session;
use crate::accept::Kept;
use crate::auth::{Action, Caller};
use crate::bounds::{WEBSOCKET_BUFFER_BYTES, WEBSOCKET_MESSAGE_BYTES_MAX, WEBSOCKET_WRITE_BYTES_MAX};
use crate::host::Host;
use crate::problem::{Kind, Problem};

/// A handshake as axum reads it; most requests are none.
pub(crate) type Handshake = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

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
    handshake: Handshake,
    kept: Option<Kept>,
) -> Result<Response, Problem> {
    let handshake = handshake.map_err(|rejection| {
        let remedy = "send a WebSocket handshake (RFC 6455) over HTTP/1.1, or leave `Upgrade` out";
        Problem::new(Kind::BadParameter, rejection.body_text(), remedy)
    })?;
    if caller.may(Action::Read).is_err() {
        caller.may(Action::Send)?;
    }
    same_origin(headers)?;
    let session = Session::new(host.clone(), caller, stream);
    // The service waits for it when it drains.
    let task = host.tasks().token();
    let handshake = handshake
        .read_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .max_message_size(WEBSOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(WEBSOCKET_MESSAGE_BYTES_MAX)
        .max_write_buffer_size(WEBSOCKET_WRITE_BYTES_MAX);
    Ok(handshake.on_upgrade(move |socket| async move {
        session.run(socket).await;
        // Until here the connection counts as one, and as one that is being served.
        drop(kept);
        drop(task);
    }))
}

fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if authority.is_some() && authority == host {
        return Ok(());
    }
    let detail = format!("a page of `{}` may not open a WebSocket here", String::from_utf8_lossy(origin.as_bytes()));
    Err(Problem::new(Kind::Forbidden, detail, "connect from a program, or from a page that this host serves"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_are_refused() {
        let check = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a header value"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().expect("a header value"));
            }
            same_origin(&headers).is_ok()
        };
        assert!(check(None, "127.0.0.1:8642"));
        assert!(check(Some("http://127.0.0.1:8642"), "127.0.0.1:8642"));
        assert!(check(Some("https://tidemill.example"), "tidemill.example"));
        assert!(!check(Some("https://evil.example"), "127.0.0.1:8642"));
        assert!(!check(Some("http://127.0.0.1:9999"), "127.0.0.1:8642"));
        assert!(!check(Some("null"), "127.0.0.1:8642"));
    }
}
