//! The frames of a WebSocket, each one JSON object in one text message (`docs/book` describes them for users).
//!
//! ```text
//! client ─▶ {"type": "publish", "id": 1, "events": [{…}, …]}
//!           {"type": "subscribe", "id": "a", "from": "latest", "follow": true, "credit": 1000}
//!           {"type": "credit", "id": "a", "rows": 1000}      {"type": "unsubscribe", "id": "a"}
//! host ───▶ {"type": "ack", "id": 1, "accepted": 2, "rejected": [], "rejected_total": 0}
//!           {"type": "rows", "id": "a", "next": {"0": 123}, "rows": [{…}, …]}      {"type": "end", "id": "a"}
//!           {"type": "subscribed", "id": "a"}      {"type": "refused", "id": 1, "problem": {…}}
//! ```
//! An id is the client's: a text or a number, handed back as it came.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};
use crate::read::ReadParameters;

/// The longest id, in bytes as sent.
const ID_BYTES_MAX: usize = 256;

/// What a client called a request, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(Box<str>);

impl Id {
    pub(super) fn as_json(&self) -> &str {
        &self.0
    }
}

/// A frame from a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Events to take in: one or an array, as JSON text.
    Publish { id: Id, events: &'a str, idempotency_key: Option<String> },
    /// Rows to give out. Without credit, as many as the connection takes.
    Subscribe { id: Id, parameters: ReadParameters, credit: Option<u64> },
    /// That many more rows may be sent.
    Credit { id: Id, rows: u64 },
    /// No more rows.
    Unsubscribe { id: Id },
}

/// A frame that means nothing: what is wrong, and its id if it has one.
#[derive(Debug)]
pub(super) struct BadFrame {
    pub(super) id: Option<Id>,
    pub(super) problem: Problem,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Publish,
    Subscribe,
    Credit,
    Unsubscribe,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    r#type: Type,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    idempotency_key: Option<String>,
    from: Option<Value>,
    until: Option<Value>,
    partition: Option<u32>,
    limit: Option<u64>,
    follow: Option<bool>,
    consumer: Option<String>,
    credit: Option<u64>,
    rows: Option<u64>,
}

impl<'a> Frame<'a> {
    /// Reads a text message.
    pub(super) fn parse(text: &'a str) -> Result<Self, BadFrame> {
        let wrong = |id: Option<Id>, why: String| {
            let remedy = "send one JSON object: `publish`, `subscribe`, `credit` or `unsubscribe`, with its `id`";
            BadFrame { id, problem: Problem::new(Kind::BadBody, why, remedy) }
        };
        let members: Members<'a> =
            serde_json::from_str(text).map_err(|error| wrong(None, format!("the frame cannot be read: {error}")))?;
        let raw = members.id.map(RawValue::get).unwrap_or_default();
        let is_id = raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
        if !is_id || raw.len() > ID_BYTES_MAX {
            return Err(wrong(None, format!("the frame has no `id`: a text or a number of at most {ID_BYTES_MAX} bytes")));
        }
        let id = Id(raw.into());
        let publishes = members.events.is_some() || members.idempotency_key.is_some();
        let parameters = ReadParameters {
            from: members.from.map(place),
            until: members.until.map(place),
            partition: members.partition,
            limit: members.limit,
            follow: members.follow,
            consumer: members.consumer,
        };
        let subscribes = parameters != ReadParameters::default() || members.credit.is_some();
        let rows = members.rows;
        match (members.r#type, members.events) {
            (Type::Publish, Some(events)) if !subscribes && rows.is_none() => {
                Ok(Self::Publish { id, events: events.get(), idempotency_key: members.idempotency_key })
            }
            (Type::Subscribe, None) if !publishes && rows.is_none() => {
                Ok(Self::Subscribe { id, parameters, credit: members.credit })
            }
            (Type::Credit, None) if !publishes && !subscribes => match rows {
                Some(rows) => Ok(Self::Credit { id, rows }),
                None => Err(wrong(Some(id), "`credit` needs `rows`: how many more may be sent".to_owned())),
            },
            (Type::Unsubscribe, None) if !publishes && !subscribes && rows.is_none() => Ok(Self::Unsubscribe { id }),
            (Type::Publish, None) => Err(wrong(Some(id), "`publish` needs `events`: one or an array".to_owned())),
            (Type::Publish | Type::Subscribe | Type::Credit | Type::Unsubscribe, _) => {
                Err(wrong(Some(id), "the frame has members that belong to another type".to_owned()))
            }
        }
    }
}

/// A place as a query has it: an offset may come as a number too.
fn place(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

/// The answer to `publish`: what a request with these events would have been answered.
pub(super) fn published(id: &Id, success: bool, body: &str) -> String {
    match body.strip_prefix('{') {
        Some(members) if success => format!("{{\"type\":\"ack\",\"id\":{},{members}", id.as_json()),
        Some(_) | None => format!("{{\"type\":\"refused\",\"id\":{},\"problem\":{body}}}", id.as_json()),
    }
}

/// The answer to a frame that was not taken.
pub(super) fn refused(id: Option<&Id>, problem: &Problem) -> String {
    let id = id.map(|id| format!("\"id\":{},", id.as_json())).unwrap_or_default();
    format!("{{\"type\":\"refused\",{id}\"problem\":{}}}", problem.document())
}

/// A short answer without members of its own.
pub(super) fn plain(kind: &str, id: &Id) -> String {
    format!("{{\"type\":\"{kind}\",\"id\":{}}}", id.as_json())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let said = match Frame::parse(text) {
            Ok(Frame::Subscribe { id, parameters, credit }) => {
                format!("subscribe {} from={:?} follow={:?} credit={credit:?}", id.0, parameters.from, parameters.follow)
            }
            Ok(frame) => format!("{frame:?}"),
            Err(bad) => format!("{:?} {}", bad.id.map(|id| id.0), bad.problem.document()),
        };
        let said = said.split(",\"remedy\"").next().unwrap_or_default().to_owned();
        expected.assert_eq(
            &said.replace(
                r#"{"type":"urn:tidemill:problem:bad-body","title":"the body cannot be read","status":400,"detail":"#,
                "",
            ),
        );
    }

    #[test]
    fn frames() {
        check(
            r#"{"type": "publish", "id": 7, "events": [{"n": 1}]}"#,
            expect![[r#"Publish { id: Id("7"), events: "[{\"n\": 1}]", idempotency_key: None }"#]],
        );
        check(
            r#"{"type":"subscribe","id":"a b","from":12,"follow":true,"credit":3}"#,
            expect![[r#"subscribe "a b" from=Some("12") follow=Some(true) credit=Some(3)"#]],
        );
        check(r#"{"type":"credit","id":"a","rows":5}"#, expect![[r#"Credit { id: Id("\"a\""), rows: 5 }"#]]);
        check(r#"{"type":"unsubscribe","id":-1}"#, expect![[r#"Unsubscribe { id: Id("-1") }"#]]);
    }

    #[test]
    fn what_means_nothing_says_why() {
        check(
            "[]",
            expect![[
                r#"None "the frame cannot be read: invalid length 0, expected struct Members with 12 elements at line 1 column 2""#
            ]],
        );
        check(
            r#"{"type":"publish","events":[]}"#,
            expect![[r#"None "the frame has no `id`: a text or a number of at most 256 bytes""#]],
        );
        check(
            r#"{"type":"publish","id":{},"events":[]}"#,
            expect![[r#"None "the frame has no `id`: a text or a number of at most 256 bytes""#]],
        );
        check(r#"{"type":"publish","id":1}"#, expect![[r#"Some("1") "`publish` needs `events`: one or an array""#]]);
        check(
            r#"{"type":"publish","id":1,"events":{},"from":"latest"}"#,
            expect![[r#"Some("1") "the frame has members that belong to another type""#]],
        );
        check(r#"{"type":"credit","id":1}"#, expect![[r#"Some("1") "`credit` needs `rows`: how many more may be sent""#]]);
        assert!(Frame::parse(r#"{"type":"frobnicate","id":1}"#).is_err());
        assert!(Frame::parse(r#"{"type":"unsubscribe","id":1,"colour":"red"}"#).is_err());
        assert!(Frame::parse(&format!(r#"{{"type":"unsubscribe","id":"{}"}}"#, "x".repeat(300))).is_err());
    }

    #[test]
    fn an_answer_carries_the_id_as_it_came() {
        let id = Id("\"a\"".into());
        assert_eq!(published(&id, true, r#"{"accepted":1}"#), r#"{"type":"ack","id":"a","accepted":1}"#);
        assert_eq!(published(&id, false, r#"{"status":422}"#), r#"{"type":"refused","id":"a","problem":{"status":422}}"#);
        assert_eq!(plain("end", &id), r#"{"type":"end","id":"a"}"#);
    }
}
