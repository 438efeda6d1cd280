//! A stream: its definitions by version, and its partitions.

use std::sync::Arc;

use tidemill_event::{PartitionId, SchemaVersion, StreamDefinition, StreamId};

use crate::partition::Partition;

/// A stream of the log. Handles stay good as long as the log is open.
#[derive(Debug)]
pub struct Stream {
    _private: (),
}

impl Stream {
    /// Its tenant and name.
    pub fn id(&self) -> &StreamId {
        unimplemented!()
    }

    /// The newest definition.
    pub fn definition(&self) -> Arc<StreamDefinition> {
        unimplemented!()
    }

    /// The version of the newest definition.
    pub fn version(&self) -> SchemaVersion {
        unimplemented!()
    }

    /// The definition at a version, if there is such a version.
    pub fn definition_at(&self, _version: SchemaVersion) -> Option<Arc<StreamDefinition>> {
        unimplemented!()
    }

    /// The partition of that number, if there is one.
    pub fn partition(&self, _partition: PartitionId) -> Option<&Arc<Partition>> {
        unimplemented!()
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> &[Arc<Partition>] {
        unimplemented!()
    }
}
