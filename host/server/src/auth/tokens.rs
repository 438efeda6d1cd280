//! The tokens there are: documents of the log. A host that runs keeps a [`super::Keyring`] of them beside.
//!
//! ```text
//! token/{id}   {"hash": "sha-256 in hex", "role": "admin", "tenant": "default", "created_at": "…", "label": "…", "expires_at": "…"}
//! ```

use serde::{Deserialize, Serialize};
use tidemill_event::{EventTime, TenantName};
use tidemill_log::{AppendError, Log};

use super::role::Role;
use super::token::{self, TokenHash};

const DOCUMENTS: &str = "token/";

/// Makes, lists and revokes access tokens in a log. A service that runs over the log does it itself: it would not hear of this.
#[derive(Debug)]
pub struct Tokens {
    log: Log,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name in lists.
    pub id: String,
    /// The token itself: only its hash is kept, so it is shown now or never.
    pub token: String,
}

/// What a token shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// What its bearer may do.
    pub role: Role,
    /// Whose streams, components and pipelines its bearer means.
    pub tenant: TenantName,
    /// A word for people about what it is for; may be empty.
    pub label: String,
    /// From when on it is not valid; `None`: it is until it is revoked.
    pub expires_at: Option<EventTime>,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name in lists.
    pub id: String,
    /// What its bearer may do.
    pub role: Role,
    /// Whose streams, components and pipelines its bearer means.
    pub tenant: TenantName,
    /// What it is for; may be empty.
    pub label: String,
    /// When it was made.
    pub created_at: EventTime,
    /// From when on it is not valid, if ever.
    pub expires_at: Option<EventTime>,
}

impl TokenInfo {
    /// Whether it is not valid any more.
    pub fn has_expired(&self, now: EventTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    hash: String,
    role: String,
    tenant: String,
    created_at: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

impl Tokens {
    /// The tokens in a log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Makes a token of 32 bytes that nobody can guess. Blocks until it is durable.
    pub fn make(&self, random: &[u8; 32], wish: TokenWish, now: EventTime) -> Result<NewToken, AppendError> {
        self.keep(random, wish, now).map(|(made, _, _)| made)
    }

    /// The same, with what is known of it then.
    pub(super) fn keep(
        &self,
        random: &[u8; 32],
        wish: TokenWish,
        now: EventTime,
    ) -> Result<(NewToken, TokenInfo, TokenHash), AppendError> {
        let hash = TokenHash::of(random);
        let TokenWish { role, tenant, label, expires_at } = wish;
        let info = TokenInfo { id: hash.id(), role, tenant, label, created_at: now, expires_at };
        let document = serde_json::to_vec(&Document::new(&info, &hash)).expect("texts are JSON");
        self.log.put_documents(vec![(format!("{DOCUMENTS}{}", info.id), Some(document))])?;
        Ok((NewToken { id: info.id.clone(), token: token::text(random) }, info, hash))
    }

    /// Every token, by id.
    pub fn list(&self) -> Vec<TokenInfo> {
        self.read().into_iter().map(|(info, _)| info).collect()
    }

    /// Takes a token back; false if there is none of that id. Blocks until it is durable.
    pub fn revoke(&self, id: &str) -> Result<bool, AppendError> {
        let key = format!("{DOCUMENTS}{id}");
        if self.log.document(&key).is_none() {
            return Ok(false);
        }
        self.log.put_documents(vec![(key, None)]).map(|()| true)
    }

    /// Every token with what it is known by.
    pub(super) fn read(&self) -> Vec<(TokenInfo, TokenHash)> {
        let read = |(key, document): (String, std::sync::Arc<[u8]>)| {
            let id = key.strip_prefix(DOCUMENTS)?;
            let read = read(id, &document);
            if read.is_none() {
                tracing::error!(token = id, "a token's document cannot be read: nobody can use that token");
            }
            read
        };
        self.log.documents(DOCUMENTS).into_iter().filter_map(read).collect()
    }
}

impl Document {
    fn new(info: &TokenInfo, hash: &TokenHash) -> Self {
        Self {
            hash: hash.hex(),
            role: info.role.as_str().to_owned(),
            tenant: info.tenant.as_str().to_owned(),
            created_at: info.created_at.to_rfc3339(),
            label: info.label.clone(),
            expires_at: info.expires_at.map(EventTime::to_rfc3339),
        }
    }
}

fn read(id: &str, document: &[u8]) -> Option<(TokenInfo, TokenHash)> {
    let document: Document = serde_json::from_slice(document).ok()?;
    let hash = TokenHash::from_hex(&document.hash).filter(|hash| hash.id() == id)?;
    let expires_at = match &document.expires_at {
        // One that cannot be read must not make the token last for ever.
        Some(text) => Some(EventTime::parse_rfc3339(text)?),
        None => None,
    };
    let info = TokenInfo {
        id: id.to_owned(),
        role: document.role.parse().ok()?,
        tenant: document.tenant.parse().ok()?,
        label: document.label,
        created_at: EventTime::parse_rfc3339(&document.created_at)?,
        expires_at,
    };
    Some((info, hash))
}
