//! The engine: worker threads, the checkpointer, the sinks, and the two doors through which everything is changed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tidemill_event::Clock;
use tidemill_log::Log;
use tidemill_runtime::{Grants, Runtime};
use tidemill_state::StateStore;

use crate::deployments::Deployments;
use crate::metrics::Metrics;
use crate::pipeline_metrics::PipelineMetrics;
use crate::planted::Plants;
use crate::sinks::{SinkParts, Sinks};
use crate::tables::Keeper;
use crate::task::{Checkpointer, StateBudget, Suspects, TaskParts, Workers};
use crate::upkeep::Upkeep;
use crate::{Components, EngineSettings, Pipelines, Tables};

/// The engine did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder of the data directory.
    #[error("cannot open `{path}`: {message}")]
    Folder {
        /// Which.
        path: String,
        /// What the disk said.
        message: String,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Tasks that ended behind a checkpoint.
    pub tasks: usize,
    /// Tasks that did not within the deadline: they replay at the next start, nothing is lost.
    pub tasks_late: usize,
}

/// Runs the pipelines of a host. Cheap to clone; the threads stop when [`Engine::drain`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    components: Components,
    tables: Tables,
    pipelines: Pipelines,
    inner: Arc<Threads>,
}

/// The parts that run.
pub(crate) struct Threads {
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    pub(crate) grants: Grants,
    pub(crate) store: StateStore,
    pub(crate) instances_max: usize,
    /// What sinks are opened with.
    pub(crate) targets: SinkParts,
    pub(crate) workers: Workers,
    pub(crate) sinks: Sinks,
    checkpointer: Mutex<Checkpointer>,
    pub(crate) metrics: Metrics,
    pub(crate) plants: Plants,
    upkeep: Mutex<Option<Upkeep>>,
    /// Keeps the tables that are made from streams.
    keeper: Mutex<Option<Keeper>>,
    /// Nothing is applied any more.
    pub(crate) stopping: AtomicBool,
}

impl Engine {
    /// Opens state and registry. Blocking; nothing runs before [`Engine::start`].
    pub fn open(settings: EngineSettings, log: Log, runtime: Runtime, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let folder = settings.data_dir.join("state");
        let store = StateStore::open(&folder)
            .map_err(|error| OpenError::Folder { path: folder.display().to_string(), message: error.to_string() })?;
        Self::open_on(settings, store, log, runtime, clock)
    }

    /// [`Engine::open`], on a state store that is open already.
    pub fn open_on(
        settings: EngineSettings,
        store: StateStore,
        log: Log,
        runtime: Runtime,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let plants = settings.plants();
        let folder = |name: &str| settings.data_dir.join(name);
        let cannot_open = |name: &str, message: &dyn fmt::Display| OpenError::Folder {
            path: settings.data_dir.join(name).display().to_string(),
            message: message.to_string(),
        };
        let files = folder("files");
        std::fs::create_dir_all(&files).map_err(|error| cannot_open("files", &error))?;
        let changes = Arc::new(Mutex::new(()));
        let components = Components::open(log.clone(), runtime.clone(), folder("components"), changes.clone())
            .map_err(|error| cannot_open("components", &error))?;

        let tables = Tables::open(log.clone(), folder("tables")).map_err(|error| cannot_open("tables", &error))?;
        tables.clear();

        let metrics = Metrics::default();
        let state_budget =
            StateBudget::new(settings.state_memory_bytes, settings.tenant_state_memory_bytes, metrics.state_memory_bytes.clone());
        let parts = TaskParts {
            log: log.clone(),
            runtime: runtime.clone(),
            store: store.clone(),
            clock: clock.clone(),
            tables: tables.clone(),
            metrics: metrics.clone(),
            grants: settings.grants.clone(),
            batch_rows_max: settings.batch_rows_max.max(1),
            batch_bytes_max: settings.batch_bytes_max.max(1),
            entry_bytes_max: settings.entry_bytes_max.max(1),
            batch_target: settings.batch_target,
            checkpoint_after: settings.checkpoint_after,
            state_budget,
            listed_at_once: settings.state_listed_at_once.max(1),
            suspects: Suspects::default(),
            stage_rows_max: settings.stage_rows_max,
            plants,
        };
        let targets = SinkParts {
            files,
            disk: settings.disk,
            file_linger: settings.file_linger,
            stdout: settings.stdout,
            random: settings.random,
            clock: clock.clone(),
            secrets: folder("secrets"),
            webhooks_private: settings.webhooks_private,
        };
        let checkpointer =
            Checkpointer::start(log.clone(), store.clone(), clock.clone(), metrics.clone(), plants).map_err(OpenError::Thread)?;
        let workers = Workers::start(settings.workers, &parts, &checkpointer.jobs()).map_err(OpenError::Thread)?;
        let sinks = Sinks::start(log.clone(), metrics.sinks.clone()).map_err(OpenError::Thread)?;
        let inner = Arc::new(Threads {
            log,
            runtime,
            grants: settings.grants,
            store,
            instances_max: settings.instances_max,
            targets,
            workers,
            sinks,
            checkpointer: Mutex::new(checkpointer),
            metrics,
            plants,
            upkeep: Mutex::new(None),
            keeper: Mutex::new(None),
            stopping: AtomicBool::new(false),
        });
        let pipelines = Pipelines::new(Deployments::new(inner.clone(), components.clone(), tables.clone(), changes));
        let upkeep = Upkeep::start(pipelines.deployments(), clock).map_err(OpenError::Thread)?;
        *inner.upkeep.lock() = Some(upkeep);
        let keeper = Keeper::start(pipelines.deployments()).map_err(OpenError::Thread)?;
        *inner.keeper.lock() = Some(keeper);
        Ok(Self { components, tables, pipelines, inner })
    }

    /// Starts the stored pipelines: they replay what no checkpoint covers and go on. Blocking while components are loaded.
    pub fn start(&self) {
        self.pipelines.deployments().start_stored();
    }

    /// Stops taking in, commits, waits until that is on disk, checkpoints every task, joins the threads. Blocking; a second call does
    /// nothing. The log must still be open.
    pub fn drain(&self, deadline: Duration) -> Drained {
        let until = Instant::now() + deadline;
        if self.inner.stopping.swap(true, Ordering::AcqRel) {
            return Drained { tasks: 0, tasks_late: 0 };
        }
        let deployed = self.pipelines.deployments().runs();
        let tasks: Vec<_> = deployed.iter().flat_map(|deployed| &deployed.tasks).collect();
        // Room for every answer: nobody who tells us waits for us.
        let (done, told) = bounded(tasks.len().max(1));
        for task in &tasks {
            self.inner.workers.stop_task(&task.id, done.clone());
        }
        drop(done);
        let mut ended = 0;
        while ended < tasks.len() && told.recv_deadline(until).is_ok() {
            ended += 1;
        }
        let with_sinks: Vec<_> = deployed.iter().filter(|deployed| !deployed.sinks.is_empty()).collect();
        // All at once: their lanes work side by side.
        let stopping: Vec<_> =
            with_sinks.iter().map(|deployed| self.inner.sinks.stop(&deployed.tenant, &deployed.name)).collect();
        for sinks in stopping {
            sinks.wait(until);
        }
        self.inner.join();
        Drained { tasks: ended, tasks_late: tasks.len() - ended }
    }

    /// Stops all threads where they stand, without a commit or checkpoint: as a crash would, for tests of recovery.
    pub fn abort(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.join();
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.inner
    }

    /// The components of all tenants.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The tables of all tenants.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The pipelines of all tenants.
    pub fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// Adds the engine's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
        let pipelines = PipelineMetrics::new(Arc::downgrade(self.pipelines.deployments()));
        registry.register_collector(Box::new(pipelines));
    }
}

impl Threads {
    /// Workers first: they feed the checkpointer.
    fn join(&self) {
        if let Some(upkeep) = self.upkeep.lock().take() {
            upkeep.stop();
        }
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.stop();
        }
        self.workers.join();
        self.sinks.join();
        self.checkpointer.lock().stop();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.join();
    }
}
