//! A host as these judges see it: requests and answers, nothing else.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Something that answers requests to a host.
pub trait Api {
    /// Any request; any status is an answer. An error is a connection that failed before the answer was whole.
    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer>;
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// GET that must succeed, as JSON.
pub(crate) fn get(api: &impl Api, path: &str) -> Result<Value> {
    must(api, "GET", path, "", b"")
}

/// PUT of JSON that must succeed.
pub(crate) fn put(api: &impl Api, path: &str, body: &Value) -> Result<Value> {
    must(api, "PUT", path, "application/json", body.to_string().as_bytes())
}

/// A request that must succeed; otherwise the host's reason, on one line, is the error.
pub(crate) fn must(api: &impl Api, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Value> {
    let answer = api.ask(method, path, content_type, body)?;
    if !(200..300).contains(&answer.status) {
        bail!("{method} {path}: {} {}", answer.status, reason(&answer.body));
    }
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&answer.body).with_context(|| format!("{method} {path}: the answer is no JSON"))
}

/// What a problem says, on one line: of a pipeline every fault, with what to write instead.
fn reason(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let texts = |value: &Value, names: &[&str]| -> Vec<String> {
        names.iter().filter_map(|name| value[*name].as_str().map(str::to_owned)).collect()
    };
    let mut said = texts(&problem, &["detail"]);
    for fault in problem["faults"].as_array().into_iter().flatten() {
        said.push(texts(fault, &["path", "error", "remedy"]).join(": "));
    }
    let said = if said.is_empty() { body.to_owned() } else { said.join("; ") };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of a stream as they are now, in the order of their offsets.
pub(crate) fn rows(api: &impl Api, stream: &str) -> Result<Vec<Value>> {
    let path = format!("/v1/streams/{stream}/events");
    let answer = api.ask("GET", &path, "", b"")?;
    if answer.status != 200 {
        bail!("GET {path}: {} {}", answer.status, answer.body.trim());
    }
    lines(&answer.body).with_context(|| format!("GET {path}"))
}

/// NDJSON; blank lines are none.
pub(crate) fn lines(text: &str) -> Result<Vec<Value>> {
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("`{line}` is no JSON"));
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}
