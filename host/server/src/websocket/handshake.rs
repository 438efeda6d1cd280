//! The handshake (RFC 6455 §4.2): what it must say, and the answer after which the connection is a WebSocket.
//!
//! Our own beside the library's frames, because the connection under the socket is still needed when the socket has failed: see
//! `session`.

use axum::body::Body;
use axum::extract::Extension;
use axum::response::Response;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::bounds::{WEBSOCKET_BUFFER_BYTES, WEBSOCKET_MESSAGE_BYTES_MAX, WEBSOCKET_WRITE_BYTES_MAX};
use crate::problem::{Kind, Problem};

/// A socket over the connection that its handshake came by.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What hyper gives along with a request that may change its protocol; most requests have none.
pub(crate) type Upgrade = Option<Extension<OnUpgrade>>;

/// The connection that becomes a socket, and the answer that must go out first.
pub(super) fn accept(headers: &HeaderMap, upgrade: Upgrade) -> Result<(OnUpgrade, Response), Problem> {
    let wrong = |what: &str| {
        let remedy = "send a WebSocket handshake (RFC 6455, version 13) over HTTP/1.1, or leave `Upgrade` out";
        Problem::new(Kind::BadParameter, what, remedy)
    };
    let named = |value: &HeaderValue, name: &str| {
        value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(name)))
    };
    if !headers.get_all(CONNECTION).iter().any(|value| named(value, "upgrade")) {
        return Err(wrong("the handshake has no `Connection: Upgrade`"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(wrong("the handshake is not of version 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| wrong("the handshake has no `Sec-WebSocket-Key`"))?;
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
    let Some(Extension(upgrade)) = upgrade else {
        return Err(wrong("this connection cannot become a WebSocket"));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok((upgrade, response))
}

/// The socket, once the answer is out.
pub(super) async fn open(upgrade: OnUpgrade) -> Result<Socket, hyper::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_write_buffer_size(WEBSOCKET_WRITE_BYTES_MAX);
    let connection = TokioIo::new(upgrade.await?);
    Ok(WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await)
}
