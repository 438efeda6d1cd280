//! Events in: what is taken, what is refused and with which words, and that broken requests take what they may and no more.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::disk::Syncs;
use crate::server::{START_MICROS, Server, impatient, settings, without_host_fields};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "text/plain";

/// Sends a body in both ways, small and by pieces of a chunked body, each to a stream of its own, and compares status, `accepted`,
/// `rejected_total` and the rows that can be read.
fn check(content: &str, body: &[u8], status: u16, accepted: u64, rejected: u64, rows: &[&str]) {
    let server = Server::start();
    for way in ["whole", "chunked"] {
        server.stream(way, "n:int64 s:string line:string");
        let answer = if way == "whole" {
            server.post(way, content, body)
        } else {
            let mut client = server.client();
            client.write(format!("POST /v1/streams/{way}/events HTTP/1.1\r\nhost: t\r\ncontent-type: {content}\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes());
            for piece in body.chunks((body.len() / 3).max(1)) {
                client.write(format!("{:x}\r\n", piece.len()).as_bytes());
                client.write(piece);
                client.write(b"\r\n");
            }
            client.write(b"0\r\n\r\n");
            client.answer().expect("an answer")
        };
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(answer.status, status, "{way} {shown}: {answer:?}");
        if status != 400 {
            assert_eq!(answer.json()["accepted"], accepted, "{way} {shown}: {answer:?}");
            assert_eq!(answer.json()["rejected_total"], rejected, "{way} {shown}: {answer:?}");
        } else {
            assert!(answer.json()["byte"].is_u64(), "{way} {shown}: {answer:?}");
        }
        assert_eq!(server.rows(way), rows, "{way} {shown}");
        let kept = server.get(&format!("/v1/streams/{way}.rejected/events"));
        let kept = if kept.status == 404 { 0 } else { kept.body.lines().count() as u64 };
        assert_eq!(kept, rejected, "{way} {shown}: rejected rows are kept");
    }
}

#[test]
fn json_is_one_event_or_an_array() {
    check(JSON, br#"{"n":1,"s":"a","line":null}"#, 200, 1, 0, &[r#"{"n":1,"s":"a","line":null}"#]);
    check(
        JSON,
        b" [ {\"n\":1} , {\"n\":2}\n]\r\n",
        200,
        2,
        0,
        &[r#"{"n":1,"s":null,"line":null}"#, r#"{"n":2,"s":null,"line":null}"#],
    );
    check(JSON, b"[]", 200, 0, 0, &[]);
    check(JSON, br#"{"n":1,"x":{"y":[1]}}"#, 200, 1, 0, &[r#"{"n":1,"s":null,"line":null,"x":{"y":[1]}}"#]);
    check(JSON, br#"[{"n":1},7,{"n":"x"}]"#, 200, 1, 2, &[r#"{"n":1,"s":null,"line":null}"#]);
    check(JSON, br#"[{"n":"x"}]"#, 422, 0, 1, &[]);
    check(JSON, br#"7"#, 422, 0, 1, &[]);
    check(JSON, br#"{"n":"x"}"#, 422, 0, 1, &[]);
}

#[test]
fn json_that_is_none_to_its_end_takes_nothing() {
    for body in [
        &b""[..],
        b"  ",
        b"{",
        br#"{"n":1"#,
        br#"{"n":1}}"#,
        br#"{"n":1}{"n":2}"#,
        br#"[{"n":1},{"n":2}"#,
        br#"[{"n":1},{"n":2},]"#,
        br#"[{"n":1}{"n":2}]"#,
        br#"[{"n":1},{"n":02}]"#,
        br#"{"n":"x","s":}"#,
        b"[{\"n\":1},{\"s\":\"\xff\"}]",
        b"{\"s\":\"\xff\"}",
        b"nul",
    ] {
        check(JSON, body, 400, 0, 0, &[]);
    }
}

#[test]
fn each_line_of_ndjson_stands_alone() {
    check(
        NDJSON,
        b"{\"n\":1}\r\n\n  \r\n{\"n\":\n{\"s\":\"\xff\"}\n[1]\n{\"n\":2}",
        200,
        2,
        3,
        &[r#"{"n":1,"s":null,"line":null}"#, r#"{"n":2,"s":null,"line":null}"#],
    );
    check(NDJSON, b"", 200, 0, 0, &[]);
    check(NDJSON, b"\n\n", 200, 0, 0, &[]);
    check(NDJSON, b"nothing\n", 422, 0, 1, &[]);
    let deep = format!("{{\"x\":{}{}}}\n{{\"n\":1}}\n", "[".repeat(5000), "]".repeat(5000));
    check(NDJSON, deep.as_bytes(), 200, 1, 1, &[r#"{"n":1,"s":null,"line":null}"#]);
}

#[test]
fn text_becomes_lines() {
    check(
        TEXT,
        "ein Bär\r\n\n\"quoted\"".as_bytes(),
        200,
        3,
        0,
        &[
            r#"{"n":null,"s":null,"line":"ein Bär"}"#,
            r#"{"n":null,"s":null,"line":""}"#,
            r#"{"n":null,"s":null,"line":"\"quoted\""}"#,
        ],
    );
    check(TEXT, b"good\n\xff\xfe\n", 200, 1, 1, &[r#"{"n":null,"s":null,"line":"good"}"#]);
}

#[test]
fn a_line_over_its_bound_is_one_rejected_row() {
    let line = |bytes: usize| format!("{{\"s\":\"{}\"}}", "x".repeat(bytes - 8));
    for (bytes, taken) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        for content in [NDJSON, TEXT] {
            let server = Server::start();
            server.stream("long", "s:string line:string");
            let body = format!("{}\n{{\"s\":\"b\"}}\n", line(bytes));
            let answer = server.post("long", content, body);
            assert_eq!(answer.status, 200, "{content} {bytes}: {answer:?}");
            let (accepted, rejected) = if taken { (2, 0) } else { (1, 1) };
            assert_eq!(answer.json()["accepted"], accepted, "{content} {bytes}");
            assert_eq!(answer.json()["rejected_total"], rejected, "{content} {bytes}");
            if !taken {
                assert_eq!(answer.json()["rejected"][0]["index"], 0);
            }
        }
    }
}

#[test]
fn rejections_say_why_and_are_listed_up_to_a_hundred() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let body: String = (0..150).map(|_| "{\"n\": \"x\"}\n").chain(["{\"n\":1}"]).collect();
    let answer = server.post("s", NDJSON, body).json();
    assert_eq!((&answer["accepted"], &answer["rejected_total"]), (&json!(1), &json!(150)));
    assert_eq!(answer["rejected"].as_array().expect("a list").len(), 100);
    assert_eq!(answer["rejected"][7]["index"], 7);
    assert_eq!(answer["rejected"][7]["field"], "n");
    assert!(answer["rejected"][7]["error"].as_str().expect("a text").contains("int64"), "{answer}");

    let kept = server.get("/v1/streams/s.rejected/events?limit=1").json();
    assert_eq!(kept["reason"], "schema");
    assert_eq!(kept["stream"], "s");
    assert_eq!(kept["event"], json!({"n": "x"}));
    assert_eq!(kept["bytes"], Value::Null);
    let refused = server.post("s.rejected", NDJSON, "{}");
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let path = "/v1/streams/s/events";
    let check = |path: &str, headers: &[(&str, &str)], status: u16| {
        let answer = server.request("POST", path, headers, b"{\"n\":1}");
        assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
        for member in ["type", "title", "detail", "remedy"] {
            assert!(answer.json()[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {answer:?}");
        }
    };
    check("/v1/streams/none/events", &[("content-type", JSON)], 404);
    check("/v1/streams/No/events", &[("content-type", JSON)], 400);
    check(path, &[], 415);
    check(path, &[("content-type", "text/html")], 415);
    check(path, &[("content-type", JSON), ("content-encoding", "br")], 415);
    check(path, &[("content-type", JSON), ("content-encoding", "gzip")], 400);
    check(path, &[("content-type", JSON), ("tidemill-producer", "p")], 400);
    check(path, &[("content-type", JSON), ("idempotency-key", "k"), ("tidemill-sequence", "1")], 400);
    check("/v1/streams/s/events?ack=never", &[("content-type", JSON)], 400);
    check("/v1/streams/s/events?x=1", &[("content-type", JSON)], 400);
    assert_eq!(server.rows("s").len(), 0);
    assert_eq!(server.request("DELETE", path, &[], b"").status, 405);
    let escaped = server.request("POST", "/v1/streams/%73/events", &[("content-type", JSON)], b"{\"n\":1}");
    assert_eq!(escaped.status, 200, "an escaped name takes the longer way: {escaped:?}");
}

#[test]
fn a_large_json_body_is_refused_before_and_while_it_comes() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let mut client = server.client();
    client.write(
        b"POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 33554433\r\n\r\n",
    );
    assert_eq!(client.answer().expect("an answer").status, 413);

    let mut client = server.client();
    client.write(b"POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n100000\r\n[");
    client.write(" ".repeat((1 << 20) - 1).as_bytes());
    client.write(b"\r\n");
    for _ in 0..32 {
        client.write(b"100000\r\n");
        client.write(" ".repeat(1 << 20).as_bytes());
        client.write(b"\r\n");
    }
    assert_eq!(client.answer().expect("an answer").status, 413);
    assert_eq!(server.rows("s").len(), 0);
}

#[test]
fn a_broken_connection_keeps_complete_lines_and_nothing_of_a_json_array() {
    let server = Server::start();
    for (stream, content, body, rows) in
        [("lines", NDJSON, "{\"n\":1}\n{\"n\":2}\n{\"n\":", 2), ("array", JSON, "[{\"n\":1},{\"n\":2},", 0)]
    {
        server.stream(stream, "n:int64");
        let mut client = server.client();
        client.write(format!("POST /v1/streams/{stream}/events HTTP/1.1\r\nhost: t\r\ncontent-type: {content}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()).as_bytes());
        client.finish();
        // Whether an answer still comes is not promised; the rows are looked for until they are there.
        let _ = client.answer();
        drop(client);
        let mut seen = server.rows(stream).len();
        for _ in 0..200 {
            if seen == rows {
                break;
            }
            thread::sleep(Duration::from_millis(10));
            seen = server.rows(stream).len();
        }
        assert_eq!(seen, rows, "{stream}");
    }
}

#[test]
fn broken_chunks_are_an_error_of_the_client() {
    let server = Server::start();
    server.stream("s", "n:int64");
    for chunks in
        ["zz\r\n{\"n\":1}\r\n0\r\n\r\n", "7\r\n{\"n\":1}0\r\n\r\n", "ffffffffffffffffff\r\n", "7;x=\u{1}\r\n{\"n\":1}\r\n"]
    {
        let mut client = server.client();
        client.write(format!("POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunks}").as_bytes());
        client.finish();
        if let Some(answer) = client.answer() {
            assert!((400..500).contains(&answer.status), "{chunks:?}: {answer:?}");
        }
    }
    assert_eq!(server.rows("s").len(), 0);
    assert_eq!(server.post("s", JSON, "{\"n\":1}").status, 200, "the service lives");
}

#[test]
fn a_body_that_stands_still_is_ended_and_its_lines_stay() {
    let server = Server::with(impatient());
    server.stream("s", "n:int64");
    let mut client = server.client();
    client.write(b"POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n");
    let answer = client.answer().expect("an answer");
    assert_eq!((answer.status, &answer.json()["accepted"]), (408, &json!(1)), "{answer:?}");
    assert_eq!(server.rows("s").len(), 1);
}

#[test]
fn a_body_that_comes_in_drips_is_on_disk_before_it_ends() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let mut client = server.client();
    client.write(b"POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n");
    let mut follower = server.client();
    follower.send("GET", "/v1/streams/s/events?follow=true", &[], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    let line = String::from_utf8(follower.chunk().expect("a row")).expect("UTF-8");
    assert_eq!(without_host_fields(line.trim_end()), "{\"n\":1}");
    client.write(b"8\r\n{\"n\":2}\n\r\n0\r\n\r\n");
    assert_eq!(client.answer().expect("an answer").json()["accepted"], 2);
}

#[test]
fn concurrent_single_events_share_groups_and_frames() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let before = server.log.stats();
    // While the first group syncs, the others gather, however fast the disk is.
    server.disk.set(Syncs::Wait);
    thread::scope(|scope| {
        for n in 0..64 {
            let server = &server;
            scope.spawn(move || {
                let answer = server.post("s", JSON, format!("{{\"n\":{n}}}"));
                assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
            });
        }
        thread::sleep(Duration::from_secs(1));
        server.disk.set(Syncs::Work);
    });
    let after = server.log.stats();
    let (groups, frames) = (after.groups - before.groups, after.frames - before.frames);
    let number = |row: &String| serde_json::from_str::<Value>(row).expect("a row")["n"].as_i64().expect("a number");
    let mut seen: Vec<i64> = server.rows("s").iter().map(number).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<_>>(), "every event once");
    assert!(groups <= 8, "64 requests took {groups} groups: they do not share them");
    assert!(frames <= groups, "64 requests took {frames} frames in {groups} groups: they do not share the builder");
}

#[test]
fn events_have_the_time_of_their_arrival_unless_they_bring_one() {
    let server = Server::start();
    server.stream("s", "n:int64");
    assert_eq!(server.post("s", JSON, "{\"n\":1,\"_time\":\"1999-01-01T00:00:00Z\",\"_offset\":9}").status, 200);
    let row = server.get("/v1/streams/s/events").json();
    let time = tidemill_event::EventTime::parse_rfc3339(row["_time"].as_str().expect("a time")).expect("a time");
    assert!((START_MICROS..START_MICROS + 1000).contains(&time.0), "{row}");
    assert_eq!((&row["_offset"], &row["_partition"]), (&json!(0), &json!(0)));
    // What was read can be sent again.
    assert_eq!(server.post("s", JSON, row.to_string()).status, 200);
    assert_eq!(server.rows("s"), ["{\"n\":1}", "{\"n\":1}"]);
}

#[test]
fn an_undeclared_stream_finds_its_fields_and_widens_them() {
    let server = Server::start();
    assert_eq!(server.put("/v1/streams/s", r#"{"schema": "infer"}"#).status, 201);
    let broken = server.post("s", JSON, r#"[{"other": true},"#);
    assert_eq!(broken.status, 400, "{broken:?}");
    let first = server.post("s", NDJSON, "{\"n\":1,\"t\":\"x\"}\n{\"n\":2,\"o\":{\"a\":1}}\n");
    assert_eq!((first.status, &first.json()["accepted"]), (200, &json!(2)), "{first:?}");
    let fields = |server: &Server| -> Vec<String> {
        let stream = server.get("/v1/streams/s").json();
        let fields = stream["fields"].as_array().expect("fields").clone();
        fields.iter().map(|field| format!("{}:{}", field["name"].as_str().unwrap(), field["type"].as_str().unwrap())).collect()
    };
    assert_eq!(fields(&server), ["n:int64", "t:string", "o:json"]);
    let wider = server.post("s", NDJSON, "{\"n\":3}\n{\"n\":4.5}\n{\"n\":5,\"t\":[1]}\n");
    assert_eq!((wider.status, &wider.json()["accepted"]), (200, &json!(3)), "{wider:?}");
    assert_eq!(fields(&server), ["n:float64", "t:json", "o:json"]);
    let json = server.post("s", JSON, r#"[{"n":6,"new":1}]"#);
    assert_eq!((json.status, &json.json()["accepted"]), (200, &json!(1)), "{json:?}");
    assert_eq!(server.rows("s").len(), 6);
    let text = server.put("/v1/streams/t", r#"{"schema": "infer"}"#);
    assert_eq!(text.status, 201);
    assert_eq!(server.post("t", TEXT, "one\ntwo").json()["accepted"], 2);
    assert_eq!(server.rows("t"), [r#"{"line":"one"}"#, r#"{"line":"two"}"#]);
}

/// The key has no column before the first row brings it; and a column that becomes wider is the key all the same.
#[test]
fn rows_of_an_undeclared_stream_are_placed_by_their_key_from_the_first_one_on() {
    let server = Server::start();
    assert_eq!(server.put("/v1/streams/s", r#"{"schema": "infer", "key": ["k"], "partitions": 8}"#).status, 201);
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    for more in ["", ",\"later\":1", ",\"later\":1.5"] {
        let rows: String = keys.iter().map(|key| format!("{{\"k\":\"{key}\"{more}}}\n")).collect();
        assert_eq!(server.post("s", NDJSON, rows).json()["accepted"], 20);
    }
    let mut places: Vec<HashSet<usize>> = vec![HashSet::new(); keys.len()];
    for partition in 0..8 {
        let rows = server.get(&format!("/v1/streams/s/events?partition={partition}")).body;
        for row in rows.lines() {
            let row: Value = serde_json::from_str(row).expect("a row");
            let key = keys.iter().position(|key| row["k"] == **key).expect("a key that was sent");
            places[key].insert(partition);
        }
    }
    assert!(places.iter().all(|places| places.len() == 1), "each key has one partition: {places:?}");
    assert!(places.iter().flatten().collect::<HashSet<_>>().len() > 2, "keys are spread: {places:?}");
}

#[test]
fn a_large_upload_is_taken_in_order_with_bounded_memory() {
    let server = Server::start();
    server.stream("s", "n:int64 s:string");
    let body: String = (0..100_000).map(|n| format!("{{\"n\":{n},\"s\":\"some text that repeats\"}}\n")).collect();
    let answer = server.post("s", NDJSON, body);
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(100_000)), "{answer:?}");
    let rows = server.get("/v1/streams/s/events");
    for (expected, line) in rows.body.lines().enumerate() {
        assert!(line.starts_with(&format!("{{\"n\":{expected},")), "row {expected}: {line}");
    }
    assert_eq!(rows.body.lines().count(), 100_000);
}

#[test]
fn a_number_that_is_forgotten_is_refused_and_not_taken_again() {
    let server = Server::over(settings(), |log| log.tenant_requests_bytes_max = 4_000);
    server.stream("s", "n:int64");
    let send = |sequence: u64| {
        let sequence = sequence.to_string();
        let headers = [("content-type", NDJSON), ("tidemill-producer", "till 7"), ("tidemill-sequence", &sequence)];
        server.request("POST", "/v1/streams/s/events", &headers, format!("{{\"n\":{sequence}}}\n").as_bytes())
    };
    (0..40).for_each(|sequence| assert_eq!(send(sequence).status, 200, "{sequence}"));
    assert_eq!(send(39).json()["duplicate"], true);
    let refused = send(3);
    let problem = refused.json();
    assert_eq!((refused.status, &problem["type"]), (409, &json!("urn:tidemill:problem:forgotten-request")), "{problem}");
    let through = problem["forgotten_through"].as_u64().expect("a number");
    assert!((10..39).contains(&through), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`till 7`")), "{problem}");
    assert_eq!((send(through).status, send(through + 1).json()["duplicate"].clone()), (409, json!(true)));
    assert_eq!(send(40).status, 200);
    assert_eq!(server.rows("s").len(), 41, "each once");
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let server = Server::start();
    server.stream("s", "n:int64");
    let lines = "{\"n\":1}\n".repeat(300_000);
    for (path, content, status) in [
        ("/v1/streams/none/events", NDJSON, 404),
        ("/v1/streams/s/events", "image/png", 415),
        ("/v1/streams/s/events?ack=never", NDJSON, 400),
    ] {
        for _ in 0..5 {
            assert_eq!(server.request("POST", path, &[("content-type", content)], lines.as_bytes()).status, status, "{path}");
        }
    }
    // Who asks first is told before it sends.
    let mut client = server.client();
    let head = "POST /v1/streams/none/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-ndjson\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n";
    client.write(head.as_bytes());
    assert_eq!(client.answer().expect("an answer").status, 404);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_event() {
    check(
        NDJSON,
        b"\xef\xbb\xbf{\"n\":1}\n{\"n\":2}\n",
        200,
        2,
        0,
        &[r#"{"n":1,"s":null,"line":null}"#, r#"{"n":2,"s":null,"line":null}"#],
    );
    check(JSON, b"\xef\xbb\xbf{\"n\":1}", 200, 1, 0, &[r#"{"n":1,"s":null,"line":null}"#]);
    check(
        TEXT,
        b"\xef\xbb\xbfa\n\xef\xbb\xbfb",
        200,
        2,
        0,
        &[r#"{"n":null,"s":null,"line":"a"}"#, "{\"n\":null,\"s\":null,\"line\":\"\u{feff}b\"}"],
    );
    let server = Server::start();
    server.stream("s", "n:int64");
    assert_eq!(server.post("s", JSON, b"\xef\xbb\xbf[{\"n\":1},]").json()["byte"], 12, "places are those of the body");
}
