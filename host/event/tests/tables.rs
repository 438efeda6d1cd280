//! Arrow IPC streams into rows: what fits, what is rejected, and what hostile bytes come to.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringDictionaryBuilder};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_event::arrow::{self, Table, TableFault, TableReader};
use tidemill_event::arrow_stream::ArrowStream;
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder};
use tidemill_event::{EventTime, Offset, PartitionId, StreamDefinition, definition_json};

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("written");
    }
    writer.finish().expect("finished");
    drop(writer);
    bytes
}

fn definition(text: &str) -> Arc<StreamDefinition> {
    Arc::new(definition_json::parse(text.as_bytes()).expect("a definition"))
}

/// Every row as it reads back, or why it was rejected.
fn decode(bytes: &[u8], chunk_bytes: usize, definition: &Arc<StreamDefinition>) -> Result<String, TableFault> {
    let mut decoder = RowDecoder::new(Arc::clone(definition), DecodeLimits::default());
    let mut faults = Vec::new();
    let mut reader = TableReader::new();
    let mut each = |table: &Table| {
        for row in 0..table.rows() {
            if let Err(fault) = decoder.table_row(table, row, EventTime(7)) {
                let mut json = Vec::new();
                table.write_json(row, 1 << 20, &mut json);
                faults.push(format!("{fault} {}", String::from_utf8_lossy(&json)));
            }
        }
    };
    for chunk in bytes.chunks(chunk_bytes) {
        reader.push(chunk, &mut each)?;
    }
    reader.finish()?;
    let rows = decoder.finish();
    let mut text = Vec::new();
    RowEncoder::new(&definition.schema, None).encode(&rows, 0..rows.num_rows(), Offset::ZERO, &mut text);
    Ok(String::from_utf8(text).expect("UTF-8") + &faults.join("\n"))
}

fn check(definition_text: &str, batches: &[RecordBatch], expect: Expect) {
    let (bytes, definition) = (stream(batches), definition(definition_text));
    let whole = decode(&bytes, bytes.len(), &definition).expect("a stream");
    for chunk_bytes in [1, 13, 1_000] {
        assert_eq!(decode(&bytes, chunk_bytes, &definition).as_ref(), Ok(&whole), "in chunks of {chunk_bytes}");
    }
    expect.assert_eq(&whole);
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("a batch")
}

#[test]
fn columns_go_by_name_and_type() {
    let mut dictionary = StringDictionaryBuilder::<Int8Type>::new();
    dictionary.extend([Some("red"), None, Some("red")]);
    let first = batch(vec![
        ("i", Arc::new(Int8Array::from(vec![Some(-3), None, Some(5)]))),
        ("f", Arc::new(Float32Array::from(vec![0.5, 1.0, f32::NAN]))),
        ("whole", Arc::new(UInt64Array::from(vec![1, 2, u64::MAX]))),
        ("s", Arc::new(LargeStringArray::from(vec!["a", "b", "c"]))),
        ("colour", Arc::new(dictionary.finish())),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"", b"x"]))),
        ("amount", Arc::new(Decimal128Array::from(vec![150, 250, 350]).with_precision_and_scale(10, 2).expect("a decimal"))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000_123_456_789; 3]))),
        ("_offset", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let second = first.slice(0, 1);
    check(
        r#"{"fields": [{"name": "i", "type": "int64"}, {"name": "f", "type": "float64"}, {"name": "whole", "type": "float64"}, {"name": "s", "type": "string"},
            {"name": "colour", "type": "string"}, {"name": "raw", "type": "bytes"}, {"name": "amount", "type": "decimal(12,2)"}, {"name": "ok", "type": "bool"},
            {"name": "at", "type": "timestamp", "unit": "ms"}], "time": {"field": "at"}}"#,
        &[first, second],
        expect![[r#"
            {"i":-3,"f":0.5,"whole":1.0,"s":"a","colour":"red","raw":"/w==","amount":"1.50","ok":true,"at":1500000000123.456}
            {"i":null,"f":1.0,"whole":2.0,"s":"b","colour":null,"raw":"","amount":"2.50","ok":false,"at":1500000000123.456}
            {"i":-3,"f":0.5,"whole":1.0,"s":"a","colour":"red","raw":"/w==","amount":"1.50","ok":true,"at":1500000000123.456}
            field `f` is float64 and got NaN or an infinity, which is out of its range: send a number that a 64-bit float can hold {"i":5,"f":null,"whole":18446744073709551615,"s":"c","colour":"red","raw":"eA==","amount":"3.50","ok":true,"at":"2017-07-14T02:40:00.123456Z","_offset":3}"#]],
    );
}

#[test]
fn what_has_no_column_is_kept_dropped_or_rejected() {
    let mut list = ListBuilder::new(arrow_array::builder::Int32Builder::new());
    list.append_value([Some(1), None]);
    list.append_null();
    let user = StructArray::from(vec![
        (
            Arc::new(arrow_schema::Field::new("name", arrow_schema::DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["Ann", "Bob"])) as ArrayRef,
        ),
        (
            Arc::new(arrow_schema::Field::new("age", arrow_schema::DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(30), None])) as ArrayRef,
        ),
    ]);
    let rows = batch(vec![
        ("user", Arc::new(user)),
        ("tags", Arc::new(list.finish())),
        ("day", Arc::new(Date32Array::from(vec![1, 2]))),
        ("more", Arc::new(StringViewArray::from(vec!["{}", "x"]))),
    ]);
    let fields = r#"[{"name": "user.name", "type": "string"}, {"name": "more", "type": "json"}]"#;
    check(
        &format!(r#"{{"fields": {fields}}}"#),
        std::slice::from_ref(&rows),
        expect![[r#"
        {"user":{"name":"Ann","age":30},"more":"{}","tags":[1,null],"day":"1970-01-02T00:00:00.000000Z"}
        {"user":{"name":"Bob"},"more":"x","day":"1970-01-03T00:00:00.000000Z"}
    "#]],
    );
    check(
        &format!(r#"{{"fields": {fields}, "unknown": "drop"}}"#),
        std::slice::from_ref(&rows),
        expect![[r#"
        {"user":{"name":"Ann"},"more":"{}"}
        {"user":{"name":"Bob"},"more":"x"}
    "#]],
    );
    check(
        &format!(r#"{{"fields": {fields}, "unknown": "reject"}}"#),
        &[rows],
        expect![[r#"
            field `user.age` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema {"user":{"name":"Ann","age":30},"tags":[1,null],"day":"1970-01-02T00:00:00.000000Z","more":"{}"}
            field `day` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema {"user":{"name":"Bob","age":null},"tags":null,"day":"1970-01-03T00:00:00.000000Z","more":"x"}"#]],
    );
}

#[test]
fn a_value_of_another_type_is_what_it_would_be_in_json() {
    let rows = batch(vec![
        ("at", Arc::new(StringArray::from(vec![Some("2026-01-31T12:00:00Z"), Some("noon"), None]))),
        ("n", Arc::new(Float64Array::from(vec![1.5, 2.0, 3.0]))),
        ("d", Arc::new(Int32Array::from(vec![7, 8, 9]))),
        ("s", Arc::new(TimestampSecondArray::from(vec![1, 2, 3]))),
    ]);
    check(
        r#"{"fields": [{"name": "at", "type": "timestamp", "nullable": false}, {"name": "n", "type": "json"}, {"name": "d", "type": "decimal(4,1)"}, {"name": "s", "type": "int64"}]}"#,
        std::slice::from_ref(&rows),
        expect![[r#"
            field `s` is int64 and got the text "1970-01-01T00:00:01.000000Z": send a number from -9223372036854775808 to 9223372036854775807 {"at":"2026-01-31T12:00:00Z","n":1.5,"d":7,"s":"1970-01-01T00:00:01.000000Z"}
            field `at` is timestamp and got the text "noon", which is no RFC 3339 time: send a text like 2026-01-31T12:00:00Z, or declare its unit if it is a number {"at":"noon","n":2.0,"d":8,"s":"1970-01-01T00:00:02.000000Z"}
            field `s` is int64 and got the text "1970-01-01T00:00:03.000000Z": send a number from -9223372036854775808 to 9223372036854775807 {"at":null,"n":3.0,"d":9,"s":"1970-01-01T00:00:03.000000Z"}"#]],
    );
    check(
        r#"{"fields": [{"name": "at", "type": "timestamp", "nullable": false}, {"name": "s", "type": "string"}], "unknown": "drop"}"#,
        &[rows],
        expect![[r#"
            {"at":"2026-01-31T12:00:00.000000Z","s":"1970-01-01T00:00:01.000000Z"}
            field `at` is timestamp and got the text "noon", which is no RFC 3339 time: send a text like 2026-01-31T12:00:00Z, or declare its unit if it is a number {"at":"noon","n":2.0,"d":8,"s":"1970-01-01T00:00:02.000000Z"}
            field `at` is missing and may not be null: send it, or declare it nullable {"at":null,"n":3.0,"d":9,"s":"1970-01-01T00:00:03.000000Z"}"#]],
    );
}

/// Rows as they are read as Arrow, and as they are read as NDJSON.
fn read(definition: &Arc<StreamDefinition>, lines: &[&str]) -> (Vec<u8>, String) {
    let mut decoder = RowDecoder::new(Arc::clone(definition), DecodeLimits::default());
    lines.iter().for_each(|line| decoder.row(line.as_bytes(), EventTime(7)).expect("a row"));
    let rows = decoder.finish();
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    let mut written = ArrowStream::new(definition.schema.clone());
    let all = 0..rows.num_rows();
    written
        .write(&rows, &definition.schema, (PartitionId(1), Offset(5)), std::slice::from_ref(&all), &mut bytes)
        .expect("written");
    written.finish(&mut bytes).expect("ended");
    RowEncoder::new(&definition.schema, None).encode(&rows, all, Offset::ZERO, &mut text);
    (bytes, String::from_utf8(text).expect("UTF-8"))
}

fn first_table(bytes: &[u8]) -> Table {
    let mut first = None;
    TableReader::new().push(bytes, &mut |table| first = Some(table.clone())).expect("a stream");
    first.expect("a table")
}

const EVERYTHING: &str = r#"[{"name": "b", "type": "bool"}, {"name": "i", "type": "int64"}, {"name": "f", "type": "float64"}, {"name": "d", "type": "decimal(12,2)"},
    {"name": "s", "type": "string"}, {"name": "x", "type": "bytes"}, {"name": "at", "type": "timestamp"}, {"name": "ms", "type": "timestamp", "unit": "ms"},
    {"name": "j", "type": "json"}, {"name": "user.name", "type": "string"}]"#;
const ROWS: [&str; 4] = [
    r#"{"b":true,"i":-7,"f":0.5,"d":"1.50","s":"a","x":"/w==","at":"2026-01-31T12:00:00.000001Z","ms":1500,"j":{"k":[1,null,"x"]},"user":{"name":"Ann","age":30},"more":"text","most":{"n":1.50}}"#,
    r#"{"s":"b","j":"a text","user":{"name":"Bob"},"more":null}"#,
    r#"{"s":"a","j":[],"null":{}}"#,
    r#"{"j":12345678901234567890123}"#,
];

#[test]
fn what_was_read_as_arrow_is_taken_as_it_was() {
    let declared = definition(&format!(r#"{{"fields": {EVERYTHING}}}"#));
    let (bytes, text) = read(&declared, &ROWS);
    for chunk_bytes in [17, bytes.len()] {
        assert_eq!(decode(&bytes, chunk_bytes, &declared).as_deref(), Ok(&*text));
    }
    // Into a stream that finds its fields: types and rows are the same.
    let undeclared = definition(r#"{"schema": "infer"}"#);
    let found = arrow::infer(&undeclared, &first_table(&bytes)).expect("fields");
    let types = |fields: &[tidemill_event::Field]| fields.iter().map(|field| (field.name.clone(), field.ty)).collect::<Vec<_>>();
    assert_eq!(types(&found.fields), types(&declared.schema.fields));
    let found = Arc::new(StreamDefinition { schema: found, ..(*undeclared).clone() });
    assert_eq!(decode(&bytes, 100, &found).as_deref(), Ok(&*text));
    assert_eq!(arrow::infer(&found, &first_table(&bytes)), None, "its fields are found");
    // Fields that were unknown and are declared here go into their columns, and others are unknown.
    let other = definition(
        r#"{"fields": [{"name": "more", "type": "string"}, {"name": "most", "type": "json"}, {"name": "user.age", "type": "int64"}]}"#,
    );
    let found = decode(&bytes, 100, &other).expect("a stream");
    expect![[r#"{"more":"text","most":{"n":1.50},"user":{"age":30},"b":true,"i":-7,"f":0.5,"d":"1.50","s":"a","x":"/w==","at":"2026-01-31T12:00:00.000001Z","ms":"1970-01-01T00:00:01.500000Z","j":{"k":[1,null,"x"]},"user.name":"Ann"}"#]]
        .assert_eq(found.lines().next().expect("a row"));
}

#[test]
fn texts_that_are_json_are_what_they_say() {
    let texts = |name: &str, texts: Vec<&str>| {
        let field = arrow_schema::Field::new(name, arrow_schema::DataType::Utf8, true)
            .with_metadata([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())].into());
        (Arc::new(field), Arc::new(StringArray::from(texts)) as ArrayRef)
    };
    let columns = StructArray::from(vec![
        texts("j", vec![r#"{"a": 1}"#, "[", "1", "2", "3"]),
        texts("s", vec![r#""text""#, "plain", "17", "null", "null"]),
        texts("_unknown", vec![r#"{"more": [1], "s": 2, "more": 3}"#, r#"{"i": 9}"#, r#"{"i": "x"}"#, "{", r#"{"_offset": 3}"#]),
    ]);
    check(
        r#"{"fields": [{"name": "j", "type": "json"}, {"name": "s", "type": "string"}, {"name": "i", "type": "int64"}]}"#,
        &[RecordBatch::from(columns)],
        expect![[r#"
            {"j":"[","s":"plain","i":9}
            {"j":3,"s":null,"i":null}
            a field stands there twice: send each field once {"j":{"a":1},"s":"text","more":[1],"s":2,"more":3}
            field `s` is string and got the number 17: send a text {"j":1,"s":17,"i":"x"}
            byte 1: it ends too early: close every text, object and array {"j":2,"s":null,"_unknown":"{"}"#]],
    );
}

#[test]
fn dictionaries_grow_and_are_replaced() {
    let texts = |texts: &[&str]| -> ArrayRef { Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>()) };
    let shared = |values: &[&str], keys: Vec<i32>| -> ArrayRef {
        let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys), values))
    };
    let written = |columns: &[ArrayRef], handling| {
        let batches: Vec<RecordBatch> = columns.iter().map(|column| batch(vec![("c", column.clone())])).collect();
        let mut bytes = Vec::new();
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batches[0].schema(), options).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("written"));
        writer.finish().expect("finished");
        drop(writer);
        bytes
    };
    let definition = definition(r#"{"fields": [{"name": "c", "type": "string"}]}"#);
    let grown = [shared(&["a"], vec![0, 0]), shared(&["a", "b"], vec![1, 0]), shared(&["a", "b", "c"], vec![2, 1])];
    let found = decode(&written(&grown, DictionaryHandling::Delta), 10, &definition).expect("a stream");
    assert_eq!(found, ["a", "a", "b", "a", "c", "b"].map(|text| format!("{{\"c\":\"{text}\"}}\n")).concat());
    let replaced = [texts(&["a", "b"]), texts(&["x", "b", "x"])];
    let found = decode(&written(&replaced, DictionaryHandling::Resend), 10, &definition).expect("a stream");
    assert_eq!(found, ["a", "b", "x", "b", "x"].map(|text| format!("{{\"c\":\"{text}\"}}\n")).concat());
    // A large dictionary and thousands of deltas of one text each: 60 GB would be copied.
    let large: Vec<String> = (0..3_000).map(|n| format!("{n:0>10000}")).collect();
    let mut values: Vec<&str> = large.iter().map(String::as_str).collect();
    let mut growing = vec![shared(&values, vec![0])];
    for _ in 0..100 {
        values.push("one more");
        growing.push(shared(&values, vec![1]));
    }
    let bytes = written(&growing, DictionaryHandling::Delta);
    let head = written(&growing[..1], DictionaryHandling::Delta).len() - 8;
    let (head, deltas) = (&bytes[..head], &bytes[head..bytes.len() - 8]);
    let mut reader = TableReader::new();
    let mut pushed = reader.push(head, &mut |_| ());
    let mut rounds = 0;
    while pushed.is_ok() && rounds < 1_000 {
        pushed = reader.push(deltas, &mut |_| ());
        rounds += 1;
    }
    assert!(pushed.is_err_and(|fault| fault.is_too_large && fault.error.contains("many small deltas")), "after {rounds} rounds");
}

#[test]
fn packed_batches_are_unpacked_and_bombs_are_refused() {
    let packed = |rows: &RecordBatch, packing| {
        let options = IpcWriteOptions::default().try_with_compression(Some(packing)).expect("a known packing");
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &rows.schema(), options).expect("a writer");
        writer.write(rows).expect("written");
        writer.finish().expect("finished");
        drop(writer);
        bytes
    };
    let definition = definition(r#"{"fields": [{"name": "n", "type": "int64"}, {"name": "c", "type": "string"}]}"#);
    let texts: Vec<String> = (0..2_000).map(|n| format!("colour {}", n % 7)).collect();
    let colours: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
    let rows = batch(vec![("n", Arc::new(Int64Array::from_iter_values(0..2_000))), ("c", Arc::new(colours))]);
    let plain = decode(&stream(std::slice::from_ref(&rows)), 1 << 16, &definition).expect("a stream");
    let bomb = batch(vec![("n", Arc::new(Int64Array::from(vec![0; 1 << 20])))]);
    let large = batch(vec![(
        "n",
        Arc::new(Int64Array::from_iter_values((0..5 << 20).map(|n: i64| n.wrapping_mul(0x1E37_79B9_7F4A_7C15)))),
    )]);
    for packing in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bytes = packed(&rows, packing);
        assert_eq!(decode(&bytes, 100, &definition).as_deref(), Ok(&*plain), "{packing:?}");
        let fault = decode(&packed(&bomb, packing), 1 << 16, &definition).expect_err("a bomb");
        assert!(fault.is_too_large && fault.error.contains("100 times"), "{packing:?}: {fault}");
        let fault = decode(&packed(&large, packing), 1 << 16, &definition).expect_err("too large");
        assert!(fault.is_too_large, "{packing:?}: {fault}");
        // A buffer that claims less than it becomes, or more, or nothing that can be: never believed.
        let claim = 16_000_i64.to_le_bytes();
        let at = bytes.windows(8).position(|window| window == claim).expect("a claim");
        for lie in [0_i64, 1, 8, 15_992, 16_008, 1 << 40, -2, i64::MIN] {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
            let fault = decode(&bytes, 1 << 16, &definition).expect_err("a lie");
            assert!(fault.is_too_large == (lie == 1 << 40), "{packing:?} {lie}: {fault}");
        }
    }
}

#[test]
fn values_too_long_for_a_row_are_refused_without_being_written() {
    // A dictionary of one long text that every value of a list names: 10 GiB as JSON.
    let values: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    let texts = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; 100_000]), values);
    let field = Arc::new(arrow_schema::Field::new("item", texts.data_type().clone(), true));
    let offsets = arrow_buffer::OffsetBuffer::from_lengths([texts.len()]);
    let list = arrow_array::ListArray::new(field, offsets, Arc::new(texts), None);
    let found =
        decode(&stream(&[batch(vec![("list", Arc::new(list))])]), 1 << 16, &definition(r#"{"fields": []}"#)).expect("a stream");
    assert!(found.starts_with("the row is longer than 1048576 bytes"), "{}", &found[..100]);
}

#[test]
fn streams_that_are_none_are_named() {
    let definition = definition(r#"{"fields": []}"#);
    let good = stream(&[batch(vec![("a", Arc::new(Int32Array::from(vec![1])))])]);
    let mut shown = String::new();
    let mut show = |what: &str, bytes: &[u8]| {
        let found = decode(bytes, 100, &definition).expect_err(what);
        shown.push_str(&format!("{what}: {found}\n"));
    };
    show("nothing", b"");
    show("text", b"{\"a\": 1}\n");
    show("a file", b"ARROW1\0\0........");
    show("cut", &good[..good.len() - 20]);
    show("two", &[good.clone(), good.clone()].concat());
    show("long header", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    show("negative header", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    expect![[r#"
        nothing: the body holds no schema: send a whole Arrow IPC stream (not a file)
        text: this is no Arrow IPC stream
        a file: this is an Arrow IPC file: send the stream format (`.arrows`)
        cut: the body ends inside a message: send the stream whole
        two: something follows the end of the stream: send one stream a request
        long header: a message's header of 2147483647 bytes is longer than 1048576: send fewer columns
        negative header: this is no Arrow IPC stream: a message begins with its length
    "#]]
    .assert_eq(&shown);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever bytes of a good stream are changed, cut or doubled: an answer, never a panic.
    #[test]
    fn mutated_streams_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        packing in prop_oneof![Just(None), Just(Some(CompressionType::LZ4_FRAME)), Just(Some(CompressionType::ZSTD))],
    ) {
        let mut dictionary = StringDictionaryBuilder::<Int8Type>::new();
        dictionary.extend([Some("red"), None, Some("red")]);
        let mut list = ListBuilder::new(arrow_array::builder::Int32Builder::new());
        list.append_value([Some(1), None]);
        list.append_null();
        list.append_value([]);
        let rows = batch(vec![
            ("i", Arc::new(Int8Array::from(vec![Some(-3), None, Some(5)]))),
            ("s", Arc::new(StringViewArray::from(vec!["a", "a text that is longer than a view holds", "c"]))),
            ("colour", Arc::new(dictionary.finish())),
            ("tags", Arc::new(list.finish())),
            ("at", Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]))),
        ]);
        let options = IpcWriteOptions::default().try_with_compression(packing).expect("a known packing");
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new_with_options(&mut bytes, &rows.schema(), options).expect("a writer");
        writer.write(&rows).expect("written");
        writer.finish().expect("finished");
        drop(writer);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let definition = definition(r#"{"fields": [{"name": "i", "type": "int64"}, {"name": "colour", "type": "string"}]}"#);
        let _ = decode(&bytes, 64, &definition);
    }
}
