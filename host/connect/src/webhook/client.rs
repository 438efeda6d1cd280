//! The HTTP side of a webhook: one client for all partitions of a target, with its circuit breaker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_event::{Breaker, BreakerSettings, BreakerState, Clock, EventTime};
use ureq::Agent;
use ureq::http::{HeaderValue, Request};
use ureq::unversioned::transport::DefaultConnector;

use super::answer::{Meaning, meaning};
use super::resolver::GuardedResolver;
use super::signature::{SigningKey, signature};
use super::{BodyFormat, Given, WebhookSettings, WebhookUrl};
use crate::{SecretError, Secrets, SinkError};

/// More of an answer is not read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// So much of an answer is shown.
const ANSWER_SHOWN: usize = 200;
const ANSWER_HEAD_BYTES_MAX: usize = 16 << 10;
/// After so many failures, all partitions together, the target is left alone for a while.
const BREAKER: BreakerSettings = BreakerSettings {
    failed_min: 5,
    failed_percent: 80,
    window: 10,
    wait: Duration::from_secs(5),
    wait_max: Duration::from_secs(120),
};

/// A receiver of webhooks.
pub struct WebhookTarget {
    settings: WebhookSettings,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    agent: Agent,
    breaker: Mutex<Tried>,
}

struct Tried {
    breaker: Breaker,
    failures: u32,
    last: String,
}

impl WebhookTarget {
    /// A receiver as `settings` say. `allows_private`: also addresses and ports that are not public.
    pub fn new(settings: WebhookSettings, secrets: Secrets, clock: Arc<dyn Clock>, allows_private: bool) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The checked address is the one that is connected to: nothing may lead elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(settings.timeout))
            .max_response_header_size(ANSWER_HEAD_BYTES_MAX)
            .max_idle_connections(4)
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), GuardedResolver::new(allows_private));
        let breaker = Mutex::new(Tried { breaker: Breaker::new(BREAKER), failures: 0, last: String::new() });
        Self { settings, secrets, clock, agent, breaker }
    }

    /// Whether what the settings name is there and can be used: asked when a pipeline is applied.
    pub fn check(settings: &WebhookSettings, secrets: &Secrets) -> Result<(), SecretError> {
        url(settings, secrets)?;
        keys(settings, secrets)?;
        headers(settings, secrets).map(drop)
    }

    /// `closed`, `open` or `half_open`.
    pub fn breaker(&self) -> &'static str {
        match self.tried().breaker.poll(self.clock.now()) {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, Tried> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends rows, a line of JSON each, under `id`: the same rows under the same one, however often. Blocking, at most as long as
    /// the settings say.
    pub fn send(&self, id: &str, lines: &[u8]) -> Result<(), SinkError> {
        let now = self.clock.now();
        {
            let mut tried = self.tried();
            if let BreakerState::Open { until } = tried.breaker.poll(now) {
                let wait = Duration::from_micros(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0));
                return Err(SinkError::LeftAlone { failures: tried.failures, last: tried.last.clone(), wait });
            }
        }
        let sent = self.post(id, lines, now);
        let now = self.clock.now();
        let mut tried = self.tried();
        match &sent {
            // A refusal is an answer: the receiver is well.
            Ok(()) | Err(SinkError::Refused { .. }) => {
                tried.breaker.record(1, 0, now);
                tried.failures = 0;
            }
            Err(error) => {
                tried.breaker.record(0, 1, now);
                tried.failures += 1;
                tried.last = error.to_string();
            }
        }
        sent
    }

    fn post(&self, id: &str, lines: &[u8], now: EventTime) -> Result<(), SinkError> {
        let not_taken = |what: String| SinkError::NotTaken { what, asked: None };
        let of_secret = |error: SecretError| not_taken(error.to_string());
        let url = url(&self.settings, &self.secrets).map_err(of_secret)?;
        let keys = keys(&self.settings, &self.secrets).map_err(of_secret)?;
        let headers = headers(&self.settings, &self.secrets).map_err(of_secret)?;
        let (content_type, body) = match self.settings.format {
            BodyFormat::Ndjson => ("application/x-ndjson", lines.to_vec()),
            BodyFormat::Json => ("application/json", array(lines)),
        };
        let timestamp = now.0.div_euclid(1_000_000);
        let mut request = Request::post(url.uri().clone()).header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request = request.header("webhook-id", id).header("webhook-timestamp", timestamp.to_string());
        if !keys.is_empty() {
            request = request.header("webhook-signature", signature(&keys, id, timestamp, &body));
        }
        let request = request.body(body).map_err(|error| not_taken(format!("the request cannot be made: {error}")))?;
        let answer = self.agent.run(request);
        let mut answer = answer.map_err(|error| not_taken(format!("{}: {}", self.settings.place(), told(&error))))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let meaning = meaning(status, retry_after, now);
        // Read to its end, so that the connection serves again.
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().unwrap_or_default();
        let what = || format!("{} answered {status}{}", self.settings.place(), shown(&text));
        match meaning {
            Meaning::Taken => Ok(()),
            Meaning::NotNow(asked) => Err(SinkError::NotTaken { what: what(), asked }),
            Meaning::Never => Err(SinkError::Refused { what: what() }),
        }
    }
}

fn url(settings: &WebhookSettings, secrets: &Secrets) -> Result<WebhookUrl, SecretError> {
    match &settings.url {
        Given::Plain(url) => Ok(url.clone()),
        Given::Secret(name) => {
            let text = first(secrets, name)?;
            WebhookUrl::parse(&text).map_err(|what| SecretError { name: name.clone(), what: what.to_owned() })
        }
    }
}

fn keys(settings: &WebhookSettings, secrets: &Secrets) -> Result<Vec<SigningKey>, SecretError> {
    let Some(name) = &settings.secret else { return Ok(Vec::new()) };
    secrets.read(name)?.iter().map(|secret| SigningKey::parse(name, secret)).collect()
}

fn headers(settings: &WebhookSettings, secrets: &Secrets) -> Result<Vec<(String, HeaderValue)>, SecretError> {
    let header = |(name, given): &(String, Given<String>)| {
        let (text, from) = match given {
            Given::Plain(text) => (text.clone(), name),
            Given::Secret(secret) => (first(secrets, secret)?, secret),
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| SecretError { name: from.clone(), what: "is no value for a header: use visible ASCII".to_owned() })?;
        value.set_sensitive(true);
        Ok((name.clone(), value))
    };
    settings.headers.iter().map(header).collect()
}

fn first(secrets: &Secrets, name: &str) -> Result<String, SecretError> {
    Ok(secrets.read(name)?.first().map(|secret| secret.reveal().to_owned()).unwrap_or_default())
}

fn array(lines: &[u8]) -> Vec<u8> {
    let mut array = Vec::with_capacity(lines.len() + 2);
    array.push(b'[');
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
    }
    array.push(b']');
    array
}

/// Without the URL: it may be a secret.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "there is no host of that name".to_owned(),
        ureq::Error::BadUri(_) => "the address cannot be used".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The beginning of an answer, on one line.
fn shown(answer: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(answer).chars().take(ANSWER_SHOWN).collect();
    let text = text.split(|any: char| any.is_control() || any.is_whitespace()).filter(|word| !word.is_empty());
    let text = text.collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_an_array_and_answers_one_line() {
        assert_eq!(array(b"{\"n\":1}\n{\"n\":2}\n"), b"[{\"n\":1},{\"n\":2}]");
        assert_eq!(array(b"{}\n"), b"[{}]");
        assert_eq!(shown(b""), "");
        assert_eq!(shown(b"no\r\n  such\tthing\x1b[31m"), ": no such thing [31m");
        assert_eq!(shown("é".repeat(300).as_bytes()).chars().count(), 202);
    }
}
