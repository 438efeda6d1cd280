//! The requests of one connection that are being served, and their answers on the way out.
//!
//! ```text
//! begin ─▶ served ─▶ answer ─ a piece, when it is asked for ─▶ … ─▶ dropped: ended
//!                       └ HTTP/2: standing, while a piece waits to be asked for
//! ```
//! `patience` looks here whether the connection may be waited for. hyper asks an answer of HTTP/2 for its next piece when there is window
//! for a byte, and then takes it whole, so pieces are small: what waits for window below it is never more than one.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bounds::HTTP2_PIECE_BYTES;
use crate::reply::Reply;

/// The requests of one connection, counted.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Answers of HTTP/2 that have something to give and were not asked for it yet, and since when.
    standing: Mutex<HashMap<usize, Instant>>,
    /// Whether there ever was one: a connection of HTTP/1 has none, and never looks.
    watches: AtomicBool,
}

impl Requests {
    /// A request's header has come: no deadline until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Served {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        Served { requests: self.clone(), number }
    }

    /// How many have begun, and how many of them are over.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let ended = self.ended.load(Ordering::Acquire);
        (self.begun.load(Ordering::Relaxed), ended)
    }

    /// Whether there is, or was, an answer that may stand still by itself.
    pub(crate) fn may_stand(&self) -> bool {
        self.watches.load(Ordering::Relaxed)
    }

    /// Since when the answer that has stood still longest does.
    pub(crate) fn standing_since(&self) -> Option<Instant> {
        self.standing.lock().values().min().copied()
    }

    /// An answer has something to give from now on.
    fn stand(&self, number: usize) {
        self.standing.lock().insert(number, Instant::now());
    }

    /// An answer has nothing to give for now.
    fn go(&self, number: usize) {
        self.standing.lock().remove(&number);
    }
}

/// A request being served: dropped when its answer is written, or nobody wants it any more.
#[derive(Debug)]
pub(crate) struct Served {
    requests: Arc<Requests>,
    number: usize,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.requests.ended.fetch_add(1, Ordering::Release);
    }
}

/// An answer's body, which keeps its request counted as being served.
pub(crate) struct Answer {
    body: Reply,
    /// What it gave and nobody asked for yet; empty unless it is watched.
    rest: Bytes,
    served: Served,
    /// Whether its pieces must be asked for in time.
    watched: bool,
}

impl Answer {
    pub(crate) fn new(body: Reply, served: Served, version: Version) -> Self {
        let watched = version == Version::HTTP_2;
        if watched {
            served.requests.stand(served.number);
            served.requests.watches.store(true, Ordering::Relaxed);
        }
        Self { body, rest: Bytes::new(), served, watched }
    }
}

impl Answer {
    /// The first piece of `data`; the rest is kept.
    fn piece_of(&mut self, mut data: Bytes) -> Frame<Bytes> {
        let piece = data.split_to(data.len().min(HTTP2_PIECE_BYTES));
        self.rest = data;
        Frame::data(piece)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.watched {
            self.served.requests.go(self.served.number);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.watched {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        let polled = if self.rest.is_empty() {
            Pin::new(&mut self.body).poll_frame(context).map_ok(|frame| match frame.into_data() {
                Ok(data) => self.piece_of(data),
                Err(trailers) => trailers,
            })
        } else {
            let rest = std::mem::take(&mut self.rest);
            Poll::Ready(Some(Ok(self.piece_of(rest))))
        };
        let Served { requests, number } = &self.served;
        match polled {
            Poll::Ready(Some(Ok(_))) => requests.stand(*number),
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => requests.go(*number),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}
