//! One row in, one row out or a fault: what the contract says about JSON rows, case by case.

use std::sync::Arc;

use expect_test::{Expect, expect};
use tidemill_event::json::{DecodeLimits, DecodePath, Place, RowDecoder, RowEncoder};
use tidemill_event::{EventTime, Offset, PartitionId, definition_json};

/// Sends each row by itself and shows what it reads back as, with its event time, or its fault.
fn check(definition: &str, rows: &[&str], expect: Expect) {
    let definition = Arc::new(definition_json::parse(definition.as_bytes()).expect("a definition"));
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    let encoder = RowEncoder::new(&definition.schema, None);
    let mut shown = String::new();
    for row in rows {
        match decoder.row(row.as_bytes(), EventTime(7)) {
            Ok(()) => {
                let batch = decoder.finish();
                assert_eq!(batch.num_rows(), 1);
                let time = tidemill_event::batch::times(&batch).value(0);
                shown += &format!("{} @{time}\n", encoder.one(&batch, 0));
            }
            Err(fault) => {
                assert_eq!(decoder.rows(), 0);
                let field = fault.field.as_deref().unwrap_or("-");
                shown += &format!("{} {field}: {}\n", fault.reason.as_str(), fault.error);
            }
        }
    }
    expect.assert_eq(&shown);
}

#[test]
fn every_type_reads_back_as_it_came() {
    check(
        r#"{"fields": [{"name": "b", "type": "bool"}, {"name": "i", "type": "int64"}, {"name": "f", "type": "float64"},
            {"name": "d", "type": "decimal(6,2)"}, {"name": "s", "type": "string"}, {"name": "y", "type": "bytes"},
            {"name": "t", "type": "timestamp"}, {"name": "m", "type": "timestamp", "unit": "ms"}, {"name": "j", "type": "json"}]}"#,
        &[
            r#"{"b": true, "i": -9223372036854775808, "f": 1, "d": 12.5, "s": "aé\u00e9\n\ud834\udd1e\"", "y": "AAEC/w==",
                "t": "2026-01-31T12:00:00.1234567+01:00", "m": 1517365101235, "j": { "a" : [ 1.50 , "x y" ], "a": null } }"#,
            r#"{"b": false, "d": "-0.05", "m": "2026-01-31T12:00:00Z", "f": -2.5e-3, "y": "", "j": 1E400}"#,
            r#"{"b": null, "i": null, "j": null, "m": 0.0005}"#,
            "{}",
        ],
        expect![[r#"
            {"b":true,"i":-9223372036854775808,"f":1.0,"d":"12.50","s":"aéé\n𝄞\"","y":"AAEC/w==","t":"2026-01-31T11:00:00.123456Z","m":1517365101235,"j":{"a":[1.50,"x y"],"a":null}} @7
            {"b":false,"i":null,"f":-0.0025,"d":"-0.05","s":null,"y":"","t":null,"m":1769860800000,"j":1E400} @7
            {"b":null,"i":null,"f":null,"d":null,"s":null,"y":null,"t":null,"m":0,"j":null} @7
            {"b":null,"i":null,"f":null,"d":null,"s":null,"y":null,"t":null,"m":null,"j":null} @7
        "#]],
    );
}

#[test]
fn nothing_is_coerced() {
    let definition = r#"{"fields": [{"name": "b", "type": "bool"}, {"name": "i", "type": "int64"}, {"name": "f", "type": "float64"},
        {"name": "d", "type": "decimal(6,2)"}, {"name": "s", "type": "string"}, {"name": "y", "type": "bytes"},
        {"name": "t", "type": "timestamp"}, {"name": "m", "type": "timestamp", "unit": "ms"}, {"name": "n", "type": "int64", "nullable": true}]}"#;
    check(
        definition,
        &[
            r#"{"b": 1}"#,
            r#"{"b": "true"}"#,
            r#"{"i": 1.0}"#,
            r#"{"i": 9223372036854775808}"#,
            r#"{"i": "1"}"#,
            r#"{"i": true}"#,
            r#"{"f": 1e400}"#,
            r#"{"f": "1"}"#,
            r#"{"d": 12.345}"#,
            r#"{"d": 10000}"#,
            r#"{"d": "abc"}"#,
            r#"{"s": 5}"#,
            r#"{"s": {"a": [1, 2, 3], "b": "a longer value than anybody wants to read"}}"#,
            r#"{"y": "AAE"}"#,
            r#"{"t": 1517365101235}"#,
            r#"{"t": "yesterday"}"#,
            r#"{"m": 1e30}"#,
            r#"{"m": "2026-02-30T00:00:00Z"}"#,
        ],
        expect![[r#"
            schema b: field `b` is bool and got the number 1: send true or false
            schema b: field `b` is bool and got the text "true": send true or false
            schema i: field `i` is int64 and got the number 1.0: send digits without point or exponent, or declare float64
            schema i: field `i` is int64 and got the number 9223372036854775808, which is out of its range: send a number from -9223372036854775808 to 9223372036854775807
            schema i: field `i` is int64 and got the text "1": send a number from -9223372036854775808 to 9223372036854775807
            schema i: field `i` is int64 and got true: send a number from -9223372036854775808 to 9223372036854775807
            schema f: field `f` is float64 and got the number 1e400, which is out of its range: send a number that a 64-bit float can hold
            schema f: field `f` is float64 and got the text "1": send a number that a 64-bit float can hold
            schema d: field `d` is decimal(6,2) and got the number 12.345, which has more digits behind the point: send a number or a text of digits, at most 6 of them and 2 behind the point, or declare a larger scale
            schema d: field `d` is decimal(6,2) and got the number 10000, which is out of its range: send a number or a text of digits, at most 6 of them and 2 behind the point
            schema d: field `d` is decimal(6,2) and got the text "abc": send a number or a text of digits, at most 6 of them and 2 behind the point
            schema s: field `s` is string and got the number 5: send a text
            schema s: field `s` is string and got the object {"a":[1,2,3],"b":"a longer value than an…: send a text
            schema y: field `y` is bytes and got the text "AAE", which is no base64: send a text in base64 (A-Z a-z 0-9 + / and = to a multiple of four)
            schema t: field `t` is timestamp and got the number 1517365101235: send a text like 2026-01-31T12:00:00Z, or declare its unit if it is a number
            schema t: field `t` is timestamp and got the text "yesterday", which is no RFC 3339 time: send a text like 2026-01-31T12:00:00Z, or declare its unit if it is a number
            schema m: field `m` is timestamp in ms and got the number 1e30, which is out of its range: send a number of ms since 1970, or a text like 2026-01-31T12:00:00Z
            schema m: field `m` is timestamp in ms and got the text "2026-02-30T00:00:00Z", which is no RFC 3339 time: send a number of ms since 1970, or a text like 2026-01-31T12:00:00Z
        "#]],
    );
}

#[test]
fn rows_that_are_no_rows() {
    check(
        r#"{"fields": [{"name": "a", "type": "int64", "nullable": false}]}"#,
        &[
            "",
            " ",
            "1",
            "null",
            "[{\"a\": 1}]",
            "\"a\"",
            "{\"a\": 1",
            "{\"a\": 1}}",
            "{\"a\": 01}",
            "{\"a\": 1,}",
            "{'a': 1}",
            "{\"a\": tru}",
            "{\"a\": \"\\x\"}",
            "{\"b\": \"\\ud800\"}",
            "{\"a\": null}",
            "{\"b\": 1}",
            "{\"a\": \"x\", \"b\": }",
        ],
        expect![[r#"
            malformed -: byte 0: it ends too early: close every text, object and array
            malformed -: byte 1: it ends too early: close every text, object and array
            schema -: an event is a JSON object, and this is the number 1: send {"field": value}
            schema -: an event is a JSON object, and this is null: send {"field": value}
            schema -: an event is a JSON object, and this is the array [{"a":1}]: send {"field": value}
            schema -: an event is a JSON object, and this is the text "a": send {"field": value}
            malformed -: byte 7: it ends too early: close every text, object and array
            malformed -: byte 8: something follows the value: send one value per row
            malformed -: byte 6: this is no JSON number: digits without leading zeros, then `.` and digits, then an exponent
            malformed -: byte 8: a field name in double quotes is expected here
            malformed -: byte 1: a field name in double quotes is expected here
            malformed -: byte 6: only `true`, `false` and `null` stand without quotes
            malformed -: byte 8: no such escape: use one of \" \\ \/ \b \f \n \r \t \uXXXX
            malformed -: byte 7: this \u escape is half of a surrogate pair, which stands for no character: send both halves
            schema a: field `a` is null and may not be: send a number from -9223372036854775808 to 9223372036854775807, or declare it nullable
            schema a: field `a` is missing and may not be null: send it, or declare it nullable
            malformed -: byte 16: a value is expected here
        "#]],
    );
}

#[test]
fn unknown_fields_come_back_where_they_were() {
    let rows = [
        r#"{"x": 1, "id": 5, "user": {"name": "n", "country": "de", "deep": {"a": 1, "b": 2}}, "y": {"z": [1, 2]}}"#,
        r#"{"user": {"country": "de"}}"#,
        r#"{"user": {}}"#,
        r#"{"user": null}"#,
        r#"{"user": 5, "user.country": "fr"}"#,
        r#"{"user": {"deep": []}, "\u0069d": 6, "\u0078": 1}"#,
        r#"{"_partition": 3, "_offset": 9, "_time": "2026-01-01T00:00:00Z", "_unknown": 1, "id": 7}"#,
    ];
    let fields = r#""fields": [{"name": "id", "type": "int64"}, {"name": "user.country", "type": "string"}, {"name": "user.deep.b", "type": "int64"}]"#;
    check(
        &format!(r#"{{{fields}}}"#),
        &rows,
        expect![[r#"
        {"id":5,"user":{"country":"de","deep":{"b":2,"a":1},"name":"n"},"x":1,"y":{"z":[1,2]}} @7
        {"id":null,"user":{"country":"de","deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":null,"user":null} @7
        {"id":null,"user":5,"user.country":"fr"} @7
        {"id":6,"user":{"country":null,"deep":[]},"\u0078":1} @7
        {"id":7,"user":{"country":null,"deep":{"b":null}},"_unknown":1} @7
    "#]],
    );
    check(
        &format!(r#"{{{fields}, "unknown": "drop"}}"#),
        &rows,
        expect![[r#"
        {"id":5,"user":{"country":"de","deep":{"b":2}}} @7
        {"id":null,"user":{"country":"de","deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":6,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":7,"user":{"country":null,"deep":{"b":null}}} @7
    "#]],
    );
    check(
        &format!(r#"{{{fields}, "unknown": "reject"}}"#),
        &rows,
        expect![[r#"
        schema x: field `x` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema
        {"id":null,"user":{"country":"de","deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        {"id":null,"user":{"country":null,"deep":{"b":null}}} @7
        schema user: field `user` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema
        schema user.deep: field `user.deep` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema
        schema _unknown: field `_unknown` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema
    "#]],
    );
}

#[test]
fn of_repeated_names_the_last_counts() {
    check(
        r#"{"fields": [{"name": "a", "type": "int64"}, {"name": "u.c", "type": "string"}, {"name": "u.d", "type": "string"}]}"#,
        &[
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": "wrong", "a": 2}"#,
            r#"{"a": 1, "a": "wrong"}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"x": 1, "y": 2, "x": 3}"#,
            r#"{"u": {"c": "1", "c": "2"}}"#,
            r#"{"u": {"c": "1", "x": 1}, "u": {"d": "2", "x": 2, "x": 3}}"#,
            r#"{"u": {"c": "1"}, "u": 5}"#,
            r#"{"u": 5, "u": {"c": "1"}}"#,
        ],
        expect![[r#"
            {"a":2,"u":{"c":null,"d":null}} @7
            {"a":2,"u":{"c":null,"d":null}} @7
            schema a: field `a` is int64 and got the text "wrong": send a number from -9223372036854775808 to 9223372036854775807
            {"a":2,"u":{"c":null,"d":null}} @7
            {"a":null,"u":{"c":null,"d":null},"x":3,"y":2} @7
            {"a":null,"u":{"c":"2","d":null}} @7
            {"a":null,"u":{"c":null,"d":"2","x":3}} @7
            {"a":null,"u":5} @7
            {"a":null,"u":{"c":"1","d":null}} @7
        "#]],
    );
}

#[test]
fn event_time_comes_from_where_it_is_declared() {
    let rows = [
        r#"{"ts": 1517365101}"#,
        r#"{"ts": null}"#,
        "{}",
        r#"{"ts": 9223372036854775807}"#,
        r#"{"ts": "2026-01-31T12:00:00Z"}"#,
        r#"{"ts": 1.5}"#,
    ];
    let numbers = r#""fields": [{"name": "ts", "type": "int64"}]"#;
    check(
        &format!(r#"{{{numbers}, "time": {{"field": "ts", "unit": "s"}}}}"#),
        &rows,
        expect![[r#"
        {"ts":1517365101} @1517365101000000
        schema ts: field `ts` holds the event time and is missing or null: send it, or declare "missing": "arrival"
        schema ts: field `ts` holds the event time and is missing or null: send it, or declare "missing": "arrival"
        schema ts: field `ts` is no time within 64-bit microseconds: send another value, or declare another unit
        schema ts: field `ts` is int64 and got the text "2026-01-31T12:00:00Z": send a number from -9223372036854775808 to 9223372036854775807
        schema ts: field `ts` is int64 and got the number 1.5: send digits without point or exponent, or declare float64
    "#]],
    );
    check(
        &format!(r#"{{{numbers}, "time": {{"field": "ts", "unit": "ms", "missing": "arrival"}}}}"#),
        &rows,
        expect![[r#"
        {"ts":1517365101} @1517365101000
        {"ts":null} @7
        {"ts":null} @7
        schema ts: field `ts` is no time within 64-bit microseconds: send another value, or declare another unit
        schema ts: field `ts` is int64 and got the text "2026-01-31T12:00:00Z": send a number from -9223372036854775808 to 9223372036854775807
        schema ts: field `ts` is int64 and got the number 1.5: send digits without point or exponent, or declare float64
    "#]],
    );
    check(
        r#"{"fields": [{"name": "ts", "type": "timestamp", "unit": "s"}], "time": {"field": "ts"}}"#,
        &rows,
        expect![[r#"
        {"ts":1517365101} @1517365101000000
        schema ts: field `ts` holds the event time and is missing or null: send it, or declare "missing": "arrival"
        schema ts: field `ts` holds the event time and is missing or null: send it, or declare "missing": "arrival"
        schema ts: field `ts` is timestamp in s and got the number 9223372036854775807, which is out of its range: send a number of s since 1970, or a text like 2026-01-31T12:00:00Z
        {"ts":1769860800} @1769860800000000
        {"ts":1.5} @1500000
    "#]],
    );
    check(
        r#"{"fields": []}"#,
        &rows,
        expect![[r#"
        {"ts":1517365101} @7
        {"ts":null} @7
        {} @7
        {"ts":9223372036854775807} @7
        {"ts":"2026-01-31T12:00:00Z"} @7
        {"ts":1.5} @7
    "#]],
    );
}

#[test]
fn depth_and_length_have_bounds() {
    let definition = Arc::new(definition_json::parse(br#"{"fields": [{"name": "v", "type": "json"}]}"#).expect("a definition"));
    let mut decoder = RowDecoder::new(definition, DecodeLimits { depth_max: 64, line_bytes_max: 1_000 });
    let nested = |depth: usize| format!("{{\"v\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(decoder.row(nested(63).as_bytes(), EventTime(0)).is_ok());
    let fault = decoder.row(nested(64).as_bytes(), EventTime(0)).expect_err("too deep");
    expect!["byte 69: values nest too deep here, at most 64 levels are read: flatten the event"].assert_eq(&fault.error);
    let fault = decoder.row(&[b' '; 1_001], EventTime(0)).expect_err("too long");
    expect!["the row is longer than 1000 bytes: send smaller events"].assert_eq(&fault.error);
    let fault = decoder.row(b"{\"v\": \"\xff\"}", EventTime(0)).expect_err("not UTF-8");
    expect!["byte 7: this is not UTF-8: send UTF-8 text"].assert_eq(&fault.error);
    assert_eq!(decoder.finish().num_rows(), 1);
}

#[test]
fn the_path_is_known() {
    let path = |fields: &str| {
        let definition = definition_json::parse(format!(r#"{{"fields": [{fields}]}}"#).as_bytes()).expect("a definition");
        RowDecoder::new(Arc::new(definition), DecodeLimits::default()).path()
    };
    assert_eq!(path(r#"{"name": "a", "type": "json"}"#), DecodePath::Direct);
    assert_eq!(path(r#"{"name": "a.b", "type": "json"}"#), DecodePath::Nested);
}

#[test]
fn text_lines_are_rows_with_one_field() {
    let definition =
        Arc::new(definition_json::parse(br#"{"fields": [{"name": "line", "type": "string"}]}"#).expect("a definition"));
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    let line = "Dec 10 \"sshd\"\\\t\u{1} é";
    decoder.text_line(line.as_bytes(), EventTime(0)).expect("a line");
    decoder.text_line(b"", EventTime(0)).expect("an empty line");
    assert!(decoder.text_line(b"\xff", EventTime(0)).is_err());
    let mut out = Vec::new();
    let place = Some(Place { partition: PartitionId(3) });
    RowEncoder::new(&definition.schema, place).encode(&decoder.finish(), 0..2, Offset(40), &mut out);
    expect![[r#"
        {"line":"Dec 10 \"sshd\"\\\t\u0001 é","_partition":3,"_offset":40,"_time":"1970-01-01T00:00:00.000000Z"}
        {"line":"","_partition":3,"_offset":41,"_time":"1970-01-01T00:00:00.000000Z"}
    "#]]
    .assert_eq(&String::from_utf8_lossy(&out));
}

#[test]
fn a_hostile_row_costs_no_more_than_its_bytes() {
    // A megabyte of names, each once, then each twice, then nested: squares of their number would take minutes.
    let definition =
        Arc::new(definition_json::parse(br#"{"fields": [{"name": "a.b", "type": "int64"}]}"#).expect("a definition"));
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    let encoder = RowEncoder::new(&definition.schema, None);
    let names = |from: usize, to: usize| (from..to).map(|name| format!("\"{name}\":1")).collect::<Vec<_>>().join(",");
    for (row, members) in [
        (format!("{{{}}}", names(100_000, 190_000)), 90_001),
        (format!("{{{},{}}}", names(100_000, 145_000), names(100_000, 145_000)), 45_001),
        (format!("{{\"a\":{{{}}}}}", names(100_000, 190_000)), 1),
    ] {
        decoder.row(row.as_bytes(), EventTime(0)).expect("a row");
        let batch = decoder.finish();
        let back: serde_json::Value = serde_json::from_str(&encoder.one(&batch, 0)).expect("JSON");
        assert_eq!(back.as_object().expect("an object").len(), members);
    }
    let mut definition = definition_json::parse(br#"{"schema": "infer"}"#).expect("a definition");
    let row = format!("{{{}}}", names(100_000, 190_000));
    definition.schema = tidemill_event::json::infer(&definition, &[row.as_bytes()]).expect("fields");
    assert_eq!(definition.schema.fields.len(), tidemill_event::json::INFERRED_FIELDS_MAX);
}
