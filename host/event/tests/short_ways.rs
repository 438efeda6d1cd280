//! The short ways of the JSON decoder: that rows which should take them do, and that at each of their edges values stay the same.

mod model;

use std::fmt::Write;
use std::sync::Arc;

use tidemill_event::json::{DecodeLimits, RowDecoder, utf8_start};
use tidemill_event::{EventTime, StreamDefinition, definition_json};

fn definition(text: &str) -> Arc<StreamDefinition> {
    Arc::new(definition_json::parse(text.as_bytes()).expect("a definition"))
}

const NINE: &str = r#"{"fields": [{"name": "id", "type": "int64"}, {"name": "ts", "type": "timestamp", "unit": "ms"},
    {"name": "at", "type": "timestamp"}, {"name": "a-name-longer-than-others", "type": "string"}, {"name": "state", "type": "string"},
    {"name": "amount", "type": "float64"}, {"name": "price", "type": "decimal(18,4)"}, {"name": "flag", "type": "bool"},
    {"name": "o.inner", "type": "string"}]}"#;

/// Decodes the body twice, the second time as a decoder sees the next one, and answers how many names that looked up.
fn looked_up(definition_text: &str, body: &str) -> u64 {
    let definition = definition(definition_text);
    let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
    // What is near the end of a body is read the long way.
    let roomy = format!("{body}{}", "\n".repeat(32));
    let mut last = 0;
    for _ in 0..2 {
        last = decoder.looked_up_names();
        assert_eq!(decoder.lines(&roomy, EventTime(5), usize::MAX, usize::MAX), roomy.len());
        let batch = decoder.finish();
        assert_eq!(batch.num_rows(), body.lines().count());
        for (row, line) in body.lines().enumerate() {
            let wanted = model::row(&definition, line.as_bytes(), EventTime(5)).expect("a good row");
            assert_eq!(model::held(&definition, &batch, row), wanted, "{line}");
        }
    }
    assert_eq!(decoder.careful_rows(), 0);
    decoder.looked_up_names() - last
}

/// Twenty rows: what `row` says of each number.
fn body(row: impl Fn(u32) -> String) -> String {
    (0..20).fold(String::new(), |mut body, number| {
        writeln!(body, "{}", row(number)).expect("a String takes everything");
        body
    })
}

#[test]
fn rows_in_the_order_of_the_schema_need_no_name_looked_up() {
    let rows = body(|n| {
        format!(
            r#"{{"id":{n},"ts":1764000000{n:03},"at":"2026-11-21T10:00:{n:02}Z","a-name-longer-than-others":"a text that is longer than a chunk {n}","state":"s{n}","amount":{n}.25,"price":-{n}.5,"flag":{},"o":{{"inner":"i"}}}}"#,
            n % 2 == 0
        )
    });
    let names = looked_up(NINE, &rows);
    assert_eq!(names, 0);
}

#[test]
fn any_stable_order_and_form_is_learned_unknown_fields_included() {
    let rows = body(|n| {
        format!(
            r#"{{ "flag" : true , "session":"{n:x}", "state": "é{n}" ,"o":{{"other":[{n}, 2],"inner":"i"}},  "client" : {{"os": "x"}}, "id":-{n},"amount":0.5 }}"#
        )
    });
    assert_eq!(looked_up(NINE, &rows), 0);
}

#[test]
fn members_without_an_order_are_looked_up_and_nothing_else_changes() {
    let members = ["\"id\":1", "\"state\":\"s\"", "\"amount\":1.5", "\"flag\":false", "\"u\":[1]", "\"v\":null"];
    let rows = body(|n| {
        let mut members = members;
        let turn = n as usize % members.len();
        members.rotate_left(turn);
        if n % 3 == 0 {
            members.reverse();
        }
        format!("{{{}}}", members.join(","))
    });
    assert!(looked_up(NINE, &rows) > 20);
}

#[test]
fn more_unknown_names_than_are_remembered_are_all_kept() {
    let rows = body(|n| {
        let unknown: Vec<String> = (0..40).map(|name| format!("\"name-{n}-{name}\":{n}")).collect();
        format!("{{\"id\":{n},{},\"state\":\"s\"}}", unknown.join(","))
    });
    assert!(looked_up(NINE, &rows) > 0);
}

#[test]
fn a_name_that_comes_twice_is_found_whether_it_is_remembered_or_not() {
    for (first, second) in [("id", "id"), ("u", "u"), ("u", "\\u0075"), ("state", "st\\u0061te")] {
        let mut decoder = RowDecoder::new(definition(NINE), DecodeLimits::default());
        let good = "{\"id\":1,\"u\":2,\"state\":null}\n";
        for _ in 0..3 {
            assert_eq!(decoder.lines(good, EventTime(5), 1, usize::MAX), good.len());
        }
        let twice = format!("{{\"{first}\":null,\"x\":1,\"{second}\":null}}\n");
        assert_eq!(decoder.lines(&twice, EventTime(5), 1, usize::MAX), 0, "{twice}");
        assert_eq!((decoder.rows(), decoder.careful_rows()), (3, 0));
        decoder.row(twice.as_bytes(), EventTime(5)).expect("the last one counts");
        assert_eq!((decoder.rows(), decoder.careful_rows()), (4, 1));
    }
}

/// Each value alone in its column, with all that may follow it, far from the text's end and at it.
fn check_values(field: &str, values: &[&str]) {
    let text = format!(r#"{{"fields": [{{"name": "v", {field}}}]}}"#);
    let definition = definition(&text);
    for value in values {
        for behind in ["", " ", ",\"u\":\"something that is long enough\"", ",\"u\":1", "\t,\"u\":\"x\" "] {
            let row = format!("{{\"v\":{value}{behind}}}");
            let wanted = model::row(&definition, row.as_bytes(), EventTime(5));
            let mut decoder = RowDecoder::new(Arc::clone(&definition), DecodeLimits::default());
            let found = decoder.row(row.as_bytes(), EventTime(5)).map_err(|fault| fault.reason);
            assert_eq!(found, wanted.as_ref().map(|_| ()).map_err(|reason| *reason), "{row}");
            // The same as a line with others behind it: what was not taken must not be taken there either.
            let body = format!("{row}\n{{\"v\":null}}\n{{}}\n");
            let taken = decoder.lines(utf8_start(body.as_bytes()), EventTime(5), 1, usize::MAX);
            assert_eq!(taken > 0, found.is_ok(), "{row}");
            let batch = decoder.finish();
            for held in 0..batch.num_rows() {
                assert_eq!(Ok(&model::held(&definition, &batch, held)), wanted.as_ref(), "{row}");
            }
        }
    }
}

#[test]
fn numbers_at_every_edge() {
    let numbers = [
        "0",
        "-0",
        "7",
        "-7",
        "00",
        "-00",
        "01",
        "-",
        "+1",
        "1234567",
        "12345678",
        "123456789",
        "-12345678",
        "123456789012345",
        "1234567890123456",
        "-999999999999999",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1.0",
        "1.",
        ".5",
        "-.5",
        "0.5",
        "-0.0",
        "00.5",
        "0.0000001",
        "0.1234567",
        "0.12345678",
        "12345678.1234567",
        "123456789.5",
        "1.5e3",
        "1e5",
        "1E-5",
        "1e",
        "1.2.3",
        "1-2",
        "12a",
        "0x10",
        "4503599627370497.5",
        "0.30000000000000004",
        "9007199254740993",
        "1e400",
        "12345678.00000000000000001",
        "\"1.5\"",
        "null",
        "true",
        "tru",
        "{}",
    ];
    for field in [
        r#""type": "int64""#,
        r#""type": "float64""#,
        r#""type": "decimal(9,2)""#,
        r#""type": "decimal(38,20)""#,
        r#""type": "timestamp", "unit": "s""#,
        r#""type": "timestamp", "unit": "us""#,
    ] {
        check_values(field, &numbers);
    }
}

#[test]
fn texts_of_every_length_with_every_end() {
    let mut texts = Vec::new();
    for length in 0..70 {
        let plain = "abcdefghij".repeat(7)[..length].to_owned();
        texts.extend([
            format!("\"{plain}\""),
            format!("\"{plain}é\""),
            format!("\"{plain}\\n\""),
            format!("\"{plain}\\u00e9{plain}\""),
            format!("\"{plain}\\u0000\""),
            format!("\"{plain}\t\""),
            format!("\"{plain}\\\""),
            format!("\"{plain}"),
        ]);
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    check_values(r#""type": "string""#, &texts);
    check_values(r#""type": "bytes""#, &texts);
}

#[test]
fn flags_and_times() {
    check_values(
        r#""type": "bool""#,
        &["true", "false", "tru", "truex", "fals", "falsey", "TRUE", "t", "f", "null", "\"true\"", "1"],
    );
    check_values(
        r#""type": "timestamp""#,
        &[
            "\"2026-11-21T10:00:00Z\"",
            "\"2026-11-21T10:00:00.123456789+01:00\"",
            "\"2026-11-21\"",
            "\"\"",
            "\"2026-11-21T10:00:00\\u005a\"",
            "1",
            "null",
        ],
    );
}

#[test]
fn a_line_never_leads_into_the_next() {
    let mut decoder = RowDecoder::new(definition(NINE), DecodeLimits::default());
    // An element of an array may be written over many lines, and what is learned from it must not join lines.
    for _ in 0..3 {
        decoder.row(b"{\n\"id\":1,\n\"state\":\"s\"\n}", EventTime(5)).expect("a row");
    }
    for lines in [
        "{\n\"id\":1,\n\"state\":\"s\"\n}\n",
        "{\"id\":1,\n\"state\":\"s\"}\n",
        "{\"id\":1\n}\n",
        "{\"x\":[1,\n2]}\n",
        "{\"x\":\n2}\n",
    ] {
        assert_eq!(decoder.lines(lines, EventTime(5), 1, usize::MAX), 0, "{lines}");
        assert_eq!(decoder.rows(), 3);
    }
}

#[test]
fn long_and_incomplete_lines_are_left() {
    let limits = DecodeLimits { line_bytes_max: 20, ..DecodeLimits::default() };
    let mut decoder = RowDecoder::new(definition(NINE), limits);
    let short = "{\"state\":\"12345678\"}";
    assert_eq!(short.len(), 20);
    assert_eq!(decoder.lines(&format!("{short}\n{short}"), EventTime(5), 9, usize::MAX), 21);
    assert_eq!(decoder.lines(&format!("{short}\r\n{short}\r"), EventTime(5), 9, usize::MAX), 22);
    assert_eq!(decoder.lines("{\"state\":\"123456789\"}\n", EventTime(5), 9, usize::MAX), 0);
    assert_eq!(decoder.rows(), 2);
    assert_eq!(decoder.lines(&format!("{short}\n{short}\n"), EventTime(5), 9, 1), 0, "no room by bytes");
    assert_eq!(decoder.lines(&format!("{short}\n{short}\n"), EventTime(5), 1, usize::MAX), 21, "room for one row");
}
