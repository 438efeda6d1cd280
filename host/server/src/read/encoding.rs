//! Answers compressed as they are written: a writer around another form's writer, for clients that ask with `Accept-Encoding`.
//!
//! What a block of rows became is flushed with it, so that a follower gets its rows when they come, not when a buffer is full.

use std::io;
use std::time::Duration;

use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::cursor::Taken;
use super::form::RowWriter;

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

impl Encoding {
    /// What `Accept-Encoding` asks for: zstd rather than gzip, nothing unless one of them is named.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let named = headers.get_all(ACCEPT_ENCODING).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
        let wanted: Vec<String> = named
            .filter_map(|named| {
                let mut parts = named.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                let refused = parts.any(|weight| {
                    let weight = weight.strip_prefix("q=").unwrap_or("1");
                    weight.parse::<f32>().is_ok_and(|weight| weight == 0.0)
                });
                (!refused).then_some(name)
            })
            .collect();
        let is_wanted = |name: &str| wanted.iter().any(|wanted| wanted == name);
        if is_wanted("zstd") {
            Some(Self::Zstd)
        } else if is_wanted("gzip") || is_wanted("x-gzip") {
            Some(Self::Gzip)
        } else {
            None
        }
    }

    /// Its name in `Content-Encoding`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// `inner`, compressed.
    pub(crate) fn around(self, inner: Box<dyn RowWriter>) -> Box<dyn RowWriter> {
        let (plain, buffer) = (Vec::new(), Vec::new());
        match self {
            Self::Gzip => Box::new(Compressed { inner, plain, encoder: GzipEncoder::new(buffer) }),
            Self::Zstd => Box::new(Compressed { inner, plain, encoder: ZstdEncoder::new(buffer) }),
        }
    }
}

/// An encoder that writes into memory.
trait Encoder: AsyncWrite + Unpin + Send {
    /// What it has written so far.
    fn written(&mut self) -> &mut Vec<u8>;
}

impl Encoder for GzipEncoder<Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

impl Encoder for ZstdEncoder<Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

struct Compressed<E> {
    inner: Box<dyn RowWriter>,
    plain: Vec<u8>,
    encoder: E,
}

impl<E: Encoder> Compressed<E> {
    fn compress(&mut self, is_last: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let plain = std::mem::take(&mut self.plain);
        let encoder = &mut self.encoder;
        let compress = async {
            encoder.write_all(&plain).await?;
            if is_last { encoder.shutdown().await } else { encoder.flush().await }
        };
        // Memory always takes what is written, so there is nothing to wait for.
        compress.now_or_never().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
        out.append(self.encoder.written());
        self.plain = plain;
        self.plain.clear();
        Ok(())
    }
}

impl<E: Encoder> RowWriter for Compressed<E> {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.begin(&mut self.plain)?;
        if self.plain.is_empty() { Ok(()) } else { self.compress(false, out) }
    }

    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.rows(taken, &mut self.plain)?;
        self.compress(false, out)
    }

    fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.inner.end(&mut self.plain)?;
        self.compress(true, out)
    }

    fn keep_alive(&self) -> Option<(Duration, &'static [u8])> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, text.parse().expect("a header value"));
            Encoding::accepted(&headers)
        };
        assert_eq!(Encoding::accepted(&HeaderMap::new()), None);
        assert_eq!(check("gzip, deflate, br"), Some(Encoding::Gzip));
        assert_eq!(check("gzip, zstd;q=0.5"), Some(Encoding::Zstd));
        assert_eq!(check("zstd;q=0, GZIP;q=0.1"), Some(Encoding::Gzip));
        assert_eq!(check("identity, *;q=0"), None);
        assert_eq!(check("gzip;q=0.000"), None);
    }
}
