//! Events out: by offset, by time, by partition, with a limit, and live.

use serde_json::Value;

use crate::server::Server;

const NDJSON: &str = "application/x-ndjson";

/// Ten rows, one a second, on one partition, sent in two requests.
fn ten() -> Server {
    let server = Server::start();
    let made = server.put("/v1/streams/s", r#"{"fields": [{"name": "n", "type": "int64"}, {"name": "ts", "type": "timestamp", "unit": "s"}], "time": {"field": "ts"}}"#);
    assert_eq!(made.status, 201, "{made:?}");
    for half in [0..5, 5..10] {
        let body: String = half.map(|n| format!("{{\"n\":{n},\"ts\":{n}}}\n")).collect();
        assert_eq!(server.post("s", NDJSON, body).status, 200);
    }
    server
}

fn numbers(body: &str) -> Vec<i64> {
    body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["n"].as_i64().expect("n")).collect()
}

#[test]
fn rows_by_offset_time_and_limit() {
    let server = ten();
    let check = |query: &str, expected: &[i64]| {
        let answer = server.get(&format!("/v1/streams/s/events{query}"));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some(NDJSON));
        assert_eq!(numbers(&answer.body), expected, "{query}");
    };
    check("", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    check("?from=earliest&limit=3", &[0, 1, 2]);
    check("?from=7", &[7, 8, 9]);
    check("?from=4&until=6", &[4, 5]);
    check("?from=4&until=6&limit=1", &[4]);
    check("?from=latest", &[]);
    check("?from=10", &[]);
    check("?from=1000", &[]);
    check("?limit=0", &[]);
    check("?from=1970-01-01T00:00:03Z", &[3, 4, 5, 6, 7, 8, 9]);
    check("?from=1970-01-01T00:00:03Z&until=1970-01-01T00:00:06Z", &[3, 4, 5]);
    check("?from=1970-01-01T00:00:02.5Z&until=1970-01-01T00:00:06.5Z&limit=2", &[3, 4]);
    check("?until=1970-01-01T00:00:02Z", &[0, 1]);
    check("?from=2&until=1970-01-01T00:00:04Z&partition=0", &[2, 3]);
}

#[test]
fn a_row_carries_its_place() {
    let server = ten();
    let row = server.get("/v1/streams/s/events?from=3&limit=1");
    assert_eq!(row.body, "{\"n\":3,\"ts\":3,\"_partition\":0,\"_offset\":3,\"_time\":\"1970-01-01T00:00:03.000000Z\"}\n");
}

#[test]
fn wrong_requests_say_what_to_change() {
    let server = ten();
    let made = server.put("/v1/streams/two", r#"{"fields": [{"name": "n", "type": "int64"}], "partitions": 2}"#);
    assert_eq!(made.status, 201);
    let check = |path: &str, status: u16| {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    };
    check("/v1/streams/none/events", 404);
    check("/v1/streams/s.rejected/events", 404);
    check("/v1/streams/two/events?from=3", 400);
    check("/v1/streams/two/events?partition=2", 400);
    check("/v1/streams/s/events?from=soon", 400);
    check("/v1/streams/s/events?offset=3", 400);
    check("/v1/streams/s/events?follow=1", 400);
    assert_eq!(server.get("/v1/streams/two/events?from=0&partition=1").status, 200);
    let image = server.request("GET", "/v1/streams/s/events", &[("accept", "image/png")], b"");
    assert_eq!(image.status, 406, "{image:?}");
    let any = server.request("GET", "/v1/streams/s/events", &[("accept", "text/html, */*;q=0.8")], b"");
    assert_eq!(any.status, 200);
}

#[test]
fn a_stream_without_rows_answers_nothing() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let answer = server.get("/v1/streams/s/events");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn partitions_come_one_after_the_other_and_keep_their_order() {
    let server = Server::start();
    let made = server.put(
        "/v1/streams/s",
        r#"{"fields": [{"name": "k", "type": "string"}, {"name": "n", "type": "int64"}], "key": ["k"], "partitions": 3}"#,
    );
    assert_eq!(made.status, 201);
    let body: String = (0..300).map(|n| format!("{{\"k\":\"key {}\",\"n\":{n}}}\n", n % 7)).collect();
    assert_eq!(server.post("s", NDJSON, body).status, 200);
    let answer = server.get("/v1/streams/s/events");
    let rows: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 300);
    let places: Vec<(u64, u64)> =
        rows.iter().map(|row| (row["_partition"].as_u64().expect("p"), row["_offset"].as_u64().expect("o"))).collect();
    assert!(places.is_sorted(), "partition by partition, offset by offset");
    for key in 0..7 {
        let of_key: Vec<&Value> = rows.iter().filter(|row| row["k"] == format!("key {key}")).collect();
        assert!(of_key.iter().all(|row| row["_partition"] == of_key[0]["_partition"]), "a key has one partition");
        assert!(of_key.is_sorted_by_key(|row| row["n"].as_u64()), "a key keeps its order");
    }
    let one = server.get("/v1/streams/s/events?partition=1");
    assert_eq!(one.body.lines().count(), places.iter().filter(|(partition, _)| *partition == 1).count());
}

#[test]
fn a_follower_sees_rows_as_they_come() {
    let server = ten();
    let mut follower = server.client();
    follower.send("GET", "/v1/streams/s/events?from=latest&follow=true&limit=3", &[], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    for n in 10..13 {
        assert_eq!(server.post("s", "application/json", format!("{{\"n\":{n},\"ts\":{n}}}")).status, 200);
        let line = String::from_utf8(follower.chunk().expect("a row")).expect("UTF-8");
        assert_eq!(numbers(&line), [n]);
    }
    assert_eq!(follower.chunk(), None, "the limit ends it");
}

#[test]
fn a_follower_from_the_beginning_misses_nothing_and_ends_with_the_service() {
    let mut server = ten();
    let mut follower = server.client();
    follower.send("GET", "/v1/streams/s/events?follow=true", &[], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    let mut seen = Vec::new();
    while seen.len() < 10 {
        seen.extend(numbers(&String::from_utf8(follower.chunk().expect("rows")).expect("UTF-8")));
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    server.stop().expect("a clean stop");
    assert_eq!(follower.chunk(), None, "a clean end, not a broken one");
}
