//! A connection that must bring its first request in time. hyper's own timer starts when it has decided between HTTP/1 and 2, and
//! a client that sends nothing, or the first bytes of an HTTP/2 preface, would never make it decide.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Set by the first request of a connection.
pub(crate) type Opened = Arc<AtomicBool>;

/// The connection's bytes, until the deadline or for as long as it lives.
pub(crate) struct Opening {
    inner: TokioIo<TcpStream>,
    deadline: Option<Pin<Box<Sleep>>>,
    opened: Opened,
}

impl Opening {
    pub(crate) fn new(stream: TcpStream, within: Duration) -> (Self, Opened) {
        let opened = Opened::default();
        let deadline = Some(Box::pin(sleep(within)));
        (Self { inner: TokioIo::new(stream), deadline, opened: opened.clone() }, opened)
    }
}

impl Read for Opening {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.deadline.is_some() && self.opened.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Opening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
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
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}
