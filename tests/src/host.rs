//! A `tidemill serve` process on a data directory of its own: started, asked, killed, restarted.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::answer::{Answer, request};

/// A host that is slower than this to come up or go down is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a host is started.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The program.
    pub binary: PathBuf,
    /// Flags behind `serve --dev --data … --listen …`.
    pub flags: Vec<String>,
    /// Where its folder is made; the system's place for such, unless said.
    pub folder: Option<PathBuf>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { binary: crate::tidemill(), flags: Vec::new(), folder: None }
    }
}

/// A running host. Killed when dropped, its data directory removed with it.
#[derive(Debug)]
pub struct Host {
    options: HostOptions,
    folder: TempDir,
    /// Kept over restarts, so that clients need not look for it.
    address: String,
    child: Option<Child>,
    /// What the host printed, all lives together.
    printed: Arc<Mutex<Vec<String>>>,
}

impl Host {
    /// A new host with nothing in it, ready to serve.
    pub fn start() -> Self {
        Self::with(HostOptions::default())
    }

    /// A new host, started as `options` say.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(options: HostOptions) -> Self {
        Self::prepared(options, |_| ())
    }

    /// A host on a data directory that `prepare` has made, if it makes one.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn prepared(options: HostOptions, prepare: impl FnOnce(&Path)) -> Self {
        let mut folder = tempfile::Builder::new();
        folder.prefix("tidemill-test-");
        let folder = options.folder.as_ref().map_or_else(|| folder.tempdir(), |place| folder.tempdir_in(place));
        let folder = folder.expect("a folder for the host");
        prepare(&folder.path().join("data"));
        let mut host =
            Self { options, folder, address: "127.0.0.1:0".to_owned(), child: None, printed: Arc::new(Mutex::new(Vec::new())) };
        host.launch();
        host
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `http://127.0.0.1:…`, the same after a restart.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process.
    ///
    /// # Panics
    /// If the host does not run.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the host runs").id()
    }

    /// Starts the program again on the same data, and waits until it serves.
    ///
    /// # Panics
    /// If it does not come up, with the end of its log.
    pub fn launch(&mut self) {
        let mut child = self.spawn();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        self.child = Some(child);
        let printed = self.printed.clone();
        let mut line = String::new();
        // A pipeline that writes to standard output may be faster than the host is to say where it listens.
        self.address = loop {
            line.clear();
            let bytes = lines.read_line(&mut line).expect("the host's output");
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.to_owned();
            }
            assert!(bytes > 0, "the host did not say where it listens; its log:\n{}", self.log());
            printed.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_end().to_owned());
        };
        // Ends with the pipe, that is with the process.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                printed.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        eventually("the host is ready", PATIENCE, || {
            request("GET", &format!("{}/health/ready", self.url()), None, b"").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Starts the program and kills it while it comes up.
    pub fn launch_and_kill_after(&mut self, delay: Duration) {
        let mut child = self.spawn();
        std::thread::sleep(delay);
        child.kill().expect("a signal");
        child.wait().expect("its end");
    }

    fn spawn(&self) -> Child {
        assert!(self.child.is_none(), "the host runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = crate::artefacts::command(&self.options.binary);
        command.arg("serve").arg("--dev").arg("--data").arg(self.data()).args(["--listen", &self.address, "--log", "json"]);
        // The pipe closes with the test, in whatever way it ends: no host is left behind.
        command.args(&self.options.flags).arg("--stop-with-stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        command.spawn().unwrap_or_else(|error| panic!("`{}`: {error}", self.options.binary.display()))
    }

    /// Other flags, from the next start on.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// `kill -9`: nothing of the process gets to say anything.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the host runs");
        child.kill().expect("a signal");
        child.wait().expect("its end");
    }

    /// SIGTERM, and how the host ended.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the host runs");
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("the kill command");
        assert!(sent.success(), "no signal was sent");
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("its state") {
                return status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().expect("a signal");
                panic!("the host did not end after SIGTERM; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the host logged, all lives together; its last 8 KiB.
    pub fn log(&self) -> String {
        tail(&self.log_path())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The lines that the host printed to standard output.
    pub fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Any request.
    ///
    /// # Panics
    /// If there is no answer, with the end of the host's log.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        match request(method, &format!("{}{path}", self.url()), content_type, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}; the host's log:\n{}", self.log()),
        }
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, b"")
    }

    /// PUT of JSON.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some("application/json"), body.to_string().as_bytes())
    }

    /// Events as JSON: one or an array.
    #[track_caller]
    pub fn send(&self, stream: &str, events: &Value) -> Answer {
        self.send_as(stream, "application/json", events.to_string().as_bytes())
    }

    /// A body of events of any type.
    #[track_caller]
    pub fn send_as(&self, stream: &str, content_type: &str, body: &[u8]) -> Answer {
        self.ask("POST", &format!("/v1/streams/{stream}/events"), Some(content_type), body)
    }

    /// A body of events with these header lines.
    #[track_caller]
    pub fn send_with(&self, stream: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let url = format!("{}/v1/streams/{stream}/events", self.url());
        match crate::request_with("POST", &url, headers, body) {
            Ok(answer) => answer,
            Err(error) => panic!("POST {url}: {error}; the host's log:\n{}", self.log()),
        }
    }

    /// Every row a stream has now.
    #[track_caller]
    pub fn rows(&self, stream: &str) -> Vec<Value> {
        self.get(&format!("/v1/streams/{stream}/events")).expect(200).rows()
    }

    /// The rows of a stream as soon as there are `count`.
    ///
    /// # Panics
    /// If there are still fewer after a while, or more.
    #[track_caller]
    pub fn wait_rows(&self, stream: &str, count: usize) -> Vec<Value> {
        let mut rows = Vec::new();
        let path = format!("/v1/streams/{stream}/events");
        eventually(&format!("{count} rows in {stream}; it has {}", rows.len()), PATIENCE, || {
            let answer = self.get(&path);
            rows = if answer.status == 200 { answer.rows() } else { Vec::new() };
            rows.len() >= count
        });
        assert_eq!(rows.len(), count, "{stream}");
        rows
    }

    /// Uploads a guest of this repository as `name@version`.
    #[track_caller]
    pub fn push_guest(&self, name: &str, version: &str) -> Answer {
        self.push(name, version, &crate::guest(name))
    }

    /// Uploads bytes as `name@version`.
    #[track_caller]
    pub fn push(&self, name: &str, version: &str, component: &[u8]) -> Answer {
        self.ask("PUT", &format!("/v1/components/{name}/versions/{version}"), Some("application/wasm"), component)
    }

    /// Applies a pipeline, YAML or JSON.
    #[track_caller]
    pub fn apply(&self, name: &str, text: &str) -> Answer {
        self.ask("PUT", &format!("/v1/pipelines/{name}"), Some("application/yaml"), text.as_bytes())
    }
}

/// What the judges of whole folders ask; an answer that does not come is an error, not the end of the test: the host may just be down.
impl tidemill_oracle::Api for Host {
    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<tidemill_oracle::Answer> {
        let content_type = (!content_type.is_empty()).then_some(content_type);
        let answer = request(method, &format!("{}{path}", self.url()), content_type, body)?;
        Ok(tidemill_oracle::Answer { status: answer.status, body: answer.body })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone before its folder is.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the host's log:\n{}", self.log());
        }
    }
}

/// Asks `holds` until it does.
///
/// # Panics
/// If it still does not after `patience`.
#[track_caller]
pub fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        // What cannot be read is not there to be shown.
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8 << 10)..]).into_owned()
}
