//! Reading a request's body that is needed whole: bounded, and never waiting long for a client that stands still.

use axum::body::{Body, Bytes};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::bounds::DECLARATION_BYTES_MAX;
use crate::host::Host;
use crate::ingest::{Encoding, Pieces, encoding};
use crate::problem::{Kind, Problem};

/// A declaration (stream, pipeline), whole. A request without a content type is taken as having the first of `types`.
pub(crate) async fn declaration(host: &Host, request: Request<Body>, types: &[&str]) -> Result<Bytes, Problem> {
    content_type(&request, types)?;
    whole(host, request, DECLARATION_BYTES_MAX).await
}

/// What a declaration in JSON says; `remedy` is what to send instead of one that says something else.
pub(crate) async fn said<T: DeserializeOwned>(host: &Host, request: Request<Body>, remedy: &str) -> Result<T, Problem> {
    let body = declaration(host, request, &["application/json"]).await?;
    serde_json::from_slice(&body).map_err(|error| Problem::new(Kind::BadBody, format!("the request: {error}"), remedy))
}

/// Which of `types` the body has, by its `Content-Type`; the first one if it does not say.
pub(crate) fn content_type<'a>(request: &Request<Body>, types: &[&'a str]) -> Result<&'a str, Problem> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        return Ok(types.first().copied().unwrap_or_default());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    types.iter().copied().find(|known| *known == essence).ok_or_else(|| {
        let remedy = format!("send `{}`", types.join("` or `"));
        Problem::new(Kind::WrongType, format!("content type `{text}` is not read here"), remedy)
    })
}

/// A body of at most `bytes_max`, whole; if it is packed with gzip or zstd, so many unpacked.
pub(crate) async fn unpacked(host: &Host, request: Request<Body>, bytes_max: usize) -> Result<Bytes, Problem> {
    let encoding = encoding(request.headers())?;
    if encoding == Encoding::Identity {
        return whole(host, request, bytes_max).await;
    }
    let mut pieces = Pieces::new(encoding, request.into_body());
    let mut body = Vec::new();
    while let Some(piece) = pieces.next(host).await? {
        if body.len() + piece.len() > bytes_max {
            pieces.drain().await;
            let detail = format!("the body unpacks to more than {bytes_max} bytes");
            return Err(Problem::new(Kind::TooLarge, detail, "send a smaller one"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// A body of at most `bytes_max`, whole.
pub(crate) async fn whole(host: &Host, request: Request<Body>, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut body = Limited::new(request.into_body(), bytes_max);
    let mut pieces = Vec::new();
    loop {
        match timeout(host.settings().body_idle, body.frame()).await {
            Err(_) => {
                let detail = "nothing of the body came for a while";
                return Err(Problem::new(Kind::BodyTooSlow, detail, "send it without pauses"));
            }
            Ok(None) => return Ok(pieces.into()),
            Ok(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    pieces.extend_from_slice(piece);
                }
            }
            Ok(Some(Err(error))) if error.is::<http_body_util::LengthLimitError>() => {
                let detail = format!("the body is larger than {bytes_max} bytes");
                return Err(Problem::new(Kind::TooLarge, detail, "send a smaller one"));
            }
            Ok(Some(Err(error))) => {
                let detail = format!("the body broke off: {error}");
                return Err(Problem::new(Kind::BadBody, detail, "send the request again, with its body whole"));
            }
        }
    }
}
