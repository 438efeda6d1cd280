//! Who bears which token: what every request is looked up in.
//!
//! ```text
//! made over HTTP ─▶ add ─┐                        ┌─ bearer ─▶ caller, for each request
//! read at the start ─────┴▶ by the hash's first bytes ─┤
//! revoked ─▶ remove, expired ─▶ expire ─▶ ended ──┴──▶ followers, subscriptions, sockets of that token end
//! ```
//! A change counts from the next request on, whichever connection it comes over, and what a request left open ends with its token.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidemill_event::{EventTime, TenantName};
use tokio_util::sync::CancellationToken;

use super::role::{Action, Role};
use super::token::TokenHash;
use super::tokens::TokenInfo;
use crate::problem::{Kind, Problem};

/// Who sent a request, and what they may do. Handlers take it as an argument; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Known>);

#[derive(Debug)]
struct Known {
    tenant: TenantName,
    role: Role,
    /// The token's id; nobody has shown one to an open host.
    token: Option<String>,
    ended: CancellationToken,
}

impl Caller {
    /// Of a host that asks nobody.
    pub(super) fn anybody(stop: &CancellationToken) -> Self {
        let tenant = TenantName::default_tenant();
        Self(Arc::new(Known { tenant, role: Role::Admin, token: None, ended: stop.child_token() }))
    }

    /// Whose streams, components and pipelines the caller's names mean.
    pub(crate) fn tenant(&self) -> &TenantName {
        &self.0.tenant
    }

    /// What the caller's token is called in lists.
    pub(crate) fn token(&self) -> Option<&str> {
        self.0.token.as_deref()
    }

    /// Set when the caller may not ask any more, because the token was revoked or has expired, or because the host stops.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }

    /// 403 unless the caller may do this.
    pub(crate) fn may(&self, action: Action) -> Result<(), Problem> {
        let Known { tenant, role, .. } = &*self.0;
        if !role.may(action) {
            let detail = format!("the role `{role}` may not {}", action.as_str());
            return Err(Problem::new(Kind::Forbidden, detail, "use a token of a role that may"));
        }
        if action == Action::Operate && !is_operator(tenant) {
            let detail = format!("tenant `{tenant}` may not {}", action.as_str());
            let remedy = format!("use a token of the role `admin` and the tenant `{}`", TenantName::default_tenant());
            return Err(Problem::new(Kind::Forbidden, detail, remedy));
        }
        Ok(())
    }
}

/// Whether a tenant's administrators look after the host too.
pub(super) fn is_operator(tenant: &TenantName) -> bool {
    *tenant == TenantName::default_tenant()
}

/// The valid tokens, by the first bytes of their hashes.
pub(crate) struct Keyring {
    bearers: RwLock<HashMap<[u8; 6], Bearer>>,
    stop: CancellationToken,
}

struct Bearer {
    hash: TokenHash,
    caller: Caller,
    expires_at: Option<EventTime>,
}

impl Keyring {
    /// Of these tokens. What their bearers leave open ends with `stop` at the latest.
    pub(super) fn new(tokens: Vec<(TokenInfo, TokenHash)>, stop: &CancellationToken) -> Self {
        let keyring = Self { bearers: RwLock::default(), stop: stop.clone() };
        for (info, hash) in tokens {
            keyring.add(&info, hash);
        }
        keyring
    }

    /// From now on this token is valid.
    pub(super) fn add(&self, info: &TokenInfo, hash: TokenHash) {
        let TokenInfo { id, role, tenant, expires_at, label: _, created_at: _ } = info;
        let known = Known { tenant: tenant.clone(), role: *role, token: Some(id.clone()), ended: self.stop.child_token() };
        let bearer = Bearer { hash, caller: Caller(Arc::new(known)), expires_at: *expires_at };
        self.bearers.write().insert(hash.short(), bearer);
    }

    /// The bearer of a token; `None` if it is not valid.
    pub(super) fn bearer(&self, token: &str, now: impl FnOnce() -> EventTime) -> Option<Caller> {
        let hash = TokenHash::of_text(token)?;
        let bearers = self.bearers.read();
        let known = bearers.get(&hash.short()).filter(|known| known.hash.is(&hash))?;
        // Most tokens last until they are revoked, and need no look at the clock.
        let expired = known.expires_at.is_some_and(|at| at <= now());
        (!expired).then(|| known.caller.clone())
    }

    /// From now on the token of this id is not valid, and what its bearers left open ends.
    pub(super) fn remove(&self, id: &str) {
        self.end(|known| known.caller.token() == Some(id));
    }

    /// The same for every token that has expired.
    pub(super) fn expire(&self, now: EventTime) {
        let expired = |known: &Bearer| known.expires_at.is_some_and(|at| at <= now);
        let any = self.bearers.read().values().any(expired);
        if any {
            self.end(expired);
        }
    }

    fn end(&self, is_over: impl Fn(&Bearer) -> bool) {
        let over: Vec<Bearer> = self.bearers.write().extract_if(|_, known| is_over(known)).map(|(_, known)| known).collect();
        // Not under the lock: whoever is woken may ask at once.
        for known in over {
            known.caller.ended().cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token;

    fn info(id: &str, tenant: &str, role: Role, expires_at: Option<i64>) -> TokenInfo {
        let (tenant, created_at) = (tenant.parse().expect("a name"), EventTime(0));
        TokenInfo { id: id.to_owned(), role, tenant, label: String::new(), created_at, expires_at: expires_at.map(EventTime) }
    }

    #[test]
    fn a_token_is_valid_until_it_expires_or_is_removed() {
        let stop = CancellationToken::new();
        let (lasting, passing) = ([1; 32], [2; 32]);
        let of = |secret: &[u8; 32], expires_at| {
            let hash = TokenHash::of(secret);
            (info(&hash.id(), "default", Role::Reader, expires_at), hash)
        };
        let keyring = Keyring::new(vec![of(&lasting, None), of(&passing, Some(10))], &stop);
        let at = |secret: &[u8; 32], now: i64| keyring.bearer(&token::text(secret), || EventTime(now));
        let (first, second) = (at(&lasting, 9).expect("valid"), at(&passing, 9).expect("valid"));
        assert!(at(&lasting, 10).is_some() && at(&passing, 10).is_none() && at(&[3; 32], 0).is_none());

        keyring.expire(EventTime(9));
        assert!(!second.ended().is_cancelled());
        keyring.expire(EventTime(10));
        assert!(second.ended().is_cancelled() && !first.ended().is_cancelled());
        keyring.remove(first.token().expect("an id"));
        assert!(first.ended().is_cancelled() && at(&lasting, 11).is_none());
    }

    #[test]
    fn only_the_administrators_of_the_default_tenant_operate_the_host() {
        let stop = CancellationToken::new();
        let keyring = Keyring::new(Vec::new(), &stop);
        let may = |tenant: &str, role: Role, action: Action| {
            let secret = [role as u8 + 10 * tenant.len() as u8; 32];
            keyring.add(&info("x", tenant, role, None), TokenHash::of(&secret));
            keyring.bearer(&token::text(&secret), || EventTime(0)).expect("valid").may(action).is_ok()
        };
        assert!(may("default", Role::Admin, Action::Operate));
        assert!(!may("default", Role::Developer, Action::Operate));
        assert!(!may("shop", Role::Admin, Action::Operate));
        assert!(may("shop", Role::Admin, Action::Administer));
    }
}
