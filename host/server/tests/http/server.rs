//! A whole service over a real log in a temporary folder, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::Value;
use tidemill_engine::{Engine, EngineSettings};
use tidemill_event::{Clock, EventTime, TenantName};
use tidemill_log::{Log, LogSettings};
use tidemill_runtime::{Compiler, Runtime, RuntimeSettings};
use tidemill_server::{Role, Service, ServiceError, Settings, TokenWish, Tokens};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Client};
use crate::disk::SwitchDisk;

/// A clock that says what it was told, one µs later each time.
pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// 2026-11-21T00:00:00Z.
pub(crate) const START_MICROS: i64 = 1_795_219_200_000_000;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) disk: SwitchDisk,
    pub(crate) log: Log,
    engine: Engine,
    clock: Arc<TestClock>,
    pub(crate) runtime: tokio::runtime::Runtime,
    /// A token of each role, unless the service is open to everybody.
    tokens: Vec<(Role, String)>,
    stop: CancellationToken,
    running: Option<JoinHandle<Result<(), ServiceError>>>,
    /// The log is known to have failed.
    broken: bool,
    _dir: tempfile::TempDir,
}

/// Another one each time.
fn random() -> std::io::Result<[u8; 32]> {
    static MADE: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&MADE.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Ok(bytes)
}

/// Patient enough for a machine that does many other things.
pub(crate) fn settings() -> Settings {
    Settings { drain: Duration::from_secs(5), open: true, ..Settings::default() }
}

/// For tests that wait until the service has had enough.
pub(crate) fn impatient() -> Settings {
    Settings { header_read: Duration::from_millis(300), body_idle: Duration::from_millis(300), ..settings() }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::over(settings, |_| ())
    }

    /// Over a log with other settings.
    pub(crate) fn over(settings: Settings, change: impl FnOnce(&mut LogSettings)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = SwitchDisk::default();
        let mut log = LogSettings::new(dir.path().join("log"));
        change(&mut log);
        let log = Log::open(log, Arc::new(disk.clone())).expect("a log");
        let token = |role: Role| {
            let random = [role as u8; 32];
            let wish = TokenWish { role, tenant: TenantName::default_tenant(), label: String::new(), expires_at: None };
            let made = Tokens::new(log.clone()).make(&random, wish, EventTime(START_MICROS));
            (role, made.expect("a token").token)
        };
        let tokens = if settings.open { Vec::new() } else { Role::ALL.into_iter().map(token).collect() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let clock = Arc::new(TestClock(AtomicI64::new(START_MICROS)));
        let guests =
            Runtime::new(RuntimeSettings { instances_max: 8, ..RuntimeSettings::new(Compiler::InProcess) }).expect("a sandbox");
        let engine = Engine::open(EngineSettings::new(dir.path()), log.clone(), guests, clock.clone()).expect("an engine");
        engine.start();
        let service = Service::new(settings, log.clone(), engine.clone(), clock.clone(), random, Registry::default());
        let listener = runtime.block_on(Service::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let running = runtime.spawn(service.run(listener, stop.clone()));
        Self { address, disk, log, engine, clock, runtime, tokens, stop, running: Some(running), broken: false, _dir: dir }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// `Authorization` of a role.
    pub(crate) fn bearer(&self, role: Role) -> String {
        let (_, token) = self.tokens.iter().find(|(of, _)| *of == role).expect("a service with tokens");
        format!("Bearer {token}")
    }

    /// A token made by the administrator of the host: `{"role": "reader", "tenant": "shop"}`. Its id, and `Authorization` with it.
    pub(crate) fn token(&self, wish: &Value) -> (String, String) {
        let headers = [("authorization", &*self.bearer(Role::Admin)), ("content-type", "application/json")];
        let made = self.request("POST", "/v1/tokens", &headers, wish.to_string().as_bytes());
        assert_eq!(made.status, 201, "{made:?}");
        let text = |name: &str| made.json()[name].as_str().expect("a text").to_owned();
        (text("id"), format!("Bearer {}", text("token")))
    }

    /// Lets the service's clock go on.
    pub(crate) fn later(&self, by: Duration) {
        self.clock.0.fetch_add(i64::try_from(by.as_micros()).expect("not that late"), Ordering::Relaxed);
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut client = self.client();
        client.send(method, path, headers, body);
        client.answer().expect("an answer")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.request("PUT", path, &[("content-type", "application/json")], body.as_bytes())
    }

    pub(crate) fn post(&self, stream: &str, content: &str, body: impl AsRef<[u8]>) -> Answer {
        let path = format!("/v1/streams/{stream}/events");
        self.request("POST", &path, &[("content-type", content)], body.as_ref())
    }

    /// Makes a stream with nullable fields, `a:int64 b:string`.
    pub(crate) fn stream(&self, name: &str, fields: &str) {
        let fields: Vec<Value> = fields
            .split_whitespace()
            .map(|field| {
                let (name, kind) = field.split_once(':').expect("name:type");
                serde_json::json!({"name": name, "type": kind})
            })
            .collect();
        let answer = self.put(&format!("/v1/streams/{name}"), &serde_json::json!({"fields": fields}).to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// Makes stream `s` of 3 partitions, with rows of 6 keys: `k` is `key 0` to `key 5`, `n` counts from 0.
    pub(crate) fn keyed(&self, rows: usize) {
        let made = self.put(
            "/v1/streams/s",
            r#"{"fields": [{"name": "k", "type": "string"}, {"name": "n", "type": "int64"}], "key": ["k"], "partitions": 3}"#,
        );
        assert_eq!(made.status, 201, "{made:?}");
        let body: String = (0..rows).map(|n| format!("{{\"k\":\"key {}\",\"n\":{n}}}\n", n % 6)).collect();
        assert_eq!(self.post("s", "application/x-ndjson", body).status, 200);
    }

    /// The rows of a stream, without the host's fields.
    pub(crate) fn rows(&self, stream: &str) -> Vec<String> {
        let answer = self.get(&format!("/v1/streams/{stream}/events"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.lines().map(without_host_fields).collect()
    }

    /// How the service ended by itself, which it does soon.
    pub(crate) fn ended(&mut self) -> Result<(), ServiceError> {
        self.broken = true;
        let running = self.running.take().expect("it runs");
        let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), running).await });
        ended.expect("it ends by itself").expect("no panic")
    }

    /// Stops the service, and says how it ended.
    pub(crate) fn stop(&mut self) -> Result<(), ServiceError> {
        self.stop.cancel();
        let running = self.running.take().expect("it runs");
        self.runtime.block_on(running).expect("no panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.running.is_some() {
            let ended = self.stop();
            assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
        }
        self.engine.drain(Duration::from_secs(2));
        let closed = self.log.close();
        assert!(closed.is_ok() || self.broken || std::thread::panicking(), "{closed:?}");
    }
}

/// A line up to `_partition`.
pub(crate) fn without_host_fields(line: &str) -> String {
    let end = line.find(",\"_partition\"").or_else(|| line.find("\"_partition\"")).unwrap_or(line.len());
    if end == line.len() { line.to_owned() } else { format!("{}}}", &line[..end]) }
}
