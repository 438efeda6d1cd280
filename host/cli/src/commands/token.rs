//! `tidemill token`: access tokens, made and revoked on the data directory itself while its host is stopped. Whoever can write
//! there is the host's administrator anyway, which is why this is the way back in when the last token was lost.

use std::path::Path;

use serde_json::{Value, json};
use tidemill_event::{Clock, TenantName};
use tidemill_log::{Log, LogSettings};
use tidemill_server::{NewToken, Role, Tokens};

use crate::args::TokenCommand;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::exit::Failure;
use crate::output::Output;

/// Does one of the sub-commands.
pub(crate) fn run(command: &TokenCommand, output: Output) -> Result<(), Failure> {
    match command {
        TokenCommand::New { data, role } => offline(data, |log| {
            let made = make(&log, *role)?;
            output.result(&shown(&made, *role), || {
                format!("{}\ntoken {} of role {role}: it is shown now and never again", made.token, made.id)
            })
        }),
        TokenCommand::List { data } => offline(data, |log| {
            let tokens = Tokens::new(log).list();
            let list: Vec<Value> = tokens
                .iter()
                .map(|token| {
                    let created_at = token.created_at.to_rfc3339();
                    json!({"id": token.id, "role": token.role.as_str(), "tenant": token.tenant.as_str(), "created_at": created_at})
                })
                .collect();
            output.result(&json!({ "tokens": list }), || match tokens.as_slice() {
                [] => "no tokens: the next start makes one, or `tidemill token new`".to_owned(),
                tokens => {
                    let line = |token: &tidemill_server::TokenInfo| {
                        format!("{:14} {:10} made {}", token.id, token.role.as_str(), token.created_at.to_rfc3339())
                    };
                    tokens.iter().map(line).collect::<Vec<_>>().join("\n")
                }
            })
        }),
        TokenCommand::Revoke { id, data } => offline(data, |log| {
            let revoked = Tokens::new(log).revoke(id).map_err(|error| Failure::failed(error.to_string()))?;
            if !revoked {
                return Err(Failure::failed(format!("there is no token `{id}`: `tidemill token list` shows their ids")));
            }
            output.result(&json!({"id": id, "revoked": true}), || format!("revoked {id}"))
        }),
    }
}

/// Makes the first token of a data directory that has none; `None` if it has.
pub(crate) fn first(log: &Log) -> Result<Option<NewToken>, Failure> {
    if Tokens::new(log.clone()).list().is_empty() { make(log, Role::Admin).map(Some) } else { Ok(None) }
}

/// A token for programs: what is printed of it.
pub(crate) fn shown(made: &NewToken, role: Role) -> Value {
    json!({"token": made.token, "id": made.id, "role": role.as_str()})
}

fn make(log: &Log, role: Role) -> Result<NewToken, Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    let tenant = TenantName::default_tenant();
    let made = Tokens::new(log.clone()).make(&random, &tenant, role, SystemClock.now());
    made.map_err(|error| Failure::failed(format!("the token was not kept: {error}")))
}

/// A data directory that is there already, and that no host has open.
pub(crate) fn stopped(data: &Path) -> Result<DataDir, Failure> {
    if !data.join("tidemill.json").exists() {
        return Err(Failure::wrong_use(format!("`{}` is no data directory: name the one that the host serves", data.display())));
    }
    DataDir::open(data).map_err(|error| Failure::failed(error.to_string()))
}

/// Works on the log of a data directory that no host has open.
fn offline(data: &Path, work: impl FnOnce(Log) -> Result<(), Failure>) -> Result<(), Failure> {
    let data = stopped(data)?;
    let log = Log::open(LogSettings::new(data.path().join("log")), crate::planted::disk());
    let log = log.map_err(|error| Failure::failed(error.to_string()))?;
    let worked = work(log.clone());
    let closed = log.close().map_err(|error| Failure::failed(error.to_string()));
    worked.and(closed)
}
