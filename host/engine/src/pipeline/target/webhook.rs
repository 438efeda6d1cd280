//! Reads a webhook target.

use std::time::Duration;

use tidemill_connect::{BatchBounds, BodyFormat, Given, WebhookSettings, WebhookUrl};

use super::TargetKind;
use super::file::is_plain_file_name;
use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};

/// What a target that says nothing gets.
const BATCH: BatchBounds = BatchBounds { rows: 500, bytes: 256 << 10, every: Duration::from_secs(1) };
const TIMEOUT: Duration = Duration::from_secs(10);

const ROWS_MAX: u64 = 10_000;
const BYTES_MAX: u64 = 8 << 20;
const LINGER_MAX: Duration = Duration::from_secs(3600);
/// A change of plan waits for a request under way: shorter than it waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
const HEADERS_MAX: usize = 16;
/// Headers that are the host's business.
const OWN_HEADERS: [&str; 9] =
    ["connection", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"];

/// Requests to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookTarget {
    pub(crate) settings: WebhookSettings,
    pub(crate) batch: BatchBounds,
    pub(crate) on_refused: OnRefused,
}

/// What becomes of rows that the receiver refuses for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnRefused {
    /// They are tried again, and nothing behind them goes.
    Hold,
    /// They go to the dead letters.
    DeadLetters,
}

/// `webhook: URL`, or `webhook: {url, secret, headers, format, batch, timeout, on_refused}`.
pub(super) fn webhook(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<TargetKind> {
    let of = |url| WebhookSettings { url, secret: None, headers: Vec::new(), format: BodyFormat::Ndjson, timeout: TIMEOUT };
    if let NodeValue::Scalar { .. } = &node.value {
        let settings = of(Given::Plain(plain_url(node, path, faults)?));
        return Some(TargetKind::Webhook(Box::new(WebhookTarget { settings, batch: BATCH, on_refused: OnRefused::Hold })));
    }
    let mut object = Object::of(node, path, "webhook: {url: 'https://example.com/hook', secret: example}", faults)?;
    let url = match object.take("url") {
        Some(node) => url(node, &object.member("url"), faults),
        None => {
            object.missing("url", "url: 'https://example.com/hook'", faults);
            None
        }
    };
    let secret = object.take("secret").and_then(|node| secret_name(node, &object.member("secret"), faults));
    let headers = object.take("headers").map_or_else(Vec::new, |node| headers(node, &object.member("headers"), faults));
    let formats = [("ndjson", BodyFormat::Ndjson), ("json", BodyFormat::Json)];
    let format = object.choice("format", &formats, faults).unwrap_or(BodyFormat::Ndjson);
    let batch = object.take("batch").map_or(BATCH, |node| batch(node, &object.member("batch"), faults));
    let timeout = object.duration("timeout", faults).unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        let error = "a request may take between 1ms and 30s";
        faults.push(Fault::new(object.member("timeout"), node.line, error, "choose a `timeout` within, such as `10s`"));
    }
    let policies = [("hold", OnRefused::Hold), ("dead_letters", OnRefused::DeadLetters)];
    let on_refused = object.choice("on_refused", &policies, faults).unwrap_or(OnRefused::Hold);
    object.finish(&["url", "secret", "headers", "format", "batch", "timeout", "on_refused"], faults);
    let settings = WebhookSettings { secret, headers, format, timeout, ..of(url?) };
    Some(TargetKind::Webhook(Box::new(WebhookTarget { settings, batch, on_refused })))
}

fn plain_url(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<WebhookUrl> {
    let text = text_of(node, path, faults)?;
    let remedy = "write one like `https://example.com/hook`, or `{secret: NAME}` if the address itself is a secret";
    WebhookUrl::parse(&text.text)
        .map_err(|what| faults.push(Fault::new(path, text.line, format!("the address {what}"), remedy)))
        .ok()
}

fn url(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Given<WebhookUrl>> {
    match &node.value {
        NodeValue::Object(_) => secret_reference(node, path, faults).map(Given::Secret),
        NodeValue::Scalar { .. } | NodeValue::List(_) => plain_url(node, path, faults).map(Given::Plain),
    }
}

/// `{secret: NAME}`.
fn secret_reference(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let mut object = Object::of(node, path, "{secret: NAME}", faults)?;
    let name = match object.take("secret") {
        Some(node) => secret_name(node, &object.member("secret"), faults),
        None => {
            object.missing("secret", "secret: NAME", faults);
            None
        }
    };
    object.finish(&["secret"], faults);
    name
}

/// A secret's name: a file of `secrets/`, nothing that climbs out of it, and nothing that looks like the secret itself.
fn secret_name(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let name = text_of(node, path, faults)?;
    if is_plain_file_name(&name.text) && name.text.len() <= 64 && !name.text.starts_with("whsec_") {
        return Some(name.text);
    }
    // The text is not repeated: somebody may have put the secret here.
    let remedy = "put the secret into a file of the host's `secrets/` and write that file's name: letters, digits, `.`, `_`, `-`";
    faults.push(Fault::new(path, name.line, "this is no name of a secret", remedy));
    None
}

fn headers(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Vec<(String, Given<String>)> {
    let Some(object) = Object::of(node, path, "{x-team: fraud, authorization: {secret: NAME}}", faults) else {
        return Vec::new();
    };
    let NodeValue::Object(members) = &node.value else { return Vec::new() };
    if members.len() > HEADERS_MAX {
        let error = format!("{} headers", members.len());
        faults.push(Fault::new(path, node.line, error, "at most 16 are possible"));
        return Vec::new();
    }
    let mut headers: Vec<(String, Given<String>)> = Vec::new();
    for (key, value) in members {
        let path = object.member(&key.name);
        let name = key.name.to_ascii_lowercase();
        let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_token || OWN_HEADERS.contains(&name.as_str()) || name.starts_with("webhook-") {
            let remedy = "use letters, digits and `-`, and leave `content-…`, `host`, `webhook-…` and the like to the host";
            faults.push(Fault::new(path, key.line, "this header cannot be set", remedy));
            continue;
        }
        let value = match &value.value {
            NodeValue::Object(_) => secret_reference(value, &path, faults).map(Given::Secret),
            NodeValue::Scalar { .. } | NodeValue::List(_) => header_value(value, &path, faults).map(Given::Plain),
        };
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}

fn header_value(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let value = text_of(node, path, faults)?;
    if value.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Some(value.text);
    }
    faults.push(Fault::new(path, value.line, "this is no value for a header", "use visible ASCII"));
    None
}

fn batch(node: &Node, path: &str, faults: &mut Vec<Fault>) -> BatchBounds {
    let Some(mut object) = Object::of(node, path, "{rows: 500, bytes: 256KiB, linger: 1s}", faults) else { return BATCH };
    let batch = BatchBounds {
        rows: object.number("rows", faults).unwrap_or(BATCH.rows),
        bytes: object.size("bytes", faults).unwrap_or(BATCH.bytes),
        every: object.duration("linger", faults).unwrap_or(BATCH.every),
    };
    if !(1..=ROWS_MAX).contains(&batch.rows) || !(1..=BYTES_MAX).contains(&batch.bytes) || batch.every > LINGER_MAX {
        let error = "a request holds 1 to 10000 rows and at most 8MiB, and waits at most 1h for them";
        faults.push(Fault::new(path, node.line, error, "choose bounds within"));
    }
    object.finish(&["rows", "bytes", "linger"], faults);
    batch
}
