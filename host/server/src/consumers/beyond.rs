//! Consumers that have committed rows which are not there any more, because the log was cut: the rows that get those offsets next would
//! be passed over.

use std::collections::BTreeMap;

use tidemill_engine::ReaderBeyond;
use tidemill_event::{Offset, PartitionId, StreamId};
use tidemill_log::{AppendError, Log, Visibility};

use super::store::{self, Document};

/// Every consumer of every tenant that has committed rows behind the end of their partition. With `reset` each is set back to that end.
/// Blocking; for a log that no service uses.
pub fn consumers_beyond(log: &Log, reset: bool) -> Result<Vec<ReaderBeyond>, AppendError> {
    let mut beyond = Vec::new();
    for stream in log.streams() {
        let prefix = store::prefix(stream.id());
        for (key, bytes) in log.documents(&prefix) {
            let Ok(mut document) = serde_json::from_slice::<Document>(&bytes) else { continue };
            if document.stream != stream.number() {
                continue;
            }
            let end =
                |partition: u32| stream.partition(PartitionId(partition)).map(|partition| partition.end(Visibility::Durable));
            let name = key.strip_prefix(&prefix).unwrap_or_default().to_owned();
            let found = set_back(&mut document.offsets, end, stream.id(), &name);
            if reset && !found.is_empty() {
                let bytes = serde_json::to_vec(&document).expect("numbers and texts are JSON");
                log.put_documents(vec![(key, Some(bytes))])?;
            }
            beyond.extend(found);
        }
    }
    Ok(beyond)
}

fn set_back(
    offsets: &mut BTreeMap<u32, u64>,
    end: impl Fn(u32) -> Option<Offset>,
    stream: &StreamId,
    name: &str,
) -> Vec<ReaderBeyond> {
    let mut found = Vec::new();
    for (partition, offset) in offsets {
        let Some(end) = end(*partition).filter(|end| end.0 < *offset) else { continue };
        let at = Offset(std::mem::replace(offset, end.0));
        let partition = PartitionId(*partition);
        found.push(ReaderBeyond { reader: format!("consumer {name}"), stream: stream.clone(), partition, at, end });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_event::{StreamName, TenantName};

    #[test]
    fn offsets_behind_the_end_go_back_to_it() {
        let stream = StreamId::new(TenantName::default_tenant(), StreamName::from_client("clicks").expect("a name"));
        let mut offsets = BTreeMap::from([(0, 7), (1, 9), (2, 3)]);
        let found = set_back(&mut offsets, |partition| (partition < 2).then_some(Offset(8)), &stream, "billing");
        assert_eq!(offsets, BTreeMap::from([(0, 7), (1, 8), (2, 3)]));
        let told: Vec<_> = found.iter().map(|beyond| (&*beyond.reader, beyond.partition.0, beyond.at.0, beyond.end.0)).collect();
        assert_eq!(told, [("consumer billing", 1, 9, 8)]);
    }
}
