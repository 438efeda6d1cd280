//! Operating pipelines over HTTP: replays, what components said, and deleting what nobody uses.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::TextGuest;

use crate::client::Answer;
use crate::server::Server;

const PIPELINE: &str = "from: payments\nsteps:\n- rule: loud@1\nto:\n- stream: out\n";

/// A component that says a word a call and takes every row.
fn loud() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .logging()
        .fields("(data (i32.const 4096) \"heard\")")
        .call(
            "(local $at i32)
             (call $say (i32.const 2) (i32.const 4096) (i32.const 5))
             (local.set $at (call $take (i32.const 8))) (i64.store (local.get $at) (i64.const -1))
             (call $answer (local.get $at) (i32.div_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 8)))",
        )
        .build()
}

fn server() -> Server {
    let server = Server::start();
    server.stream("payments", "amount:float64 user:string");
    let wasm = [("content-type", "application/wasm")];
    let made = server.request("PUT", "/v1/components/loud/versions/1.0.0", &wasm, &loud());
    assert_eq!(made.status, 201, "{made:?}");
    let yaml = [("content-type", "application/yaml")];
    assert_eq!(server.request("PUT", "/v1/pipelines/p", &yaml, PIPELINE.as_bytes()).status, 201);
    assert_eq!(server.post("payments", "application/x-ndjson", "{\"amount\":1}\n{\"amount\":2}\n{\"amount\":3}\n").status, 200);
    wait(&server, "/v1/pipelines/p/status", |status| status["rows_out"] == 3);
    server
}

fn wait(server: &Server, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let answer = server.get(path);
        if answer.status == 200 && holds(&answer.json()) {
            return answer.json();
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {:?}", server.get(path));
}

fn post(server: &Server, path: &str, body: &str) -> Answer {
    server.request("POST", path, &[("content-type", "application/json")], body.as_bytes())
}

#[test]
fn a_replay_is_begun_looked_at_and_promoted() {
    let server = server();
    assert_eq!(server.get("/v1/pipelines/p/replay").status, 404);
    assert_eq!(post(&server, "/v1/pipelines/p/replay/promote", "").status, 409);
    for wrong in ["", "{}", "{\"from\": \"soon\"}", "{\"from\": \"earliest\", \"to\": 3}"] {
        assert_eq!(post(&server, "/v1/pipelines/p/replay", wrong).status, 400, "{wrong}");
    }
    assert_eq!(post(&server, "/v1/pipelines/q/replay", "{\"from\": \"earliest\"}").status, 404);
    let begun = post(&server, "/v1/pipelines/p/replay", "{\"from\": \"earliest\"}");
    assert_eq!((begun.status, &begun.json()["run"]), (202, &json!(2)), "{begun:?}");
    let status = wait(&server, "/v1/pipelines/p/replay", |status| status["rows_out"] == 3);
    assert_eq!(status["lag_records"], 0, "{status}");
    // Counted when they are committed, shown when they are on disk.
    let shown = |_: &Value| server.rows("out@2").len() == 3;
    wait(&server, "/v1/pipelines/p/replay", shown);
    assert_eq!(server.get("/v1/pipelines/p/status").json()["replay"]["run"], 2);
    let yaml = [("content-type", "application/yaml")];
    let other = server.request("PUT", "/v1/pipelines/p", &yaml, PIPELINE.replace("stream: out", "stdout").as_bytes());
    assert_eq!(other.status, 409, "{other:?}");
    let promoted = post(&server, "/v1/pipelines/p/replay/promote", "");
    assert_eq!(promoted.status, 200, "{promoted:?}");
    assert_eq!(promoted.json()["streams"], json!([{"stream": "out", "from": [3], "history": "out@2"}]));
    assert_eq!(server.get("/v1/pipelines/p/status").json()["run"], 2);
    assert_eq!(server.request("DELETE", "/v1/pipelines/p/replay", &[], b"").status, 409, "there is none any more");
}

#[test]
fn what_components_said_is_read_and_followed() {
    let server = server();
    let lines = server.get("/v1/pipelines/p/logs").body;
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&first["level"], &first["message"], &first["component"]),
        (&json!("warn"), &json!("heard"), &json!("loud@1.0.0"))
    );
    assert_eq!(server.get("/v1/pipelines/p/logs?level=error").body, "");
    assert_eq!(server.get("/v1/pipelines/p/logs?step=steps%5B1%5D.rule").body, "");
    for (path, status) in [("p/logs?level=loud", 400), ("p/logs?lines=3", 400), ("q/logs", 404)] {
        assert_eq!(server.get(&format!("/v1/pipelines/{path}")).status, status, "{path}");
    }
    let mut follower = server.client();
    follower.send("GET", "/v1/pipelines/p/logs?follow=true&limit=1", &[], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    let before = String::from_utf8(follower.chunk().expect("a line")).expect("UTF-8");
    assert_eq!(before.lines().count(), 1);
    assert_eq!(server.post("payments", "application/json", "{\"amount\":4}").status, 200);
    let after = String::from_utf8(follower.chunk().expect("another line")).expect("UTF-8");
    assert!(after.contains("\"heard\""), "{after}");

    // As events, each with the place behind it; whoever comes again with that place gets what came since, and once.
    let sse = |last: Option<&str>, query: &str| {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        server.request("GET", &format!("/v1/pipelines/p/logs{query}"), &headers, b"")
    };
    let all = sse(None, "");
    let ids: Vec<&str> = all.body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let said = all.body.lines().filter(|line| line.starts_with("data: ")).count();
    assert!(all.status == 200 && said >= 2 && ids.len() == said + 1, "{}", all.body);
    let rest = sse(Some(ids[0]), "");
    assert_eq!(rest.body.lines().filter(|line| line.starts_with("data: ")).count(), said - 1, "{}", rest.body);
    assert!(!rest.body.contains("event: gap"), "{}", rest.body);
    assert_eq!(sse(ids.last().copied(), "").status, 204, "nothing since");
    // A place in a ring that is no more: that is told, and everything there is comes.
    let other = sse(Some("0000000000000001-900"), "?limit=1");
    assert!(other.body.contains("event: gap\ndata: {\"missed\":null}\n"), "{}", other.body);
    assert_eq!(other.body.matches("\"heard\"").count(), 1, "{}", other.body);
    assert_eq!(sse(Some("17"), "").status, 400);
    let arrow = [("accept", "application/vnd.apache.arrow.stream")];
    assert_eq!(server.request("GET", "/v1/pipelines/p/logs", &arrow, b"").status, 406);
}

#[test]
fn what_nobody_uses_is_deleted() {
    let server = server();
    for used in ["payments", "out", "p.dead-letters", "p.progress"] {
        let refused = server.request("DELETE", &format!("/v1/streams/{used}"), &[], b"");
        assert_eq!((refused.status, &refused.json()["pipelines"]), (409, &json!(["p"])), "{used}: {refused:?}");
    }
    assert_eq!(server.request("DELETE", "/v1/streams/none", &[], b"").status, 404);
    assert_eq!(server.post("payments", "application/x-ndjson", "no JSON\n{\"amount\":1}\n").status, 200);
    assert_eq!(server.rows("payments.rejected").len(), 1);
    assert_eq!(server.request("DELETE", "/v1/pipelines/p", &[], b"").status, 204);
    assert_eq!(server.request("DELETE", "/v1/streams/payments", &[], b"").status, 204);
    for gone in ["payments", "payments.rejected", "p.progress"] {
        assert_eq!(server.get(&format!("/v1/streams/{gone}")).status, 404, "{gone}");
    }
    assert!(!server.rows("out").is_empty(), "what was written stays");
    // The name again is another stream.
    server.stream("payments", "amount:string");
    assert_eq!(server.rows("payments").len(), 0);
}

#[test]
fn pipelines_are_measured() {
    let server = server();
    let metrics = server.get("/metrics").body;
    for line in [
        "tidemill_pipeline_lag_rows{tenant=\"default\",pipeline=\"p\"} 0",
        "tidemill_pipeline_rows_in_total{tenant=\"default\",pipeline=\"p\"} 3",
        "tidemill_pipeline_state{tenant=\"default\",pipeline=\"p\",state=\"running\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(
        metrics.contains("tidemill_component_memory_peak_bytes{tenant=\"default\",pipeline=\"p\",step=\"steps[0].rule\""),
        "{metrics}"
    );
    let status = server.get("/v1/pipelines/p/status").json();
    assert_eq!((&status["steps"][0]["rows"], &status["steps"][0]["step"]), (&json!(3), &json!("steps[0].rule")), "{status}");
    assert!(status["event_time"].as_str().is_some_and(|time| time.ends_with('Z')), "{status}");
    assert!(status["last_10s"]["rows_in_per_second"].is_number() && status["behind_ms"] == 0, "{status}");
}
