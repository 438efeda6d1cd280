//! The log as its users see it: appending, reading, following, restarting, rolling, trimming.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch};
use parking_lot::Mutex;
use support::{ALL, append, events, frame, ids, open, read_all, read_from, rows, small_settings, stream_id};
use tidemill_event::{EventTime, Field, FieldType, Offset, PartitionId, SchemaVersion};
use tidemill_log::{
    Append, AppendError, Disk, FrameRows, Gathered, Log, LogSettings, ReadError, ReadLimit, RealDisk, Stream, StreamError,
    Visibility,
};

fn real() -> (tempfile::TempDir, LogSettings, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = small_settings(&dir.path().join("log"));
    (dir, settings, Arc::new(RealDisk))
}

fn partition(stream: &Arc<Stream>, number: u32) -> &tidemill_log::Partition {
    stream.partition(PartitionId(number)).expect("the partition is there")
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    let pending = log.append(append(&stream, 0, 0..10)).expect("taken");
    assert_eq!(*pending.wait().expect("durable"), vec![Offset(0)]);
    let both = Append::atomic(vec![
        frame(&stream, 1, rows(100..103)),
        frame(&stream, 0, rows(10..12)),
        frame(&stream, 1, rows(103..104)),
    ]);
    let offsets = log.append(both).expect("taken").wait().expect("durable");
    assert_eq!(*offsets, vec![Offset(0), Offset(10), Offset(3)]);
    log.put_documents(vec![("a/1".into(), Some(b"one".to_vec())), ("b".into(), Some(b"two".to_vec()))]).expect("noted");
    log.put_documents(vec![("b".into(), None), ("a/2".into(), Some(Vec::new()))]).expect("noted");
    for round in 0..3 {
        // A clean stop, then a stop without one (the handle is dropped), then once more.
        let log = if round == 0 { log.clone() } else { open(&settings, &disk) };
        let stream = log.stream(&stream_id("events")).expect("the stream is known");
        assert_eq!(read_all(partition(&stream, 0)), (0..12).collect::<Vec<_>>());
        assert_eq!(read_all(partition(&stream, 1)), (100..104).collect::<Vec<_>>());
        let cut = log.durable_cut();
        assert_eq!(cut.iter().map(|(_, end)| end.0).collect::<Vec<_>>(), vec![12, 4]);
        assert_eq!(log.documents("a/").iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a/1", "a/2"]);
        assert_eq!((log.document("b"), log.document("a/1").as_deref()), (None, Some(b"one".as_slice())));
        if round == 0 {
            log.close().expect("closed");
        }
    }
}
