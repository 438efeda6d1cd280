//! A client of the public API, and nothing more: the command line has no private door into the host.
//!
//! Whatever goes wrong becomes a [`Failure`] with the right exit code: no answer is 3, an answer that says no is 4.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, SendBody};

use crate::exit::Failure;
use crate::secret::Secret;

/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One host.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    /// `Bearer TOKEN`, if there is one.
    authorization: Option<HeaderValue>,
    agent: Agent,
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub status: u16,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<Duration>,
    /// The body as JSON; null where it was none.
    pub body: Value,
}

impl Client {
    /// A client of the host at `url`, such as `http://127.0.0.1:8642`, that shows it a token if there is one.
    pub(crate) fn new(url: &str, token: Option<Secret>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(Failure::wrong_use(format!("`{url}` is no host: write one like http://127.0.0.1:8642")));
        }
        // No proxy: a proxy in the environment is not meant for a host on loopback.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let authorization: Option<Result<HeaderValue, Failure>> = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| Failure::wrong_use("the token has characters that no token has"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { base, authorization: authorization.transpose()?, agent })
    }

    /// Where the host is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// A request with a body of `content_type`; any status is an answer.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| Failure::wrong_use(format!("`{}{path}`: {error}", self.base)))?;
        self.agent.run(request).map_err(|error| self.unreached(&error))
    }

    /// A request whose whole answer is wanted, also when it says no.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: SendBody<'_>,
    ) -> Result<Answer, Failure> {
        let mut response = self.request(method, path, headers, body)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| self.unreached(&error))?;
        let body = serde_json::from_str(&text).unwrap_or_else(|_| match text.trim() {
            "" => Value::Null,
            text => Value::String(text.to_owned()),
        });
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// The JSON at `path`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, &[], SendBody::none())?.expect_success()
    }

    /// The bytes at `path` as they come, for as long as they come.
    pub(crate) fn stream(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        self.stream_with(path, &[])
    }

    /// The same, with further headers.
    pub(crate) fn stream_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<impl Read + use<>, Failure> {
        let mut response = self.request(Method::GET, path, headers, SendBody::none())?;
        let status = response.status().as_u16();
        if !(200..300).contains(&status) {
            let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            return Err(Answer { status, retry_after: None, body }.refusal());
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn unreached(&self, error: &ureq::Error) -> Failure {
        Failure::not_reached(match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                return Failure::wrong_use(format!("`{}` is no host: {error}", self.base));
            }
            ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                format!(
                    "no host at {}: start one with `tidemill serve --dev --data DIR`, or say where it is with --host",
                    self.base
                )
            }
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!(
                    "no host at {}: start one with `tidemill serve --dev --data DIR`, or say where it is with --host",
                    self.base
                )
            }
            error => format!("the host at {} went away: {error}", self.base),
        })
    }
}

impl Answer {
    /// The body if the host said yes.
    pub(crate) fn expect_success(self) -> Result<Value, Failure> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// What the host said no with, as text for people: the problem's detail or title, and its faults one a line.
    pub(crate) fn refusal(self) -> Failure {
        let text = |key: &str| self.body.get(key).and_then(Value::as_str);
        let mut message = match (text("detail"), text("title"), &self.body) {
            (Some(detail), _, _) => detail.to_owned(),
            (None, Some(title), _) => title.to_owned(),
            (None, None, Value::String(text)) => text.trim().to_owned(),
            (None, None, _) => "the host gave no reason".to_owned(),
        };
        message = format!("refused ({}): {message}", self.status);
        if let Some(remedy) = text("remedy").filter(|remedy| !remedy.is_empty()) {
            message.push_str(&format!("\n  {remedy}"));
        }
        if self.status == 401 {
            message.push_str("\n  commands take the token from --token-file, TIDEMILL_TOKEN_FILE, TIDEMILL_TOKEN or --token");
        }
        for fault in faults(&self.body) {
            message.push_str("\n  ");
            message.push_str(&fault);
        }
        Failure::refused(message, Some(self.body))
    }
}

/// The faults of a problem, one line each: `line 12, steps[0].where: error (remedy)`.
fn faults(problem: &Value) -> Vec<String> {
    let listed = ["faults", "errors"].iter().find_map(|key| problem.get(*key)?.as_array());
    listed.into_iter().flatten().map(fault_line).collect()
}

fn fault_line(fault: &Value) -> String {
    let text = |key: &str| fault.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut line = String::new();
    if let Some(number) = fault.get("line").and_then(Value::as_u64) {
        line.push_str(&format!("line {number}, "));
    }
    if let Some(path) = text("path") {
        line.push_str(&format!("{path}: "));
    }
    line.push_str(text("error").or_else(|| text("message")).unwrap_or("no reason given"));
    if let Some(remedy) = text("remedy") {
        line.push_str(&format!("\n    {remedy}"));
    }
    line
}

/// A name in a path or a query, percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn a_refusal_shows_every_fault_with_line_and_remedy() {
        let body = json!({
            "title": "pipeline refused", "detail": "2 faults",
            "faults": [
                {"path": "steps[0].where", "line": 4, "error": "no column `amont`", "remedy": "did you mean `amount`?"},
                {"path": "to", "error": "missing"}
            ]
        });
        let failure = Answer { status: 422, retry_after: None, body }.refusal();
        assert_eq!(failure.code, crate::exit::REFUSED);
        expect![[r#"
            refused (422): 2 faults
              line 4, steps[0].where: no column `amont`
                did you mean `amount`?
              to: missing"#]]
        .assert_eq(&failure.message);
    }

    #[test]
    fn what_a_url_cannot_hold_is_encoded() {
        assert_eq!(encoded("a.rejected"), "a.rejected");
        assert_eq!(encoded("2026-11-21T00:00:00+01:00"), "2026-11-21T00%3A00%3A00%2B01%3A00");
    }

    #[test]
    fn no_host_is_told_from_a_host_that_says_no() {
        // Bound and dropped: a port where surely nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let client = Client::new(&format!("http://{free}/"), None).expect("a client");
        assert_eq!(client.get("/v1/streams").expect_err("nobody there").code, crate::exit::NOT_REACHED);
        assert_eq!(Client::new("ftp://x", None).expect_err("no http").code, crate::exit::WRONG_USE);
    }
}
