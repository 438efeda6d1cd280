//! The pipelines of all tenants: apply, look at, pause, delete. The door; what happens behind it is in `deployments` and `apply`.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_event::{PipelineName, StreamName, TableName, TenantName};
use tidemill_flow::MatchId;

use crate::checkpoints::{CheckpointName, NamedCheckpoint, Restored, SnapshotError, SnapshotFile};
use crate::dead_letters::{DeadLetterChoice, DeadLetterId, DeadLetterQuery, ReplayedLetters};
use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::explain_key::ExplainedKey;
use crate::matches::ExplainedMatch;
use crate::pipeline::document;
use crate::{
    BeginReplay, Change, CompareReplay, DeleteTableError, Fault, FromStream, LogLine, LogPage, Promoted, PutTable, PutTableError,
    ReplayCompared, StateOfKey, StateOfKeyError, Status, TablePut,
};

/// What applying did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// There was no pipeline of that name.
    pub created: bool,
    /// `false`: exactly this is applied already.
    pub changed: bool,
    /// What it changes in what ran before; empty if nothing did.
    pub changes: Vec<Change>,
    /// The plan: steps with their columns, pinned components, targets.
    pub plan: Value,
}

/// Why a pipeline was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The text is wrong (422). Never empty.
    #[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults {
        /// Every one.
        faults: Vec<Fault>,
    },
    /// Not while it has a replay (409).
    #[error("{0}")]
    Conflict(String),
    /// The log failed, or the host is stopping (503).
    #[error("{0}")]
    Unavailable(String),
}

/// Why a pipeline was not paused, resumed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such pipeline (404).
    #[error("there is no pipeline `{0}`")]
    Unknown(PipelineName),
    /// Not in this state (409).
    #[error("{0}")]
    Conflict(String),
    /// The text that is to be tried is wrong (422). Never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// The log failed, or the host is stopping (503).
    #[error("{0}")]
    Unavailable(String),
}

/// Why a stream was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteStreamError {
    /// No such stream (404).
    #[error("there is no stream `{0}`")]
    Unknown(StreamName),
    /// Pipelines read or write it (409).
    #[error("used by {}: delete or change them first", pipelines.join(", "))]
    Used {
        /// Their names, sorted.
        pipelines: Vec<String>,
    },
    /// Tables are kept up to date from it (409).
    #[error("the tables {} are kept up to date from it: delete them first", tables.join(", "))]
    KeptFrom {
        /// Their names, sorted.
        tables: Vec<String>,
    },
    /// The log failed (503).
    #[error("the deletion could not be stored: {0}")]
    Storage(String),
}

/// A pipeline as applied.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineEntry {
    /// Its name.
    pub name: PipelineName,
    /// The document as applied, references pinned; and `pinned`: step, reference, version and digest of each.
    pub document: Value,
}

/// The pipelines of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Pipelines {
    deployments: Arc<Deployments>,
}

impl Pipelines {
    pub(crate) fn new(deployments: Deployments) -> Self {
        Self { deployments: Arc::new(deployments) }
    }

    pub(crate) fn deployments(&self) -> &Arc<Deployments> {
        &self.deployments
    }

    /// Checks a text (YAML or JSON) and puts it in place of what runs under that name. Blocking.
    pub fn apply(&self, tenant: &TenantName, name: &PipelineName, text: &str, dry_run: bool) -> Result<Applied, ApplyError> {
        self.deployments.apply(tenant, name, text, dry_run)
    }

    /// A pipeline as applied.
    pub fn get(&self, tenant: &TenantName, name: &PipelineName) -> Option<PipelineEntry> {
        self.deployments.get(tenant, name).map(|deployed| entry(&deployed))
    }

    /// All pipelines of a tenant, by name.
    pub fn list(&self, tenant: &TenantName) -> Vec<PipelineEntry> {
        self.deployments.all().iter().filter(|deployed| deployed.tenant == *tenant).map(|deployed| entry(deployed)).collect()
    }

    /// How it stands.
    pub fn status(&self, tenant: &TenantName, name: &PipelineName) -> Option<Status> {
        self.deployments.status(tenant, name)
    }

    /// Stops its tasks behind a checkpoint. Pausing a paused one does nothing. Blocking.
    pub fn pause(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.pause(tenant, name)
    }

    /// Starts a paused, held or failed one where it stopped. A held one goes on with its replayed state. Blocking.
    pub fn resume(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.resume(tenant, name)
    }

    /// Stops and forgets it. Its target streams and dead letters stay. Blocking.
    pub fn delete(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.delete(tenant, name)
    }

    /// Dead letters that fit, in order of partition and offset, each with `id` and `replayed` and the columns of their stream. They outlive the
    /// pipeline. Blocking.
    pub fn dead_letters(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        query: &DeadLetterQuery,
    ) -> Result<Vec<Value>, ControlError> {
        self.deployments.dead_letters(tenant, name, query)
    }

    /// One dead letter; `None` if it is not there. Blocking.
    pub fn dead_letter(&self, tenant: &TenantName, name: &PipelineName, id: DeadLetterId) -> Result<Option<Value>, ControlError> {
        self.deployments.dead_letter(tenant, name, id)
    }

    /// Sends dead letters through the step they failed in again, and on from there, by the plan as it is now; each once, unless `force`
    /// is said. Blocking until it is on disk that they will.
    pub fn replay_dead_letters(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        choice: DeadLetterChoice,
        force: bool,
    ) -> Result<ReplayedLetters, ControlError> {
        self.deployments.replay_letters(tenant, name, choice, force)
    }

    /// Why a match was told; `None`: there is no such match, or nothing was kept of it. Blocking.
    pub fn explain_match(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        id: MatchId,
    ) -> Result<Option<ExplainedMatch>, ControlError> {
        self.deployments.explain_match(tenant, name, id)
    }

    /// What a step holds of a key. `step` is its number from 0, its name, or its word where there is one of it; `key` as [`StateOfKeyError::BadKey`]
    /// says. Blocking, until what it says is on disk.
    pub fn state_of_key(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        step: &str,
        key: Option<&str>,
    ) -> Result<StateOfKey, StateOfKeyError> {
        self.deployments.state_of_key(tenant, name, step, key)
    }

    /// What all steps of a pipeline hold of a key, those that hold something first. Blocking, until what they say is on disk.
    pub fn explain_key(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        key: Option<&str>,
    ) -> Result<ExplainedKey, StateOfKeyError> {
        self.deployments.explain_key(tenant, name, key)
    }

    /// What its components said: the last `limit` lines from sequence `from` on that `wanted` takes; `None` if there is no such pipeline.
    pub fn logs(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        from: u64,
        limit: usize,
        wanted: impl Fn(&LogLine) -> bool,
    ) -> Option<LogPage> {
        self.deployments.get(tenant, name).map(|deployed| deployed.logs.read(from, limit, wanted))
    }

    /// Deletes a stream that no pipeline reads or writes, and with it what was rejected at its door. Blocking.
    pub fn delete_stream(&self, tenant: &TenantName, stream: &StreamName) -> Result<(), DeleteStreamError> {
        self.deployments.delete_stream(tenant, stream)
    }

    /// Begins a replay, or a trial of another text: a run of its own beside the pipeline's, whose output goes to streams of its own. Its
    /// number. Blocking.
    pub fn replay(&self, tenant: &TenantName, name: &PipelineName, asked: &BeginReplay) -> Result<u64, ControlError> {
        self.deployments.replay(tenant, name, asked)
    }

    /// Rows that the replay wrote and the pipeline did not, and the other way round. Blocking, for as long as reading both takes.
    pub fn compare_replay(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        query: &CompareReplay,
    ) -> Result<ReplayCompared, ControlError> {
        self.deployments.compare_replay(tenant, name, query)
    }

    /// How the replay of a pipeline stands, if there is one.
    pub fn replay_status(&self, tenant: &TenantName, name: &PipelineName) -> Option<Status> {
        self.deployments
            .get_replay(tenant, name)
            .map(|deployed| deployed.status(None, self.deployments.threads.targets.clock.now()))
    }

    /// Puts the replay in place of the pipeline's run, at one cut of its streams. Blocking, at most some minutes.
    pub fn promote(&self, tenant: &TenantName, name: &PipelineName) -> Result<Promoted, ControlError> {
        self.deployments.promote(tenant, name)
    }

    /// Ends the replay and forgets it. Blocking.
    pub fn discard(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        self.deployments.discard(tenant, name)
    }

    /// Takes a checkpoint of every task and keeps it under a name until it is deleted. Blocking, for as long as copying the state takes.
    pub fn take_checkpoint(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        checkpoint: &CheckpointName,
    ) -> Result<NamedCheckpoint, ControlError> {
        self.deployments.take_checkpoint(tenant, name, checkpoint)
    }

    /// Named checkpoints, by name.
    pub fn checkpoints(&self, tenant: &TenantName, name: &PipelineName) -> Result<Vec<NamedCheckpoint>, ControlError> {
        self.deployments.list_checkpoints(tenant, name)
    }

    /// Forgets a named checkpoint. Runs that began with it go on. Blocking.
    pub fn delete_checkpoint(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        checkpoint: &CheckpointName,
    ) -> Result<(), ControlError> {
        self.deployments.delete_checkpoint(tenant, name, checkpoint)
    }

    /// Begins a run with a named checkpoint: beside the pipeline's own, as a replay does. Blocking.
    pub fn restore_checkpoint(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        checkpoint: &CheckpointName,
    ) -> Result<Restored, ControlError> {
        self.deployments.restore_checkpoint(tenant, name, checkpoint)
    }

    /// A named checkpoint as a file, read from the store as it is asked for.
    pub fn export_checkpoint(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        checkpoint: &CheckpointName,
    ) -> Result<SnapshotFile, ControlError> {
        self.deployments.export_checkpoint(tenant, name, checkpoint)
    }

    /// Such a file as a named checkpoint. Blocking, for as long as reading it takes.
    pub fn import_checkpoint(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        checkpoint: &CheckpointName,
        file: &mut dyn Read,
    ) -> Result<NamedCheckpoint, SnapshotError> {
        self.deployments.import_checkpoint(tenant, name, checkpoint, file)
    }

    /// Puts a table in place of what has its name, if what pipelines look up is in it. Blocking, seconds for a large one.
    pub fn put_table(&self, put: &PutTable) -> Result<TablePut, PutTableError> {
        self.deployments.put_table(put)
    }

    /// Makes a table that is kept up to date from a stream. Blocking: it has what the stream has when this returns.
    pub fn keep_table(&self, tenant: &TenantName, table: &TableName, from: &FromStream) -> Result<TablePut, PutTableError> {
        self.deployments.keep_table(tenant, table, from)
    }

    /// Deletes a table that no pipeline looks up. Blocking.
    pub fn delete_table(&self, tenant: &TenantName, table: &TableName) -> Result<(), DeleteTableError> {
        self.deployments.delete_table(tenant, table)
    }

    /// Which pipelines look a table up, sorted.
    pub fn using_table(&self, tenant: &TenantName, table: &TableName) -> Vec<PipelineName> {
        let users: BTreeSet<PipelineName> =
            self.deployments.using_table(tenant, table).iter().map(|deployed| deployed.name.clone()).collect();
        users.into_iter().collect()
    }

    /// Which pipelines read or write a stream, sorted: such a stream is not to be deleted.
    pub fn using_stream(&self, tenant: &TenantName, stream: &StreamName) -> Vec<PipelineName> {
        self.deployments.using_stream(tenant, stream)
    }
}

fn entry(deployed: &Deployed) -> PipelineEntry {
    let stored = &deployed.stored;
    let mut document = document::read(&stored.text).map_or(Value::Null, |node| node.json());
    for pin in &stored.pinned {
        let places = match &pin.function {
            None => ["rule", "transform", "process", "pattern"].map(|word| format!("/steps/{}/{word}", pin.step)).to_vec(),
            Some(name) => vec![format!("/functions/{name}/component"), format!("/functions/{name}")],
        };
        if let Some(place) = places.iter().find(|place| document.pointer(place).is_some())
            && let Some(reference) = document.pointer_mut(place)
        {
            *reference = json!(format!("{}@{}", pin.name, pin.version));
        }
    }
    if let Some(members) = document.as_object_mut() {
        members.insert("pipeline".to_owned(), json!(deployed.name.as_str()));
        let pinned = stored.pinned.iter().map(|pin| {
            let step = pin.function.as_ref().map_or_else(|| format!("steps[{}]", pin.step), |name| format!("functions.{name}"));
            json!({"step": step, "reference": pin.reference, "name": pin.name, "version": pin.version, "digest": pin.digest})
        });
        members.insert("pinned".to_owned(), pinned.collect());
    }
    PipelineEntry { name: deployed.name.clone(), document }
}
