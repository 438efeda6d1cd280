//! A packed body (gzip, zstd), unpacked as it comes through one buffer. What a bomb could do is bounded here.
//!
//! ```text
//! body ─▶ Packed: counts what came ─▶ decoder, window ≤ 8 MiB ─▶ ≤ 64 KiB ─▶ counts what came out ─▶ pieces
//! ```
//! Four bounds, checked between one buffer and the next: bytes that come, bytes that come out, how many times more these are, and how
//! much may come of which nothing comes out (skippable frames, empty members). Several members or frames one after the other are one body.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::pieces::broke_off;
use crate::bounds::{
    PACKED_BYTES_MAX, PACKED_SILENT_BYTES_MAX, UNPACKED_BYTES_MAX, UNPACKED_FREE_BYTES, UNPACKED_PIECE_BYTES, UNPACKED_RATIO_MAX,
    ZSTD_WINDOW_LOG_MAX,
};
use crate::problem::{Kind, Problem};

/// One packed body.
pub(crate) struct Unpacker<B> {
    decoder: Decoder<B>,
    room: BytesMut,
    unpacked: u64,
}

enum Decoder<B> {
    Gzip(GzipDecoder<Packed<B>>),
    Zstd(ZstdDecoder<Packed<B>>),
}

/// The body as it comes, for a decoder to read.
struct Packed<B> {
    body: B,
    piece: Bytes,
    taken: u64,
    /// Bytes taken since something came out.
    silent: u64,
}

/// Why the body itself failed, on its way through a decoder that knows only I/O errors.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
struct Failed {
    detail: String,
    is_bomb: bool,
}

impl<B> Unpacker<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    pub(crate) fn gzip(body: B) -> Self {
        let mut decoder = GzipDecoder::new(Packed::new(body));
        decoder.multiple_members(true);
        Self::new(Decoder::Gzip(decoder))
    }

    pub(crate) fn zstd(body: B) -> Self {
        let mut decoder = ZstdDecoder::with_params(Packed::new(body), &[DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)]);
        decoder.multiple_members(true);
        Self::new(Decoder::Zstd(decoder))
    }

    fn new(decoder: Decoder<B>) -> Self {
        Self { decoder, room: BytesMut::new(), unpacked: 0 }
    }

    fn packed(&mut self) -> &mut Packed<B> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// The next piece; `None` at the end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        self.room.reserve(UNPACKED_PIECE_BYTES);
        let read = self.decoder.read_buf(&mut self.room).await;
        let bytes = read.map_err(|error| self.problem(&error))? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        self.unpacked += bytes;
        let (unpacked, packed) = (self.unpacked, self.packed());
        packed.silent = 0;
        let taken = packed.taken;
        if unpacked > UNPACKED_FREE_BYTES && unpacked > taken.saturating_mul(UNPACKED_RATIO_MAX) {
            let detail =
                format!("the body unpacks to more than {UNPACKED_RATIO_MAX} times its size ({taken} bytes became {unpacked})");
            return Err(Problem::new(Kind::TooLarge, detail, "pack it less, or send it as it is"));
        }
        if unpacked > UNPACKED_BYTES_MAX {
            let detail = format!("the body unpacks to more than {UNPACKED_BYTES_MAX} bytes");
            return Err(Problem::new(Kind::TooLarge, detail, "send the events in several requests"));
        }
        Ok(Some(self.room.split().freeze()))
    }

    fn problem(&self, error: &io::Error) -> Problem {
        let name = match &self.decoder {
            Decoder::Gzip(_) => "gzip",
            Decoder::Zstd(_) => "zstd",
        };
        if let Some(failed) = error.get_ref().and_then(|inner| inner.downcast_ref::<Failed>()) {
            return match failed.is_bomb {
                true => {
                    Problem::new(Kind::TooLarge, failed.to_string(), "send the events in several requests, packed as they are")
                }
                false => broke_off(failed),
            };
        }
        let text = error.to_string();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let detail = format!("the {name} body ends too early");
            return Problem::new(Kind::BadBody, detail, "send the request again, with its body whole");
        }
        if text.contains("too much memory") {
            let detail = format!("the zstd body needs a window of more than {} MiB", (1u64 << ZSTD_WINDOW_LOG_MAX) >> 20);
            return Problem::new(Kind::TooLarge, detail, "pack it without `--long` and at a level up to 19");
        }
        Problem::new(Kind::BadBody, format!("the body is no {name}: {text}"), "pack it again, or send it as it is")
    }
}

impl<B> Unpacker<B> {
    /// What is left of the body, packed.
    pub(crate) fn into_body(self) -> B {
        match self.decoder {
            Decoder::Gzip(decoder) => decoder.into_inner().body,
            Decoder::Zstd(decoder) => decoder.into_inner().body,
        }
    }
}

impl<B> AsyncRead for Decoder<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(context, buffer),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(context, buffer),
        }
    }
}

impl<B> Packed<B> {
    fn new(body: B) -> Self {
        Self { body, piece: Bytes::new(), taken: 0, silent: 0 }
    }

    fn check(&self) -> Result<(), Failed> {
        let bomb = |detail: String| Err(Failed { detail, is_bomb: true });
        if self.taken > PACKED_BYTES_MAX {
            return bomb(format!("the packed body is larger than {PACKED_BYTES_MAX} bytes"));
        }
        if self.silent > PACKED_SILENT_BYTES_MAX {
            return bomb(format!("{PACKED_SILENT_BYTES_MAX} bytes of the packed body hold nothing"));
        }
        Ok(())
    }
}

impl<B> AsyncRead for Packed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = std::task::ready!(self.as_mut().poll_fill_buf(context))?;
        let bytes = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..bytes]);
        self.consume(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<B> AsyncBufRead for Packed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let packed = self.get_mut();
        while packed.piece.is_empty() {
            packed.check().map_err(io::Error::other)?;
            match std::task::ready!(Pin::new(&mut packed.body).poll_frame(context)) {
                None => break,
                // Trailers mean nothing here.
                Some(Ok(frame)) => packed.piece = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::other(Failed { detail: error.to_string(), is_bomb: false })));
                }
            }
        }
        Poll::Ready(Ok(&packed.piece))
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        self.piece.advance(bytes);
        self.taken += bytes as u64;
        self.silent += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
    use http_body_util::StreamBody;

    use super::*;

    /// A body that comes in chunks of that size.
    fn body(bytes: &[u8], chunk_bytes: usize) -> impl Body<Data = Bytes, Error = io::Error> + Unpin + use<> {
        let frames: Vec<_> =
            bytes.chunks(chunk_bytes).map(|chunk| Ok(http_body::Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    /// What comes out, or the status and detail of the refusal.
    async fn unpack(zstd: bool, packed: &[u8], chunk_bytes: usize) -> Result<Vec<u8>, String> {
        let body = body(packed, chunk_bytes);
        let mut unpacker = if zstd { Unpacker::zstd(body) } else { Unpacker::gzip(body) };
        let mut bytes = Vec::new();
        while let Some(piece) = unpacker.next().await.map_err(|problem| format!("{:?}", problem.kind()))? {
            assert!(piece.len() <= 2 * UNPACKED_PIECE_BYTES, "unpacked in small pieces");
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn pack(zstd: bool, bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let read = if zstd {
            ZstdEncoder::new(bytes).read_to_end(&mut packed).await
        } else {
            GzipEncoder::new(bytes).read_to_end(&mut packed).await
        };
        read.expect("packs");
        packed
    }

    /// Text that packs about as well as events do.
    fn events() -> Vec<u8> {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        (0..20_000)
            .flat_map(|n| format!("{{\"n\":{n},\"amount\":{},\"ip\":\"10.0.0.{}\"}}\n", random(), random() % 250).into_bytes())
            .collect()
    }

    #[tokio::test]
    async fn what_was_packed_comes_out_wherever_it_is_cut() {
        let events = events();
        for zstd in [false, true] {
            let packed = pack(zstd, &events).await;
            for chunk_bytes in [7, 1 << 10, 1 << 20] {
                assert_eq!(unpack(zstd, &packed, chunk_bytes).await.as_deref(), Ok(&events[..]), "zstd: {zstd}");
            }
            let twice = [packed.as_slice(), packed.as_slice()].concat();
            assert_eq!(unpack(zstd, &twice, 1 << 16).await.map(|bytes| bytes.len()), Ok(2 * events.len()));
        }
    }

    #[tokio::test]
    async fn truncated_and_damaged_bodies_are_named() {
        let events = events();
        for zstd in [false, true] {
            let packed = pack(zstd, &events).await;
            for end in [1, 5, packed.len() / 2, packed.len() - 1] {
                assert_eq!(unpack(zstd, &packed[..end], 1 << 10).await, Err("BadBody".to_owned()), "{end} bytes, zstd: {zstd}");
            }
            assert_eq!(unpack(zstd, b"{\"n\": 1}\n{\"n\": 2}\n", 1 << 10).await, Err("BadBody".to_owned()));
        }
        assert_eq!(unpack(false, b"", 1).await, Err("BadBody".to_owned()));
    }

    #[tokio::test]
    async fn bombs_end_early() {
        for zstd in [false, true] {
            let bomb = pack(zstd, &vec![b' '; 64 << 20]).await;
            assert_eq!(unpack(zstd, &bomb, 1 << 10).await, Err("TooLarge".to_owned()), "zstd: {zstd}");
        }
        // Empty members, one after the other.
        let empty = pack(false, b"").await.repeat(100_000);
        assert_eq!(unpack(false, &empty, 1 << 16).await, Err("TooLarge".to_owned()));
    }
}
