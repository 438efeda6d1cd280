//! What a client is told when something is wrong: RFC 9457 problem documents. **The only file that decides status codes.**
//!
//! ```json
//! {"type": "urn:tidemill:problem:unknown-stream", "title": "unknown stream", "status": 404,
//!  "detail": "there is no stream `clicks`", "remedy": "make it with PUT /v1/streams/clicks"}
//! ```
//! `remedy` says what to change; some kinds have further members, which the handler that makes them documents.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::bounds::RETRY_AFTER_SECONDS;

/// What kind of thing is wrong: one status code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body cannot be read: broken framing, not JSON.
    BadBody,
    /// A parameter, name or header that does not mean anything.
    BadParameter,
    /// No credential, or none that is known.
    Unauthorized,
    /// The credential's role may not do this.
    Forbidden,
    /// No such path.
    UnknownRoute,
    /// No such stream.
    UnknownStream,
    /// No such component or version.
    UnknownComponent,
    /// No such pipeline.
    UnknownPipeline,
    /// No such step of the pipeline.
    UnknownStep,
    /// A key of which a step holds nothing.
    UnknownKey,
    /// No such match, or nothing is kept of it.
    UnknownMatch,
    /// No such consumer of the stream.
    UnknownConsumer,
    /// No such table.
    UnknownTable,
    /// No such token.
    UnknownToken,
    /// A path that exists, with another method.
    WrongMethod,
    /// A form of answer nobody gives.
    NotAcceptable,
    /// The body stood still for too long.
    BodyTooSlow,
    /// What exists already is different.
    Conflict,
    /// Whether a named request was taken is not known any more.
    ForgottenRequest,
    /// Rows that were removed.
    Trimmed,
    /// A body over its bound.
    TooLarge,
    /// A content type or encoding nobody reads.
    WrongType,
    /// Readable, but not what can be taken.
    Invalid,
    /// Header lines over their bound.
    HeadersTooLarge,
    /// More at once than one client may ask for: a retry helps.
    TooMany,
    /// Our own fault.
    Internal,
    /// No room just now: a retry helps.
    Overloaded,
    /// The disk is nearly full.
    DiskFull,
    /// The host stops; its successor can be asked.
    Stopping,
}

impl Kind {
    /// Status, end of the type URN, and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadBody => (StatusCode::BAD_REQUEST, "bad-body", "the body cannot be read"),
            Self::BadParameter => (StatusCode::BAD_REQUEST, "bad-parameter", "a parameter is wrong"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "a credential is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "the role may not do this"),
            Self::UnknownRoute => (StatusCode::NOT_FOUND, "unknown-route", "no such path"),
            Self::UnknownStream => (StatusCode::NOT_FOUND, "unknown-stream", "unknown stream"),
            Self::UnknownComponent => (StatusCode::NOT_FOUND, "unknown-component", "unknown component"),
            Self::UnknownPipeline => (StatusCode::NOT_FOUND, "unknown-pipeline", "unknown pipeline"),
            Self::UnknownStep => (StatusCode::NOT_FOUND, "unknown-step", "unknown step"),
            Self::UnknownKey => (StatusCode::NOT_FOUND, "unknown-key", "nothing is held of this key"),
            Self::UnknownMatch => (StatusCode::NOT_FOUND, "unknown-match", "nothing is kept of this match"),
            Self::UnknownConsumer => (StatusCode::NOT_FOUND, "unknown-consumer", "unknown consumer"),
            Self::UnknownTable => (StatusCode::NOT_FOUND, "unknown-table", "unknown table"),
            Self::UnknownToken => (StatusCode::NOT_FOUND, "unknown-token", "unknown token"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "this path has other methods"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "no such form of answer"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body stood still for too long"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "what exists is different"),
            Self::ForgottenRequest => {
                (StatusCode::CONFLICT, "forgotten-request", "whether this request was taken is not known any more")
            }
            Self::Trimmed => (StatusCode::GONE, "trimmed", "these rows were removed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large"),
            Self::WrongType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong-type", "this content type is not read here"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "readable, but cannot be taken"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "the header lines are too large")
            }
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "too much at once"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the host failed"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "no room just now"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "the disk is nearly full"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "the host is stopping"),
        }
    }

    /// Whether the same request may be taken a moment later.
    fn retry(self) -> bool {
        matches!(self, Self::TooMany | Self::Overloaded | Self::DiskFull | Self::Stopping)
    }
}

/// A problem on its way to the client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem(Box<Said>);

#[derive(Debug, Clone, PartialEq)]
struct Said {
    kind: Kind,
    detail: String,
    remedy: String,
    members: Map<String, Value>,
}

impl Problem {
    /// What is wrong, and what to change.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(Box::new(Said { kind, detail: detail.into(), remedy: remedy.into(), members: Map::new() }))
    }

    /// With one more member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// What kind of thing is wrong.
    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(crate) fn unknown_stream(name: &str) -> Self {
        let remedy = match name.split_once('.') {
            None => format!("make it with PUT /v1/streams/{name}"),
            // Nobody makes those: what was never rejected has no place yet.
            Some((of, _)) => {
                format!("the host makes it with its first row, if there is `{of}`; GET /v1/streams lists what there is")
            }
        };
        Self::new(Kind::UnknownStream, format!("there is no stream `{name}`"), remedy)
    }

    /// The journal takes nothing more for now.
    pub(crate) fn overloaded(what: &str) -> Self {
        Self::new(Kind::Overloaded, what, "send it again after `Retry-After` seconds, and fewer requests at once")
    }

    /// New events are refused; everything else goes on.
    pub(crate) fn disk_full() -> Self {
        Self::new(
            Kind::DiskFull,
            "the host's disk is nearly full: events are taken again when there is room",
            "send it again after `Retry-After` seconds; whoever runs the host makes room: other files, streams, a shorter retention",
        )
    }

    /// The journal failed or the host is stopping: what was not acknowledged may be lost.
    pub(crate) fn stopping() -> Self {
        Self::new(
            Kind::Stopping,
            "the host stops before these rows are known to be on disk",
            "send it again when /health/ready answers 200; rows of this request may be there already",
        )
    }

    /// The document as JSON text, fixed members first.
    pub(crate) fn document(&self) -> String {
        let (status, urn, title) = self.0.kind.parts();
        let fixed = ProblemDocument {
            r#type: format!("urn:tidemill:problem:{urn}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.0.detail.clone(),
            remedy: self.0.remedy.clone(),
        };
        serde_json::to_string(&Whole { fixed, members: &self.0.members }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    fixed: ProblemDocument,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document()));
        *response.status_mut() = self.0.kind.parts().0;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.0.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidemill\""));
        }
        if self.0.kind.retry() {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// What every refusal looks like (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// Names the kind of problem: stable, for programs.
    #[schema(example = "urn:tidemill:problem:unknown-stream")]
    r#type: String,
    /// The kind in words.
    title: String,
    /// The status code again.
    status: u16,
    /// What is wrong here.
    detail: String,
    /// What to change.
    remedy: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_to_change() {
        let problem = Problem::unknown_stream("clicks").with("accepted", 3);
        expect_test::expect![[r#"{"type":"urn:tidemill:problem:unknown-stream","title":"unknown stream","status":404,"detail":"there is no stream `clicks`","remedy":"make it with PUT /v1/streams/clicks","accepted":3}"#]]
            .assert_eq(&problem.document());
    }

    #[test]
    fn only_what_passes_by_itself_may_be_retried() {
        let response = Problem::overloaded("the queue is full").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(!Problem::unknown_stream("x").into_response().headers().contains_key(RETRY_AFTER));
    }
}
