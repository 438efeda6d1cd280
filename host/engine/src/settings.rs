//! What the engine is told before it starts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_connect::SharedOutput;
use tidemill_log::{Disk, RealDisk};
use tidemill_runtime::Grants;

use crate::planted::Plants;

/// Settings of one engine. [`EngineSettings::new`] fits a small machine; every field may be changed before [`crate::Engine::open`].
pub struct EngineSettings {
    /// The data directory; the engine keeps `state/`, `components/` and `files/` in it.
    pub data_dir: PathBuf,
    /// Worker threads, at least 1. Each owns many tasks, one batch at a time.
    pub workers: usize,
    /// The most rows a task takes for one commit.
    pub batch_rows_max: usize,
    /// The most bytes a task takes for one commit.
    pub batch_bytes_max: usize,
    /// The most bytes of rows that one entry of a task takes; what a batch made beyond it is committed in parts.
    pub entry_bytes_max: usize,
    /// How long one batch should take; batches of slow pipelines are cut smaller.
    pub batch_target: Duration,
    /// CPU time that replay may cost before a task makes a checkpoint; up to four times of it where its checkpoints are that dear.
    pub checkpoint_after: Duration,
    /// Memory that the state of all tasks may take together, about. Beyond it what can leave memory does, and a task that needs more is held.
    pub state_memory_bytes: u64,
    /// What of it the tasks of one tenant may take.
    pub tenant_state_memory_bytes: u64,
    /// Entries that a task reads of its state before it takes a row; of larger state the rest is listed behind its batches, a 32nd of that many at a
    /// time.
    pub state_listed_at_once: usize,
    /// Rows that a task may have before it that the stage before wrote: with more, that stage takes less.
    pub stage_rows_max: u64,
    /// Sandboxes that tasks may hold: one per component step and partition. A pipeline beyond it is refused. Below the runtime's own
    /// bound, which also serves uploads and checks: a task that finds no room would bury its rows.
    pub instances_max: usize,
    /// How long a file sink gathers rows before it closes a file that is not full, where the target does not say.
    pub file_linger: Duration,
    /// Where file sinks write.
    pub disk: Arc<dyn Disk>,
    /// Where keys of batches and the jitter of retries come from.
    pub random: fn() -> u64,
    /// Webhooks may go to addresses and ports that are not public: for tests, and for receivers in one's own network.
    pub webhooks_private: bool,
    /// Where `to: [stdout]` writes.
    pub stdout: SharedOutput,
    /// What every component may import beyond logging: nothing, but in tests.
    pub grants: Grants,
    /// A bug to have, for tests that show that it would be found.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::Planted>,
}

impl EngineSettings {
    pub(crate) fn plants(&self) -> Plants {
        Plants(
            #[cfg(feature = "planted")]
            self.planted,
        )
    }

    /// Defaults for a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            batch_rows_max: 4096,
            batch_bytes_max: 1 << 20,
            entry_bytes_max: 8 << 20,
            batch_target: Duration::from_millis(1),
            checkpoint_after: Duration::from_millis(500),
            state_memory_bytes: 2 << 30,
            tenant_state_memory_bytes: u64::MAX,
            // A tenth of a second.
            state_listed_at_once: 1 << 17,
            stage_rows_max: 1 << 17,
            instances_max: 900,
            file_linger: Duration::from_secs(30),
            disk: Arc::new(RealDisk),
            random: tidemill_connect::system_random,
            webhooks_private: false,
            stdout: SharedOutput::new(io::stdout()),
            grants: Grants::none(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

impl fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSettings").field("data_dir", &self.data_dir).field("workers", &self.workers).finish_non_exhaustive()
    }
}
