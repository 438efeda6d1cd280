//! Where a sink stands, as a document of the log (`docs/formats/engine.md`).

use serde::{Deserialize, Serialize};
use tidemill_connect::{Mark, MarkStore, SinkError};
use tidemill_event::{Offset, PartitionId, PipelineName, TenantName};
use tidemill_log::Log;

/// All documents of sinks begin with this.
pub(super) const ALL: &str = "sink/";
/// And those of what sinks send again end with this.
pub(super) const AGAIN: &str = "/again";

/// The documents that hold a pipeline's marks begin with this.
pub(crate) fn mark_prefix(tenant: &TenantName, pipeline: &PipelineName) -> String {
    format!("{ALL}{tenant}/{pipeline}/")
}

/// The document of one sink and partition.
pub(super) fn key(tenant: &TenantName, pipeline: &PipelineName, target: &str, partition: PartitionId) -> String {
    format!("{}{target}/{partition}", mark_prefix(tenant, pipeline))
}

/// The document of what one sink and partition sends again. Under its mark's name, so that it goes with it.
pub(super) fn again_key(tenant: &TenantName, pipeline: &PipelineName, target: &str, partition: PartitionId) -> String {
    format!("{}{AGAIN}", key(tenant, pipeline, target, partition))
}

/// A mark as the document has it.
pub(super) fn stored(mark: &Mark) -> Vec<u8> {
    let Mark { next, sending, rest, life, then } = mark.clone();
    let rest = rest.iter().map(|end| end.0).collect();
    let stored = Stored { next: next.0, sending: sending.map(|end| end.0), rest, life, then };
    serde_json::to_vec(&stored).expect("numbers and text are JSON")
}

/// What a document says; `None` if it cannot be read.
pub(super) fn read(key: &str, document: &[u8]) -> Option<Mark> {
    match serde_json::from_slice::<Stored>(document) {
        Ok(Stored { next, sending, rest, life, then }) => {
            let rest = rest.into_iter().map(Offset).collect();
            Some(Mark { next: Offset(next), sending: sending.map(Offset), rest, life, then })
        }
        Err(error) => {
            tracing::error!(key, "a sink's mark cannot be read, it begins anew: {error}");
            None
        }
    }
}

/// Keeps the mark of one sink and partition in its document.
pub(super) struct MarkDocument {
    log: Log,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    next: u64,
    sending: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rest: Vec<u64>,
    life: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    then: Option<String>,
}

impl MarkDocument {
    pub(super) fn new(log: Log, key: String) -> Self {
        Self { log, key }
    }
}

impl MarkStore for MarkDocument {
    fn load(&self) -> Option<Mark> {
        read(&self.key, &self.log.document(&self.key)?)
    }

    fn store(&self, mark: &Mark) -> Result<(), SinkError> {
        self.log.put_documents(vec![(self.key.clone(), Some(stored(mark)))]).map_err(|error| SinkError::Log(error.to_string()))
    }
}
