//! A real `tidemill` process for the demo, the benches and generated files, and plain HTTP to it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A host on a free port of loopback. Told to stop when dropped.
pub(crate) struct Host {
    child: Child,
    url: String,
    /// Kept open: a host that prints to a closed pipe would be told so.
    _stdout: BufReader<ChildStdout>,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Host {
    /// Starts `binary` on `data`, on a free port, and waits until it serves. Its log goes to a file beside the data.
    pub(crate) fn start(binary: &Path, data: &Path) -> Result<Self> {
        Self::start_on(0, binary, data)
    }

    /// The same, on a port of its own.
    pub(crate) fn start_on(port: u16, binary: &Path, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("cannot make `{}`", data.display()))?;
        let log_path = data.with_extension("log");
        let log = std::fs::File::create(&log_path).with_context(|| format!("cannot write `{}`", log_path.display()))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--dev").arg("--data").arg(data);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        // The pipe closes with this program, in whatever way it ends, and takes the host along.
        command.arg("--stop-with-stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", binary.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("the host has no output")?);
        let mut first = String::new();
        stdout.read_line(&mut first).context("the host's output")?;
        let Some((_, address)) = first.trim().split_once("http://") else {
            let _ = child.kill();
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("the host did not come up:\n{said}");
        };
        let host = Self { child, url: format!("http://{address}"), _stdout: stdout };
        let begin = Instant::now();
        while !host.get("/health/ready").is_ok_and(|answer| answer.status == 200) {
            if begin.elapsed() > PATIENCE {
                bail!("the host is not ready after {PATIENCE:?}; its log is `{}`", log_path.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(host)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "", b"")
    }

    /// Any request; any status is an answer.
    pub(crate) fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        ask(&self.url, method, path, content_type, body)
    }

    /// The bytes of an answer as they come, for as long as they come.
    pub(crate) fn follow(&self, path: &str) -> Result<impl Read + Send + use<>> {
        let agent = ureq::Agent::config_builder().proxy(None).timeout_connect(Some(PATIENCE)).build().new_agent();
        let response = agent.get(format!("{}{path}", self.url)).call().with_context(|| format!("GET {path}"))?;
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// A request that must succeed; otherwise the host's reason is the error.
    pub(crate) fn must(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Value> {
        let answer = self.ask(method, path, content_type, body)?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path}: {} {}", answer.status, answer.body.trim());
        }
        Ok(serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It drains by itself; the demo's data may be kept, so it should end clean.
        drop(self.child.stdin.take());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(15) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(base: &str, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    let agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).timeout_connect(Some(PATIENCE)).build().new_agent();
    let request = ureq::http::Request::builder().method(method).uri(format!("{base}{path}")).header("connection", "close");
    let mut response = if matches!(method, "PUT" | "POST") {
        let request = request.header("content-type", content_type).header("content-length", body.len());
        agent.run(request.body(body)?)
    } else {
        agent.run(request.body(())?)
    }
    .with_context(|| format!("{method} {path}"))?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).lossy_utf8(true).read_to_string()?;
    Ok(Answer { status, body })
}
