//! The engine: worker threads, the checkpointer, the sinks, and the two doors through which everything is changed.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidemill_event::Clock;
use tidemill_log::Log;

use crate::{Components, EngineSettings, Pipelines};

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
    /// Something stored cannot be read.
    #[error("stored {what} cannot be read: {message}")]
    Stored {
        /// `pipeline default/onward`, …
        what: String,
        /// Why.
        message: String,
    },
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Tasks that ended with a checkpoint.
    pub tasks: usize,
    /// Tasks that did not within the deadline: they replay at the next start, nothing is lost.
    pub tasks_late: usize,
}

/// Runs the pipelines of a host. Cheap to clone; the threads stop when [`Engine::drain`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    components: Components,
    pipelines: Pipelines,
}

impl Engine {
    /// Opens state and registry. Blocking; nothing runs before [`Engine::start`].
    pub fn open(settings: EngineSettings, log: Log, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        unimplemented!("{settings:?} {} {}", size_of_val(&log), clock.now())
    }

    /// Starts the stored pipelines: they replay what no checkpoint covers and go on. Blocking while components are loaded.
    pub fn start(&self) {
        unimplemented!()
    }

    /// Stops taking in, commits, waits until that is on disk, checkpoints every task, joins the threads. Blocking.
    pub fn drain(&self, deadline: Duration) -> Drained {
        unimplemented!("{deadline:?}")
    }

    /// The components of all tenants.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The pipelines of all tenants.
    pub fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// Adds the engine's metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        unimplemented!("{}", size_of_val(registry))
    }
}
