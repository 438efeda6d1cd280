//! A body that is read for as long as its sender's token is valid: an upload may last for days, and whoever's token was revoked must
//! not send on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::auth::Caller;
use crate::host::Host;

/// A body, and what ends it.
pub(super) struct WhileValid<B> {
    body: B,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// A host that stops lets uploads go on to their end: it has a deadline of its own for them.
    stop: CancellationToken,
}

/// Why a body broke off.
pub(super) enum BrokeOff<E> {
    /// The connection failed, or its framing is broken.
    Body(E),
    /// The token was revoked, or has expired.
    Token,
}

impl<B> WhileValid<B> {
    pub(super) fn new(body: B, host: &Host, caller: &Caller) -> Self {
        let ended = Box::pin(caller.ended().child_token().cancelled_owned());
        Self { body, ended, stop: host.stop().clone() }
    }
}

impl<B: Body + Unpin> Body for WhileValid<B> {
    type Data = B::Data;
    type Error = BrokeOff<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        if self.ended.as_mut().poll(context).is_ready() && !self.stop.is_cancelled() {
            return Poll::Ready(Some(Err(BrokeOff::Token)));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(BrokeOff::Body)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<E: fmt::Display> fmt::Display for BrokeOff<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Token => f.write_str("the token was revoked or has expired"),
        }
    }
}
