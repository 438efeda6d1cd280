//! Nothing that comes back is believed: each broken answer is an `invalid_output` that says what is wrong.

mod host;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, DictionaryArray};
use expect_test::{Expect, expect};
use host::{amount, call, instance};
use tidemill_event::{Ending, Field, FieldType};
use tidemill_runtime::testing::TextGuest;

/// A rule over 3 rows that makes one column, described by seven words (encoding, validity, values, entry offsets, entries, bytes,
/// length), in a buffer given as text.
fn guest(field: Field, layout: [i64; 7], buffer: &str, length: usize) -> TextGuest {
    let words: String = layout.iter().flat_map(|word| (*word as u32).to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    TextGuest::rule(vec![amount()])
        .outputs(vec![field])
        .fields(&format!(r#"(data (i32.const 4096) "{words}") (data (i32.const 8192) "{buffer}")"#))
        .call(&format!(
            "(drop (call $answer (i32.const 0) (i32.const 1)))
             (i32.store offset=12 (global.get $ret) (i32.const 4096))
             (i32.store offset=16 (global.get $ret) (i32.const 1))
             (i32.store offset=28 (global.get $ret) (i32.const 8192))
             (i32.store offset=32 (global.get $ret) (i32.const {length}))
             (global.get $ret)"
        ))
}

fn answer(guest: &TextGuest) -> Result<tidemill_event::RuleAnswer, String> {
    let mut instance = instance(&guest.build()).expect("an instance");
    instance.judge(&call(3)).map_err(|failure| {
        assert_eq!(failure.ending, Ending::InvalidOutput, "{failure}");
        assert!(!instance.alive());
        failure.message
    })
}

fn check(field: Field, layout: [i64; 7], buffer: &str, length: usize, expect: Expect) {
    let shown = match answer(&guest(field, layout, buffer, length)) {
        Ok(answer) => format!("{:?}", answer.columns[0]).split_whitespace().collect::<Vec<_>>().join(" "),
        Err(message) => message,
    };
    expect.assert_eq(&shown);
}

const BITS: i64 = 0;
const WORDS: i64 = 1;
const WIDE: i64 = 2;
const OFFSETS: i64 = 3;
const DICTIONARY: i64 = 4;
const NONE: i64 = u32::MAX as i64;

#[test]
fn verdicts_are_one_bit_a_row() {
    for (length, rows) in [(0, 3), (2, 3), (2, 8), (1, 9), (600, 4_000)] {
        let guest = TextGuest::rule(vec![amount()]).call(&format!("(call $answer (i32.const 0) (i32.const {length}))"));
        let mut instance = instance(&guest.build()).expect("an instance");
        let failure = instance.judge(&call(rows)).expect_err("too few or too many");
        let expected = format!("{length} bytes of verdicts for {rows} rows, which take {}: one bit a row", rows.div_ceil(8));
        assert_eq!((failure.ending, failure.message), (Ending::InvalidOutput, expected));
    }
}

#[test]
fn numbers() {
    let field = || Field::new("f", FieldType::Int64, true);
    let words = r"\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00\03\00\00\00\00\00\00\00\05";
    check(field(), [WORDS, NONE, 0, 0, 0, 0, 0], words, 32, expect!["PrimitiveArray<Int64> [ 1, 2, 3, ]"]);
    check(field(), [WORDS, 24, 0, 0, 0, 0, 0], words, 32, expect!["PrimitiveArray<Int64> [ 1, null, 3, ]"]);
    check(
        field(),
        [WORDS, NONE, 0, 0, 0, 0, 0],
        words,
        23,
        expect!["output column `f`: values take 24 bytes from byte 0, and the buffer has 23"],
    );
    check(
        field(),
        [WORDS, NONE, 4, 0, 0, 0, 0],
        words,
        32,
        expect!["output column `f`: values start at byte 4, which is no multiple of 8"],
    );
    check(
        field(),
        [WORDS, NONE, 4294967288, 0, 0, 0, 0],
        words,
        32,
        expect!["output column `f`: values take 24 bytes from byte 4294967288, and the buffer has 32"],
    );
    check(
        field(),
        [WORDS, 32, 0, 0, 0, 0, 0],
        words,
        32,
        expect!["output column `f`: validity bits take 1 bytes from byte 32, and the buffer has 32"],
    );
    check(field(), [BITS, NONE, 0, 0, 0, 0, 0], words, 32, expect!["output column `f`: Bits is no encoding of Int64"]);
    let never = Field::new("f", FieldType::Int64, false);
    check(
        never,
        [WORDS, 24, 0, 0, 0, 0, 0],
        words,
        32,
        expect!["output column `f`: row 1 is null, and the column is declared never null"],
    );
    check(
        Field::new("f", FieldType::Bool, true),
        [BITS, NONE, 24, 0, 0, 0, 0],
        words,
        32,
        expect!["BooleanArray [ true, false, true, ]"],
    );
    let time = Field::new("f", FieldType::Timestamp(None), true);
    check(
        time,
        [WORDS, NONE, 0, 0, 0, 0, 0],
        words,
        32,
        expect![[
            r#"PrimitiveArray<Timestamp(µs, "UTC")> [ 1970-01-01T00:00:00.000001+00:00, 1970-01-01T00:00:00.000002+00:00, 1970-01-01T00:00:00.000003+00:00, ]"#
        ]],
    );
}

#[test]
fn decimals_are_copied_where_the_machine_wants_it_and_have_their_digits() {
    let field = |precision| Field::new("f", FieldType::Decimal { precision, scale: 1 }, true);
    let row = |value: u8| format!("\\{value:02x}{}", "\\00".repeat(15));
    let rows = format!("{}{}{}{}", "\\00".repeat(8), row(1), row(25), row(99));
    check(field(2), [WIDE, NONE, 8, 0, 0, 0, 0], &rows, 56, expect!["PrimitiveArray<Decimal128(2, 1)> [ 1, 25, 99, ]"]);
    check(
        field(1),
        [WIDE, NONE, 8, 0, 0, 0, 0],
        &rows,
        56,
        expect![
            "output column `f`: Invalid argument error: 2.5 is too large to store in a Decimal128 of precision 1. Max is 0.9"
        ],
    );
}

#[test]
fn texts() {
    let field = || Field::new("f", FieldType::String, true);
    let good = r"\00\00\00\00\01\00\00\00\01\00\00\00\03\00\00\00abc";
    check(field(), [OFFSETS, NONE, 0, 0, 0, 16, 3], good, 19, expect![[r#"StringArray [ "a", "", "bc", ]"#]]);
    check(
        field(),
        [OFFSETS, NONE, 0, 0, 0, 16, 2],
        good,
        19,
        expect!["output column `f`: offsets end at 3, and there are 2 bytes"],
    );
    check(
        field(),
        [OFFSETS, NONE, 0, 0, 0, 16, 4],
        good,
        19,
        expect!["output column `f`: bytes take 4 bytes from byte 16, and the buffer has 19"],
    );
    let descending = r"\00\00\00\00\02\00\00\00\01\00\00\00\03\00\00\00abc";
    check(
        field(),
        [OFFSETS, NONE, 0, 0, 0, 16, 3],
        descending,
        19,
        expect!["output column `f`: offset 2 is 1, behind one of 2: offsets never descend"],
    );
    let huge = r"\00\00\00\00\01\00\00\00\01\00\00\00\ff\ff\ff\ffabc";
    check(
        field(),
        [OFFSETS, NONE, 0, 0, 0, 16, 3],
        huge,
        19,
        expect!["output column `f`: offset 3 is 4294967295, behind one of 1: offsets never descend"],
    );
    let broken = r"\00\00\00\00\01\00\00\00\01\00\00\00\03\00\00\00a\ff\fe";
    let message = answer(&guest(field(), [OFFSETS, NONE, 0, 0, 0, 16, 3], broken, 19)).expect_err("no UTF-8");
    assert!(message.contains("UTF-8") || message.contains("utf-8"), "{message}");
    // The same bytes are fine as bytes, and a character may not be cut by an offset.
    let bytes = Field::new("f", FieldType::Bytes, true);
    check(bytes, [OFFSETS, NONE, 0, 0, 0, 16, 3], broken, 19, expect!["BinaryArray [ [97], [], [255, 254], ]"]);
    let split = r"\00\00\00\00\01\00\00\00\01\00\00\00\03\00\00\00\c3\a9a";
    assert!(answer(&guest(field(), [OFFSETS, NONE, 0, 0, 0, 16, 3], split, 19)).is_err());
    let json = |text: &str| {
        let length = text.len() as u8;
        let buffer = format!(
            "\\00\\00\\00\\00\\{length:02x}\\00\\00\\00\\{length:02x}\\00\\00\\00\\{length:02x}\\00\\00\\00{}",
            text.replace('"', "\\22")
        );
        (buffer, 16 + text.len(), i64::from(length))
    };
    let nulls = Field::new("f", FieldType::Json, true);
    for (text, fine) in [(r#"{"a":[1, 2]}"#, true), ("{", false), ("", false), ("[1]x", false)] {
        let (mut buffer, mut bytes, length) = json(text);
        // Rows 1 and 2 are empty, so null.
        buffer += &"\\00".repeat(bytes.next_multiple_of(8) - bytes);
        bytes = bytes.next_multiple_of(8);
        buffer += "\\01";
        let made = answer(&guest(nulls.clone(), [OFFSETS, bytes as i64, 0, 0, 0, 16, length], &buffer, bytes + 1));
        assert_eq!(made.is_ok(), fine, "{text}: {made:?}");
    }
}

#[test]
fn dictionaries() {
    let field = || Field::new("f", FieldType::String, true);
    // Keys 1 0 9, padded; entries "x" and "yz" with offsets at 16 and bytes at 32; validity at 40: rows 0 and 1.
    let buffer =
        r"\01\00\00\00\00\00\00\00\09\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\03\00\00\00\00\00\00\00xyz\00\00\00\00\00\03";
    check(
        field(),
        [DICTIONARY, NONE, 0, 16, 2, 32, 3],
        buffer,
        41,
        expect!["output column `f`: row 2 is entry 9 of a dictionary of 2"],
    );
    let answer = answer(&guest(field(), [DICTIONARY, 40, 0, 16, 2, 32, 3], buffer, 41)).expect("a null's entry means nothing");
    let column: &DictionaryArray<UInt32Type> = answer.columns[0].as_dictionary();
    assert_eq!(column.keys().values().as_ref(), [1, 0, 0]);
    assert!(column.is_null(2) && column.values().as_string::<i32>().value(1) == "yz");
    check(
        field(),
        [DICTIONARY, 40, 0, 16, 9, 32, 3],
        buffer,
        41,
        expect!["output column `f`: entry offsets take 40 bytes from byte 16, and the buffer has 41"],
    );
    check(
        field(),
        [DICTIONARY, 40, 0, 16, 4294967295, 32, 3],
        buffer,
        41,
        expect!["output column `f`: entry offsets take 17179869184 bytes from byte 16, and the buffer has 41"],
    );
    check(
        Field::new("f", FieldType::Json, true),
        [DICTIONARY, 40, 0, 16, 2, 32, 3],
        buffer,
        41,
        expect!["output column `f`: Dictionary is no encoding of Json"],
    );
}

#[test]
fn what_breaks_the_canonical_abi_is_invalid_too() {
    let broken = |body: &str| {
        let mut instance = instance(&TextGuest::rule(vec![amount()]).call(body).build()).expect("an instance");
        let failure = instance.judge(&call(3)).expect_err("broken");
        assert_eq!(failure.ending, Ending::InvalidOutput, "{failure}");
        failure.message
    };
    assert!(broken("(call $answer (i32.const -16) (i32.const 1))").contains("out of bounds"));
    assert!(broken("(i32.const 1)").contains("aligned"));
    assert!(broken("(i32.const -4)").contains("out of bounds"));
    assert!(broken("(i32.store8 (global.get $ret) (i32.const 7)) (global.get $ret)").contains("no case 7"));
    let text = "(i32.store (i32.const 4096) (i32.const -1)) (call $fail (i32.const 4096) (i32.const 4))";
    assert!(broken(text).contains("utf-8"));
    let columns = "(drop (call $answer (i32.const 0) (i32.const 1))) (i32.store offset=12 (global.get $ret) (i32.const 4096)) (i32.store offset=16 (global.get $ret) (i32.const 1)) (global.get $ret)";
    assert_eq!(broken(columns), "1 output columns where `describe` names 0");
    let state = "(drop (call $answer (i32.const 0) (i32.const 1))) (i32.store offset=20 (global.get $ret) (i32.const 4096)) (i32.store offset=24 (global.get $ret) (i32.const 1)) (global.get $ret)";
    assert_eq!(broken(state), "new state from a component that declares none");
}

#[test]
fn notes_ascend_and_stay_inside_the_batch() {
    let noted = |rows: &[u32]| {
        let notes: String = rows
            .iter()
            .map(|row| format!("\\{row:02x}\\00\\00\\00\\01\\00\\00\\00\\fa\\00\\00\\00\\00\\30\\00\\00\\03\\00\\00\\00"))
            .collect();
        let guest = TextGuest::rule(vec![amount()])
            .fields(&format!(r#"(data (i32.const 4096) "{notes}") (data (i32.const 12288) "why")"#))
            .call(&format!(
                "(drop (call $answer (i32.const 0) (i32.const 1))) (i32.store offset=36 (global.get $ret) (i32.const 4096))
                 (i32.store offset=40 (global.get $ret) (i32.const {})) (global.get $ret)",
                rows.len()
            ));
        answer(&guest).map(|answer| answer.notes)
    };
    let notes = noted(&[0, 2]).expect("two notes");
    assert_eq!(
        format!("{notes:?}"),
        r#"[RowNote { row: 0, kind: RetryAfter(250ms), text: "why" }, RowNote { row: 2, kind: RetryAfter(250ms), text: "why" }]"#
    );
    assert_eq!(noted(&[2, 0]).expect_err("descending"), "a note about row 0 behind one about row 2: notes ascend, one a row");
    assert_eq!(noted(&[1, 1]).expect_err("twice"), "a note about row 1 behind one about row 1: notes ascend, one a row");
    assert_eq!(noted(&[3]).expect_err("outside"), "a note about row 3 of a batch of 3");
}

#[test]
fn a_transform_names_the_rows_it_came_from() {
    let from = |sources: &[u32]| {
        let data: String = sources.iter().map(|row| format!("\\{row:02x}\\00\\00\\00")).collect();
        let guest = TextGuest::transform(vec![amount()]).fields(&format!(r#"(data (i32.const 4096) "{data}")"#)).call(&format!(
            "(memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
             (i32.store offset=4 (global.get $ret) (i32.const {rows})) (i32.store offset=12 (global.get $ret) (i32.const 8))
             (i32.store offset=20 (global.get $ret) (i32.const 8)) (i32.store offset=28 (global.get $ret) (i32.const 4096))
             (i32.store offset=32 (global.get $ret) (i32.const {bytes})) (i32.store offset=36 (global.get $ret) (i32.const 8))
             (global.get $ret)",
            rows = sources.len(),
            bytes = sources.len() * 4,
        ));
        let mut instance = instance(&guest.build()).expect("an instance");
        instance.transform(&call(3)).map(|answer| answer.source_rows).map_err(|failure| failure.message)
    };
    assert_eq!(from(&[]), Ok(vec![]));
    assert_eq!(from(&[0, 0, 2, 2, 2]), Ok(vec![0, 0, 2, 2, 2]));
    assert_eq!(from(&[0, 3]), Err("output row 1 came from row 3 of a batch of 3".to_owned()));
    assert_eq!(
        from(&[1, 0]),
        Err("output row 1 came from row 0, and the one before it from row 1: sources never descend".to_owned())
    );
}
