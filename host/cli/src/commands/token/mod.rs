//! `tidemill token`: access tokens, made, listed and revoked by the host that runs, or on the data directory of one that is stopped.

mod offline;

use serde_json::{Value, json};
use tidemill_event::{Clock, EventTime, TenantName, units};
use tidemill_log::Log;
use tidemill_server::{NewToken, Role, TokenWish, Tokens};
use ureq::SendBody;
use ureq::http::Method;

pub(crate) use self::offline::stopped;
use crate::args::{CreateTokenArgs, TokenCommand};
use crate::client::{Client, encoded};
use crate::clock::SystemClock;
use crate::exit::Failure;
use crate::output::Output;
use crate::table::table;

/// Does one of the sub-commands; `client` is called where a host that runs is meant.
pub(crate) fn run(
    command: &TokenCommand,
    client: impl FnOnce() -> Result<Client, Failure>,
    output: Output,
) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => {
            let made = match &args.place.data {
                Some(data) => offline::create(data, wish(args)?)?,
                None => post(&client()?, args)?,
            };
            let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
            output.result(&made, || {
                let (role, tenant) = (text("role"), text("tenant"));
                format!(
                    "{}\ntoken {} of role {role} and tenant {tenant}: it is shown now and never again",
                    text("token"),
                    text("id")
                )
            })
        }
        TokenCommand::List { tenant, place } => {
            let list = match &place.data {
                Some(data) => offline::list(data, tenant.as_deref())?,
                None => {
                    let query = tenant.as_ref().map(|tenant| format!("?tenant={}", encoded(tenant)));
                    client()?.get(&format!("/v1/tokens{}", query.unwrap_or_default()))?
                }
            };
            output.result(&list, || lines(&list))
        }
        TokenCommand::Revoke { id, place } => {
            match &place.data {
                Some(data) => offline::revoke(data, id)?,
                None => {
                    let path = format!("/v1/tokens/{}", encoded(id));
                    client()?.ask(Method::DELETE, &path, &[], SendBody::none())?.expect_success()?;
                }
            }
            output.result(&json!({"id": id, "revoked": true}), || format!("revoked {id}"))
        }
    }
}

/// Makes the first token of a data directory that has none; `None` if it has.
pub(crate) fn first(log: &Log) -> Result<Option<NewToken>, Failure> {
    if !Tokens::new(log.clone()).list().is_empty() {
        return Ok(None);
    }
    let (tenant, label) = (TenantName::default_tenant(), "the first one".to_owned());
    offline::make(log, TokenWish { role: Role::Admin, tenant, label, expires_at: None }).map(Some)
}

/// A token for programs: what is printed of it.
pub(crate) fn shown(made: &NewToken, role: Role) -> Value {
    json!({"token": made.token, "id": made.id, "role": role.as_str()})
}

/// Asks a host for a token.
fn post(client: &Client, args: &CreateTokenArgs) -> Result<Value, Failure> {
    let mut asked = json!({"role": args.role.as_str(), "label": args.label});
    if let Some(tenant) = &args.tenant {
        asked["tenant"] = tenant.as_str().into();
    }
    if let Some(at) = expires_at(args)? {
        asked["expires_at"] = at.to_rfc3339().into();
    }
    let body = asked.to_string();
    let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
    client.ask(Method::POST, "/v1/tokens", &headers, SendBody::from_reader(&mut body.as_bytes()))?.expect_success()
}

fn wish(args: &CreateTokenArgs) -> Result<TokenWish, Failure> {
    let tenant = args.tenant.as_deref().map_or_else(|| Ok(TenantName::default_tenant()), str::parse);
    let tenant = tenant.map_err(|error| Failure::wrong_use(format!("--tenant: {error}")))?;
    Ok(TokenWish { role: args.role, tenant, label: args.label.clone(), expires_at: expires_at(args)? })
}

fn expires_at(args: &CreateTokenArgs) -> Result<Option<EventTime>, Failure> {
    args.expires.as_deref().map(|text| time(text, SystemClock.now())).transpose()
}

/// `90d` from now, or an RFC 3339 time.
fn time(text: &str, now: EventTime) -> Result<EventTime, Failure> {
    let later = units::duration(text).and_then(|duration| now.0.checked_add(duration.as_micros().try_into().ok()?));
    let at = later.map(EventTime).or_else(|| EventTime::parse_rfc3339(text));
    at.ok_or_else(|| Failure::wrong_use(format!("--expires: `{text}` is neither a duration such as 90d nor an RFC 3339 time")))
}

fn lines(list: &Value) -> String {
    let tokens = list["tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    if tokens.is_empty() {
        return "no tokens: `tidemill token create` makes one".to_owned();
    }
    let row = |token: &Value| {
        let text = |name: &str| token[name].as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        let ends = match (token["expires_at"].as_str(), token["expired"] == true) {
            (Some(at), true) => format!("{at} (over)"),
            (Some(at), false) => at.to_owned(),
            (None, _) => "never".to_owned(),
        };
        vec![text("id"), text("tenant"), text("role"), text("label"), text("created_at"), ends]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    table(&["ID", "TENANT", "ROLE", "LABEL", "MADE", "EXPIRES"], &rows).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_after_a_while_or_at_a_time() {
        let now = EventTime(1_000_000);
        let check = |text: &str| time(text, now).ok().map(|at| at.0);
        assert_eq!(check("2s"), Some(3_000_000));
        assert_eq!(check("1970-01-01T00:00:09Z"), Some(9_000_000));
        for wrong in ["", "soon", "2", "-1s", "99999999999999d"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_list_says_what_each_is_for() {
        let list = json!({"tokens": [
            {"id": "0a1b2c3d4e5f", "tenant": "default", "role": "admin", "label": "", "created_at": "2026-11-21T00:00:00Z", "expires_at": null, "expired": false},
            {"id": "f5e4d3c2b1a0", "tenant": "shop", "role": "ingest", "label": "edge 7", "created_at": "2026-11-21T00:00:00Z", "expires_at": "2026-11-21T01:00:00Z", "expired": true},
        ]});
        expect_test::expect![[r#"
            ID            TENANT   ROLE    LABEL                   MADE  EXPIRES
            0a1b2c3d4e5f  default  admin   -       2026-11-21T00:00:00Z  never
            f5e4d3c2b1a0  shop     ingest  edge 7  2026-11-21T00:00:00Z  2026-11-21T01:00:00Z (over)"#]]
        .assert_eq(&lines(&list));
    }
}
