//! How long a restart takes: `cargo bench -p tidemill-log --bench restart -- [GiB]`. Not a loop but one restart of a log of that size,
//! with as much in the journal as is left there at most before rows are rolled; and many partitions with one row each.
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tidemill_event::{
    Field, FieldType, Offset, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamId, StreamName, StreamSchema,
    TenantName, UnknownFields,
};
use tidemill_log::{Append, FrameRows, Log, LogSettings, ReadLimit, RealDisk, Stream, Visibility};

/// Rows of an append, and bytes of text in each.
const ROWS: i64 = 1_000;
const TEXT_BYTES: usize = 1_000;
/// Partitions with one row each.
const SMALL: u32 = 10_000;

fn main() {
    // Cargo adds `--bench`.
    let gib = std::env::args().skip(1).find_map(|argument| argument.parse::<f64>().ok()).unwrap_or(2.0);
    let dir = tempfile::tempdir().expect("a folder");
    // First, while memory has not been used for anything else.
    small(&dir.path().join("small"));
    large(&dir.path().join("large"), (gib * f64::from(1 << 30)) as u64);
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

fn large(dir: &Path, bytes: u64) {
    let (log, _) = open(dir);
    let events = stream(&log, 4);
    let text = "x".repeat(TEXT_BYTES);
    let begun = Instant::now();
    let appends = bytes / (ROWS as u64 * TEXT_BYTES as u64);
    let mut last = None;
    for append in 0..appends {
        let batch = rows(append as i64 * ROWS, ROWS, &text);
        last = Some(log.append_waiting(Append::atomic(vec![frame(&events, (append % 4) as u32, batch)])).expect("taken"));
    }
    last.map(|pending| pending.wait().expect("durable"));
    let stats = log.stats();
    println!(
        "{:.1} GiB in {:.1} s: {} segments, {} MiB in the journal",
        bytes as f64 / f64::from(1 << 30),
        begun.elapsed().as_secs_f64(),
        stats.segments,
        stats.journal_bytes >> 20
    );
    log.close().expect("closed");
    drop((log, events));

    let (log, opened) = open(dir);
    let events = stream(&log, 4);
    let limit = ReadLimit { rows_max: 100, bytes_max: 1 << 20 };
    let begun = Instant::now();
    let first = events.partitions()[0].read(Offset::ZERO, limit, Visibility::Durable).expect("readable").expect("rows");
    let oldest = begun.elapsed();
    let begun = Instant::now();
    log.append(Append::atomic(vec![frame(&events, 0, rows(0, 1, "new"))])).expect("taken").wait().expect("durable");
    println!(
        "restart: open {} ms, oldest rows ({}) {} ms later, a new row durable {} ms later; {} MiB resident, {} descriptors",
        opened.as_millis(),
        first.rows.num_rows(),
        oldest.as_millis(),
        begun.elapsed().as_millis(),
        resident_mib(),
        descriptors()
    );
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
