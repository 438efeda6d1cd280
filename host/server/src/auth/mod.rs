//! Who asks, and whether they may: the only place where a request's credential is looked at.
//!
//! ```text
//! Authorization: Bearer tidemill_… ─▶ token ─▶ caller {tenant, role} ─▶ role may do this? ─▶ handler
//!                                       └ 401                             └ 403
//! ```
//! The tenant comes from the credential, never from the request. Health, metrics and the OpenAPI document are for everybody.

mod role;
mod token;
mod tokens;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use tidemill_event::TenantName;
use tidemill_log::Log;

pub(crate) use self::role::Action;
pub use self::role::Role;
use self::tokens::Keyring;
pub use self::tokens::{NewToken, TokenInfo, Tokens};
use crate::accept::events_path;
use crate::problem::{Kind, Problem};

/// Paths that need no credential.
const OPEN_PATHS: [&str; 4] = ["/health/live", "/health/ready", "/metrics", "/v1/openapi.json"];

/// Who sent a request, and what they may do. Handlers take it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantName,
    pub(crate) role: Role,
}

impl Caller {
    /// 403 unless the caller may do this.
    pub(crate) fn may(&self, action: Action) -> Result<(), Problem> {
        if self.role.may(action) {
            return Ok(());
        }
        let detail = format!("the role `{}` may not {}", self.role, action.as_str());
        Err(Problem::new(Kind::Forbidden, detail, "use a token of a role that may"))
    }
}

/// How requests prove who sent them.
pub(crate) enum Access {
    /// Not at all: everybody who reaches the host is its administrator (`serve --dev`, on loopback).
    Open(Caller),
    /// By a token.
    Tokens(Keyring),
}

impl Access {
    pub(crate) fn new(open: bool, log: &Log) -> Self {
        if open {
            return Self::Open(Caller { tenant: TenantName::default_tenant(), role: Role::Admin });
        }
        Self::Tokens(Tokens::new(log.clone()).keyring())
    }

    /// Who sent a request, if they may do what it asks for; `None` for a path that is for everybody.
    pub(crate) fn admit<B>(&self, request: &Request<B>) -> Result<Option<&Caller>, Problem> {
        let (method, path) = (request.method(), request.uri().path());
        let caller = match self {
            Self::Open(caller) => return Ok(Some(caller)),
            Self::Tokens(_) if OPEN_PATHS.contains(&path) => return Ok(None),
            Self::Tokens(keyring) => bearer(keyring, request.headers())?,
        };
        // A WebSocket may be for sending or for reading: its session asks again, frame by frame.
        let upgrade = method == Method::GET && events_path(path).is_some() && request.headers().contains_key(UPGRADE);
        if !(upgrade && caller.role.may(Action::Send)) {
            caller.may(Action::of(method, path))?;
        }
        Ok(Some(caller))
    }
}

fn bearer<'a>(keyring: &'a Keyring, headers: &HeaderMap) -> Result<&'a Caller, Problem> {
    const REMEDY: &str =
        "send `Authorization: Bearer TOKEN`; `tidemill token new --data DIR` makes a new one while the host is stopped";
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(Problem::new(Kind::Unauthorized, "the request has no credential", REMEDY));
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.and_then(|token| keyring.bearer(token)).ok_or_else(|| {
        Problem::new(Kind::Unauthorized, "the credential is no token of this host, or one that was revoked", REMEDY)
    })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The accept loop puts it there before the router sees the request.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(Kind::Unauthorized, "the request has no credential", "send a token"))
    }
}
