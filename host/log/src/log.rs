//! The log as others see it: open, append, look up, close.

use std::future::Future;
use std::sync::Arc;

use tidemill_event::{Offset, PartitionKey, SchemaVersion, StreamDefinition, StreamId, StreamSchema};

use crate::append::{Append, Gathered, Pending};
use crate::disk::Disk;
use crate::durable::{Cut, Durable};
use crate::error::{AppendError, CloseError, OpenError, Poisoned, StreamError};
use crate::settings::LogSettings;
use crate::stats::LogStats;
use crate::stream::Stream;

/// The durable log of a data directory. Clones are handles to the same log.
#[derive(Clone, Debug)]
pub struct Log {
    _private: (),
}

impl Log {
    /// Opens the log in `settings.dir`, making it if it is new, and recovers what a crash left. Blocks.
    pub fn open(_settings: LogSettings, _disk: Arc<dyn Disk>) -> Result<Log, OpenError> {
        unimplemented!()
    }

    /// Makes a stream, at version 1. Blocks until that is durable.
    pub fn create_stream(&self, _id: &StreamId, _definition: StreamDefinition) -> Result<Arc<Stream>, StreamError> {
        unimplemented!()
    }

    /// Gives a stream its next schema version; the current one if `schema` is what it has. Blocks until that is durable. Whether
    /// the change is compatible is for the caller to know.
    pub fn evolve_stream(&self, _id: &StreamId, _schema: StreamSchema) -> Result<SchemaVersion, StreamError> {
        unimplemented!()
    }

    /// The stream of that name.
    pub fn stream(&self, _id: &StreamId) -> Option<Arc<Stream>> {
        unimplemented!()
    }

    /// Every stream, ascending by id.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        unimplemented!()
    }

    /// A document of those above (pipelines, components).
    pub fn document(&self, _key: &str) -> Option<Arc<[u8]>> {
        unimplemented!()
    }

    /// All documents whose keys begin with `prefix`, ascending by key.
    pub fn documents(&self, _prefix: &str) -> Vec<(String, Arc<[u8]>)> {
        unimplemented!()
    }

    /// Sets (`Some`) and removes (`None`) documents, all or none. Blocks until that is durable.
    pub fn put_documents(&self, _changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), AppendError> {
        unimplemented!()
    }

    /// Queues an append for the next group and returns at once.
    pub fn append(&self, _append: Append) -> Result<Pending, AppendError> {
        unimplemented!()
    }

    /// [`Log::append`], but waits for room in the queue: for worker threads.
    pub fn append_waiting(&self, _append: Append) -> Result<Pending, AppendError> {
        unimplemented!()
    }

    /// Asks the writer to call `take` when it forms the next group. Announce once per fill.
    pub fn announce(&self, _source: Arc<dyn Gathered>) {
        unimplemented!()
    }

    /// Rows below `before` may vanish; never moves back. Not waited for: after a crash it may have to be said again.
    pub fn trim(&self, _partition: &PartitionKey, _before: Offset) -> Result<(), AppendError> {
        unimplemented!()
    }

    /// The durable end of every partition, all of one moment.
    pub fn durable_cut(&self) -> Durable<Cut> {
        unimplemented!()
    }

    /// Resolves when a write or sync has failed: the process must stop. Safe to drop.
    pub fn failed(&self) -> impl Future<Output = Poisoned> + Send + 'static {
        std::future::pending()
    }

    /// What the log counts about itself.
    pub fn stats(&self) -> LogStats {
        unimplemented!()
    }

    /// Takes nothing more, writes and syncs what is queued, notes the durable mark, and ends its threads. Blocks. Calls after the
    /// first do nothing.
    pub fn close(&self) -> Result<(), CloseError> {
        unimplemented!()
    }
}
