//! A partition: its ends, its rows from tail and segments, and who follows it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::{EventTime, Offset, PartitionKey, SchemaVersion, StreamDefinition};
use tokio::sync::watch;

use crate::error::ReadError;

/// Which rows a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// In the journal's order, maybe not on disk: only for those who feed the journal again.
    Sequenced,
    /// On disk.
    Durable,
}

/// How much a read returns at most; at least one row comes, however large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Rows.
    pub rows_max: usize,
    /// Bytes in memory, estimated from the rows' average.
    pub bytes_max: usize,
}

/// Rows that lie together in a partition, at one schema version.
#[derive(Debug, Clone)]
pub struct Block {
    /// The offset of the first row; the others follow without a gap.
    pub start: Offset,
    /// The schema version they were written at.
    pub version: SchemaVersion,
    /// The stream's definition at that version.
    pub schema: Arc<StreamDefinition>,
    /// The rows: an event batch, at least one row.
    pub rows: RecordBatch,
}

/// A listener is called as long as this lives.
#[must_use = "dropping it ends the listening"]
pub struct Listening {
    _private: (),
}

/// One partition of a stream.
#[derive(Debug)]
pub struct Partition {
    _private: (),
}

impl Partition {
    /// Its stream and number.
    pub fn key(&self) -> &PartitionKey {
        unimplemented!()
    }

    /// The first unwritten offset, as visible.
    pub fn end(&self, _visibility: Visibility) -> Offset {
        unimplemented!()
    }

    /// The first offset kept.
    pub fn trim_point(&self) -> Offset {
        unimplemented!()
    }

    /// The rows from `from` on that lie together: at most `limit`, small appends joined; `None` at the end. May read a segment,
    /// which blocks the thread for a disk access.
    pub fn read(&self, _from: Offset, _limit: ReadLimit, _visibility: Visibility) -> Result<Option<Block>, ReadError> {
        unimplemented!()
    }

    /// The first offset whose block may hold rows at or after `time`; the reader still filters rows. The durable end if none may.
    pub fn seek(&self, _time: EventTime) -> Offset {
        unimplemented!()
    }

    /// The end offset, followed from async code.
    pub fn subscribe(&self, _visibility: Visibility) -> watch::Receiver<Offset> {
        unimplemented!()
    }

    /// Calls `listener` after the end has moved, on a thread of the log: it must return at once and take no lock that is held
    /// while appending or reading.
    pub fn listen(&self, _visibility: Visibility, _listener: Arc<dyn Fn() + Send + Sync>) -> Listening {
        unimplemented!()
    }
}
