//! How a session ends: with a close code its client hears, or without a word because nobody listens.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::handshake::Socket;
use crate::bounds::{DRAIN_WAIT, DRAINED_BYTES_MAX, WEBSOCKET_BUFFER_BYTES, WEBSOCKET_CLOSING, WEBSOCKET_MESSAGE_BYTES_MAX};

/// How a session ends: with a code of RFC 6455 and a text, or without a word because the other side is gone.
pub(super) enum End {
    Close(CloseCode, String),
    Gone,
}

/// Says why, and waits a moment for the other side's answer.
pub(super) async fn close(mut socket: Socket, code: CloseCode, reason: String) {
    let closing = async {
        let frame = CloseFrame { code, reason: reason.into() };
        socket.send(Message::Close(Some(frame))).await.ok()?;
        while let Some(Ok(_)) = socket.next().await {}
        Some(())
    };
    // Whoever does not answer is cut off.
    let _ = timeout(WEBSOCKET_CLOSING, closing).await;
    // A message that was refused by its length is still on its way, and the library reads no further. A connection that is closed over
    // bytes nobody has read is reset, and a reset overtakes the frame that says why: so they are read for a moment, and forgotten.
    let connection = socket.get_mut();
    let drained = async {
        let mut piece = vec![0; WEBSOCKET_BUFFER_BYTES];
        let mut bytes = 0;
        while bytes < DRAINED_BYTES_MAX {
            match connection.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes += read,
            }
        }
    };
    let _ = timeout(DRAIN_WAIT, drained).await;
}

/// What a socket that cannot be read any more is told.
pub(super) fn broken(error: tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(_) => {
            End::Close(CloseCode::Size, format!("a message has at most {WEBSOCKET_MESSAGE_BYTES_MAX} bytes"))
        }
        tungstenite::Error::Protocol(error) => End::Close(CloseCode::Protocol, error.to_string()),
        tungstenite::Error::Utf8(_) => End::Close(CloseCode::Invalid, "a text message is UTF-8".to_owned()),
        _ => End::Gone,
    }
}
