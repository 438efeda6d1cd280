//! Streams are made once, changed compatibly, and refused with every difference named.

use crate::server::Server;

const CLICKS: &str = r#"{"fields": [{"name": "ip", "type": "string"}, {"name": "n", "type": "int64", "nullable": false}], "partitions": 2, "key": ["ip"]}"#;

#[test]
fn a_stream_is_made_once() {
    let server = Server::start();
    let made = server.put("/v1/streams/clicks", CLICKS);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["name"], "clicks");
    assert_eq!(made.json()["version"], 1);
    assert_eq!(made.json()["partitions"], 2);
    let again = server.put("/v1/streams/clicks", CLICKS);
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json(), made.json());
    let read = server.get("/v1/streams/clicks");
    let mut shown = read.json();
    let versions = shown.as_object_mut().and_then(|shown| shown.remove("versions")).expect("the schemas it has had");
    assert_eq!(versions.as_array().map(Vec::len), Some(1), "{versions}");
    assert_eq!((read.status, shown), (200, made.json()));
    // What was read can be sent again.
    let sent_back = server.put("/v1/streams/clicks", &read.body);
    assert_eq!((sent_back.status, sent_back.json()), (200, made.json()));
    assert_eq!(server.get("/v1/streams").json()["streams"][0], made.json());
}

#[test]
fn a_compatible_change_is_the_next_version_and_an_incompatible_one_is_named() {
    let server = Server::start();
    assert_eq!(server.put("/v1/streams/clicks", CLICKS).status, 201);
    assert_eq!(server.post("clicks", "application/json", r#"{"ip":"a","n":1}"#).status, 200);
    let wider = CLICKS.replace(r#"], "partitions""#, r#", {"name": "city", "type": "string"}], "partitions""#);
    let changed = server.put("/v1/streams/clicks", &wider);
    assert_eq!((changed.status, &changed.json()["version"]), (200, &2.into()), "{changed:?}");
    assert_eq!(server.post("clicks", "application/json", r#"{"ip":"a","n":2,"city":"Rome"}"#).status, 200);
    assert_eq!(server.rows("clicks").len(), 2);

    let different = CLICKS.replace("int64", "bool").replace(r#""partitions": 2"#, r#""partitions": 3"#);
    let refused = server.put("/v1/streams/clicks", &different);
    assert_eq!(refused.status, 409, "{refused:?}");
    let differences = refused.json()["differences"].to_string();
    assert!(differences.contains("partitions") && differences.contains('n'), "{differences}");
    assert!(refused.json()["differences"].as_array().expect("a list").len() >= 2, "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
}

#[test]
fn what_is_no_definition_is_refused_with_every_fault() {
    let server = Server::start();
    let check = |name: &str, body: &str, status: u16| {
        let answer = server.put(&format!("/v1/streams/{name}"), body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(answer.json()["status"], status, "{answer:?}");
    };
    check("clicks", "{", 400);
    check("clicks", "[]", 400);
    check("clicks", r#"{"fields": [], "colour": "red"}"#, 422);
    check("clicks", r#"{"name": "other", "fields": []}"#, 422);
    check("clicks", r#"{"fields": [{"name": "_offset", "type": "int64"}]}"#, 422);
    check("Clicks", CLICKS, 400);
    check("clicks.rejected", CLICKS, 400);
    let two = server.put("/v1/streams/clicks", r#"{"fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "text"}]}"#);
    assert_eq!(two.json()["faults"].as_array().expect("a list").len(), 2, "{two:?}");
    assert_eq!(server.get("/v1/streams/clicks").status, 404);
    let large = format!("{{\"fields\": []}}{}", " ".repeat(2 << 20));
    check("clicks", &large, 413);
    let csv = server.request("PUT", "/v1/streams/clicks", &[("content-type", "text/csv")], b"a,b");
    assert_eq!(csv.status, 415);
}
