//! Who asks, and whether they may: the only place where a request's credential is looked at.
//!
//! ```text
//! Authorization: Bearer tidemill_… ─▶ token ─▶ caller {tenant, role} ─▶ role may do this? ─▶ handler
//!                                       └ 401                             └ 403
//! ```
//! The tenant comes from the credential, never from the request. Health, metrics and the OpenAPI document are for everybody.

mod keyring;
mod page;
mod role;
mod token;
mod tokens;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use parking_lot::Mutex;
use tidemill_event::{Clock, EventTime, TenantName};
use tidemill_log::{AppendError, Log};
use tokio_util::sync::CancellationToken;

pub(crate) use self::keyring::Caller;
use self::keyring::{Keyring, is_operator};
pub(crate) use self::page::same_origin;
pub(crate) use self::role::Action;
pub use self::role::Role;
pub use self::tokens::{NewToken, TokenInfo, TokenWish, Tokens};
use crate::accept::events_path;
use crate::bounds::TOKENS_MAX;
use crate::problem::{Kind, Problem};

/// Paths that need no credential.
const OPEN_PATHS: [&str; 4] = ["/health/live", "/health/ready", "/metrics", "/v1/openapi.json"];

/// How requests prove who sent them, and the tokens they prove it with.
pub(crate) struct Access {
    /// Not at all: everybody who reaches the host is its administrator (`serve --dev`, on loopback).
    open: Option<Caller>,
    keyring: Keyring,
    tokens: Tokens,
    /// Held while a token is made or revoked, so that the keyring says what the log says.
    changing: Mutex<()>,
}

/// Why a token was not made or revoked.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// There are as many as there may be.
    TooMany,
    /// Without it nobody could look after the host any more.
    Last,
    /// The log did not take it.
    Log(AppendError),
}

impl Access {
    /// Whatever requests leave open ends with `stop`.
    pub(crate) fn new(open: bool, log: &Log, stop: &CancellationToken) -> Self {
        let tokens = Tokens::new(log.clone());
        let keyring = Keyring::new(tokens.read(), stop);
        Self { open: open.then(|| Caller::anybody(stop)), keyring, tokens, changing: Mutex::default() }
    }

    /// Who sent a request, if they may do what it asks for; `None` for a path that is for everybody.
    pub(crate) fn admit<B>(&self, request: &Request<B>, clock: &dyn Clock) -> Result<Option<Caller>, Problem> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(caller) = &self.open {
            if !OPEN_PATHS.contains(&path) {
                page::own(request.headers())?;
            }
            return Ok(Some(caller.clone()));
        }
        if OPEN_PATHS.contains(&path) {
            return Ok(None);
        }
        let caller = bearer(&self.keyring, request.headers(), clock)?;
        // A WebSocket may be for sending or for reading: its session asks again, frame by frame.
        let upgrade = method == Method::GET && events_path(path).is_some() && request.headers().contains_key(UPGRADE);
        if !(upgrade && caller.may(Action::Send).is_ok()) {
            caller.may(Action::of(method, path))?;
        }
        Ok(Some(caller))
    }

    /// Makes a token, valid from now on. Blocks until it is durable.
    pub(crate) fn make(&self, random: &[u8; 32], wish: TokenWish, now: EventTime) -> Result<(NewToken, TokenInfo), ChangeError> {
        let _changing = self.changing.lock();
        if self.tokens.list().iter().filter(|token| token.tenant == wish.tenant).count() >= TOKENS_MAX {
            return Err(ChangeError::TooMany);
        }
        let (made, info, hash) = self.tokens.keep(random, wish, now).map_err(ChangeError::Log)?;
        self.keyring.add(&info, hash);
        Ok((made, info))
    }

    /// Every token of a tenant, by id; of every tenant without one.
    pub(crate) fn list(&self, tenant: Option<&TenantName>) -> Vec<TokenInfo> {
        let mut tokens = self.tokens.list();
        tokens.retain(|token| tenant.is_none_or(|tenant| token.tenant == *tenant));
        tokens
    }

    /// Takes a token back, from now on; false if `tenant` (or with none: nobody) has one of that id. Blocks until it is durable.
    pub(crate) fn revoke(&self, tenant: Option<&TenantName>, id: &str, now: EventTime) -> Result<bool, ChangeError> {
        let _changing = self.changing.lock();
        let tokens = self.list(tenant);
        let Some(token) = tokens.iter().find(|token| token.id == id) else { return Ok(false) };
        let operates = |token: &TokenInfo| token.role == Role::Admin && is_operator(&token.tenant) && !token.has_expired(now);
        let others = self.tokens.list();
        if operates(token) && !others.iter().any(|other| other.id != id && operates(other)) {
            return Err(ChangeError::Last);
        }
        let revoked = self.tokens.revoke(id).map_err(ChangeError::Log)?;
        self.keyring.remove(id);
        Ok(revoked)
    }

    /// Ends what bearers of expired tokens left open. Requests look at the time themselves.
    pub(crate) fn expire(&self, now: EventTime) {
        self.keyring.expire(now);
    }
}

fn bearer(keyring: &Keyring, headers: &HeaderMap, clock: &dyn Clock) -> Result<Caller, Problem> {
    const REMEDY: &str = "send `Authorization: Bearer TOKEN`; an administrator makes one with `tidemill token create`";
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(Problem::new(Kind::Unauthorized, "the request has no credential", REMEDY));
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.and_then(|token| keyring.bearer(token, || clock.now())).ok_or_else(|| {
        Problem::new(
            Kind::Unauthorized,
            "the credential is no token of this host, or one that was revoked or has expired",
            REMEDY,
        )
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
