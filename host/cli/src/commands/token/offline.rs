//! Tokens on the data directory itself, while its host is stopped. Whoever can write there is the host's administrator anyway, which
//! is why this is the way back in when the last token was lost. What is told is what the host would answer.

use std::path::Path;

use serde_json::{Value, json};
use tidemill_event::{Clock, EventTime};
use tidemill_log::{Log, LogSettings};
use tidemill_server::{NewToken, TokenInfo, TokenWish, Tokens};

use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::secret::random_bytes;

/// Makes a token.
pub(super) fn create(data: &Path, wish: TokenWish) -> Result<Value, Failure> {
    offline(data, |log| {
        let tokens = Tokens::new(log.clone());
        let made = make(&log, wish)?;
        let info = tokens.list().into_iter().find(|info| info.id == made.id);
        let mut view = info.map_or_else(|| json!({}), |info| view(&info));
        view["token"] = made.token.into();
        Ok(view)
    })
}

/// The tokens there are, or those of one tenant.
pub(super) fn list(data: &Path, tenant: Option<&str>) -> Result<Value, Failure> {
    offline(data, |log| {
        let tokens = Tokens::new(log).list();
        let wanted = tokens.iter().filter(|info| tenant.is_none_or(|tenant| info.tenant.as_str() == tenant));
        Ok(json!({ "tokens": wanted.map(view).collect::<Vec<_>>() }))
    })
}

/// Takes a token back.
pub(super) fn revoke(data: &Path, id: &str) -> Result<(), Failure> {
    offline(data, |log| match Tokens::new(log).revoke(id) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::failed(format!("there is no token `{id}`: `tidemill token list` shows their ids"))),
        Err(error) => Err(Failure::failed(error.to_string())),
    })
}

/// Makes a token in an open log.
pub(super) fn make(log: &Log, wish: TokenWish) -> Result<NewToken, Failure> {
    let random = random_bytes().map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    let made = Tokens::new(log.clone()).make(&random, wish, SystemClock.now());
    made.map_err(|error| Failure::failed(format!("the token was not kept: {error}")))
}

fn view(info: &TokenInfo) -> Value {
    json!({
        "id": info.id,
        "role": info.role.as_str(),
        "tenant": info.tenant.as_str(),
        "label": info.label,
        "created_at": info.created_at.to_rfc3339(),
        "expires_at": info.expires_at.map(EventTime::to_rfc3339),
        "expired": info.has_expired(SystemClock.now()),
    })
}

/// Works on the log of a data directory that no host has open.
fn offline<T>(data: &Path, work: impl FnOnce(Log) -> Result<T, Failure>) -> Result<T, Failure> {
    let data = stopped(data)?;
    let log = Log::open(LogSettings::new(data.path().join("log")), crate::planted::disk());
    let log = log.map_err(|error| Failure::failed(error.to_string()))?;
    let worked = work(log.clone());
    let closed = log.close().map_err(|error| Failure::failed(error.to_string()));
    worked.and_then(|worked| closed.map(|()| worked))
}

/// A data directory that is there already, and that no host has open.
pub(crate) fn stopped(data: &Path) -> Result<DataDir, Failure> {
    if !data.join("tidemill.json").exists() {
        return Err(Failure::wrong_use(format!("`{}` is no data directory: name the one that the host serves", data.display())));
    }
    DataDir::open(data).map_err(|error| Failure::failed(error.to_string()))
}
