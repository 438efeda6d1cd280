//! How long a connection may keep the host waiting: for a first request, for the rest of a header, for another request, and for
//! what it was sent to be read.
//!
//! ```text
//! connected ──▶ header ──▶ served ──▶ idle ──first byte──▶ header ──▶ …
//!     └ header_read ┘       │         └ idle ┘   └ header_read ┘
//!                           └ write_stall, whenever the socket takes nothing
//! ```
//! hyper's own timer cannot tell a slow header from an idle connection, and starts only when hyper has decided between HTTP/1 and
//! 2: a client that sends nothing, or the first bytes of an HTTP/2 preface, would never make it decide. Here it does not matter
//! which protocol is spoken. (What is idle in HTTP/2 still answers pings: such a connection ends after the first of them.)
//!
//! In HTTP/2 the socket goes on while one answer stands still because its client gives it no window: there each piece of an answer must
//! be asked for in time, from the first one on, and one that is not ends the whole connection. hyper asks when there is window for a
//! byte, and then takes the piece whole, so pieces are small: what waits for window below it is never more than one.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::bounds::HTTP2_PIECE_BYTES;
use crate::reply::Reply;
use crate::settings::Settings;

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

    /// Since when the answer that has stood still longest does.
    fn standing_since(&self) -> Option<Instant> {
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

/// A connection's bytes, as long as it is worth waiting for them.
pub(crate) struct Patience {
    inner: TokioIo<TcpStream>,
    requests: Arc<Requests>,
    /// How many had begun when the deadline was last looked at.
    seen: usize,
    /// Whether bytes of a header have come, or the connection is new.
    in_header: bool,
    due: Option<Instant>,
    /// Rings now and then, to look whether the deadline has passed: a timer set anew for each request would cost more.
    tick: Pin<Box<Sleep>>,
    tick_length: Duration,
    header_read: Duration,
    idle: Duration,
    /// Since when the socket has taken nothing of what is to be written.
    stalled: Option<Instant>,
    write_stall: Duration,
}

impl Patience {
    pub(crate) fn new(stream: TcpStream, settings: &Settings) -> (Self, Arc<Requests>) {
        let (header_read, idle, write_stall) = (settings.header_read, settings.idle, settings.write_stall);
        let requests = Arc::<Requests>::default();
        let tick_length = (header_read.min(idle).min(write_stall) / 8).min(Duration::from_secs(1));
        let patience = Self {
            inner: TokioIo::new(stream),
            requests: requests.clone(),
            seen: 0,
            in_header: true,
            due: Some(Instant::now() + header_read),
            tick: Box::pin(sleep(tick_length)),
            tick_length,
            header_read,
            idle,
            stalled: None,
            write_stall,
        };
        (patience, requests)
    }

    /// Whether a request is being served; forgets the deadline if one has begun since.
    fn is_serving(&mut self) -> bool {
        let ended = self.requests.ended.load(Ordering::Acquire);
        let begun = self.requests.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            self.in_header = false;
            self.due = None;
        }
        begun != ended
    }

    /// Whether the deadline has passed; if not, the task is woken to look again.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let Some(due) = self.due else { return false };
        self.is_past(due, context)
    }

    /// Notes whether the socket took something; fails when it has taken nothing for too long.
    fn written(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if self.is_past(since + self.write_stall, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn is_past(&mut self, due: Instant, context: &mut Context<'_>) -> bool {
        while self.tick.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if now >= due {
                return true;
            }
            self.tick.as_mut().reset(now + self.tick_length);
        }
        false
    }
}

impl Read for Patience {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.is_serving() {
            // Looked at with every tick from the first such answer on: one may begin to stand still while nothing else happens here.
            if self.requests.watches.load(Ordering::Relaxed) {
                let due = self.requests.standing_since().unwrap_or_else(Instant::now) + self.write_stall;
                if self.is_past(due, context) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        // Before the bytes are looked at: a header that comes a byte a second is over in time too.
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if read.is_ready() && !self.in_header {
            self.in_header = true;
            self.due = Some(Instant::now() + self.header_read);
        } else if read.is_pending() && self.due.is_none() {
            self.due = Some(Instant::now() + self.idle);
            if self.is_over(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl Write for Patience {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(written, context)
    }
}
