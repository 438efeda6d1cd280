//! Server-sent events: an id is a whole cut, and whoever resumes with it gets every row once.

use std::time::Duration;

use serde_json::Value;
use tidemill_server::Settings;

use crate::client::Answer;
use crate::server::{Server, settings};

const SSE: (&str, &str) = ("accept", "text/event-stream");

fn sixty() -> Server {
    let server = Server::start();
    server.keyed(60);
    server
}

/// Events as (id, n); what a client would have as its last id comes with each.
fn events(body: &str) -> Vec<(String, i64)> {
    let event = |text: &str| {
        let (id, data) = text.strip_prefix("id: ")?.split_once("\ndata: ")?;
        let row: Value = serde_json::from_str(data).expect("JSON");
        Some((id.to_owned(), row["n"].as_i64().expect("n")))
    };
    body.split("\n\n").filter_map(event).collect()
}

fn get(server: &Server, query: &str, last_event_id: Option<&str>) -> Answer {
    let mut headers = vec![SSE];
    headers.extend(last_event_id.map(|id| ("last-event-id", id)));
    server.request("GET", &format!("/v1/streams/s/events{query}"), &headers, b"")
}

#[test]
fn every_id_is_a_place_to_go_on_from() {
    let server = sixty();
    let whole = get(&server, "", None);
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("text/event-stream")));
    assert!(whole.body.starts_with("retry: 1000\n\n"), "{}", whole.body);
    let whole = events(&whole.body);
    assert_eq!(whole.len(), 60);
    assert_eq!(whole[59].0.split(',').count(), 3, "{}", whole[59].0);
    for taken in [0, 19, 31, 58] {
        let rest = get(&server, "", Some(&whole[taken].0));
        let rest = events(&rest.body);
        assert_eq!(rest, whole[taken + 1..], "after {taken}");
    }
    assert_eq!(get(&server, "", Some(&whole[59].0)).status, 204, "the end, and nobody asked to stay");
}

#[test]
fn one_partition_a_limit_and_an_end() {
    let server = sixty();
    let of_one = server.get("/v1/streams/s/events?partition=1").body.lines().count();
    let one = events(&get(&server, "?partition=1", None).body);
    assert_eq!(one.len(), of_one);
    assert_eq!(one[0].0, "1:1", "only what is read");
    assert_eq!(events(&get(&server, "?partition=1&limit=2", None).body), one[..2]);
    assert_eq!(events(&get(&server, "?partition=1&until=3", Some("1:1")).body), one[1..3]);
    assert_eq!(events(&get(&server, "?from=latest", None).body), []);
}

#[test]
fn what_is_no_place_in_the_stream_is_refused() {
    let server = sixty();
    for (query, id) in [("", "soon"), ("", "0:1,0:2"), ("", "7:1"), ("?partition=1", "0:1"), ("", "0:1000")] {
        let answer = get(&server, query, Some(id));
        assert_eq!(answer.status, 400, "{id}: {answer:?}");
        assert!(answer.json()["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    }
}

#[test]
fn a_silent_stream_says_that_it_is_there() {
    let server = Server::with(Settings { keep_alive: Duration::from_millis(50), ..settings() });
    server.stream("s", "n:int64");
    let mut follower = server.client();
    follower.send("GET", "/v1/streams/s/events?follow=true", &[SSE], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    assert_eq!(follower.chunk().expect("at once"), b"retry: 1000\n\n");
    assert_eq!(follower.chunk().expect("a comment"), b":\n\n");
    assert_eq!(server.post("s", "application/json", "{\"n\":1}").status, 200);
    let row = std::iter::from_fn(|| follower.chunk()).find(|chunk| chunk.starts_with(b"id: 0:1\ndata: "));
    assert!(row.is_some(), "and its rows come all the same");
}

#[test]
fn a_follower_that_comes_again_misses_nothing() {
    let server = sixty();
    let mut id = events(&get(&server, "", None).body)[59].0.clone();
    for n in 60..63 {
        let mut follower = server.client();
        follower.send("GET", "/v1/streams/s/events?follow=true", &[SSE, ("last-event-id", &id)], b"");
        assert_eq!(follower.head().expect("a head").0, 200);
        assert_eq!(follower.chunk().expect("at once").as_slice(), b"retry: 1000\n\n");
        // While it follows, or while nobody does.
        if n % 2 == 0 {
            drop(follower);
        }
        assert_eq!(server.post("s", "application/json", format!("{{\"k\":\"key {n}\",\"n\":{n}}}")).status, 200);
        let mut follower = server.client();
        follower.send("GET", "/v1/streams/s/events?follow=true&limit=1", &[SSE, ("last-event-id", &id)], b"");
        let seen = events(&follower.answer().expect("an answer").body);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].1, n);
        id.clone_from(&seen[0].0);
    }
}
