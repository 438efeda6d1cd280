//! One HTTP request and its whole answer.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request};

/// A whole answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as text; what is no UTF-8 is replaced.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The body's lines as JSON.
    ///
    /// # Panics
    /// If a line is no JSON.
    pub fn rows(&self) -> Vec<Value> {
        let row = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}`: {error}"));
        self.body.lines().map(row).collect()
    }

    /// This answer, if it has the status.
    ///
    /// # Panics
    /// With the body, if it has another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// This answer, if it says yes (2xx), whichever way.
    ///
    /// # Panics
    /// With the body, if it has another status.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self
    }

    /// The body's lines as JSON; none where there is no such stream.
    pub fn rows_if_there(&self) -> Vec<Value> {
        if self.status == 404 { Vec::new() } else { self.rows() }
    }

    /// This answer, if it says that the request is wrong (4xx), whichever way.
    ///
    /// # Panics
    /// With the body, if it has another status.
    #[track_caller]
    pub fn expect_client_error(self) -> Self {
        assert!((400..500).contains(&self.status), "{}: {}", self.status, self.body);
        self
    }
}

/// An answer that takes longer never comes, unless something was asked for that takes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `url`, with a body of `content_type` if there is one. An error is a connection that failed before the answer was whole.
pub fn request(method: &str, url: &str, content_type: Option<&str>, body: &[u8]) -> Result<Answer, ureq::Error> {
    request_within(PATIENCE, method, url, content_type, body)
}

/// The same for an answer that may take so long.
pub fn request_within(
    patience: Duration,
    method: &str,
    url: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let line = content_type.map(|content_type| ("content-type", content_type));
    ask(patience, method, url, line.as_slice(), body)
}

/// Asks `url` with these header lines; as [`request`].
pub fn request_with(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    ask(PATIENCE, method, url, headers, body)
}

fn ask(patience: Duration, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_global(Some(patience))
        .build()
        .new_agent();
    let method: Method = method.parse().expect("a method");
    let mut request = Request::builder().method(&method).uri(url).header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let has_body = method == Method::PUT || method == Method::POST;
    let mut response = if has_body {
        let request = request.header("content-length", body.len()).body(body).map_err(ureq::Error::Http)?;
        agent.run(request)?
    } else {
        agent.run(request.body(()).map_err(ureq::Error::Http)?)?
    };
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).lossy_utf8(true).read_to_string()?;
    Ok(Answer { status, body })
}
