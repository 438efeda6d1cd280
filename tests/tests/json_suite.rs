//! Every case of the JSON suite as a body and as a line: what is JSON is taken or rejected row by row, what is not is a 400 that takes
//! nothing, and nothing shakes the host.

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};
use tidemill_tests::Host;

struct Case {
    name: String,
    expect: String,
    bytes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/json_suite/cases.ndjson");
    let text = std::fs::read_to_string(path).expect("the JSON suite");
    let case = |line: &str| {
        let case: Value = serde_json::from_str(line).expect("a case");
        let text = |key: &str| case[key].as_str().expect("a text").to_owned();
        let bytes = base64::prelude::BASE64_STANDARD.decode(text("base64")).expect("base64");
        Case { name: text("name"), expect: text("expect"), bytes }
    };
    let cases: Vec<Case> = text.lines().map(case).collect();
    assert_eq!(cases.len(), 169);
    cases
}

fn host() -> Host {
    let host = Host::start();
    host.put("/v1/streams/suite", &json!({"fields": [{"name": "a", "type": "json"}]})).expect(201);
    host
}

/// How many rows of a well-formed body are events; `None` where this program's own parser gives up.
fn events(bytes: &[u8]) -> Option<(usize, usize)> {
    match serde_json::from_slice::<Value>(bytes).ok()? {
        Value::Array(rows) => Some((rows.iter().filter(|row| row.is_object()).count(), rows.len())),
        row => Some((usize::from(row.is_object()), 1)),
    }
}

#[test]
fn as_a_body() {
    let host = host();
    for case in cases() {
        let answer = host.send_as("suite", "application/json", &case.bytes);
        let (name, status) = (&case.name, answer.status);
        match case.expect.as_str() {
            "reject" => assert_eq!(status, 400, "{name}: {}", answer.body),
            "accept" => assert!(matches!(status, 200 | 422), "{name}: {status} {}", answer.body),
            _ => assert!(matches!(status, 200 | 400 | 422), "{name}: {status} {}", answer.body),
        }
        let body = answer.json();
        if case.expect == "accept"
            && let Some((events, rows)) = events(&case.bytes)
        {
            assert_eq!(body["accepted"], events, "{name}: {body}");
            assert_eq!(body["rejected_total"], rows - events, "{name}: {body}");
            assert_eq!(status, if events > 0 || rows == 0 { 200 } else { 422 }, "{name}: {body}");
        }
        if status == 400 {
            assert!(answer.body.contains("byte"), "{name} does not say where: {body}");
        }
    }
    host.get("/health/ready").expect(200);
}

#[test]
fn as_lines() {
    let host = host();
    for case in cases() {
        let answer = host.send_as("suite", "application/x-ndjson", &case.bytes);
        assert!(matches!(answer.status, 200 | 422), "{}: {} {}", case.name, answer.status, answer.body);
    }
    host.get("/health/ready").expect(200);
}

#[test]
fn what_was_accepted_reads_back_as_it_was() {
    let host = host();
    let mut sent = Vec::new();
    for case in cases().into_iter().filter(|case| case.expect == "accept") {
        let row = match serde_json::from_slice::<Value>(&case.bytes) {
            Ok(row) if row.is_object() => row,
            // What is no object can be the value of a field, and must come back as the same value.
            Ok(value) => json!({"a": value}),
            Err(_) => continue,
        };
        host.send("suite", &row).expect(200);
        sent.push((case.name, row));
    }
    assert!(sent.len() > 40, "{}", sent.len());
    let rows = host.rows("suite");
    assert_eq!(rows.len(), sent.len());
    for ((name, sent), mut row) in sent.into_iter().zip(rows) {
        row.as_object_mut().expect("an object").retain(|name, _| !["_partition", "_offset", "_time"].contains(&name.as_str()));
        // A declared field that an event lacks reads as null or not at all.
        if sent.get("a").is_none() && row["a"].is_null() {
            row.as_object_mut().expect("an object").remove("a");
        }
        let mut sent = sent;
        if sent["a"].is_null() {
            sent.as_object_mut().expect("an object").remove("a");
            row.as_object_mut().expect("an object").remove("a");
        }
        assert_eq!(row, sent, "{name}");
    }
}
