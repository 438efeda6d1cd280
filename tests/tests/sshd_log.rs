//! A real sshd log through the real binary: raw lines in as text on one partition, the bundled parser, and row by row what a parser
//! should make of them. The log may be used for tests and not be copied, so it lies outside of the repository.

use serde_json::{Value, json};
use tidemill_tests::{Host, shared_data};

#[test]
fn the_parser_makes_of_the_raw_log_what_it_should_row_by_row() {
    let Some(folder) = shared_data("openssh", "the_parser_makes_of_the_raw_log_what_it_should_row_by_row") else { return };
    let log = std::fs::read(folder.join("openssh.log")).expect("the log");
    let expected = std::fs::read_to_string(folder.join("openssh.ndjson")).expect("its events");
    let expected: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();

    let host = Host::start();
    host.put("/v1/streams/auth-log", &json!({"fields": [{"name": "line", "type": "string"}], "partitions": 1})).expect(201);
    host.push_guest("std-sshd", "1.0.0").expect(201);
    let pipeline = "pipeline: logins\nfrom: auth-log\nsteps:\n  - transform: std-sshd@1\n    config: {year: 2017}\nto:\n  - stream: logins\n";
    host.apply("logins", pipeline).expect(201);
    let sent = host.send_as("auth-log", "text/plain", &log).expect(200).json();
    assert_eq!(sent["accepted"], 2_000, "{sent}");

    let rows = host.wait_rows("logins", expected.len());
    for (number, (row, expected)) in rows.iter().zip(&expected).enumerate() {
        assert_eq!(comparable(row), comparable(expected), "row {number}, of which the host made {row}");
    }
    assert!(host.get("/v1/streams/logins.dead-letters/events").rows_if_there().is_empty(), "every line of it is understood");
}

/// Fields that a type of event does not have are null in a row and missing in the file; `seq` counts the file's rows; times compare as
/// instants, of which the file writes whole seconds.
fn comparable(row: &Value) -> Value {
    let mut row = row.clone();
    let members = row.as_object_mut().expect("an object");
    members.retain(|name, value| !value.is_null() && !["_partition", "_offset", "_time", "seq"].contains(&name.as_str()));
    if let Some(Value::String(ts)) = members.get_mut("ts") {
        *ts = ts.replace(".000000Z", "Z");
    }
    row
}
