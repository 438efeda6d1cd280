//! A lane: one thread that steps its sinks in turn, woken when rows become durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tidemill_connect::{RETRY_FIRST, RETRY_LONGEST, ReaderParts, RefusedRows, SinkReader, Step};
use tidemill_event::{Backoff, PipelineName, TenantName};
use tidemill_log::{Listening, Log, Visibility};

use super::mark::{self, MarkDocument};
use super::metrics::SinkMetrics;
use super::resend::{Resend, Resent};
use super::seed::SinkSeed;

/// Messages that may wait; whoever sends one more waits.
const MESSAGES_MAX: usize = 256;
/// A target that cannot even be opened is tried again after this long.
const OPEN_RETRY: Duration = Duration::from_secs(1);
/// How often a sink looks whether its `run: once` is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long sinks that are stopped may go on with what is on disk; the rest is taken at the next start.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// How long a message to a lane may take.
const SEND_WAIT: Duration = Duration::from_secs(1);

enum Message {
    Start(Box<SinkSeed>),
    Stop(TenantName, PipelineName, Sender<()>),
    Wake,
}

/// Handle to the thread.
pub(super) struct Lane {
    messages: Sender<Message>,
    quitting: Arc<AtomicBool>,
    ended: Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Lane {
    pub(super) fn start(name: &str, log: Log, metrics: SinkMetrics) -> std::io::Result<Self> {
        let (messages, inbox) = bounded(MESSAGES_MAX);
        let (ending, ended) = bounded(1);
        let quitting = Arc::new(AtomicBool::new(false));
        let (quits, wakes) = (quitting.clone(), messages.clone());
        let mut runner = Runner { log, metrics, messages: wakes, quitting: quits, sinks: Vec::new() };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runner.run(&inbox);
            // Dropped, sent or not: it says that the thread has nothing left to do.
            drop(ending);
        })?;
        Ok(Self { messages, quitting, ended, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn add(&self, seed: SinkSeed) {
        let _ = self.messages.send(Message::Start(Box::new(seed)));
    }

    /// Flushes and ends a pipeline's sinks, then says so.
    pub(super) fn stop(&self, tenant: &TenantName, pipeline: &PipelineName, done: Sender<()>) {
        // A queue that stays full belongs to a lane that is stuck. `done` is dropped, and whoever waits for it hears that.
        let _ = self.messages.send_timeout(Message::Stop(tenant.clone(), pipeline.clone(), done), SEND_WAIT);
    }

    pub(super) fn quit(&self) {
        self.quitting.store(true, Ordering::Release);
        self.wake();
    }

    /// Has it look at every sink. Never waits: a full queue wakes the lane as well as this does.
    pub(super) fn wake(&self) {
        drop(self.messages.try_send(Message::Wake));
    }

    pub(super) fn join(&self, until: Instant) {
        let Some(thread) = self.thread.lock().take() else { return };
        if self.ended.recv_deadline(until) == Err(RecvTimeoutError::Timeout) {
            // It sits in a call that nothing can end: a pipe that nobody reads. It holds rows that are in the log.
            tracing::warn!(lane = thread.thread().name(), "a sink does not end; it is left behind");
        } else if thread.join().is_err() {
            tracing::error!("a sink panicked");
        }
    }
}

struct Running {
    seed: SinkSeed,
    reader: Option<SinkReader>,
    /// What is sent again, beside the reader's rows.
    resend: Option<Resend>,
    /// Not before then: it failed, or its rows wait for company.
    not_before: Option<Instant>,
    _listening: Listening,
}

struct Runner {
    log: Log,
    metrics: SinkMetrics,
    messages: Sender<Message>,
    quitting: Arc<AtomicBool>,
    sinks: Vec<Running>,
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
                Ok(Message::Start(seed)) => self.add(*seed),
                Ok(Message::Stop(tenant, pipeline, done)) => self.stop(&tenant, &pipeline, &done),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.quitting.load(Ordering::Acquire) {
                return;
            }
            wake_at = self.round();
        }
    }

    fn add(&mut self, seed: SinkSeed) {
        let messages = self.messages.clone();
        let shared = seed.shared.clone();
        let wake = move || {
            // A full queue means that the thread will look at every sink anyway.
            if shared.wake() {
                drop(messages.try_send(Message::Wake));
            }
        };
        let listening = seed.shared.partition.listen(Visibility::Durable, Arc::new(wake));
        let resend = seed.shared.receiver.clone().map(|receiver| {
            let backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST, (seed.random)());
            Resend::new(receiver.again, receiver.webhook, seed.letters.clone(), backoff)
        });
        self.sinks.push(Running { seed, reader: None, resend, not_before: None, _listening: listening });
    }

    fn stop(&mut self, tenant: &TenantName, pipeline: &PipelineName, done: &Sender<()>) {
        let until = Instant::now() + FLUSH_MAX;
        let (ending, rest) = std::mem::take(&mut self.sinks)
            .into_iter()
            .partition(|sink| sink.seed.tenant == *tenant && sink.seed.pipeline == *pipeline);
        self.sinks = rest;
        for mut running in ending {
            while Instant::now() < until
                && matches!(
                    self.step(&mut running, true),
                    Some(Step::Added | Step::Committed { .. } | Step::Halved | Step::Refused { .. })
                )
            {}
            self.metrics.ended(&running.seed);
        }
        let _ = done.send(());
    }

    /// One step of every sink that may take one. The instant at which one wants to be asked again.
    fn round(&mut self) -> Option<Instant> {
        let mut wake_at: Option<Instant> = None;
        let now = Instant::now();
        for mut running in std::mem::take(&mut self.sinks) {
            running.seed.shared.looked();
            if running.not_before.is_none_or(|not_before| not_before <= now) {
                let over = (running.seed.is_over)();
                running.not_before = match self.step(&mut running, over == Some(true)) {
                    Some(Step::AtEnd) => None,
                    Some(Step::Added | Step::Committed { .. } | Step::Halved | Step::Refused { .. }) => Some(now),
                    // Rows that wait go when there will be no more.
                    Some(Step::Waiting(due)) if over == Some(false) => Some(due.min(now + LOOK_EVERY)),
                    Some(Step::Waiting(due)) => Some(due),
                    None => Some(now + OPEN_RETRY),
                };
                self.metrics.stands(&running.seed);
            }
            let resend_at = self.resend(&mut running, now);
            for at in [running.not_before, resend_at].into_iter().flatten() {
                wake_at = Some(wake_at.map_or(at, |earlier| earlier.min(at)));
            }
            self.sinks.push(running);
        }
        wake_at
    }

    /// A step, with what it did told to whoever looks. `None`: the target could not be opened.
    fn step(&self, running: &mut Running, flush: bool) -> Option<Step> {
        let Running { seed, reader, .. } = running;
        let shared = &seed.shared;
        let reader = match reader {
            Some(reader) => reader,
            None => match self.open(seed) {
                Ok(opened) => reader.insert(opened),
                Err(error) => {
                    self.failed(seed, error, 1);
                    return None;
                }
            },
        };
        let done = match reader.step(Instant::now(), flush) {
            Ok(step) => step,
            Err(error) => {
                self.failed(seed, error.to_string(), reader.failures());
                Step::Waiting(reader.waits_until().unwrap_or_else(Instant::now))
            }
        };
        match done {
            Step::Committed { rows, bytes } => {
                shared.committed(rows, bytes);
                self.metrics.committed(seed, rows, bytes);
            }
            Step::Refused { rows } => {
                shared.refused(rows);
                self.metrics.refused(seed, rows);
            }
            Step::Added | Step::Halved | Step::AtEnd | Step::Waiting(_) => {}
        }
        // Behind the counts: whoever sees that there is no lag finds every row counted.
        shared.stands(reader);
        if matches!(done, Step::Committed { .. } | Step::Refused { .. }) {
            seed.siblings.trim(&self.log);
        }
        Some(done)
    }

    /// One request with rows that are sent again, if there are any. The instant at which it wants to be asked again.
    fn resend(&self, running: &mut Running, now: Instant) -> Option<Instant> {
        let Running { seed, resend, .. } = running;
        let resend = resend.as_mut()?;
        match resend.step(now) {
            Resent::Nothing => return None,
            Resent::Waits(until) => return Some(until),
            Resent::Sent { rows, bytes } if rows > 0 => {
                seed.shared.committed(rows, bytes);
                self.metrics.committed(seed, rows, bytes);
            }
            Resent::Sent { .. } => {}
            Resent::Failed(error, failures) => self.failed(seed, error.to_string(), failures),
        }
        resend.due(now)
    }

    fn open(&self, seed: &SinkSeed) -> Result<SinkReader, String> {
        let sink = (seed.open)().map_err(|error| error.to_string())?;
        let partition = seed.shared.partition.clone();
        let number = partition.key().partition;
        let key = mark::key(&seed.tenant, &seed.pipeline, &seed.shared.target, number);
        let marks = Box::new(MarkDocument::new(self.log.clone(), key));
        let backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST, (seed.random)());
        let life = format!("{:016x}", (seed.random)());
        let refused = seed.buries.then(|| Box::new(seed.letters.clone()) as Box<dyn RefusedRows>);
        let (start, bounds) = (seed.start, seed.bounds);
        Ok(SinkReader::new(ReaderParts { partition, sink, marks, start, bounds, backoff, life, refused }))
    }

    fn failed(&self, seed: &SinkSeed, error: String, failures: u32) {
        tracing::warn!(pipeline = %seed.pipeline, target = seed.shared.target, failures, "{error}; it is tried again");
        self.metrics.failed(seed);
        seed.shared.failed(error, failures);
    }
}
