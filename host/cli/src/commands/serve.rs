//! `tidemill serve`: settings, build, run, drain.
//!
//! ```text
//! settings ─► data dir (lock, format) ─► runtime ─► log ─► engine ─► service ─► serve … signal
//!                                          └──────── the other way round: drain ◄──────┘
//! ```
//! Starts in the order of the layers and stops in the opposite one: no requests, then no batches, then nothing unwritten.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use serde_json::json;
use tidemill_engine::{Engine, EngineSettings};
use tidemill_log::{Log, LogSettings};
use tidemill_runtime::{Runtime, RuntimeSettings};
use tidemill_server::{Role, Service, Settings as ServiceSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::ServeArgs;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::exit::{FAILED, Failure};
use crate::logs;
use crate::output::Output;
use crate::planted::{self, disk, grants};
use crate::secret::random_bytes;
use crate::settings::ServeSettings;

use super::token;

/// Runs the host until it is told to stop, and drains it. An error is a host that did not start, or that had to stop by itself.
pub(crate) fn run(args: &ServeArgs, output: Output) -> Result<(), Failure> {
    let settings = read_settings(args)?;
    logs::start(settings.log, &settings.log_filter)?;
    let data = DataDir::open(&settings.data).map_err(|error| Failure::failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("http").build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let parts = Parts::open(args, &settings, &data)?;
    greet(&settings, &parts.log, output)?;
    runtime.block_on(serve(&settings, parts, args.stop_with_stdin, output))
    // The lock of the data directory goes last, when `data` is dropped.
}

/// The only place where the process's environment and its settings file are read.
fn read_settings(args: &ServeArgs) -> Result<ServeSettings, Failure> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    let path = args.config.clone().or_else(|| environment.get("TIDEMILL_CONFIG").map(PathBuf::from));
    let file = match &path {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| Failure::wrong_use(format!("cannot read settings from `{}`: {error}", path.display())))?)
        }
    };
    let file = path.as_deref().zip(file.as_deref());
    ServeSettings::from_sources(args, &environment, file).map_err(|fault| Failure::wrong_use(fault.to_string()))
}

/// Everything below HTTP, open.
struct Parts {
    log: Log,
    engine: Engine,
}

impl Parts {
    fn open(args: &ServeArgs, settings: &ServeSettings, data: &DataDir) -> Result<Self, Failure> {
        let begin = Instant::now();
        let runtime = RuntimeSettings {
            cache_dir: Some(data.path().join("cache")),
            grants: grants(),
            ..RuntimeSettings::new(crate::compiler::own())
        };
        let runtime = Runtime::new(runtime).map_err(|error| Failure::failed(error.to_string()))?;
        let mut log = LogSettings::new(data.path().join("log"));
        if let Some(bytes) = settings.disk_reserve_bytes {
            log.reserve_bytes = bytes;
        }
        let mut engine = EngineSettings::new(data.path());
        planted::plant(args, &mut log, &mut engine)?;
        let log = Log::open(log, disk()).map_err(|error| Failure::failed(error.to_string()))?;
        engine.grants = grants();
        engine.disk = disk();
        // On one's own machine receivers are tried out on it too.
        engine.webhooks_private = settings.dev || settings.webhooks_private;
        if let Some(bytes) = settings.state_memory_bytes.or_else(half_of_the_memory) {
            engine.state_memory_bytes = bytes;
        }
        if let Some(bytes) = settings.tenant_state_memory_bytes {
            engine.tenant_state_memory_bytes = bytes;
        }
        if let Some(workers) = settings.workers {
            engine.workers = workers;
        }
        let engine = Engine::open(engine, log.clone(), runtime, Arc::new(SystemClock));
        let engine = engine.map_err(|error| Failure::failed(error.to_string()))?;
        engine.start();
        tracing::info!(data = %data.path().display(), open_ms = begin.elapsed().as_millis() as u64, "log and pipelines are open");
        Ok(Self { log, engine })
    }
}

/// Half of what the machine has, or of what its control group may use, if that can be known.
fn half_of_the_memory() -> Option<u64> {
    let of_machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        of_machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    let of_group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    Some((kib << 10).min(of_group.unwrap_or(u64::MAX)) / 2)
}

async fn serve(settings: &ServeSettings, parts: Parts, stop_with_stdin: bool, output: Output) -> Result<(), Failure> {
    let Parts { log, engine } = parts;
    // Before the address is told: whoever reads it may send a signal at once.
    let mut signals = Signals::new()?;
    let service =
        ServiceSettings { drain: settings.drain, open: settings.dev, std_components: settings.dev, ..ServiceSettings::default() };
    let service = settings.connections.over(service);
    let service = Service::new(service, log.clone(), engine.clone(), Arc::new(SystemClock), random_bytes, Registry::default());
    let listener = Service::bind(&settings.listen.to_string()).await.map_err(|error| Failure::failed(error.to_string()))?;
    announce(&listener, output)?;
    let stop = CancellationToken::new();
    if stop_with_stdin {
        stop_when_stdin_closes(stop.clone());
    }
    let serving = service.run(listener, stop.clone());
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            stop.cancel();
            tokio::select! {
                served = &mut serving => served,
                name = signals.next() => give_up(name),
            }
        }
    };
    if let Err(error) = served {
        // Draining would wait for a log that takes nothing more. What was acknowledged is on disk, the rest was never promised.
        tracing::error!(%error, "the host stops");
        Output::Text.failure(&Failure::failed(error.to_string()));
        std::process::exit(FAILED.into());
    }
    let deadline = settings.drain;
    let drained = tokio::task::spawn_blocking(move || drain(&engine, &log, deadline));
    tokio::select! {
        drained = drained => drained.map_err(|error| Failure::failed(format!("the drain did not end: {error}")))?,
        name = signals.next() => give_up(name),
    }
}

/// Makes a first token and prints it, once: later only its hash is known.
fn greet(settings: &ServeSettings, log: &Log, output: Output) -> Result<(), Failure> {
    if settings.dev {
        return Ok(());
    }
    if !settings.listen.ip().is_loopback() {
        tracing::warn!("tokens and events cross the network as they are: put a proxy with TLS before the host");
    }
    let Some(made) = token::first(log)? else { return Ok(()) };
    output.result(&token::shown(&made, Role::Admin), || {
        format!(
            "admin token {}
  it is shown now and never again: keep it, and give it to commands as TIDEMILL_TOKEN or --token-file",
            made.token
        )
    })
}

/// Tells where the host listens, in one line of standard output that scripts may wait for.
fn announce(listener: &TcpListener, output: Output) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(|error| Failure::failed(format!("cannot listen: {error}")))?;
    let url = format!("http://{address}");
    tracing::info!(%url, "serving");
    output.result(&json!({"listening": url}), || format!("listening on {url}"))
}

fn drain(engine: &Engine, log: &Log, deadline: Duration) -> Result<(), Failure> {
    let begin = Instant::now();
    let drained = engine.drain(deadline);
    log.close().map_err(|error| Failure::failed(error.to_string()))?;
    let drain_ms = begin.elapsed().as_millis() as u64;
    tracing::info!(tasks = drained.tasks, tasks_late = drained.tasks_late, drain_ms, "stopped");
    Ok(())
}

fn give_up(signal: &str) -> ! {
    tracing::warn!(signal, "stopping at once; the next start replays what was not checkpointed");
    std::process::exit(FAILED.into());
}

/// Whoever started this host keeps its standard input open, and takes it along when it ends in whatever way.
fn stop_when_stdin_closes(stop: CancellationToken) {
    // Nobody waits for this thread: it may sit in a read that never ends, and it owns nothing.
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        stop.cancel();
    });
}

/// What asks a host to stop: the service manager's SIGTERM, a person's Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next one's name. Cancel-safe.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
