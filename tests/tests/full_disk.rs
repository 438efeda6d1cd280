//! A disk that is nearly full: new events are refused with 507 and what to do, everything else goes on. (What a disk does that ends in
//! the middle of a write is shown below the log, on one that is simulated.)

use serde_json::{Value, json};
use tidemill_tests::{Host, HostOptions};

/// More than any disk has: there is never as much room as shall be kept.
const RESERVE: &str = "1073741824GiB";

#[test]
fn events_are_refused_with_507_and_the_rest_goes_on() {
    let host = Host::with(HostOptions { flags: vec!["--disk-reserve".to_owned(), RESERVE.to_owned()], ..HostOptions::default() });
    host.put("/v1/streams/pay", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    let large: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for (what, headers, body) in [
        ("small", &[("content-type", "application/x-ndjson")][..], "{\"n\":1}\n"),
        ("large", &[("content-type", "application/x-ndjson")], large.as_str()),
        ("named", &[("content-type", "application/x-ndjson"), ("idempotency-key", "k")], "{\"n\":1}\n"),
        ("rejected", &[("content-type", "application/x-ndjson")], "{\"n\":\"x\"}\n"),
    ] {
        let answer = host.send_with("pay", headers, body.as_bytes()).expect(507).json();
        assert_eq!(answer["type"], "urn:tidemill:problem:disk-full", "{what}: {answer}");
        assert!(answer["remedy"].as_str().is_some_and(|remedy| remedy.contains("Retry-After")), "{what}: {answer}");
        assert_eq!(answer["accepted"].as_u64().unwrap_or(0), 0, "{what}: {answer}");
    }
    assert_eq!(host.rows("pay"), Vec::<Value>::new());
    // Who makes room must be able to: streams are listed, read, made and deleted.
    host.put("/v1/streams/other", &json!({"fields": []})).expect(201);
    host.ask("DELETE", "/v1/streams/other", None, b"").expect(204);
    host.get("/health/live").expect(200);
    let metrics = host.get("/metrics").expect(200).body;
    assert!(metrics.lines().any(|line| line.contains("5xx") && line.contains("events")), "{metrics}");
}

#[test]
fn room_that_is_kept_is_held_as_a_file() {
    let host = Host::with(HostOptions { flags: vec!["--disk-reserve".to_owned(), "3MiB".to_owned()], ..HostOptions::default() });
    let reserve = std::fs::metadata(host.data().join("log/reserve")).expect("a file");
    assert_eq!(reserve.len(), 3 << 20);
    host.put("/v1/streams/pay", &json!({"fields": []})).expect(201);
    host.send("pay", &json!({"n": 1})).expect(200);
}
