//! Random schemas and rows: the fast decoder agrees with the model, and what was read can be sent again.

mod model;

use std::sync::Arc;

use arrow_array::RecordBatch;
use proptest::prelude::*;
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder, infer, is_blank, utf8_start};
use tidemill_event::{
    EventTime, Field, FieldType, MissingTime, Offset, Placement, Retention, StreamDefinition, StreamSchema, TimeField, TimeUnit,
    UnknownFields, batch, partition_of,
};

fn field_type() -> impl Strategy<Value = FieldType> {
    prop_oneof![
        Just(FieldType::Bool),
        Just(FieldType::Int64),
        Just(FieldType::Float64),
        Just(FieldType::Decimal { precision: 9, scale: 2 }),
        Just(FieldType::Decimal { precision: 38, scale: 20 }),
        Just(FieldType::String),
        Just(FieldType::String),
        Just(FieldType::Bytes),
        Just(FieldType::Timestamp(None)),
        Just(FieldType::Timestamp(Some(TimeUnit::Seconds))),
        Just(FieldType::Timestamp(Some(TimeUnit::Millis))),
        Just(FieldType::Timestamp(Some(TimeUnit::Micros))),
        Just(FieldType::Json),
    ]
}

const NAMES: [&str; 9] = ["a", "b", "c", "o.a", "o.p.q", "o.b", "a-rather-long-name", "é", "x"];

prop_compose! {
    fn definition()(
        fields in prop::collection::vec((field_type(), prop::bool::weighted(0.9), prop::bool::weighted(0.6)), NAMES.len()),
        unknown in prop_oneof![3 => Just(UnknownFields::Keep), 1 => Just(UnknownFields::Drop), 1 => Just(UnknownFields::Reject)],
        time in prop::option::weighted(0.3, any::<bool>()),
    ) -> StreamDefinition {
        let mut fields: Vec<Field> = NAMES.iter().zip(fields).filter(|(_, (_, _, there))| *there)
            .map(|(name, (ty, nullable, _))| Field::new(name, ty, nullable)).collect();
        let time = time.map(|arrival| {
            fields.push(Field::new("t", FieldType::Int64, true));
            let missing = if arrival { MissingTime::Arrival } else { MissingTime::Reject };
            TimeField { field: "t".into(), unit: Some(TimeUnit::Millis), missing }
        });
        let schema = StreamSchema { fields, unknown, infer: false };
        StreamDefinition { schema, time, key: Vec::new(), partitions: 1, retention: Retention::default(), compatibility: Default::default() }
    }
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\t\r\n ")]
}

/// A JSON text of a scalar, many of them fit for some type.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-1000i64..1000).prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("JSON has no such numbers", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        "\"-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,3})?\"",
        "\"(red|green|blue)\"",
        "\"[a-zé✓ ]{0,20}\"",
        r#""([a-z]|\\["\\/bfnrt]|\\u00[0-9a-f]{2}|\\ud83d\\ude00|\\u20ac){0,6}""#,
        "\"(19|20)[0-9]{2}-(0[1-9]|1[0-2])-([0-2][0-9]|30)T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+0[0-9]:30)\"",
        "\"([A-Za-z0-9+/]{4}){0,3}\"",
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "c",
        "o",
        "p",
        "q",
        "t",
        "x",
        "y",
        "é",
        "a-rather-long-name",
        "\\u0061",
        "o.a",
        "_time",
        "_offset",
    ])
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec((space(), inner.clone(), space()), 0..4).prop_map(|elements| {
                let elements: Vec<String> =
                    elements.into_iter().map(|(before, value, behind)| format!("{before}{value}{behind}")).collect();
                format!("[{}]", elements.join(","))
            }),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop::collection::vec((space(), name(), space(), value, space()), 0..7).prop_map(|members| {
        let members = members.into_iter().map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{c}{value}{b}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

fn decode(definition: &Arc<StreamDefinition>, rows: &[String]) -> RecordBatch {
    let mut decoder = RowDecoder::new(Arc::clone(definition), DecodeLimits::default());
    let mut wanted = Vec::new();
    for json in rows {
        let model = model::row(definition, json.as_bytes(), EventTime(5));
        let found = decoder.row(json.as_bytes(), EventTime(5));
        match (model, found) {
            (Ok(row), Ok(())) => wanted.push(row),
            (Err(reason), Err(fault)) => assert_eq!(fault.reason, reason, "{json}: {fault}"),
            (model, found) => panic!("{json}: {model:?} is right, and the decoder says {found:?}"),
        }
    }
    let batch = decoder.finish();
    assert_eq!(batch.num_rows(), wanted.len());
    for (row, wanted) in wanted.iter().enumerate() {
        assert_eq!(model::held(definition, &batch, row), *wanted);
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_agrees_with_the_model_and_reads_back(definition in definition(), rows in prop::collection::vec(object(value()), 0..40)) {
        let definition = Arc::new(definition);
        let first = decode(&definition, &rows);
        let encoder = RowEncoder::new(&definition.schema, None);
        let mut text = Vec::new();
        encoder.encode(&first, 0..first.num_rows(), Offset::ZERO, &mut text);
        let again: Vec<String> = String::from_utf8(text).expect("JSON is UTF-8").lines().map(str::to_owned).collect();
        let second = decode(&definition, &again);
        prop_assert_eq!(first.num_rows(), second.num_rows());
        // Arrival times agree because both are 5. Unknown fields stand behind the schema's now, so their order may differ.
        for (row, text) in again.iter().enumerate() {
            let (mut one, mut other) = (model::held(&definition, &first, row), model::held(&definition, &second, row));
            one.unknown.iter_mut().chain(&mut other.unknown).for_each(model::sort);
            prop_assert_eq!(one, other, "{}", text);
        }
    }

    #[test]
    fn broken_texts_never_panic_and_agree(definition in definition(), row in object(value()), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let definition = Arc::new(definition);
        let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
        let mut bytes = row.into_bytes();
        let at = cut.index(bytes.len());
        let mut shorter = bytes.clone();
        shorter.truncate(at);
        bytes[at] = byte;
        for bytes in [shorter, bytes] {
            let model = model::row(&definition, &bytes, EventTime(5)).map(|_| ());
            let found = decoder.row(&bytes, EventTime(5)).map_err(|fault| fault.reason);
            prop_assert_eq!(found, model, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn lines_at_once_and_one_by_one_are_the_same(
        definition in definition(),
        rows in prop::collection::vec((object(value()), "(\r?\n){1,3}|[ \t]\n", any::<prop::sample::Index>(), 0..20u8), 0..40),
        rows_max in 1..50usize,
    ) {
        let definition = Arc::new(definition);
        let mut body = Vec::new();
        for (row, line_end, at, byte) in &rows {
            let start = body.len();
            body.extend_from_slice(row.as_bytes());
            // One row in five is broken somewhere, by a line's end as well as by half a character.
            if let Some(broken) = [b'\n', b'"', 0xc3, b'{'].get(usize::from(*byte)) {
                body[start + at.index(row.len())] = *broken;
            }
            body.extend_from_slice(line_end.as_bytes());
        }
        let mut one_by_one = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
        let mut faults = Vec::new();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            faults.extend(one_by_one.row(line, EventTime(5)).err());
        }
        let mut at_once = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
        let mut found = Vec::new();
        let text = utf8_start(&body);
        let mut at = 0;
        while at < body.len() {
            if let Some(lines) = text.get(at..) {
                let rows = at_once.rows();
                at += at_once.lines(lines, EventTime(5), rows_max, usize::MAX);
                prop_assert!(at_once.rows() - rows <= rows_max);
            }
            let end = body[at..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |end| at + end + 1);
            let line = body[at..end].strip_suffix(b"\n").unwrap_or(&body[at..end]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !is_blank(line) {
                found.extend(at_once.row(line, EventTime(5)).err());
            }
            at = end;
        }
        prop_assert_eq!(found, faults);
        prop_assert_eq!(at_once.rows(), one_by_one.rows());
        let (wanted, found) = (one_by_one.finish(), at_once.finish());
        for row in 0..wanted.num_rows() {
            prop_assert_eq!(model::held(&definition, &found, row), model::held(&definition, &wanted, row));
        }
    }

    #[test]
    fn concatenation_and_checksums_do_not_see_the_form(
        values in prop::collection::vec(prop::option::weighted(0.9, "[a-f]{1,2}"), 0..700),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let schema = StreamSchema { fields: vec![Field::new("s", FieldType::String, true)], unknown: UnknownFields::Keep, infer: false };
        let definition = Arc::new(StreamDefinition { schema, time: None, key: Vec::new(), partitions: 1, retention: Retention::default(), compatibility: Default::default() });
        let row = |value: &Option<String>| match value {
            Some(value) => format!(r#"{{"s":"{value}"}}"#),
            None => "{\"u\":1}".to_owned(),
        };
        let rows: Vec<String> = values.iter().map(row).collect();
        let whole = decode(&definition, &rows);
        let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
        bounds.extend([0, rows.len()]);
        bounds.sort_unstable();
        let parts: Vec<RecordBatch> = bounds.windows(2).map(|ends| decode(&definition, &rows[ends[0]..ends[1]])).collect();
        let joined = batch::concat(&parts);
        prop_assert_eq!(batch::checksum(&joined), batch::checksum(&whole));
        for row in 0..rows.len() {
            prop_assert_eq!(model::held(&definition, &joined, row), model::held(&definition, &whole, row));
        }
    }

    #[test]
    fn an_inferred_schema_takes_the_rows_it_was_found_in(rows in prop::collection::vec(object(value()), 1..10)) {
        let schema = StreamSchema { fields: Vec::new(), unknown: UnknownFields::Keep, infer: true };
        let mut definition = StreamDefinition { schema, time: None, key: Vec::new(), partitions: 1, retention: Retention::default(), compatibility: Default::default() };
        let texts: Vec<&[u8]> = rows.iter().map(String::as_bytes).collect();
        if let Some(schema) = infer(&definition, &texts) {
            definition.schema = schema;
        }
        prop_assert_eq!(infer(&definition, &texts), None);
        let definition = Arc::new(definition);
        let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
        for row in &rows {
            prop_assert!(decoder.row(row.as_bytes(), EventTime(0)).is_ok(), "{}", row);
        }
    }

    #[test]
    fn rows_go_where_their_key_says(keys in prop::collection::vec(prop::option::weighted(0.9, "[a-z]{0,3}"), 1..200), partitions in 1u32..9) {
        let schema = StreamSchema { fields: vec![Field::new("k", FieldType::String, true), Field::new("n", FieldType::Int64, true)], unknown: UnknownFields::Drop, infer: false };
        let definition = Arc::new(StreamDefinition { schema, time: None, key: vec!["k".into()], partitions, retention: Retention::default(), compatibility: Default::default() });
        let row = |(n, key): (usize, &Option<String>)| match key {
            Some(key) => format!(r#"{{"k":"{key}","n":{n}}}"#),
            None => format!(r#"{{"n":{n}}}"#),
        };
        let rows: Vec<String> = keys.iter().enumerate().map(row).collect();
        let batch = decode(&definition, &rows);
        let mut seen = 0;
        for (partition, part) in Placement::new(&definition).split(batch) {
            let mut last = -1;
            for row in 0..part.num_rows() {
                let held = model::held(&definition, &part, row).values;
                match &held[0] {
                    model::Logical::Text(key) => prop_assert_eq!(partition, partition_of(key.as_bytes(), partitions)),
                    _ => prop_assert_eq!(partition.0, 0, "the first turn"),
                }
                let model::Logical::Int64(n) = held[1] else { panic!("n is a number") };
                prop_assert!(n > last);
                last = n;
                seen += 1;
            }
        }
        prop_assert_eq!(seen, keys.len());
    }
}
