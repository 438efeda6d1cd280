//! What ten thousand partitions with one row each cost: to make, to fill, to roll, to open again. Not a loop but one life of a log:
//! `cargo bench -p tidemill-log --bench partitions`.
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::{
    Field, FieldType, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamId, StreamName, StreamSchema, TenantName,
    UnknownFields,
};
use tidemill_log::{Append, FrameRows, Log, LogSettings, RealDisk, Stream};

/// Partitions with one row each.
const SMALL: u32 = 10_000;

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    small(dir.path());
}

fn definition(partitions: u32) -> StreamDefinition {
    let fields = vec![Field::new("id", FieldType::Int64, false), Field::new("text", FieldType::String, false)];
    let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
    StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

fn stream(log: &Log, partitions: u32) -> Arc<Stream> {
    let name = StreamName::from_client("events").expect("a name");
    let id = StreamId::new(TenantName::default_tenant(), name);
    log.stream(&id).unwrap_or_else(|| log.create_stream(&id, definition(partitions)).expect("made"))
}

fn rows(start: i64, count: i64, text: &str) -> RecordBatch {
    let ids: Vec<i64> = (start..start + count).collect();
    let texts = StringArray::from_iter_values(ids.iter().map(|_| text));
    let times = TimestampMicrosecondArray::from(ids.clone()).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(texts), Arc::new(times)];
    RecordBatch::try_new(Arc::new(definition(1).schema.arrow()), columns).expect("columns fit")
}

fn frame(stream: &Arc<Stream>, partition: u32, rows: RecordBatch) -> FrameRows {
    FrameRows { stream: Arc::clone(stream), version: SchemaVersion(1), partition: PartitionId(partition), rows }
}

fn open(dir: &Path) -> (Log, Duration) {
    let begun = Instant::now();
    let log = Log::open(LogSettings::new(dir), Arc::new(RealDisk)).expect("opens");
    (log, begun.elapsed())
}

fn small(dir: &Path) {
    let (log, _) = open(dir);
    let before = resident_mib();
    let begun = Instant::now();
    let events = stream(&log, SMALL);
    let made = begun.elapsed();
    let memory = resident_mib() - before;
    let begun = Instant::now();
    let frames = (0..SMALL).map(|partition| frame(&events, partition, rows(i64::from(partition), 1, "small")));
    log.append(Append::atomic(frames.collect())).expect("taken").wait().expect("durable");
    let appended = begun.elapsed();
    let begun = Instant::now();
    log.roll().expect("rolled");
    println!(
        "{SMALL} partitions: made in {} ms ({memory} MiB), a row each durable in {} ms, rolled in {} ms into {} segments; {} descriptors",
        made.as_millis(),
        appended.as_millis(),
        begun.elapsed().as_millis(),
        log.stats().segments,
        descriptors()
    );
    log.close().expect("closed");
    drop((log, events));
    let (log, opened) = open(dir);
    println!("restart with them: open {} ms, {} partitions", opened.as_millis(), log.streams()[0].partitions().len());
}

fn resident_mib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()).unwrap_or(0) / 1024
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
