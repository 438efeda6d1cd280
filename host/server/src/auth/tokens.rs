//! The tokens there are: documents of the log, made and revoked by the binary, looked up by every request.
//!
//! ```text
//! token/{id}   {"hash": "sha-256 in hex", "role": "admin", "tenant": "default", "created_at": "…"}
//! ```

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tidemill_event::{EventTime, TenantName};
use tidemill_log::{AppendError, Log};

use super::Caller;
use super::role::Role;
use super::token::{self, TokenHash};

const DOCUMENTS: &str = "token/";

/// Makes, lists and revokes access tokens. A running host knows those that were there when it started.
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

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name in lists.
    pub id: String,
    /// What its bearer may do.
    pub role: Role,
    /// Whose streams, components and pipelines its bearer means.
    pub tenant: TenantName,
    /// When it was made.
    pub created_at: EventTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    hash: String,
    role: String,
    tenant: String,
    created_at: String,
}

impl Tokens {
    /// The tokens in a log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Makes a token of 32 bytes that nobody can guess. Blocks until it is durable.
    pub fn make(&self, random: &[u8; 32], tenant: &TenantName, role: Role, now: EventTime) -> Result<NewToken, AppendError> {
        let hash = TokenHash::of(random);
        let document = Document {
            hash: hash.hex(),
            role: role.as_str().to_owned(),
            tenant: tenant.as_str().to_owned(),
            created_at: now.to_rfc3339(),
        };
        let document = serde_json::to_vec(&document).expect("texts are JSON");
        self.log.put_documents(vec![(format!("{DOCUMENTS}{}", hash.id()), Some(document))])?;
        Ok(NewToken { id: hash.id(), token: token::text(random) })
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

    fn read(&self) -> Vec<(TokenInfo, TokenHash)> {
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

    /// For looking up, all at once.
    pub(super) fn keyring(&self) -> Keyring {
        let entry =
            |(info, hash): (TokenInfo, TokenHash)| (hash.short(), (hash, Caller { tenant: info.tenant, role: info.role }));
        Keyring(self.read().into_iter().map(entry).collect())
    }
}

fn read(id: &str, document: &[u8]) -> Option<(TokenInfo, TokenHash)> {
    let document: Document = serde_json::from_slice(document).ok()?;
    let hash = TokenHash::from_hex(&document.hash).filter(|hash| hash.id() == id)?;
    let info = TokenInfo {
        id: id.to_owned(),
        role: document.role.parse().ok()?,
        tenant: document.tenant.parse().ok()?,
        created_at: EventTime::parse_rfc3339(&document.created_at)?,
    };
    Some((info, hash))
}

/// Who bears which token.
pub(crate) struct Keyring(HashMap<[u8; 6], (TokenHash, Caller)>);

impl Keyring {
    /// The bearer of a token; `None` if it is not valid.
    pub(super) fn bearer(&self, token: &str) -> Option<&Caller> {
        let hash = TokenHash::of_text(token)?;
        let (known, caller) = self.0.get(&hash.short())?;
        known.is(&hash).then_some(caller)
    }
}
