//! A stream: its definitions by version, and its partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_event::{PartitionId, PartitionKey, SchemaVersion, StreamDefinition, StreamId};

use crate::layout::{Layout, Versions};
use crate::partition::Partition;
use crate::store::SegmentStore;

/// A stream of the log. Handles stay good as long as the log is open.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    number: u32,
    versions: Arc<Versions>,
    partitions: Vec<Arc<Partition>>,
    deleted: AtomicBool,
}

impl Stream {
    pub(crate) fn new(id: StreamId, number: u32, definition: StreamDefinition, store: &Arc<SegmentStore>) -> Self {
        let versions = Arc::new(Versions::default());
        let tails = store.tenant_tails(&id.tenant);
        let partitions = (0..definition.partitions).map(|partition| {
            let key = PartitionKey { stream: id.clone(), partition: PartitionId(partition) };
            Arc::new(Partition::new(key, number, Arc::clone(&versions), Arc::clone(store), Arc::clone(&tails)))
        });
        let partitions = partitions.collect();
        versions.push(definition);
        Self { id, number, versions, partitions, deleted: AtomicBool::new(false) }
    }

    /// Its tenant and name.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// The newest definition.
    pub fn definition(&self) -> Arc<StreamDefinition> {
        Arc::clone(&self.versions.newest().definition)
    }

    /// The version of the newest definition.
    pub fn version(&self) -> SchemaVersion {
        self.versions.newest().version
    }

    /// The newest definition with its version, both of one moment.
    pub fn current(&self) -> (SchemaVersion, Arc<StreamDefinition>) {
        let layout = self.versions.newest();
        (layout.version, Arc::clone(&layout.definition))
    }

    /// The definition at a version, if there is such a version.
    pub fn definition_at(&self, version: SchemaVersion) -> Option<Arc<StreamDefinition>> {
        self.versions.at(version).map(|layout| Arc::clone(&layout.definition))
    }

    /// The partition of that number, if there is one.
    pub fn partition(&self, partition: PartitionId) -> Option<&Arc<Partition>> {
        self.partitions.get(partition.0 as usize)
    }

    /// All partitions, by number.
    pub fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    /// Tells it from every other stream there ever was, deleted ones of its name too.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn layout(&self, version: SchemaVersion) -> Option<Arc<Layout>> {
        self.versions.at(version)
    }

    pub(crate) fn layouts(&self) -> Vec<Arc<Layout>> {
        self.versions.all()
    }

    /// Whether it was deleted. Whoever holds a handle sees it here; a stream of the same name is another one.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        for partition in &self.partitions {
            partition.delete();
        }
    }

    pub(crate) fn update(&self, definition: StreamDefinition) {
        self.versions.replace_newest(definition);
    }

    pub(crate) fn evolve(&self, definition: StreamDefinition) {
        self.versions.push(definition);
    }
}
