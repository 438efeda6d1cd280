//! Tokens over HTTP: made, listed, revoked, expired; what they left open ends with them.

use std::time::{Duration, Instant};

use serde_json::json;
use tidemill_server::{Role, Settings};

use crate::client::Answer;
use crate::server::{Server, settings};

fn server() -> Server {
    Server::with(Settings { open: false, ..settings() })
}

fn ask(server: &Server, bearer: &str, method: &str, path: &str, body: &str) -> Answer {
    let headers = [("authorization", bearer), ("content-type", "application/json")];
    server.request(method, path, &headers, body.as_bytes())
}

#[test]
fn a_token_is_valid_from_the_answer_on_and_shown_once() {
    let server = server();
    let admin = server.bearer(Role::Admin);
    let made = ask(
        &server,
        &admin,
        "POST",
        "/v1/tokens",
        r#"{"role":"reader","label":"the board","expires_at":"2027-01-01T00:00:00Z"}"#,
    );
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")), "{made:?}");
    let made = made.json();
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    let bearer = format!("Bearer {token}");
    assert_eq!(ask(&server, &bearer, "GET", "/v1/streams", "").status, 200);

    let one = ask(&server, &admin, "GET", &format!("/v1/tokens/{id}"), "").json();
    let shown = json!({"id": id, "role": "reader", "tenant": "default", "label": "the board", "created_at": one["created_at"],
        "expires_at": "2027-01-01T00:00:00.000000Z", "expired": false});
    assert_eq!(one, shown);
    let list = ask(&server, &admin, "GET", "/v1/tokens", "");
    assert_eq!(list.json()["tokens"].as_array().map(Vec::len), Some(5));
    assert!(!list.body.contains(token) && !list.body.contains("hash"), "{list:?}");

    // The same connection is asked again with its next request.
    let mut client = server.client();
    client.send("GET", "/v1/streams", &[("authorization", &bearer)], b"");
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_eq!(ask(&server, &admin, "DELETE", &format!("/v1/tokens/{id}"), "").status, 204);
    client.send("GET", "/v1/streams", &[("authorization", &bearer)], b"");
    assert_eq!(client.answer().expect("an answer").status, 401);
    assert_eq!(ask(&server, &admin, "DELETE", &format!("/v1/tokens/{id}"), "").status, 404);
    assert_eq!(ask(&server, &admin, "GET", &format!("/v1/tokens/{id}"), "").status, 404);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let server = server();
    let admin = server.bearer(Role::Admin);
    let long = format!(r#"{{"role":"reader","label":"{}"}}"#, "x".repeat(101));
    let cases = [
        ("", 400),
        (r#"{"role":"reader","colour":"red"}"#, 400),
        (r#"{}"#, 400),
        (r#"{"role":"root"}"#, 422),
        (r#"{"role":"reader","tenant":"No"}"#, 422),
        (r#"{"role":"reader","expires_at":"soon"}"#, 422),
        (r#"{"role":"reader","expires_at":"2020-01-01T00:00:00Z"}"#, 422),
        (r#"{"role":"reader","label":"a\nb"}"#, 422),
        (&long, 422),
    ];
    for (body, status) in cases {
        let answer = ask(&server, &admin, "POST", "/v1/tokens", body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.json()["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    }
    assert_eq!(ask(&server, &admin, "GET", "/v1/tokens?colour=red", "").status, 400);
    assert_eq!(ask(&server, &admin, "GET", "/v1/tokens", "").json()["tokens"].as_array().map(Vec::len), Some(4));
}

#[test]
fn the_last_one_who_looks_after_the_host_stays() {
    let server = server();
    let admin = server.bearer(Role::Admin);
    let tokens = ask(&server, &admin, "GET", "/v1/tokens", "").json();
    let own = tokens["tokens"].as_array().expect("a list").iter().find(|token| token["role"] == "admin").expect("one");
    let path = format!("/v1/tokens/{}", own["id"].as_str().expect("an id"));
    assert_eq!(ask(&server, &admin, "DELETE", &path, "").status, 409);
    // Neither of another tenant, nor one that will be over, takes its place.
    server.token(&json!({"role": "admin", "tenant": "shop"}));
    server.token(&json!({"role": "admin", "expires_at": "2026-11-21T01:00:00Z"}));
    server.later(Duration::from_secs(7200));
    assert_eq!(ask(&server, &admin, "DELETE", &path, "").status, 409);
    let (_, next) = server.token(&json!({"role": "admin"}));
    assert_eq!(ask(&server, &admin, "DELETE", &path, "").status, 204, "not even its own");
    assert_eq!(ask(&server, &admin, "GET", "/v1/tokens", "").status, 401);
    assert_eq!(ask(&server, &next, "GET", "/v1/tokens", "").status, 200);
}

#[test]
fn what_a_token_left_open_ends_with_it() {
    let server = server();
    let admin = server.bearer(Role::Admin);
    let stream = r#"{"fields": [{"name": "n", "type": "int64"}]}"#;
    assert_eq!(ask(&server, &admin, "PUT", "/v1/streams/s", stream).status, 201);
    let follow = |bearer: &str| {
        let mut client = server.client();
        client.send(
            "GET",
            "/v1/streams/s/events?follow=true",
            &[("authorization", bearer), ("accept", "text/event-stream")],
            b"",
        );
        assert_eq!(client.head().expect("a head").0, 200);
        assert!(client.chunk().is_some(), "it has begun");
        client
    };
    let (revoked, bearer) = server.token(&json!({"role": "reader"}));
    let (_, passing) = server.token(&json!({"role": "reader", "expires_at": "2026-11-21T01:00:00Z"}));
    let (mut first, mut second, mut kept) = (follow(&bearer), follow(&passing), follow(&admin));
    let began = Instant::now();
    assert_eq!(ask(&server, &admin, "DELETE", &format!("/v1/tokens/{revoked}"), "").status, 204);
    assert_eq!(first.try_chunk().ok().flatten(), None);
    assert_eq!(ask(&server, &passing, "GET", "/v1/streams", "").status, 200);
    server.later(Duration::from_secs(3600));
    assert_eq!(ask(&server, &passing, "GET", "/v1/streams", "").status, 401, "at once");
    assert_eq!(second.try_chunk().ok().flatten(), None, "a second later");
    assert!(began.elapsed() < Duration::from_secs(10), "before a comment would have come");
    assert_eq!(ask(&server, &admin, "POST", "/v1/streams/s/events", r#"{"n":1}"#).status, 200);
    assert!(kept.chunk().is_some(), "others go on");
}

#[test]
fn an_upload_ends_with_its_token() {
    let server = server();
    let admin = server.bearer(Role::Admin);
    let stream = r#"{"fields": [{"name": "n", "type": "int64"}]}"#;
    assert_eq!(ask(&server, &admin, "PUT", "/v1/streams/s", stream).status, 201);
    let (id, bearer) = server.token(&json!({"role": "ingest"}));
    let mut upload = server.client();
    let head = format!(
        "POST /v1/streams/s/events HTTP/1.1\r\nhost: test\r\nauthorization: {bearer}\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    upload.write(head.as_bytes());
    upload.write(b"8\r\n{\"n\":1}\n\r\n");
    let rows = || ask(&server, &admin, "GET", "/v1/streams/s/events", "").body.lines().count();
    let began = Instant::now();
    while rows() == 0 && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask(&server, &admin, "DELETE", &format!("/v1/tokens/{id}"), "").status, 204);
    let answer = upload.answer().expect("an answer");
    assert!(began.elapsed() < Duration::from_secs(9), "before a body that stands still is given up");
    assert_eq!((answer.status, &answer.json()["accepted"]), (400, &json!(1)), "{answer:?}");
    assert!(answer.body.contains("the token was revoked"), "{answer:?}");
    assert_eq!(rows(), 1, "what was taken stays");
}
