//! What the log costs: framing a row, making small groups durable, reading from memory and from segments.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_event::{
    Field, FieldType, Offset, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamId, StreamName, StreamSchema,
    TenantName, UnknownFields,
};
use tidemill_log::{Append, FrameRows, Log, LogSettings, ReadLimit, RealDisk, Stream, Visibility};

/// Two int64, one float64, three short strings, as in the measurements behind the format.
fn definition() -> StreamDefinition {
    let types = [FieldType::Int64, FieldType::Int64, FieldType::Float64, FieldType::String, FieldType::String, FieldType::String];
    let fields = types.iter().enumerate().map(|(index, ty)| Field::new(&format!("f{index}"), *ty, true)).collect();
    let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
    StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions: 1,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

fn rows(count: usize) -> RecordBatch {
    let text = |prefix: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("{prefix}{}", row % 100))))
    };
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(0..count as i64)) };
    let times = TimestampMicrosecondArray::from_iter_values(0..count as i64).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        numbers(),
        numbers(),
        Arc::new(Float64Array::from_iter_values((0..count).map(|row| row as f64))),
        text("ord"),
        text("c"),
        text("st"),
        Arc::new(times),
    ];
    RecordBatch::try_new(Arc::new(definition().schema.arrow()), columns).expect("columns fit")
}

fn log(dir: &tempfile::TempDir, change: impl FnOnce(&mut LogSettings)) -> (Log, Arc<Stream>) {
    let mut settings = LogSettings::new(dir.path().join("log"));
    change(&mut settings);
    let log = Log::open(settings, Arc::new(RealDisk)).expect("opens");
    let name = StreamName::from_client("events").expect("a name");
    let stream = log.create_stream(&StreamId::new(TenantName::default_tenant(), name), definition()).expect("made");
    (log, stream)
}

fn append(stream: &Arc<Stream>, rows: RecordBatch) -> Append {
    Append::atomic(vec![FrameRows { stream: Arc::clone(stream), version: SchemaVersion(1), partition: PartitionId(0), rows }])
}

/// Through the whole writer: check, sequence, encode, write, sync, answer.
fn durable(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = log(&dir, |_| {});
    let mut group = criterion.benchmark_group("append until durable");
    for count in [1, 16, 256, 4096] {
        let rows = rows(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| log.append_waiting(append(&stream, rows.clone())).expect("taken").wait().expect("durable"));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("64 appends of one row until all are durable");
    let one = rows(1);
    group.throughput(Throughput::Elements(64));
    group.bench_function("64", |bencher| {
        bencher.iter(|| {
            let pending: Vec<_> = (0..64).map(|_| log.append_waiting(append(&stream, one.clone())).expect("taken")).collect();
            for pending in pending {
                pending.wait().expect("durable");
            }
        });
    });
    group.finish();
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode a frame");
    for count in [1, 16, 256, 4096] {
        let rows = rows(count);
        group.throughput(Throughput::Elements(count as u64));
        let mut bytes = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                bytes.clear();
                tidemill_log::bench::encode_frame(black_box(&rows), &mut bytes);
                bytes.len()
            });
        });
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    const ROWS: usize = 200 * 4096;
    let limit = ReadLimit { rows_max: 4096, bytes_max: usize::MAX };
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, rolled, cache_bytes) in
        [("tail", false, 1), ("segments, cached", true, 1 << 30), ("segments, from the page cache", true, 1 << 20)]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, stream) = log(&dir, |settings| {
            settings.cache_bytes_max = cache_bytes;
            settings.tail_bytes_max = if rolled { 1 << 20 } else { 1 << 30 };
        });
        let batch = rows(4096);
        for _ in 0..ROWS / 4096 {
            log.append_waiting(append(&stream, batch.clone())).expect("taken").wait().expect("durable");
        }
        if rolled {
            log.roll().expect("rolled");
        }
        let partition = stream.partition(PartitionId(0)).expect("there");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut at = Offset::ZERO;
                while let Some(block) = partition.read(at, limit, Visibility::Durable).expect("readable") {
                    at = at.plus(block.rows.num_rows());
                }
                at
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = framing, durable, reading
}
criterion_main!(benches);
