//! Files and standard output of pipelines: one thread carries durable rows of `{pipeline}.output` to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tidemill_connect::{Promise, ReadBounds, Sink, SinkReader, Step};
use tidemill_event::{Offset, PipelineName, TenantName};
use tidemill_log::{Listening, Log, Partition, Visibility};

use crate::status::SinkStatus;

/// Rows in one file or one piece of output at most.
const WRITE_ROWS_MAX: usize = 65_536;
/// Bytes in memory of the same.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// A sink that failed is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// Rows between two trims of an output stream.
const TRIM_ROWS: u64 = 10_000;
/// Messages that may wait; whoever sends one more waits.
const MESSAGES_MAX: usize = 256;

/// One sink of one partition, as others see it.
pub(crate) struct SinkShared {
    pub(crate) target: String,
    pub(crate) partition: Arc<Partition>,
    next: AtomicU64,
    /// A wake-up is in the queue: one is enough.
    woken: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl SinkShared {
    pub(crate) fn status(&self) -> SinkStatus {
        let next = self.next.load(Ordering::Relaxed);
        SinkStatus {
            target: self.target.clone(),
            partition: self.partition.key().partition.0,
            offset: next,
            lag_records: self.partition.end(Visibility::Durable).0.saturating_sub(next),
            last_error: self.last_error.lock().clone(),
        }
    }

    /// Whether everything that is on disk was taken.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.partition.end(Visibility::Durable).0 <= self.next.load(Ordering::Relaxed)
    }
}

/// A sink to run: a maker, because a target that cannot be opened now may be later.
pub(crate) struct SinkSeed {
    pub(crate) tenant: TenantName,
    pub(crate) pipeline: PipelineName,
    pub(crate) shared: Arc<SinkShared>,
    pub(crate) open: Box<dyn Fn() -> Result<Box<dyn Sink>, tidemill_connect::SinkError> + Send>,
    /// Where it begins if neither the target nor a mark of ours says so.
    pub(crate) start: Offset,
}

impl SinkShared {
    pub(crate) fn new(target: String, partition: Arc<Partition>) -> Arc<Self> {
        Arc::new(Self { target, partition, next: AtomicU64::new(0), woken: AtomicBool::new(false), last_error: Mutex::new(None) })
    }
}

enum Message {
    Start(SinkSeed),
    /// Write what is on disk, then forget the pipeline's sinks.
    Stop(TenantName, PipelineName, Sender<()>),
    Wake,
    Quit,
}

/// Handle to the thread.
pub(crate) struct Sinks {
    messages: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sinks {
    pub(crate) fn start(log: Log, linger: Duration) -> std::io::Result<Self> {
        let (messages, inbox) = bounded(MESSAGES_MAX);
        let mut runner = Runner { log, linger, messages: messages.clone(), sinks: Vec::new(), trimmed: HashMap::new() };
        let thread = std::thread::Builder::new().name("sinks".to_owned()).spawn(move || runner.run(&inbox))?;
        Ok(Self { messages, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn add(&self, seed: SinkSeed) {
        let _ = self.messages.send(Message::Start(seed));
    }

    /// Ends the sinks of a pipeline behind what is on disk now.
    pub(crate) fn stop(&self, tenant: &TenantName, pipeline: &PipelineName, done: Sender<()>) {
        let _ = self.messages.send(Message::Stop(tenant.clone(), pipeline.clone(), done));
    }

    pub(crate) fn join(&self) {
        let _ = self.messages.send(Message::Quit);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the sinks panicked");
        }
    }
}

struct Running {
    seed: SinkSeed,
    opened: Option<(Box<dyn Sink>, SinkReader)>,
    /// Not before then: it failed, or its rows wait for company.
    not_before: Option<Instant>,
    _listening: Listening,
}

struct Runner {
    log: Log,
    linger: Duration,
    messages: Sender<Message>,
    sinks: Vec<Running>,
    /// Where each output stream was last trimmed.
    trimmed: HashMap<tidemill_event::PartitionKey, u64>,
}

impl Runner {
    fn run(&mut self, inbox: &Receiver<Message>) {
        let mut wake_at: Option<Instant> = None;
        loop {
            let message = match wake_at {
                Some(at) => inbox.recv_deadline(at),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Start(seed)) => self.add(seed),
                Ok(Message::Stop(tenant, pipeline, done)) => self.stop(&tenant, &pipeline, &done),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Quit) | Err(RecvTimeoutError::Disconnected) => return,
            }
            wake_at = self.round();
        }
    }

    fn add(&mut self, seed: SinkSeed) {
        let messages = self.messages.clone();
        let shared = seed.shared.clone();
        let wake = move || {
            // A full queue means that the thread will look at every sink anyway.
            if !shared.woken.swap(true, Ordering::AcqRel) {
                drop(messages.try_send(Message::Wake));
            }
        };
        let listening = seed.shared.partition.listen(Visibility::Durable, Arc::new(wake));
        self.sinks.push(Running { seed, opened: None, not_before: None, _listening: listening });
    }

    fn stop(&mut self, tenant: &TenantName, pipeline: &PipelineName, done: &Sender<()>) {
        let mut rest = Vec::new();
        for mut running in std::mem::take(&mut self.sinks) {
            if running.seed.tenant != *tenant || running.seed.pipeline != *pipeline {
                rest.push(running);
                continue;
            }
            while matches!(step(&mut running, &self.log, self.linger, true), Ok(Step::Wrote)) {}
        }
        self.sinks = rest;
        let _ = done.send(());
    }

    /// One write of every sink that has rows. The instant at which one wants to be asked again.
    fn round(&mut self) -> Option<Instant> {
        let mut wake_at: Option<Instant> = None;
        let mut again = |at: Instant| wake_at = Some(wake_at.map_or(at, |earlier| earlier.min(at)));
        let now = Instant::now();
        for running in &mut self.sinks {
            running.seed.shared.woken.store(false, Ordering::Release);
            if running.not_before.is_some_and(|not_before| now < not_before) {
                running.not_before.into_iter().for_each(&mut again);
                continue;
            }
            running.not_before = match step(running, &self.log, self.linger, false) {
                Ok(Step::AtEnd) => None,
                Ok(Step::Wrote) => Some(now),
                Ok(Step::Waiting(due)) => Some(due),
                Err(error) => {
                    tracing::warn!(pipeline = %running.seed.pipeline, target = running.seed.shared.target, "{error}; trying again");
                    *running.seed.shared.last_error.lock() = Some(error);
                    Some(now + RETRY)
                }
            };
            running.not_before.into_iter().for_each(&mut again);
        }
        self.trim();
        wake_at
    }

    /// Rows that every sink of a stream has taken are not kept.
    fn trim(&mut self) {
        let mut lowest: HashMap<tidemill_event::PartitionKey, u64> = HashMap::new();
        for running in &self.sinks {
            let next = running.seed.shared.next.load(Ordering::Relaxed);
            let lowest = lowest.entry(running.seed.shared.partition.key().clone()).or_insert(next);
            *lowest = (*lowest).min(next);
        }
        for (key, lowest) in lowest {
            let trimmed = self.trimmed.entry(key.clone()).or_default();
            if lowest >= *trimmed + TRIM_ROWS && self.log.trim(&key, Offset(lowest)).is_ok() {
                *trimmed = lowest;
            }
        }
    }
}

fn mark_key(seed: &SinkSeed) -> String {
    let SinkSeed { tenant, pipeline, shared, .. } = seed;
    format!("sink/{tenant}/{pipeline}/{}/{}", shared.target, shared.partition.key().partition)
}

/// The documents that hold a pipeline's marks begin with this.
pub(crate) fn mark_prefix(tenant: &TenantName, pipeline: &PipelineName) -> String {
    format!("sink/{tenant}/{pipeline}/")
}

fn step(running: &mut Running, log: &Log, linger: Duration, flush: bool) -> Result<Step, String> {
    let Running { seed, opened, .. } = running;
    let shared = &seed.shared;
    let (sink, reader) = match opened {
        Some(opened) => opened,
        None => {
            let mut sink = (seed.open)().map_err(|error| error.to_string())?;
            let mark = log.document(&mark_key(seed)).and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
            let start = mark.map_or(seed.start, Offset).max(seed.start);
            let bounds = ReadBounds { rows_max: WRITE_ROWS_MAX, bytes_max: WRITE_BYTES_MAX, linger };
            let bounds = match sink.promise() {
                Promise::ExactlyOnce => bounds,
                // Nothing is gained by keeping a line from a person.
                Promise::AtLeastOnce => ReadBounds { linger: Duration::ZERO, ..bounds },
            };
            let reader =
                SinkReader::open(shared.partition.clone(), &mut *sink, start, bounds).map_err(|error| error.to_string())?;
            shared.next.store(reader.offset().0, Ordering::Relaxed);
            opened.insert((sink, reader))
        }
    };
    let done = reader.step(&mut **sink, Instant::now(), flush).map_err(|error| error.to_string())?;
    if done == Step::Wrote {
        if sink.promise() == Promise::AtLeastOnce {
            let mark = reader.offset().0.to_string().into_bytes();
            log.put_documents(vec![(mark_key(seed), Some(mark))]).map_err(|error| error.to_string())?;
        }
        shared.next.store(reader.offset().0, Ordering::Relaxed);
        *shared.last_error.lock() = None;
    }
    Ok(done)
}
