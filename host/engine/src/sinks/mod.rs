//! Sinks of pipelines: threads that carry durable rows of `{pipeline}.output` to files, webhooks and the standard output.
//!
//! ```text
//!  {pipeline}.output, a partition ──► SinkReader ──► target        a lane is a thread that steps its readers in turn
//!   files lane: every file      stdout lane: every stdout      a lane of its own: each other target of each pipeline
//! ```
//! Targets that can keep a thread waiting for seconds have a lane of their own, so that a slow one holds back nobody else. A sink
//! never holds back its pipeline: its rows are in the log, and it lags, visibly.

mod again;
mod backup;
mod begin;
mod beyond;
mod lane;
mod mark;
mod metrics;
mod refused;
mod resend;
mod seed;
mod shared;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use tidemill_event::{PipelineName, TenantName};
use tidemill_log::Log;

pub(crate) use self::backup::marks_of_targets;
pub use self::backup::renew_batch_keys;
pub(crate) use self::begin::marks_of_added;
pub use self::beyond::{ReaderBeyond, sinks_beyond};
use self::lane::Lane;
pub(crate) use self::mark::mark_prefix;
pub(crate) use self::metrics::SinkMetrics;
pub(crate) use self::seed::{LaneKind, SinkParts, SinkSeed, start_sinks};
pub(crate) use self::shared::SinkShared;

/// How long the end waits for a lane that does not answer: a pipe that nobody reads, a request under way.
const JOIN_WAIT: Duration = Duration::from_secs(2);

/// How long a change of plan waits for shared lanes to write what is there.
const SHARED_WAIT: Duration = Duration::from_secs(10);

/// Which target a lane of its own is for.
type Target = (TenantName, PipelineName, String);

/// Every lane.
pub(crate) struct Sinks {
    log: Log,
    metrics: SinkMetrics,
    files: Lane,
    stdout: Lane,
    own: Mutex<HashMap<Target, Lane>>,
}

impl Sinks {
    pub(crate) fn start(log: Log, metrics: SinkMetrics) -> std::io::Result<Self> {
        let files = Lane::start("sink files", log.clone(), metrics.clone())?;
        let stdout = Lane::start("sink stdout", log.clone(), metrics.clone())?;
        Ok(Self { log, metrics, files, stdout, own: Mutex::default() })
    }

    /// Runs a sink until its pipeline's sinks are stopped.
    pub(crate) fn add(&self, seed: SinkSeed) {
        match seed.lane {
            LaneKind::Files => self.files.add(seed),
            LaneKind::Stdout => self.stdout.add(seed),
            LaneKind::Own => {
                let target = (seed.tenant.clone(), seed.pipeline.clone(), seed.shared.target.clone());
                let mut own = self.own.lock();
                if !own.contains_key(&target) {
                    match Lane::start("sink", self.log.clone(), self.metrics.clone()) {
                        Ok(lane) => drop(own.insert(target.clone(), lane)),
                        Err(error) => {
                            tracing::error!(pipeline = %seed.pipeline, target = seed.shared.target, "no thread for a sink: {error}");
                            seed.shared
                                .failed(format!("the system gave no thread: {error}; resume the pipeline to try again"), 1);
                            return;
                        }
                    }
                }
                if let Some(lane) = own.get(&target) {
                    lane.add(seed);
                }
            }
        }
    }

    /// Rows are to be sent to a target again.
    pub(crate) fn wake(&self, tenant: &TenantName, pipeline: &PipelineName, target: &str) {
        if let Some(lane) = self.own.lock().get(&(tenant.clone(), pipeline.clone(), target.to_owned())) {
            lane.wake();
        }
    }

    /// Ends the sinks of a pipeline: what is on disk now is written, as far as that goes at once.
    pub(crate) fn stop(&self, tenant: &TenantName, pipeline: &PipelineName) -> Stopping {
        let mut own = self.own.lock();
        let targets: Vec<Target> = own.keys().filter(|(of, name, _)| of == tenant && name == pipeline).cloned().collect();
        let ending: Vec<Lane> = targets.iter().filter_map(|target| own.remove(target)).collect();
        drop(own);
        // Room for every answer: no lane waits for us.
        let (done, told) = bounded(ending.len().max(1));
        for lane in &ending {
            lane.stop(tenant, pipeline, done.clone());
        }
        let shared = [&self.files, &self.stdout].map(|lane| {
            let (done, told) = bounded(1);
            lane.stop(tenant, pipeline, done);
            told
        });
        Stopping { told, ending, shared }
    }

    /// Ends every lane where it stands.
    pub(crate) fn join(&self) {
        let until = Instant::now() + JOIN_WAIT;
        let own: Vec<Lane> = self.own.lock().drain().map(|(_, lane)| lane).collect();
        for lane in own.iter().chain([&self.files, &self.stdout]) {
            lane.quit();
        }
        for lane in own.iter().chain([&self.files, &self.stdout]) {
            lane.join(until);
        }
    }
}

/// Sinks of a pipeline that are coming to their end.
pub(crate) struct Stopping {
    told: Receiver<()>,
    ending: Vec<Lane>,
    /// Of the lanes that go on for others.
    shared: [Receiver<()>; 2],
}

impl Stopping {
    /// Waits until they have ended; `false`: some have not, and others must not begin in their place.
    pub(crate) fn wait(self, until: Instant) -> bool {
        // A shared lane takes what comes next behind what it was told first, so that nobody has to wait for one that is stuck (a
        // pipe nobody reads). The time is for what it still writes.
        let written = until.min(Instant::now() + SHARED_WAIT);
        for told in &self.shared {
            let _ = told.recv_deadline(written);
        }
        let all = self.ending.iter().all(|_| self.told.recv_deadline(until).is_ok());
        for lane in &self.ending {
            lane.quit();
        }
        for lane in &self.ending {
            lane.join(until);
        }
        all
    }
}
