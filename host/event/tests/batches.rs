//! Batches made to fit another schema: columns by name, unknown fields in and out, and what does not fit.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};
use expect_test::{Expect, expect};
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder};
use tidemill_event::{EventTime, Offset, StreamDefinition, batch, definition_json};

fn definition(text: &str) -> Arc<StreamDefinition> {
    Arc::new(definition_json::parse(text.as_bytes()).expect("a definition"))
}

fn decode(definition: &Arc<StreamDefinition>, rows: &[&str]) -> RecordBatch {
    let mut decoder = RowDecoder::new(Arc::clone(definition), DecodeLimits::default());
    for row in rows {
        decoder.row(row.as_bytes(), EventTime(9)).expect("a row");
    }
    decoder.finish()
}

/// The rows as they read in the other schema, or why they are none of it.
fn check(from: &str, to: &str, rows: &[&str], expect: Expect) {
    let (from, to) = (definition(from), definition(to));
    let rows = decode(&from, rows);
    let shown = match batch::conform(&rows, &from.schema, &to.schema) {
        Ok(conformed) => {
            assert_eq!(batch::times(&conformed), batch::times(&rows));
            let names = |fields: &arrow_schema::Fields| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
            assert_eq!(names(conformed.schema_ref().fields()), names(to.schema.arrow().fields()));
            let mut text = Vec::new();
            RowEncoder::new(&to.schema, None).encode(&conformed, 0..conformed.num_rows(), Offset::ZERO, &mut text);
            String::from_utf8(text).expect("JSON is UTF-8")
        }
        Err(error) => error.to_string(),
    };
    expect.assert_eq(&shown);
}

const OLD: &str = r#"{"fields": [{"name": "a", "type": "int64"}, {"name": "s", "type": "string"}]}"#;

#[test]
fn a_new_column_takes_what_was_unknown_if_it_fits() {
    check(
        OLD,
        r#"{"fields": [{"name": "s", "type": "string"}, {"name": "a", "type": "float64"}, {"name": "u.c", "type": "string"}, {"name": "n", "type": "int64"}]}"#,
        &[
            r#"{"a": 1, "s": "x"}"#,
            r#"{"a": 2, "n": 5, "u": {"c": "de", "d": 1}, "rest": [1, 2]}"#,
            r#"{"a": 3, "n": "five", "rest": true}"#,
            r#"{"u": 7}"#,
        ],
        expect![[r#"
            {"s":"x","a":1.0,"u":{"c":null},"n":null}
            {"s":null,"a":2.0,"u":{"c":"de","d":1},"n":5,"rest":[1,2]}
            {"s":null,"a":3.0,"u":{"c":null},"n":"five","rest":true}
            {"s":null,"a":null,"u":7,"n":null}
        "#]],
    );
}

#[test]
fn a_column_without_a_place_is_unknown_there() {
    let rows = [r#"{"a": 1, "s": "x", "z": 0}"#, r#"{"s": null}"#];
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "json"}]}"#,
        &rows,
        expect![[r#"
        {"a":1,"s":"x","z":0}
        {"a":null,"s":null}
    "#]],
    );
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "json"}], "unknown": "drop"}"#,
        &rows,
        expect![[r#"
        {"a":1}
        {"a":null}
    "#]],
    );
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "json"}], "unknown": "reject"}"#,
        &rows,
        expect!["field `s` is not in the target's schema, which rejects unknown fields: add it there, or drop it with `select`"],
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let rows = [r#"{"a": 1, "s": "x"}"#, r#"{"s": "y"}"#];
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "string"}, {"name": "s", "type": "string"}]}"#,
        &rows,
        expect!["field `a` is int64 here and string there: change one of them, or cast it with `select`"],
    );
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "int64", "nullable": false}, {"name": "s", "type": "string"}]}"#,
        &rows,
        expect!["field `a` is null or missing in row 1 and may not be: give it a value, or declare it nullable"],
    );
    check(
        OLD,
        r#"{"fields": [{"name": "a", "type": "int64"}, {"name": "s", "type": "string"}, {"name": "n", "type": "bool", "nullable": false}]}"#,
        &rows,
        expect!["field `n` is null or missing in row 0 and may not be: give it a value, or declare it nullable"],
    );
}

#[test]
fn texts_are_dictionaries_where_values_repeat() {
    let definition = definition(
        r#"{"fields": [{"name": "few", "type": "string"}, {"name": "many", "type": "string"}, {"name": "none", "type": "string"}]}"#,
    );
    let rows: Vec<String> = (0..1_000).map(|row| format!(r#"{{"few": "v{}", "many": "w{row}"}}"#, row % 7)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let form = |batch: &RecordBatch| {
        let dictionary = |column: usize| matches!(batch.column(column).data_type(), arrow_schema::DataType::Dictionary(_, _));
        [dictionary(0), dictionary(1), dictionary(2)]
    };
    let large = decode(&definition, &rows);
    assert_eq!(form(&large), [true, false, false]);
    let small = decode(&definition, &rows[..5]);
    assert_eq!(form(&small), [false, false, false]);
    assert_eq!(form(&batch::concat(&[small.clone(), large.clone()])), [true, false, false]);
    // Small appends of a stream that repeats itself become a dictionary when they are put together.
    let singles: Vec<RecordBatch> = rows[..64].iter().map(|row| decode(&definition, &[row])).collect();
    let joined = batch::concat(&singles);
    assert_eq!(form(&joined), [true, false, false]);
    assert_eq!(batch::checksum(&joined), batch::checksum(&decode(&definition, &rows[..64])));
}

#[test]
fn a_refused_row_leaves_nothing_behind() {
    let definition = definition(
        r#"{"fields": [{"name": "s", "type": "string"}, {"name": "j", "type": "json"}, {"name": "y", "type": "bytes"}, {"name": "i", "type": "int64"}]}"#,
    );
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    let mut clean = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    for row in 0..300 {
        let good = format!(r#"{{"s": "s{}", "j": {{"a": {row}}}, "y": "AAEC", "x": {row}, "i": {row}}}"#, row % 30);
        let bad = format!(r#"{{"s": "bad{row}", "j": [1, 2], "y": "AAEC", "x": 5, "i": "no"}}"#);
        decoder.row(good.as_bytes(), EventTime(0)).expect("a row");
        decoder.row(bad.as_bytes(), EventTime(0)).expect_err("no integer");
        decoder.row(b"{\"s\": \"cut", EventTime(0)).expect_err("no JSON");
        clean.row(good.as_bytes(), EventTime(0)).expect("a row");
    }
    assert_eq!(decoder.careful_rows(), 600);
    assert_eq!(decoder.bytes(), clean.bytes());
    let (batch, wanted) = (decoder.finish(), clean.finish());
    assert_eq!(batch, wanted);
    // Nor does the dictionary know of it.
    let distinct = |batch: &RecordBatch| batch.column(0).as_dictionary::<UInt32Type>().values().len();
    assert_eq!((distinct(&batch), distinct(&wanted)), (30, 30));
}

#[test]
fn a_small_batch_behind_a_large_one_is_small() {
    let definition = definition(r#"{"fields": [{"name": "s", "type": "string"}, {"name": "i", "type": "int64"}]}"#);
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    for row in 0..10_000 {
        decoder.row(format!(r#"{{"s": "text {row}", "i": {row}, "x": 1}}"#).as_bytes(), EventTime(0)).expect("a row");
    }
    assert!(batch::bytes(&decoder.finish()) > 200_000);
    decoder.row(br#"{"s": "text", "i": 1, "x": 1}"#, EventTime(0)).expect("a row");
    assert!(batch::bytes(&decoder.finish()) < 500);
}
