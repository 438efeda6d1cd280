//! Sinks that stand behind the end of what they read. A cut of the log takes rows away that a sink may have sent, and gives their offsets
//! out again: the rows that get them must not be taken for those.

use tidemill_connect::{Mark, SinkError};
use tidemill_event::{Offset, PartitionId, PipelineName, StreamId, StreamName, TenantName};
use tidemill_log::{Log, Visibility};

use super::again::cut_back;
use super::mark::{self, ALL, MarkDocument};

/// A reader whose place is kept, and behind the last row there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderBeyond {
    /// `consumer billing`, `sink webhook: https://… of fraud`.
    pub reader: String,
    /// What it reads.
    pub stream: StreamId,
    /// Which of its partitions.
    pub partition: PartitionId,
    /// Where the reader stands.
    pub at: Offset,
    /// The end of the partition.
    pub end: Offset,
}

/// Every sink whose mark is behind the end of its stream. With `random` each is set back to that end, with new keys for what it sends
/// from there on; what it was to send again of letters that are gone is forgotten. Blocking; for a log that no engine uses.
pub fn sinks_beyond(log: &Log, random: Option<fn() -> u64>) -> Result<Vec<ReaderBeyond>, SinkError> {
    let mut beyond = Vec::new();
    for (key, document) in log.documents(ALL) {
        let Some(place) = Place::of(&key) else { continue };
        if place.is_again {
            let letters = log.stream(&StreamId::new(place.tenant.clone(), place.stream("dead-letters")));
            let end_of = |partition: u32| {
                let letters = letters.as_ref()?;
                Some(letters.partition(PartitionId(partition % letters.definition().partitions))?.end(Visibility::Durable))
            };
            let changed = end_of(place.partition.0).and_then(|end| cut_back(&document, end));
            if let (Some(changed), Some(_)) = (changed, random) {
                log.put_documents(vec![(key, Some(changed))]).map_err(|error| SinkError::Log(error.to_string()))?;
            }
            continue;
        }
        let id = StreamId::new(place.tenant.clone(), place.stream("output"));
        let (Some(stream), Some(mark)) = (log.stream(&id), mark::read(&key, &document)) else { continue };
        let Some(partition) = stream.partition(place.partition) else { continue };
        let end = partition.end(Visibility::Durable);
        let at = mark.rest.iter().copied().chain([mark.next]).chain(mark.sending).max().unwrap_or(mark.next);
        if at <= end {
            continue;
        }
        if let Some(random) = random {
            let mark = Mark::new(mark.next.min(end), format!("{:016x}", random()));
            tidemill_connect::MarkStore::store(&MarkDocument::new(log.clone(), key), &mark)?;
        }
        let reader = format!("sink {} of {}", place.target, place.pipeline);
        beyond.push(ReaderBeyond { reader, stream: id, partition: place.partition, at, end });
    }
    Ok(beyond)
}

/// What a document's key says.
struct Place {
    tenant: TenantName,
    pipeline: PipelineName,
    target: String,
    partition: PartitionId,
    is_again: bool,
}

impl Place {
    fn of(key: &str) -> Option<Self> {
        let (tenant, rest) = key.strip_prefix(ALL)?.split_once('/')?;
        let (pipeline, rest) = rest.split_once('/')?;
        let (rest, is_again) = rest.strip_suffix("/again").map_or((rest, false), |rest| (rest, true));
        let (target, partition) = rest.rsplit_once('/')?;
        Some(Self {
            tenant: tenant.parse().ok()?,
            pipeline: pipeline.parse().ok()?,
            target: target.to_owned(),
            partition: PartitionId(partition.parse().ok()?),
            is_again,
        })
    }

    fn stream(&self, suffix: &'static str) -> StreamName {
        StreamName::derived(self.pipeline.as_str(), suffix)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill_event::json::{DecodeLimits, RowDecoder};
    use tidemill_event::{EventTime, definition_json};
    use tidemill_log::{Append, FrameRows, LogSettings, RealDisk};

    use super::*;

    #[test]
    fn marks_behind_the_end_are_told_and_set_back_with_new_keys() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(LogSettings::new(dir.path()), Arc::new(RealDisk)).expect("a log");
        let definition =
            definition_json::parse(br#"{"fields": [{"name": "n", "type": "int64"}], "partitions": 1}"#).expect("one");
        let id = |suffix| StreamId::new(TenantName::default_tenant(), StreamName::derived("p", suffix));
        for suffix in ["output", "dead-letters"] {
            let stream = log.create_stream(&id(suffix), definition.clone()).expect("a stream");
            let mut decoder = RowDecoder::new(stream.definition(), DecodeLimits::default());
            (0..10).for_each(|_| decoder.row(b"{}", EventTime(0)).expect("a row"));
            let frame = FrameRows {
                stream: stream.clone(),
                version: stream.version(),
                partition: PartitionId(0),
                rows: decoder.finish(),
            };
            log.append(Append::atomic(vec![frame])).expect("room").wait().expect("on disk");
        }
        let put = |key: &str, text: &str| log.put_documents(vec![(key.to_owned(), Some(text.into()))]).expect("on disk");
        let keys = ["webhook: http://a/b", "stdout"].map(|target| format!("sink/default/p/{target}/0"));
        put(&keys[0], r#"{"next": 8, "sending": 12, "life": "old"}"#);
        put(&keys[1], r#"{"next": 10, "sending": null, "life": "old"}"#);
        let again = format!("{}/again", keys[0]);
        put(
            &again,
            r#"{"life":"l","next":2,"replayed":[[3,5],[8,14],[20,21]],"parcels":[{"number":0,"letters":[4,9,11]},{"number":1,"letters":[20]}]}"#,
        );
        let document = |key: &str| String::from_utf8_lossy(&log.document(key).expect("there")).into_owned();

        let told = sinks_beyond(&log, None).expect("read");
        let place = (&*told[0].reader, told[0].at, told[0].end);
        assert_eq!((told.len(), place), (1, ("sink webhook: http://a/b of p", Offset(12), Offset(10))));
        assert_eq!(document(&keys[0]), r#"{"next": 8, "sending": 12, "life": "old"}"#, "only told");
        assert_eq!(sinks_beyond(&log, Some(|| 0xabc)).expect("set back"), told);
        assert_eq!(document(&keys[0]), r#"{"next":8,"sending":null,"life":"0000000000000abc"}"#);
        assert_eq!(document(&keys[1]), r#"{"next": 10, "sending": null, "life": "old"}"#);
        assert_eq!(
            document(&again),
            r#"{"life":"l","next":2,"replayed":[[3,5],[8,10]],"parcels":[{"number":0,"letters":[4,9]}]}"#
        );
        assert_eq!(sinks_beyond(&log, None).expect("read"), []);
    }
}
