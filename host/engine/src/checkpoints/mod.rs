//! Named checkpoints: the state of a pipeline as of one moment, kept until somebody deletes it, to begin a run from.
//!
//! ```text
//! take ─► every task makes a checkpoint ─► copied under a run's number of its own ─► synced ─► the document: it is there
//!                                                                                  └─► its inputs' rows are held from there on
//! restore ─► copied under a new run's number ─► a replay that begins with it (restore.rs)       file.rs: as one file, elsewhere
//! ```
//! The copy is the only place where all of a state is written at once, and somebody asked for it. State and document are in the store and
//! in the log, so they survive restarts and are part of a backup. Each task is as of a moment of its own: tasks meet in the log alone, so
//! there is nothing between two of them that could be lost.

mod file;
mod restore;
mod saving;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tidemill_event::{EventTime, NameError, Offset, PartitionId, PipelineName, TenantName};
use tidemill_log::Hold;
use tidemill_state::{Change, CheckpointId, StateError, TaskId, Written};

pub use self::file::{SnapshotError, SnapshotFile};
pub use self::restore::Restored;
use crate::ControlError;
use crate::deployments::Deployments;
use crate::stored::{StoredPipeline, StoredSource, progress_name};
use crate::task::{Checkpoint, REPLAYED, last_checkpoint};

/// Checkpoints of one pipeline; one more is refused, because each keeps a whole state and rows of its inputs.
const CHECKPOINTS_MAX: usize = 64;
/// Keys that are copied at once.
const COPIED_KEYS: usize = 1024;
/// The one version of a state that is kept under a number of its own.
const ONLY: CheckpointId = CheckpointId(1);

/// The name of a checkpoint: formed as a pipeline's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName(PipelineName);

impl FromStr for CheckpointName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        name.parse().map(Self)
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The document `checkpoint/{tenant}/{pipeline}/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredCheckpoint {
    /// µs.
    pub(crate) taken_at: i64,
    /// The pipeline as it was; `starts` of its sources are where each task goes on.
    pub(crate) pipeline: StoredPipeline,
    /// The run under whose number the state lies.
    pub(crate) state_run: u64,
    pub(crate) bytes: u64,
    /// Per task, what there is: keys, and their checksum.
    pub(crate) written: Vec<(u64, u64)>,
}

/// A checkpoint as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedCheckpoint {
    /// Its name.
    pub name: String,
    /// When it was taken, RFC 3339.
    pub taken_at: String,
    /// The pipeline's plan and run then.
    pub plan: u64,
    /// See there.
    pub run: u64,
    /// Keys of all steps and tasks.
    pub keys: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Per stream, the next row of each partition: a run that begins here takes these first, and retention leaves them.
    pub from: BTreeMap<String, Vec<u64>>,
}

impl StoredCheckpoint {
    fn prefix(tenant: &TenantName, pipeline: &PipelineName) -> String {
        format!("checkpoint/{tenant}/{pipeline}/")
    }

    fn key(tenant: &TenantName, pipeline: &PipelineName, name: &CheckpointName) -> String {
        format!("checkpoint/{tenant}/{pipeline}/{name}")
    }

    fn named(&self, name: &str) -> NamedCheckpoint {
        NamedCheckpoint {
            name: name.to_owned(),
            taken_at: EventTime(self.taken_at).to_rfc3339(),
            plan: self.pipeline.plan,
            run: self.pipeline.run,
            keys: self.written.iter().map(|(keys, _)| keys).sum(),
            bytes: self.bytes,
            from: self.pipeline.sources.iter().map(|source| (source.stream.clone(), source.starts.clone())).collect(),
        }
    }
}

impl Deployments {
    /// Takes a checkpoint and keeps it under this name.
    pub(crate) fn take_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
    ) -> Result<NamedCheckpoint, ControlError> {
        let _turn = self.turns.take(tenant, pipeline);
        let deployed = {
            let _changes = self.changes.lock();
            let deployed = self.find(tenant, pipeline)?;
            self.refuse_name(tenant, pipeline, name)?;
            deployed
        };
        self.save_all(&deployed)?;
        let state_run = self.next_number(tenant, pipeline)?;
        let copied = self.copy_run(&deployed.stored, &deployed.name, tenant, state_run);
        let stored = copied.and_then(|stored| self.keep_checkpoint(tenant, pipeline, name, stored));
        stored.map_err(|error| {
            self.forget_state(tenant, pipeline, state_run, deployed.stored.tasks());
            ControlError::Unavailable(error)
        })
    }

    fn refuse_name(&self, tenant: &TenantName, pipeline: &PipelineName, name: &CheckpointName) -> Result<(), ControlError> {
        if self.threads.log.document(&StoredCheckpoint::key(tenant, pipeline, name)).is_some() {
            let error = format!("`{pipeline}` has a checkpoint `{name}` already: delete that one first, or choose another name");
            return Err(ControlError::Conflict(error));
        }
        if self.threads.log.documents(&StoredCheckpoint::prefix(tenant, pipeline)).len() >= CHECKPOINTS_MAX {
            let error = format!("`{pipeline}` has {CHECKPOINTS_MAX} checkpoints: delete one first, each keeps a whole state");
            return Err(ControlError::Conflict(error));
        }
        Ok(())
    }

    /// A number that no run has had, and none will.
    fn next_number(&self, tenant: &TenantName, pipeline: &PipelineName) -> Result<u64, ControlError> {
        let _changes = self.changes.lock();
        let number = self.next_run(tenant, pipeline);
        let counted = vec![(StoredPipeline::run_key(tenant, pipeline), Some(number.to_string().into_bytes()))];
        self.threads.log.put_documents(counted).map_err(|error| ControlError::Unavailable(error.to_string()))?;
        Ok(number)
    }

    /// Copies what the last checkpoints of a run say.
    fn copy_run(
        &self,
        stored: &StoredPipeline,
        pipeline: &PipelineName,
        tenant: &TenantName,
        state_run: u64,
    ) -> Result<StoredCheckpoint, String> {
        let task = |run, partition| TaskId { tenant: tenant.clone(), pipeline: pipeline.clone(), run, partition };
        let progress = self.stream(tenant, progress_name(pipeline, stored.run)).ok_or("its progress is gone: apply it again")?;
        let mut parts = Vec::new();
        {
            // Between what the log names and the snapshot nothing of it may be cleared away.
            let hold = self.threads.store.hold();
            for partition in (0..stored.tasks()).map(PartitionId) {
                let last = last_checkpoint(&progress, partition, stored.run)?;
                parts.push((partition, last, hold.snapshot()));
            }
        }
        let mut sources = stored.sources.clone();
        let (mut written, mut bytes) = (Vec::new(), 0);
        for (partition, last, snapshot) in parts {
            let mut copied = Written::default();
            if let Some(last) = last {
                goes_on(&mut sources, stored.gathered, &last, partition);
                let changes = snapshot.of_task(&task(stored.run, partition), CheckpointId(last.id));
                let told = |error: StateError| error.to_string();
                // Which dead letters were replayed is of this run's dead letters, and another run has others.
                let of_steps = changes.filter(|change| !change.as_ref().is_ok_and(|change| change.operator == REPLAYED));
                copied = self.copy(&task(state_run, partition), of_steps, &mut bytes).map_err(told)?;
            }
            written.push((copied.live, copied.sum));
        }
        self.threads.store.sync().map_err(|error| error.to_string())?;
        let sources = sources.into_iter().map(|source| StoredSource { ends: None, ..source }).collect();
        let pipeline = StoredPipeline { sources, paused: false, ..stored.clone() };
        Ok(StoredCheckpoint { taken_at: self.threads.targets.clock.now().0, pipeline, state_run, bytes, written })
    }

    /// Writes keys as the only version of a task's state.
    fn copy(
        &self,
        to: &TaskId,
        changes: impl Iterator<Item = Result<Change, StateError>>,
        bytes: &mut u64,
    ) -> Result<Written, StateError> {
        let (mut slice, mut written) = (Vec::with_capacity(COPIED_KEYS), Written::default());
        for change in changes {
            let change = change?;
            *bytes += (change.key.len() + change.value.as_ref().map_or(0, Vec::len)) as u64;
            slice.push(change);
            if slice.len() == COPIED_KEYS {
                written = written.and(self.threads.store.write(to, ONLY, &slice)?);
                slice.clear();
            }
        }
        Ok(written.and(self.threads.store.write(to, ONLY, &slice)?))
    }

    /// The document, and what it needs of its inputs. From here on it is there.
    fn keep_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
        stored: StoredCheckpoint,
    ) -> Result<NamedCheckpoint, String> {
        let key = StoredCheckpoint::key(tenant, pipeline, name);
        self.hold_for_checkpoint(tenant, &key, &stored);
        let document = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
        self.threads.log.put_documents(vec![(key.clone(), Some(document))]).map_err(|error| {
            self.checkpoint_holds.lock().remove(&key);
            error.to_string()
        })?;
        Ok(stored.named(&name.to_string()))
    }

    fn hold_for_checkpoint(&self, tenant: &TenantName, key: &str, stored: &StoredCheckpoint) {
        let mut holds: Vec<Hold> = Vec::new();
        for source in &stored.pipeline.sources {
            // A stream that was deleted has nothing to hold; restoring says so.
            // A stream that a join reads a second time is called `flights as b`.
            let name = source.stream.split(' ').next().unwrap_or_default();
            let Some(stream) = name.parse().ok().and_then(|name| self.stream(tenant, name)) else { continue };
            holds.extend(stream.partitions().iter().zip(&source.starts).map(|(partition, from)| partition.hold(Offset(*from))));
        }
        self.checkpoint_holds.lock().insert(key.to_owned(), holds);
    }

    /// Before retention runs for the first time: holds what stored checkpoints need.
    pub(crate) fn hold_for_stored_checkpoints(&self) {
        for (key, bytes) in self.threads.log.documents("checkpoint/") {
            let tenant = key.split('/').nth(1).and_then(|tenant| tenant.parse().ok());
            match (tenant, serde_json::from_slice(&bytes)) {
                (Some(tenant), Ok(stored)) => self.hold_for_checkpoint(&tenant, &key, &stored),
                (None, _) => tracing::error!(key, "a stored checkpoint has no tenant"),
                (_, Err(error)) => tracing::error!(key, "a stored checkpoint cannot be read: {error}"),
            }
        }
    }

    /// By name.
    pub(crate) fn list_checkpoints(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
    ) -> Result<Vec<NamedCheckpoint>, ControlError> {
        self.find(tenant, pipeline)?;
        let stored = self.checkpoints_of(tenant, pipeline);
        Ok(stored.iter().map(|(key, stored)| stored.named(key.rsplit('/').next().unwrap_or(key))).collect())
    }

    pub(crate) fn checkpoints_of(&self, tenant: &TenantName, pipeline: &PipelineName) -> Vec<(String, StoredCheckpoint)> {
        let documents = self.threads.log.documents(&StoredCheckpoint::prefix(tenant, pipeline));
        documents.into_iter().filter_map(|(key, bytes)| Some((key, serde_json::from_slice(&bytes).ok()?))).collect()
    }

    fn stored_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
    ) -> Result<StoredCheckpoint, ControlError> {
        let document = self.threads.log.document(&StoredCheckpoint::key(tenant, pipeline, name));
        let missing = || ControlError::Conflict(format!("`{pipeline}` has no checkpoint `{name}`: list those there are"));
        serde_json::from_slice(&document.ok_or_else(missing)?)
            .map_err(|error| ControlError::Conflict(format!("checkpoint `{name}` cannot be read: {error}")))
    }

    pub(crate) fn delete_checkpoint(
        &self,
        tenant: &TenantName,
        pipeline: &PipelineName,
        name: &CheckpointName,
    ) -> Result<(), ControlError> {
        let _turn = self.turns.take(tenant, pipeline);
        self.find(tenant, pipeline)?;
        let stored = self.stored_checkpoint(tenant, pipeline, name)?;
        let key = StoredCheckpoint::key(tenant, pipeline, name);
        let removed = self.threads.log.put_documents(vec![(key.clone(), None)]);
        removed.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        self.let_go_of(tenant, pipeline, &key, &stored);
        Ok(())
    }

    /// Forgets the state and the holds of a checkpoint whose document is gone.
    pub(crate) fn let_go_of(&self, tenant: &TenantName, pipeline: &PipelineName, key: &str, stored: &StoredCheckpoint) {
        self.checkpoint_holds.lock().remove(key);
        self.forget_state(tenant, pipeline, stored.state_run, stored.pipeline.tasks());
    }

    fn forget_state(&self, tenant: &TenantName, pipeline: &PipelineName, run: u64, tasks: u32) {
        for partition in (0..tasks).map(PartitionId) {
            let task = TaskId { tenant: tenant.clone(), pipeline: pipeline.clone(), run, partition };
            if let Err(error) = self.threads.store.forget(&task) {
                tracing::warn!(%task, "old state is not cleared away: {error}");
            }
        }
    }
}

/// Each source of a task goes on where its checkpoint is, unless the plan began to read it later. `gathered`: one task takes all partitions.
fn goes_on(sources: &mut [StoredSource], gathered: bool, last: &Checkpoint, task: PartitionId) {
    for source in sources.iter_mut().filter(|source| source.since <= last.plan) {
        let named = gathered && source.starts.len() > 1;
        for (partition, start) in (0u32..).zip(&mut source.starts) {
            let name = if named { format!("{}/{partition}", source.stream) } else { source.stream.clone() };
            if let Some(next) = last.input.get(&name).filter(|_| named || partition == task.0) {
                *start = *next;
            }
        }
    }
}
