//! Placement is Kafka's: the published vectors, and the bytes a key is made of.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidemill_event::json::{DecodeLimits, RowDecoder};
use tidemill_event::{EventTime, PartitionId, Placement, definition_json, murmur2, partition_of};

#[test]
fn murmur2_agrees_with_kafka() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/kafka_murmur2/vectors.ndjson");
    let file = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let mut count = 0;
    for line in file.lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector is JSON");
        let key = STANDARD.decode(vector["base64"].as_str().expect("a text")).expect("base64");
        assert_eq!(Value::from(murmur2(&key)), vector["murmur2"], "{line}");
        for (partitions, partition) in vector["partition"].as_object().expect("an object") {
            let placed = partition_of(&key, partitions.parse().expect("a number"));
            assert_eq!(Value::from(placed.0), *partition, "{line}");
        }
        count += 1;
    }
    assert_eq!(count, 63);
}

/// Each row's partition is that of the given key bytes.
fn check(definition: &str, cases: &[(&str, &str)]) {
    let definition = Arc::new(definition_json::parse(definition.as_bytes()).expect("a definition"));
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    for (row, key) in cases {
        decoder.row(row.as_bytes(), EventTime(0)).expect("a row");
        let parts = Placement::new(&definition).split(decoder.finish());
        let partitions: Vec<PartitionId> = parts.iter().map(|(partition, _)| *partition).collect();
        assert_eq!(partitions, [partition_of(key.as_bytes(), definition.partitions)], "{row}");
    }
}

#[test]
fn key_bytes() {
    let fields = r#""partitions": 1000, "fields": [{"name": "s", "type": "string"}, {"name": "i", "type": "int64"}, {"name": "f", "type": "float64"},
        {"name": "d", "type": "decimal(9,2)"}, {"name": "b", "type": "bool"}, {"name": "y", "type": "bytes"}, {"name": "t", "type": "timestamp"},
        {"name": "m", "type": "timestamp", "unit": "ms"}, {"name": "j", "type": "json"}]"#;
    let keyed = |key: &str| format!(r#"{{{fields}, "key": {key}}}"#);
    check(&keyed(r#"["s"]"#), &[(r#"{"s": "é\n\""}"#, "é\n\""), (r#"{"s": ""}"#, "")]);
    check(&keyed(r#"["i"]"#), &[(r#"{"i": -5}"#, "-5")]);
    check(&keyed(r#"["f"]"#), &[(r#"{"f": 2.50}"#, "2.5")]);
    check(&keyed(r#"["d"]"#), &[(r#"{"d": 2.5}"#, "\"2.50\"")]);
    check(&keyed(r#"["b"]"#), &[(r#"{"b": true}"#, "true")]);
    check(&keyed(r#"["y"]"#), &[(r#"{"y": "AAE="}"#, "\"AAE=\"")]);
    check(&keyed(r#"["t"]"#), &[(r#"{"t": "2026-01-31T12:00:00+01:00"}"#, "\"2026-01-31T11:00:00.000000Z\"")]);
    check(&keyed(r#"["m"]"#), &[(r#"{"m": "1970-01-01T00:00:01Z"}"#, "1000")]);
    check(&keyed(r#"["j"]"#), &[(r#"{"j": {"a": [1, 2]}}"#, r#"{"a":[1,2]}"#)]);
    check(&keyed(r#"["s", "i"]"#), &[(r#"{"s": "a\"", "i": 1}"#, r#"["a\"",1]"#), (r#"{"i": 1}"#, "[null,1]")]);
}

#[test]
fn batches_without_keys_take_turns() {
    let definition = definition_json::parse(br#"{"partitions": 3, "key": ["k"], "fields": [{"name": "k", "type": "string"}]}"#);
    let definition = Arc::new(definition.expect("a definition"));
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    let mut placement = Placement::new(&definition);
    let mut turns = Vec::new();
    for _ in 0..4 {
        decoder.row(b"{}", EventTime(0)).expect("a row");
        decoder.row(b"{\"k\": null}", EventTime(0)).expect("a row");
        for (partition, part) in placement.split(decoder.finish()) {
            turns.push((partition.0, part.num_rows()));
        }
    }
    assert_eq!(turns, [(0, 2), (1, 2), (2, 2), (0, 2)]);
    assert!(placement.split(decoder.finish()).is_empty());
}
