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
//! be asked for in time, from the first one on, and one that is not ends the whole connection (`answer` says which stands since when).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::answer::Requests;
use crate::settings::Settings;

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
        let (begun, ended) = self.requests.counts();
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
            if self.requests.may_stand() {
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
