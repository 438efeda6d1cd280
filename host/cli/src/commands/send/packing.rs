//! Bodies packed for the way: worth its time over a network, and none on one machine.

use std::borrow::Cow;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use clap::ValueEnum;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Smaller bodies go as they are.
const PACKED_FROM_BYTES: usize = 1 << 10;

/// How bodies are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packing {
    /// Fast, and small.
    Zstd,
    /// What everything in between understands.
    Gzip,
    /// As they are.
    None,
}

impl Packing {
    /// zstd, unless the host is on this machine.
    pub(super) fn for_host(url: &str) -> Self {
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let is_near = ["localhost", "127.", "[::1]"].iter().any(|near| host.starts_with(near));
        if is_near { Self::None } else { Self::Zstd }
    }

    /// The body as it goes, and its `Content-Encoding` if it is packed.
    pub(super) fn pack(self, body: &[u8]) -> io::Result<(Cow<'_, [u8]>, Option<&'static str>)> {
        if self == Self::None || body.len() < PACKED_FROM_BYTES {
            return Ok((Cow::Borrowed(body), None));
        }
        let (packed, name) = match self {
            Self::Zstd => (read(ZstdEncoder::with_quality(body, Level::Fastest))?, "zstd"),
            Self::Gzip | Self::None => (read(GzipEncoder::with_quality(body, Level::Fastest))?, "gzip"),
        };
        Ok((Cow::Owned(packed), Some(name)))
    }
}

/// Everything that comes out of an encoder over bytes that are there: it never waits.
fn read(encoder: impl AsyncRead) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut encoder = pin!(encoder);
    let poll = pin!(encoder.read_to_end(&mut packed)).poll(&mut Context::from_waker(Waker::noop()));
    match poll {
        Poll::Ready(read) => read.map(|_| packed),
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_packed_where_it_helps() {
        assert_eq!(Packing::for_host("http://127.0.0.1:8642"), Packing::None);
        assert_eq!(Packing::for_host("http://localhost:8642/x"), Packing::None);
        assert_eq!(Packing::for_host("http://[::1]:8642"), Packing::None);
        assert_eq!(Packing::for_host("http://tidemill.example:8642"), Packing::Zstd);
        let body = b"{\"n\":1}\n".repeat(1_000);
        for (packing, magic, name) in
            [(Packing::Zstd, &[0x28, 0xb5, 0x2f, 0xfd][..], "zstd"), (Packing::Gzip, &[0x1f, 0x8b], "gzip")]
        {
            let (packed, encoding) = packing.pack(&body).expect("packs");
            assert!(packed.starts_with(magic) && packed.len() * 20 < body.len(), "{} bytes", packed.len());
            assert_eq!(encoding, Some(name));
            assert_eq!(packing.pack(b"{}").expect("packs"), (Cow::Borrowed(&b"{}"[..]), None));
        }
    }
}
