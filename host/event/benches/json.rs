//! JSON to columns and back, against `arrow-json` on the same bytes.
//!
//! The event is about 175 bytes with nine fields: an integer id, a time in ms, four texts of which three repeat, an amount, a count
//! and a flag. `direct` splits lines and decodes them with [`RowDecoder`] into dictionaries where values repeat; `arrow-json`
//! decodes the same bytes into plain texts, numbers and flags.
//!
//! Fastest runs on two cores shared with other builds (AMD EPYC, baseline x86-64 code), ns per event:
//!
//! | rows | direct | arrow-json | ratio | encode |
//! |---|---|---|---|---|
//! | 1,000 | 183 | 429 | 2.3 | 198 |
//! | 8,192 | 191 | 499 | 2.6 | 210 |
//!
//! About half of `direct` is the walk over members, spread evenly; a fifth the dictionaries, a tenth UTF-8 and line ends.

use std::hint::black_box;
use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_event::json::{DecodeLimits, Line, LineSplitter, Place, RowDecoder, RowEncoder};
use tidemill_event::{EventTime, Offset, PartitionId, StreamDefinition, definition_json};

fn definition() -> Arc<StreamDefinition> {
    let text = br#"{"fields": [{"name": "id", "type": "int64"}, {"name": "ts", "type": "timestamp", "unit": "ms"},
        {"name": "user", "type": "string"}, {"name": "country", "type": "string"}, {"name": "status", "type": "string"},
        {"name": "path", "type": "string"}, {"name": "amount", "type": "float64"}, {"name": "items", "type": "int64"},
        {"name": "mobile", "type": "bool"}], "time": {"field": "ts"}}"#;
    Arc::new(definition_json::parse(text).expect("a definition"))
}

/// Lines of about 180 bytes; users repeat within some thousands, countries, states and paths within dozens.
fn lines(rows: usize) -> Vec<u8> {
    let countries = ["de", "fr", "us", "jp", "br", "in", "ng", "se"];
    let states = ["ok", "declined", "pending", "review"];
    let mut out = Vec::new();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for row in 0..rows {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pick = |bits: u32, length: usize| (seed >> bits) as usize % length;
        let line = format!(
            "{{\"id\":{},\"ts\":{},\"user\":\"user-{:05}\",\"country\":\"{}\",\"status\":\"{}\",\"path\":\"/shop/{:02}/article/overview/of-the-week/\",\"amount\":{}.{:02},\"items\":{},\"mobile\":{}}}\n",
            1_000_000 + row,
            1_517_365_101_235u64 + row as u64 * 37,
            pick(3, 5_000),
            countries[pick(11, 8)],
            states[pick(17, 4)],
            pick(23, 40),
            pick(31, 900),
            pick(37, 100),
            pick(43, 12),
            pick(51, 2) == 0,
        );
        out.extend_from_slice(line.as_bytes());
    }
    out
}

fn bench(c: &mut Criterion) {
    let definition = definition();
    let texts = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("ts", DataType::Int64, true),
        texts("user"),
        texts("country"),
        texts("status"),
        texts("path"),
        Field::new("amount", DataType::Float64, true),
        Field::new("items", DataType::Int64, true),
        Field::new("mobile", DataType::Boolean, true),
    ]));
    for rows in [1_000, 8_192] {
        let body = lines(rows);
        let mut group = c.benchmark_group("json");
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("decode/direct", rows), |bencher| {
            let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
            let mut splitter = LineSplitter::new(1 << 20);
            bencher.iter(|| {
                splitter.push(black_box(&body), &mut |line| {
                    let Line::Complete(line) = line else { panic!("lines are short") };
                    decoder.row(line, EventTime(0)).expect("a row");
                });
                assert_eq!(decoder.rows(), rows);
                decoder.finish()
            });
        });
        group.bench_function(BenchmarkId::new("decode/arrow-json", rows), |bencher| {
            let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(rows).build_decoder().expect("a decoder");
            bencher.iter(|| {
                let read = decoder.decode(black_box(&body)).expect("rows");
                assert_eq!(read, body.len());
                decoder.flush().expect("a batch").expect("rows")
            });
        });
        let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            decoder.row(line, EventTime(0)).expect("a row");
        }
        let batch = decoder.finish();
        let encoder = RowEncoder::new(&definition.schema, Some(Place { partition: PartitionId(0) }));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encode", rows), |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(black_box(&batch), 0..rows, Offset(7), &mut out);
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
