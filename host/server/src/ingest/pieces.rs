//! A request's body, piece by piece: unpacked if it is packed, and never waited for longer than a body may stand still.

use std::fmt::Display;

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::content::Encoding;
use super::unpack::Unpacker;
use crate::bounds::{DRAIN_WAIT, DRAINED_BYTES_MAX};
use crate::host::Host;
use crate::problem::{Kind, Problem};

/// The pieces of one body.
pub(crate) enum Pieces<B> {
    /// As they come.
    Plain(B),
    /// Out of a gzip or zstd stream.
    Packed(Box<Unpacker<B>>),
}

impl<B> Pieces<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    pub(crate) fn new(encoding: Encoding, body: B) -> Self {
        match encoding {
            Encoding::Identity => Self::Plain(body),
            Encoding::Gzip => Self::Packed(Box::new(Unpacker::gzip(body))),
            Encoding::Zstd => Self::Packed(Box::new(Unpacker::zstd(body))),
        }
    }

    /// The next piece; `None` at the body's end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, host: &Host) -> Result<Option<Bytes>, Problem> {
        match self {
            Self::Plain(body) => next(host, body).await,
            Self::Packed(unpacker) => match timeout(host.settings().body_idle, unpacker.next()).await {
                Ok(piece) => piece,
                Err(_) => Err(too_slow(host)),
            },
        }
    }
}

impl<B> Pieces<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Reads on for a moment and forgets it. A connection that is closed while its client still sends loses the answer on its way: the
    /// client would be told of a reset instead of what to change.
    pub(crate) async fn drain(self) {
        let mut body = match self {
            Self::Plain(body) => body,
            Self::Packed(unpacker) => unpacker.into_body(),
        };
        let drained = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > DRAINED_BYTES_MAX {
                    break;
                }
            }
        };
        // Whoever is slower than that is told by the reset.
        let _ = timeout(DRAIN_WAIT, drained).await;
    }
}

/// [`Pieces::drain`] of a body whose head was refused already; nothing for a client that waits to be told whether to send it.
pub(crate) async fn pass_over<B>(headers: &HeaderMap, body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    if !headers.contains_key(EXPECT) && !body.is_end_stream() {
        Pieces::Plain(body).drain().await;
    }
}

/// The next piece of a body that is not packed.
async fn next<B>(host: &Host, body: &mut B) -> Result<Option<Bytes>, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    loop {
        // What is there already costs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => Ok(frame),
            None => timeout(host.settings().body_idle, body.frame()).await,
        };
        match frame {
            Err(_) => return Err(too_slow(host)),
            Ok(None) => return Ok(None),
            // Trailers mean nothing here.
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => return Ok(Some(piece)),
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => return Err(broke_off(&error)),
        }
    }
}

fn too_slow(host: &Host) -> Problem {
    let idle = host.settings().body_idle.as_secs_f32();
    let detail = format!("nothing of the body came for {idle} s");
    Problem::new(Kind::BodyTooSlow, detail, "send the body without pauses, or smaller requests")
}

/// The connection failed, or its framing is broken.
pub(super) fn broke_off(error: &dyn Display) -> Problem {
    let detail = format!("the body broke off: {error}");
    Problem::new(Kind::BadBody, detail, "send the request again, with its body whole")
}
