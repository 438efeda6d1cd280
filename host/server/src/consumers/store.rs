//! What consumers have committed: one document of the log each, durable before a commit is answered.
//!
//! ```text
//! consumer/{tenant}/{stream}/{consumer}   {"stream": 7, "offsets": {"0": 123, "1": 99}, "committed_at": "2026-11-21T00:00:00.000000Z"}
//! ```
//! The number is the stream's own: what was committed to a deleted stream means nothing to a later one of its name. It is removed with
//! the stream; what a crash leaves of it, or a stream that goes without a request (a discarded replay's), at the next start.
//! Commits hold nothing back: retention removes rows that a consumer has not taken, and reading then says so.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidemill_event::{ConsumerName, EventTime, Offset, PartitionId, StreamId, TenantName};
use tidemill_log::{AppendError, Log, Stream, Visibility};

use crate::bounds::CONSUMERS_MAX;
use crate::read::Places;

const DOCUMENTS: &str = "consumer/";

/// What one consumer has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// In each partition that it has taken rows of, the first offset it has not taken.
    pub(crate) places: Places,
    /// When it last committed.
    pub(crate) at: EventTime,
}

/// Why a commit was not taken. Nothing of it was.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// The stream has no such partition.
    NoPartition(PartitionId),
    /// Nobody can have taken rows that are not there.
    BeyondEnd { partition: PartitionId, offset: Offset, end: Offset },
    /// It would take back what was committed.
    Backwards { partition: PartitionId, offset: Offset, committed: Offset },
    /// The stream has as many consumers as it may have.
    TooMany,
    /// The log did not take it.
    Log(AppendError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) stream: u32,
    pub(super) offsets: BTreeMap<u32, u64>,
    committed_at: String,
}

/// The consumers of all streams.
pub(crate) struct Consumers {
    log: Log,
    /// Held while a consumer's document is read and replaced, by a hash of its key: commits of different consumers share syncs.
    changing: [Mutex<()>; 64],
    hasher: RandomState,
}

impl Consumers {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, changing: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }

    /// What `consumer` has committed, if it ever has.
    pub(crate) fn find(&self, stream: &Stream, consumer: &ConsumerName) -> Option<Committed> {
        let key = key(stream.id(), consumer);
        read(stream, &key, &self.log.document(&key)?)
    }

    /// Every consumer of a stream, by name.
    pub(crate) fn list(&self, stream: &Stream) -> Vec<(ConsumerName, Committed)> {
        let prefix = prefix(stream.id());
        let documents = self.log.documents(&prefix);
        let named = |(key, document): (String, Arc<[u8]>)| {
            Some((key.strip_prefix(&prefix)?.parse().ok()?, read(stream, &key, &document)?))
        };
        documents.into_iter().filter_map(named).collect()
    }

    /// Moves a consumer to `places`, in the partitions that they name. Backwards only if `force`d. Blocks until it is durable.
    pub(crate) fn commit(
        &self,
        stream: &Stream,
        consumer: &ConsumerName,
        places: &Places,
        force: bool,
        now: EventTime,
    ) -> Result<Committed, CommitError> {
        let key = key(stream.id(), consumer);
        let _changing = self.changing(&key).lock();
        let known = self.find(stream, consumer);
        if known.is_none() && self.list(stream).len() >= CONSUMERS_MAX {
            return Err(CommitError::TooMany);
        }
        let mut committed = known.unwrap_or_else(|| Committed { places: Places::default(), at: now });
        for (partition, offset) in &places.0 {
            let (partition, offset) = (*partition, *offset);
            let end = stream.partition(partition).ok_or(CommitError::NoPartition(partition))?.end(Visibility::Durable);
            if offset > end {
                return Err(CommitError::BeyondEnd { partition, offset, end });
            }
            match committed.places.get(partition) {
                Some(before) if offset < before && !force => {
                    return Err(CommitError::Backwards { partition, offset, committed: before });
                }
                Some(_) | None => committed.places.set(partition, offset),
            }
        }
        committed.at = now;
        let offsets = committed.places.0.iter().map(|(partition, offset)| (partition.0, offset.0)).collect();
        let document = Document { stream: stream.number(), offsets, committed_at: now.to_rfc3339() };
        let document = serde_json::to_vec(&document).expect("numbers and texts are JSON");
        self.log.put_documents(vec![(key, Some(document))]).map_err(CommitError::Log)?;
        Ok(committed)
    }

    /// Forgets a consumer; false if there was none. Blocks until it is durable.
    pub(crate) fn delete(&self, stream: &Stream, consumer: &ConsumerName) -> Result<bool, AppendError> {
        let key = key(stream.id(), consumer);
        let _changing = self.changing(&key).lock();
        if self.find(stream, consumer).is_none() {
            return Ok(false);
        }
        self.log.put_documents(vec![(key, None)]).map(|()| true)
    }

    /// Forgets what was committed to streams that are not there any more: of one tenant, or of all. Blocks until it is durable.
    pub(crate) fn sweep(&self, tenant: Option<&TenantName>) -> Result<(), AppendError> {
        // All of them, in their order: nobody commits to a stream that is just made while its name is looked at.
        let _changing: Vec<_> = self.changing.iter().map(Mutex::lock).collect();
        let prefix = tenant.map_or_else(|| DOCUMENTS.to_owned(), |tenant| format!("{DOCUMENTS}{tenant}/"));
        let is_left = |(key, document): &(String, Arc<[u8]>)| {
            let stream = stream_of(key).and_then(|id| self.log.stream(&id));
            // One of a stream that is there and cannot be read says so whenever it is looked at, and stays for a person to see.
            stream.is_none_or(|stream| matches!(number(document), Some(number) if number != stream.number()))
        };
        let left: Vec<_> = self.log.documents(&prefix).into_iter().filter(is_left).map(|(key, _)| (key, None)).collect();
        if left.is_empty() { Ok(()) } else { self.log.put_documents(left) }
    }

    fn changing(&self, key: &str) -> &Mutex<()> {
        &self.changing[self.hasher.hash_one(key) as usize % self.changing.len()]
    }
}

/// What a document says; `None` for one of an earlier stream.
fn read(stream: &Stream, key: &str, document: &[u8]) -> Option<Committed> {
    let read = serde_json::from_slice::<Document>(document).ok().and_then(|document| {
        let at = EventTime::parse_rfc3339(&document.committed_at)?;
        let places = document.offsets.into_iter().map(|(partition, offset)| (PartitionId(partition), Offset(offset)));
        Some((document.stream, Committed { places: Places(places.collect()), at }))
    });
    if read.is_none() {
        tracing::error!(document = key, "a consumer's document cannot be read and counts as missing");
    }
    read.filter(|(number, _)| *number == stream.number()).map(|(_, committed)| committed)
}

/// Which stream a document says it is of.
fn number(document: &[u8]) -> Option<u32> {
    serde_json::from_slice::<Document>(document).ok().map(|document| document.stream)
}

/// Whose document it is.
fn stream_of(key: &str) -> Option<StreamId> {
    let mut names = key.strip_prefix(DOCUMENTS)?.split('/');
    Some(StreamId::new(names.next()?.parse().ok()?, names.next()?.parse().ok()?))
}

/// Documents of a stream's consumers begin with this.
pub(super) fn prefix(stream: &StreamId) -> String {
    format!("{DOCUMENTS}{}/{}/", stream.tenant, stream.stream)
}

fn key(stream: &StreamId, consumer: &ConsumerName) -> String {
    format!("{}{consumer}", prefix(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_event::{TenantName, definition_json};
    use tidemill_log::{LogSettings, RealDisk};

    #[test]
    fn what_was_committed_goes_with_its_stream() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(LogSettings::new(dir.path().join("log")), Arc::new(RealDisk)).expect("a log");
        let make = |tenant: &str, name: &str| {
            let id = StreamId::new(tenant.parse::<TenantName>().expect("a name"), name.parse().expect("a name"));
            let definition = definition_json::parse(br#"{"fields": [{"name": "n", "type": "int64"}]}"#).expect("a definition");
            log.create_stream(&id, definition).expect("a stream")
        };
        let consumers = Consumers::new(log.clone());
        let name: ConsumerName = "billing".parse().expect("a name");
        let commit = |stream: &Stream| {
            let committed = consumers.commit(stream, &name, &Places::parse("0:0").expect("a cut"), false, EventTime(1));
            committed.expect("committed");
        };
        let left = || log.documents(DOCUMENTS).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let (kept, gone, others) = (make("a", "kept"), make("a", "gone"), make("b", "gone"));
        [&kept, &gone, &others].into_iter().for_each(|stream| commit(stream));
        log.delete_stream(gone.id()).expect("deleted");
        log.delete_stream(others.id()).expect("deleted");
        let again = make("a", "gone");
        assert_eq!(consumers.find(&again, &name), None, "another stream");

        consumers.sweep(Some(&"a".parse().expect("a name"))).expect("swept");
        assert_eq!(left(), ["consumer/a/kept/billing", "consumer/b/gone/billing"]);
        commit(&again);
        consumers.sweep(None).expect("swept");
        assert_eq!(left(), ["consumer/a/gone/billing", "consumer/a/kept/billing"]);
        log.close().expect("closed");
    }
}
