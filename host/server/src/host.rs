//! What the handlers share: the services they call. Cheap to clone; handlers hold no state of their own.

use std::sync::Arc;

use tidemill_engine::Engine;
use tidemill_event::Clock;
use tidemill_log::Log;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Access;
use crate::bounds::{BACKUPS_MAX, COMPONENTS_HELD_MAX, JSON_HELD_BYTES_MAX, TABLES_HELD_MAX, UPLOADS_MAX};
use crate::compile_queue::CompileQueue;
use crate::consumers::Consumers;
use crate::ingest::Doors;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// 32 bytes that nobody can guess, from whoever runs the service.
pub type SecretBytes = fn() -> std::io::Result<[u8; 32]>;

/// The services behind the handlers.
#[derive(Clone)]
pub(crate) struct Host(Arc<Parts>);

struct Parts {
    settings: Settings,
    log: Log,
    engine: Engine,
    clock: Arc<dyn Clock>,
    random: SecretBytes,
    access: Access,
    doors: Doors,
    consumers: Consumers,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
    json_room: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    component_room: Arc<Semaphore>,
    table_room: Arc<Semaphore>,
    compiles: CompileQueue,
    backups: Arc<Semaphore>,
}

impl Host {
    pub(crate) fn new(
        settings: Settings,
        log: Log,
        engine: Engine,
        clock: Arc<dyn Clock>,
        random: SecretBytes,
        metrics: Metrics,
    ) -> Self {
        let stop = CancellationToken::new();
        Self(Arc::new(Parts {
            access: Access::new(settings.open, &log, &stop),
            doors: Doors::new(log.clone()),
            consumers: Consumers::new(log.clone()),
            settings,
            log,
            engine,
            clock,
            random,
            metrics,
            tasks: TaskTracker::new(),
            stop,
            json_room: Arc::new(Semaphore::new(JSON_HELD_BYTES_MAX)),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            component_room: Arc::new(Semaphore::new(COMPONENTS_HELD_MAX)),
            table_room: Arc::new(Semaphore::new(TABLES_HELD_MAX)),
            compiles: CompileQueue::new(),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// Bytes for a new token.
    pub(crate) fn random(&self) -> std::io::Result<[u8; 32]> {
        (self.0.random)()
    }

    pub(crate) fn doors(&self) -> &Doors {
        &self.0.doors
    }

    /// Who may do what.
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    pub(crate) fn consumers(&self) -> &Consumers {
        &self.0.consumers
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Tasks that outlive their request; the service waits for them when it drains.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Set once no further requests shall come: followers end, readiness says so.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Bytes that `application/json` bodies may hold together until their end.
    pub(crate) fn json_room(&self) -> Arc<Semaphore> {
        self.0.json_room.clone()
    }

    /// Turns of requests that have decoders of their own.
    pub(crate) fn uploads(&self) -> Arc<Semaphore> {
        self.0.uploads.clone()
    }

    /// Components that may be held in memory while they are uploaded or compiled.
    pub(crate) fn component_room(&self) -> Arc<Semaphore> {
        self.0.component_room.clone()
    }

    /// Tables that may be held in memory while they are uploaded and read.
    pub(crate) fn table_room(&self) -> Arc<Semaphore> {
        self.0.table_room.clone()
    }

    /// Turns at the compiler.
    pub(crate) fn compiles(&self) -> &CompileQueue {
        &self.0.compiles
    }

    /// Turns of backups.
    pub(crate) fn backups(&self) -> Arc<Semaphore> {
        self.0.backups.clone()
    }
}
