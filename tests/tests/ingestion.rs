//! Events in over HTTP: what is taken, what is rejected and why, and that what was answered with 200 is on disk.

use serde_json::{Value, json};
use tidemill_tests::{Connection, Host};

fn definition() -> Value {
    json!({
        "fields": [
            {"name": "ts", "type": "timestamp", "unit": "ms", "nullable": false}, {"name": "ip", "type": "string"},
            {"name": "amount", "type": "decimal(12,2)"}, {"name": "n", "type": "int64"}
        ],
        "time": {"field": "ts"}, "key": ["ip"], "partitions": 4
    })
}

fn declared() -> Host {
    let host = Host::start();
    host.put("/v1/streams/pay", &definition()).expect(201);
    host.put("/v1/streams/pay", &definition()).expect(200);
    host
}

/// Rows without the host's fields, sorted: partitions have no order between them.
fn plain(mut rows: Vec<Value>) -> Vec<String> {
    for row in &mut rows {
        row.as_object_mut().expect("an object").retain(|name, _| !["_partition", "_offset", "_time"].contains(&name.as_str()));
    }
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

#[test]
fn each_row_has_its_own_verdict() {
    let host = declared();
    let rows = json!([
        {"ts": 1, "ip": "a", "amount": "1.50", "n": 1},
        {"ts": 2, "ip": "a", "n": "one"},
        {"ip": "a"},
        {"ts": 3, "ip": "b", "amount": 2.25, "country": "at", "deep": {"x": 1}},
        {"ts": 4, "amount": "1.555"},
        7
    ]);
    let body = host.send("pay", &rows).expect(200).json();
    assert_eq!(body["accepted"], 2, "{body}");
    assert_eq!(body["rejected_total"], 4, "{body}");
    let rejected: Vec<(u64, &str)> = body["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rejection| (rejection["index"].as_u64().expect("an index"), rejection["field"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(rejected, [(1, "n"), (2, "ts"), (4, "amount"), (5, "-")], "{body}");
    let expected = [
        json!({"ts": 1, "ip": "a", "amount": "1.50", "n": 1}).to_string(),
        json!({"ts": 3, "ip": "b", "amount": "2.25", "n": null, "country": "at", "deep": {"x": 1}}).to_string(),
    ];
    let mut rows = host.rows("pay");
    for row in &mut rows {
        // A null field reads as null or not at all; both say the same.
        row.as_object_mut().expect("an object").entry("n").or_insert(Value::Null);
    }
    assert_eq!(plain(rows), expected);
    let kept = host.rows("pay.rejected");
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|row| row["reason"].is_string() && row["error"].is_string() && row["stream"] == "pay"), "{kept:?}");
    assert!(kept.iter().any(|row| row["event"] == json!({"ip": "a"})), "with what was sent: {kept:?}");
}

#[test]
fn a_request_of_which_nothing_is_taken_is_refused_as_a_whole() {
    let host = declared();
    let body = host.send("pay", &json!([{"ip": "a"}, {"ts": "never"}])).expect(422).json();
    assert_eq!((&body["accepted"], &body["rejected_total"]), (&json!(0), &json!(2)), "{body}");
    host.send("pay", &json!([])).expect(200);
    let broken = host.send_as("pay", "application/json", b"[{\"ts\": 1}, {\"ts\": ").expect(400);
    assert!(broken.body.contains("byte"), "{}", broken.body);
    assert!(host.rows("pay").is_empty(), "nothing of a body that is not JSON to its end is taken");
    host.send_as("pay", "image/png", b"x").expect(415);
    host.send("nobody", &json!({})).expect(404);
    host.send("pay.rejected", &json!({})).expect_client_error();
}

#[test]
fn lines_stand_alone() {
    let host = declared();
    let lines = b"{\"ts\":1,\"n\":1}\r\n\n{\"ts\":2,\"n\":\n{\"ts\":3,\"n\":3}";
    let body = host.send_as("pay", "application/x-ndjson", lines).expect(200).json();
    assert_eq!((&body["accepted"], &body["rejected_total"]), (&json!(2), &json!(1)), "{body}");
    assert_eq!(body["rejected"][0]["index"], 1, "rows are counted, blank lines are none: {body}");
    host.put("/v1/streams/notes", &json!({"fields": [{"name": "line", "type": "string"}]})).expect(201);
    let body = host.send_as("notes", "text/plain", "first\r\nzweite Zeile \u{e4}\nlast".as_bytes()).expect(200).json();
    assert_eq!(body["accepted"], 3);
    let lines: Vec<Value> = host.rows("notes").into_iter().map(|row| row["line"].clone()).collect();
    assert_eq!(lines, ["first", "zweite Zeile \u{e4}", "last"]);
}

#[test]
fn what_was_read_can_be_sent_again() {
    let host = declared();
    let rows =
        json!([{"ts": 1_000, "ip": "a", "amount": "3.00", "n": 1, "extra": [1, {"b": null}]}, {"ts": 2_000, "ip": "b", "n": 2}]);
    host.send("pay", &rows).expect(200);
    let read = host.get("/v1/streams/pay/events").expect(200);
    host.put("/v1/streams/again", &definition()).expect(201);
    host.send_as("again", "application/x-ndjson", read.body.as_bytes()).expect(200);
    assert_eq!(plain(host.rows("again")), plain(host.rows("pay")));
}

#[test]
fn an_inferred_stream_takes_its_fields_from_the_first_batch_and_widens() {
    let host = Host::start();
    host.put("/v1/streams/found", &json!({"schema": "infer"})).expect(201);
    host.send("found", &json!([{"a": 1, "b": "x", "c": {"d": 1}}, {"a": 2, "b": "y", "c": [1]}])).expect(200);
    host.send("found", &json!({"a": 2.5, "b": "z", "c": null})).expect(200);
    let rows = host.rows("found");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["a"], json!(2.5));
    assert_eq!(rows[0]["c"], json!({"d": 1}));
}

#[test]
fn streams_change_compatibly_or_not_at_all() {
    let host = declared();
    let conflict =
        host.put("/v1/streams/pay", &json!({"fields": [{"name": "ts", "type": "string"}], "partitions": 2})).expect(409);
    assert!(conflict.body.contains("ts") && conflict.body.contains("partitions"), "each difference is named: {}", conflict.body);
    host.put("/v1/streams/Pay", &json!({"fields": []})).expect_client_error();
    host.put("/v1/streams/odd", &json!({"fields": [], "colour": "red"})).expect_client_error();
}

#[test]
fn many_single_events_at_once_are_all_there() {
    let host = declared();
    let (url, threads, each) = (host.url(), 16, 50);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let url = &url;
            scope.spawn(move || {
                let mut connection = Connection::open(url).expect("a connection");
                for n in 0..each {
                    let body = json!({"ts": n, "ip": format!("10.0.0.{thread}"), "n": thread * 1_000 + n}).to_string();
                    let (status, answer) =
                        connection.post("/v1/streams/pay/events", "application/json", body.as_bytes()).expect("an answer");
                    assert_eq!(status, 200, "{}", String::from_utf8_lossy(answer));
                }
            });
        }
    });
    let mut found: Vec<u64> = host.rows("pay").iter().map(|row| row["n"].as_u64().expect("a number")).collect();
    found.sort_unstable();
    let expected: Vec<u64> = (0..threads).flat_map(|thread| (0..each).map(move |n| thread * 1_000 + n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn large_bodies_flow_through_and_too_large_ones_are_told() {
    let host = declared();
    let rows: String =
        (0..100_000).map(|n| format!("{{\"ts\":{n},\"ip\":\"10.0.{}.{}\",\"n\":{n}}}\n", n % 7, n % 251)).collect();
    let body = host.send_as("pay", "application/x-ndjson", rows.as_bytes()).expect(200).json();
    assert_eq!((&body["accepted"], &body["rejected_total"]), (&json!(100_000), &json!(0)));
    let long = format!("{{\"ts\":1,\"ip\":\"{}\"}}\n{{\"ts\":2}}\n", "x".repeat(2 << 20));
    let body = host.send_as("pay", "application/x-ndjson", long.as_bytes()).expect(200).json();
    assert_eq!((&body["accepted"], &body["rejected_total"]), (&json!(1), &json!(1)), "a line over its bound is one rejected row");
}
