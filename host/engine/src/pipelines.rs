//! The pipelines of all tenants: apply, look at, pause, delete.

use serde_json::Value;
use tidemill_event::{PipelineName, TenantName};

use crate::{Fault, Status};

/// What applying did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// There was no pipeline of that name.
    pub created: bool,
    /// `false`: exactly this is applied already.
    pub changed: bool,
    /// The plan: steps with their columns, pinned components, targets, what would change.
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
    /// The log failed, or the host is stopping (503).
    #[error("{0}")]
    Unavailable(String),
}

/// A pipeline as applied.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineEntry {
    /// Its name.
    pub name: PipelineName,
    /// The document as applied, references pinned: `pipeline`, `run`, `from`, `steps`, `to`, and `pinned`.
    pub document: Value,
}

/// The pipelines of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Pipelines {}

impl Pipelines {
    /// Checks a text (YAML or JSON) and puts it in place of what runs under that name. Blocking.
    pub fn apply(&self, tenant: &TenantName, name: &PipelineName, text: &str, dry_run: bool) -> Result<Applied, ApplyError> {
        unimplemented!("{tenant} {name} {text} {dry_run}")
    }

    /// A pipeline as applied.
    pub fn get(&self, tenant: &TenantName, name: &PipelineName) -> Option<PipelineEntry> {
        unimplemented!("{tenant} {name}")
    }

    /// All pipelines of a tenant, by name.
    pub fn list(&self, tenant: &TenantName) -> Vec<PipelineEntry> {
        unimplemented!("{tenant}")
    }

    /// How it stands.
    pub fn status(&self, tenant: &TenantName, name: &PipelineName) -> Option<Status> {
        unimplemented!("{tenant} {name}")
    }

    /// Stops its tasks behind a checkpoint. Pausing a paused one does nothing. Blocking.
    pub fn pause(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        unimplemented!("{tenant} {name}")
    }

    /// Starts a paused, held or failed one where it stopped. Blocking.
    pub fn resume(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        unimplemented!("{tenant} {name}")
    }

    /// Stops and forgets it. Its target streams and dead letters stay. Blocking.
    pub fn delete(&self, tenant: &TenantName, name: &PipelineName) -> Result<(), ControlError> {
        unimplemented!("{tenant} {name}")
    }

    /// Which pipelines read or write a stream, sorted: such a stream is not to be deleted.
    pub fn using_stream(&self, tenant: &TenantName, stream: &tidemill_event::StreamName) -> Vec<PipelineName> {
        unimplemented!("{tenant} {stream}")
    }
}
