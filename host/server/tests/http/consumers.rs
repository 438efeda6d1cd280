//! Named consumers: committed offsets that last, never silently go back, and say how much is left.

use serde_json::json;
use tidemill_event::{StreamId, StreamName, TenantName};

use crate::client::Answer;
use crate::server::Server;

/// Ten rows on one partition.
fn ten() -> Server {
    let server = Server::start();
    server.stream("s", "n:int64");
    let body: String = (0..10).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(server.post("s", "application/x-ndjson", body).status, 200);
    server
}

fn commit(server: &Server, query: &str, body: &str) -> Answer {
    let path = format!("/v1/streams/s/consumers/billing/commit{query}");
    server.request("POST", &path, &[("content-type", "application/json")], body.as_bytes())
}

#[test]
fn a_consumer_goes_on_where_it_committed() {
    let server = ten();
    let read = |query: &str| server.get(&format!("/v1/streams/s/events?consumer=billing{query}")).body.lines().count();
    assert_eq!(server.get("/v1/streams/s/consumers/billing").status, 404);
    assert_eq!((read(""), read("&from=latest"), read("&from=8")), (10, 0, 2), "`from` counts where nothing is committed");

    let committed = commit(&server, "", r#"{"0": 4}"#);
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!((&committed.json()["offsets"], &committed.json()["lag"]), (&json!({"0": 4}), &json!(6)));
    assert_eq!((read(""), read("&from=latest"), read("&limit=2")), (6, 6, 2));
    assert_eq!(read(""), 6, "reading commits nothing");
    assert_eq!(server.get("/v1/streams/s/events?consumer=other").body.lines().count(), 10);

    let shown = server.get("/v1/streams/s/consumers/billing").json();
    assert_eq!(shown, committed.json());
    assert_eq!(shown["partitions"], json!([{"partition": 0, "offset": 4, "start": 0, "end": 10, "lag": 6}]));
    assert_eq!(server.get("/v1/streams/s/consumers").json(), json!({"consumers": [shown]}));

    assert_eq!(server.post("s", "application/json", "{\"n\":10}").status, 200);
    assert_eq!(server.get("/v1/streams/s/consumers/billing").json()["lag"], 7);
    let delete = || server.request("DELETE", "/v1/streams/s/consumers/billing", &[], b"").status;
    assert_eq!((delete(), delete()), (204, 404));
    assert_eq!(read(""), 11);
}

#[test]
fn a_commit_never_goes_beyond_the_end_nor_silently_back() {
    let server = ten();
    assert_eq!(commit(&server, "", r#"{"0": 5}"#).status, 200);
    assert_eq!(commit(&server, "", r#"{"0": 5}"#).status, 200, "the same again");
    let back = commit(&server, "", r#"{"0": 3}"#);
    assert_eq!((back.status, &back.json()["committed"]), (409, &json!(5)), "{back:?}");
    let beyond = commit(&server, "", r#"{"0": 11}"#);
    assert_eq!((beyond.status, &beyond.json()["end"]), (422, &json!(10)), "{beyond:?}");
    assert_eq!(commit(&server, "?force=true", r#"{"0": 11}"#).status, 422, "force does not make rows");
    assert_eq!(commit(&server, "", r#"{"1": 0}"#).status, 422);
    assert_eq!(server.get("/v1/streams/s/consumers/billing").json()["offsets"], json!({"0": 5}), "nothing of them was taken");
    assert_eq!(commit(&server, "?force=true", r#"{"0": 3}"#).json()["offsets"], json!({"0": 3}));
    assert_eq!(commit(&server, "", "{}").json()["offsets"], json!({"0": 3}));
}

#[test]
fn what_is_no_commit_is_refused() {
    let server = ten();
    for body in ["", "[]", "7", r#"{"0": -1}"#, r#"{"zero": 1}"#, r#"{"0": "1"}"#, r#"{"0": 1.5}"#] {
        let answer = commit(&server, "", body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(commit(&server, "?forced=true", "{}").status, 400);
    let csv = server.request("POST", "/v1/streams/s/consumers/billing/commit", &[("content-type", "text/csv")], b"0,1");
    assert_eq!(csv.status, 415);
    let post = |path: &str| server.request("POST", path, &[], b"{}").status;
    assert_eq!(post("/v1/streams/none/consumers/billing/commit"), 404);
    assert_eq!(post("/v1/streams/s/consumers/Billing/commit"), 400);
    assert_eq!(server.get("/v1/streams/s/events?consumer=Billing").status, 400);
    assert_eq!(server.get("/v1/streams/s/consumers").json(), json!({"consumers": []}));
}

#[test]
fn partitions_are_committed_each_on_its_own() {
    let server = Server::start();
    let made = server.put("/v1/streams/s", r#"{"fields": [{"name": "n", "type": "int64"}], "key": ["n"], "partitions": 2}"#);
    assert_eq!(made.status, 201);
    let body: String = (0..100).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(server.post("s", "application/x-ndjson", body).status, 200);
    let count = |query: &str| server.get(&format!("/v1/streams/s/events{query}")).body.lines().count();
    let (first, second) = (count("?partition=0"), count("?partition=1"));
    assert_eq!(commit(&server, "", r#"{"1": 10}"#).json()["lag"], first + second - 10);
    assert_eq!(count("?consumer=billing"), first + second - 10);
    assert_eq!(count("?consumer=billing&partition=1"), second - 10);
    assert_eq!(commit(&server, "", r#"{"0": 7}"#).json()["offsets"], json!({"0": 7, "1": 10}));
    assert_eq!(count("?consumer=billing"), first + second - 17);
}

#[test]
fn commits_of_many_at_once_all_count() {
    let server = ten();
    std::thread::scope(|scope| {
        for offset in 1..=10 {
            let server = &server;
            scope.spawn(move || {
                let answer = commit(server, "", &format!("{{\"0\": {offset}}}"));
                assert!(matches!(answer.status, 200 | 409), "{answer:?}");
            });
        }
    });
    assert_eq!(server.get("/v1/streams/s/consumers/billing").json()["offsets"], json!({"0": 10}), "the furthest stands");
}

#[test]
fn a_stream_made_anew_knows_no_consumer_of_the_one_before() {
    let server = ten();
    assert_eq!(commit(&server, "", r#"{"0": 5}"#).status, 200);
    let id = StreamId::new(TenantName::default_tenant(), StreamName::from_client("s").expect("a name"));
    server.log.delete_stream(&id).expect("deleted");
    assert_eq!(server.get("/v1/streams/s/consumers/billing").status, 404);
    server.stream("s", "n:int64");
    let gone = server.get("/v1/streams/s/consumers/billing");
    assert_eq!((gone.status, &gone.json()["type"]), (404, &json!("urn:tidemill:problem:unknown-consumer")));
    assert_eq!(server.post("s", "application/json", "{\"n\":0}").status, 200);
    assert_eq!(server.get("/v1/streams/s/events?consumer=billing").body.lines().count(), 1);
    assert_eq!(commit(&server, "", r#"{"0": 1}"#).json()["offsets"], json!({"0": 1}));
}
