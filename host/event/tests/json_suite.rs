//! Every case of nst/JSONTestSuite, through the decoder and the body splitter, against the model.

mod model;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;
use tidemill_event::json::{BodySplitter, DecodeLimits, DecodePath, RowDecoder, SyntaxFault};
use tidemill_event::{EventTime, Reason, StreamDefinition, definition_json};

struct Case {
    name: String,
    expect: String,
    bytes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/json_suite/cases.ndjson");
    let file = std::fs::read_to_string(path).expect("the suite is in the repository");
    let cases: Vec<Case> = file
        .lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).expect("a case is JSON");
            let text = |key: &str| case[key].as_str().expect("a text").to_owned();
            Case { name: text("name"), expect: text("expect"), bytes: STANDARD.decode(text("base64")).expect("base64") }
        })
        .collect();
    assert_eq!(cases.len(), 169);
    cases
}

fn definition(ty: &str) -> Arc<StreamDefinition> {
    Arc::new(definition_json::parse(format!(r#"{{"fields": [{{"name": "v", {ty}}}]}}"#).as_bytes()).expect("a definition"))
}

const TYPES: [&str; 9] = [
    r#""type": "json""#,
    r#""type": "string""#,
    r#""type": "int64""#,
    r#""type": "float64""#,
    r#""type": "bool""#,
    r#""type": "decimal(38,3)""#,
    r#""type": "bytes""#,
    r#""type": "timestamp""#,
    r#""type": "timestamp", "unit": "ms""#,
];

/// The fast decoder and the model agree on a row: taken or not, why, and what it holds.
fn agree(name: &str, decoder: &mut RowDecoder, json: &[u8]) -> Result<(), Reason> {
    let definition = Arc::clone(decoder.definition());
    let wanted = model::row(&definition, json, EventTime(7));
    let found = decoder.row(json, EventTime(7));
    let batch = decoder.finish();
    match (&wanted, &found) {
        (Ok(row), Ok(())) => assert_eq!(model::held(&definition, &batch, 0), *row, "{name}"),
        (Err(reason), Err(fault)) => {
            assert_eq!(fault.reason, *reason, "{name}: {fault}");
            assert_eq!(batch.num_rows(), 0, "{name}");
        }
        _ => panic!("{name}: {wanted:?} is right, and the decoder says {found:?}"),
    }
    found.map_err(|fault| fault.reason)
}

#[test]
fn wrapped_in_a_row() {
    for ty in TYPES {
        let mut decoder = RowDecoder::new(definition(ty), DecodeLimits::default());
        assert_eq!(decoder.path(), DecodePath::Direct);
        for case in cases() {
            let json = [b"{\"v\": ".as_slice(), &case.bytes, b"}"].concat();
            let result = agree(&case.name, &mut decoder, &json);
            match case.expect.as_str() {
                "accept" if ty == TYPES[0] => assert_eq!(result, Ok(()), "{}", case.name),
                "accept" => assert_ne!(result, Err(Reason::Malformed), "{}", case.name),
                "reject" => assert_eq!(result, Err(Reason::Malformed), "{}", case.name),
                _ => {}
            }
        }
    }
}

#[test]
fn as_an_unknown_field_and_inside_an_object() {
    let text = br#"{"fields": [{"name": "w", "type": "int64"}, {"name": "o.v", "type": "json"}]}"#;
    let definition = Arc::new(definition_json::parse(text).expect("a definition"));
    let mut decoder = RowDecoder::new(definition, DecodeLimits::default());
    assert_eq!(decoder.path(), DecodePath::Nested);
    for case in cases() {
        for (before, behind) in [("{\"v\":", "}"), ("{\"o\" : {\"v\":", ",\"x\":1}}"), ("{\"o\":{\"x\":", "}}")] {
            let json = [before.as_bytes(), &case.bytes, behind.as_bytes()].concat();
            let result = agree(&case.name, &mut decoder, &json);
            match case.expect.as_str() {
                "accept" => assert_eq!(result, Ok(()), "{}", case.name),
                "reject" => assert_eq!(result, Err(Reason::Malformed), "{}", case.name),
                _ => {}
            }
        }
    }
}

/// The rows of a body that arrives in chunks.
fn split(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, SyntaxFault> {
    let mut splitter = BodySplitter::new(1 << 20);
    let mut rows = Vec::new();
    for chunk in chunks {
        splitter.push(chunk, &mut |row| rows.push(row.to_vec()))?;
    }
    splitter.finish(&mut |row| rows.push(row.to_vec()))?;
    Ok(rows)
}

fn model_split(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    if raw.get().starts_with('[') {
        let rows: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        return Some(rows.iter().map(|row| row.get().as_bytes().to_vec()).collect());
    }
    Some(vec![raw.get().as_bytes().to_vec()])
}

/// One chunk, every cut in two, and byte by byte.
fn split_every_way(name: &str, body: &[u8]) -> Result<Vec<Vec<u8>>, SyntaxFault> {
    let whole = split(&[body]);
    assert_eq!(whole.as_ref().ok(), model_split(body).as_ref(), "{name}");
    for cut in 0..=body.len().min(300) {
        assert_eq!(split(&[&body[..cut], &body[cut..]]).ok(), whole.clone().ok(), "{name} cut at {cut}");
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(split(&bytes).ok(), whole.clone().ok(), "{name} byte by byte");
    whole
}

#[test]
fn as_a_body() {
    let text = br#"{"fields": [{"name": "a", "type": "json"}]}"#;
    let mut decoder = RowDecoder::new(Arc::new(definition_json::parse(text).expect("a definition")), DecodeLimits::default());
    for case in cases() {
        let rows = split_every_way(&case.name, &case.bytes);
        match case.expect.as_str() {
            "accept" => {
                let rows = rows.unwrap_or_else(|fault| panic!("{} is JSON: {fault}", case.name));
                for row in rows {
                    // Valid, and maybe no object: then a rejected row, never a syntax error.
                    let result = agree(&case.name, &mut decoder, &row);
                    assert_eq!(result.is_ok(), row[0] == b'{', "{}", case.name);
                    assert_ne!(result, Err(Reason::Malformed), "{}", case.name);
                }
            }
            "reject" => assert!(rows.is_err(), "{} is no JSON", case.name),
            _ => {
                for row in rows.into_iter().flatten() {
                    let _ = agree(&case.name, &mut decoder, &row);
                }
            }
        }
    }
}

#[test]
fn bodies_of_rows() {
    for (body, rows) in [
        ("[]", 0),
        (" [ ] ", 0),
        ("{\"a\": 1}", 1),
        (" {\"a\": [1, {}, []]} \n", 1),
        ("[{\"a\": 1}, {\"b\": \"é\\\"]\"} ,{}]", 3),
        ("[1,\"two\",[3,[4]],null,true,-5.5e-5,{\"a\":{}}]", 7),
        ("17", 1),
        ("[[]]", 1),
    ] {
        assert_eq!(split_every_way(body, body.as_bytes()).map(|rows| rows.len()), Ok(rows), "{body}");
    }
}

#[test]
fn faults_name_the_byte() {
    for (body, byte) in [
        ("", 0),
        ("[1,]", 3),
        ("[{\"a\": 1}, {\"a\" 2}]", 16),
        ("{\"a\": 1} {", 9),
        ("{\"a\": \"\u{1}\"}", 7),
        ("[1", 2),
        ("[tru3]", 4),
        ("{\"a\": 01}", 7),
    ] {
        let whole = split(&[body.as_bytes()]).expect_err("no JSON");
        assert_eq!(whole.byte, byte, "{body}: {whole}");
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(split(&bytes).expect_err("no JSON"), whole);
    }
    let fault = split(&[b"[\"\xc3\xa9\", \"\xff\"]"]).expect_err("not UTF-8");
    assert_eq!(fault.byte, 8);
}

#[test]
fn rows_that_are_too_long_are_cut_for_the_decoder_to_refuse() {
    let body = format!("[{{\"a\": \"{}\"}}, 1]", "x".repeat(100));
    let mut splitter = BodySplitter::new(10);
    let mut lengths = Vec::new();
    for chunk in body.as_bytes().chunks(7) {
        splitter.push(chunk, &mut |row| lengths.push(row.len())).expect("JSON");
    }
    splitter.finish(&mut |_| ()).expect("JSON");
    assert_eq!(lengths, [11, 1]);
}
