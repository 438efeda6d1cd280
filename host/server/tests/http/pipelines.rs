//! Pipelines through HTTP: applied, refused with every fault, looked at, paused, deleted; and their results can be read.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tidemill_runtime::testing::threshold_rule;

use crate::client::Answer;
use crate::server::Server;

const PIPELINE: &str =
    "pipeline: big\nfrom: payments\nsteps:\n  - where: amount > 10\n  - rule: large@1\nto:\n  - stream: alerts\n";

fn server() -> Server {
    let server = Server::start();
    server.stream("payments", "amount:float64 user:string");
    let wasm = [("content-type", "application/wasm")];
    let made = server.request("PUT", "/v1/components/large/versions/1.0.0", &wasm, &threshold_rule());
    assert_eq!(made.status, 201, "{made:?}");
    server
}

fn apply(server: &Server, query: &str, text: &str) -> Answer {
    server.request("PUT", &format!("/v1/pipelines/big{query}"), &[("content-type", "application/yaml")], text.as_bytes())
}

#[test]
fn a_pipeline_is_applied_works_and_goes() {
    let server = server();
    let dry = apply(&server, "?dry_run=true", PIPELINE);
    assert_eq!((dry.status, &dry.json()["dry_run"]), (200, &json!(true)), "{dry:?}");
    assert_eq!(server.get("/v1/pipelines/big").status, 404, "a dry run changes nothing");
    assert_eq!(server.get("/v1/streams/alerts").status, 404);

    let made = apply(&server, "", PIPELINE);
    assert_eq!((made.status, &made.json()["created"]), (201, &json!(true)), "{made:?}");
    let again = apply(&server, "", PIPELINE);
    assert_eq!((again.status, &again.json()["changed"]), (200, &json!(false)), "{again:?}");
    let listed = server.get("/v1/pipelines").json();
    assert_eq!(listed["pipelines"][0]["pipeline"], "big", "{listed}");
    assert!(server.get("/v1/pipelines/big").body.contains("sha256:"), "references are pinned");

    let body = "{\"amount\":5000,\"user\":\"a\"}\n{\"amount\":5,\"user\":\"b\"}\n{\"amount\":500,\"user\":\"c\"}\n";
    assert_eq!(server.post("payments", "application/x-ndjson", body).status, 200);
    let mut follower = server.client();
    follower.send("GET", "/v1/streams/alerts/events?follow=true&limit=1", &[], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    let row = String::from_utf8(follower.chunk().expect("a row")).expect("UTF-8");
    assert!(row.starts_with("{\"amount\":5000"), "{row}");
    let status = server.get("/v1/pipelines/big/status").json();
    assert_eq!(status["state"], "running", "{status}");

    let post = |path: &str| server.request("POST", path, &[], b"");
    assert_eq!(post("/v1/pipelines/big/pause").json()["state"], "paused");
    let used = server.request("DELETE", "/v1/components/large/versions/1.0.0", &[], b"");
    assert_eq!((used.status, &used.json()["pipelines"]), (409, &json!(["big"])), "{used:?}");
    let resumed = post("/v1/pipelines/big/resume");
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert_eq!(server.post("payments", "application/json", "{\"amount\":6000}").status, 200);
    for _ in 0..500 {
        if server.rows("alerts").len() == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.rows("alerts").len(), 2, "it went on");

    assert_eq!(server.request("DELETE", "/v1/pipelines/big", &[], b"").status, 204);
    assert_eq!(server.get("/v1/pipelines/big/status").status, 404);
    assert_eq!(server.rows("alerts").len(), 2, "its results stay");
}

#[test]
fn a_wrong_pipeline_is_refused_with_every_fault() {
    let server = server();
    let wrong = PIPELINE.replace("amount", "amonut").replace("large@1", "larger@1");
    let refused = apply(&server, "", &wrong);
    assert_eq!(refused.status, 422, "{refused:?}");
    let problem = refused.json();
    let faults = problem["faults"].as_array().expect("faults");
    assert!(faults.len() >= 2, "{problem}");
    for fault in faults {
        assert!(fault["line"].as_u64().is_some_and(|line| line > 0), "{fault}");
        for member in ["path", "error", "remedy"] {
            assert!(fault[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {fault}");
        }
    }
    assert_eq!(apply(&server, "?dry=true", PIPELINE).status, 400);
    assert_eq!(apply(&server, "", &PIPELINE.replace("pipeline: big", "pipeline: other")).status, 422);
    assert_eq!(apply(&server, "", ": [").status, 422);
    let bytes = server.request("PUT", "/v1/pipelines/big", &[("content-type", "application/yaml")], b"\xff");
    assert_eq!(bytes.status, 400);
    let csv = server.request("PUT", "/v1/pipelines/big", &[("content-type", "text/csv")], b"a");
    assert_eq!(csv.status, 415);
    for path in ["", "/status"] {
        assert_eq!(server.get(&format!("/v1/pipelines/big{path}")).status, 404);
    }
    for path in ["/pause", "/resume"] {
        assert_eq!(server.request("POST", &format!("/v1/pipelines/big{path}"), &[], b"").status, 404);
    }
}
