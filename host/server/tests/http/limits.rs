//! Slow and oversized clients: dropped or refused in time, while others are served.

use std::time::{Duration, Instant};

use crate::server::{Server, impatient, settings};

#[test]
fn a_client_that_brings_no_request_is_dropped() {
    let server = Server::with(impatient());
    for opening in ["", "G", "GET /health/live HTTP/1.1\r\nhost: t\r\nx: ", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let began = Instant::now();
        let mut client = server.client();
        client.write(opening.as_bytes());
        let answer = client.answer();
        assert!(answer.is_none() || answer.as_ref().is_some_and(|answer| answer.status == 408), "{opening:?}: {answer:?}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{opening:?} was kept for {took:?}");
    }
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn a_header_that_drips_is_dropped_and_an_idle_connection_is_not() {
    let server = Server::with(impatient());
    let mut dripping = server.client();
    let mut idle = server.client();
    idle.send("GET", "/health/live", &[], b"");
    assert_eq!(idle.answer().expect("an answer").status, 200);
    dripping.send("GET", "/health/live", &[], b"");
    assert_eq!(dripping.answer().expect("an answer").status, 200);
    dripping.write(b"GET /health/live HTTP/1.1\r\nx: ");
    let began = Instant::now();
    while dripping.is_open() {
        assert!(began.elapsed() < Duration::from_secs(5), "a header was waited for too long");
        std::thread::sleep(Duration::from_millis(20));
        dripping.write(b"y");
    }
    // More than the time for a header has passed.
    idle.send("GET", "/health/live", &[], b"");
    assert_eq!(idle.answer().expect("an answer").status, 200);
}

#[test]
fn an_idle_connection_is_closed_in_the_end() {
    let server = Server::with(tidemill_server::Settings { idle: Duration::from_millis(300), ..settings() });
    let mut client = server.client();
    client.send("GET", "/health/live", &[], b"");
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert!(client.answer().is_none(), "closed");
}

#[test]
fn too_many_or_too_large_header_lines_are_refused() {
    let server = Server::start();
    let many: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(20 << 10));
    let huge = format!("x: {}\r\n", "y".repeat(2 << 20));
    for lines in [many, large, huge] {
        let mut client = server.client();
        client.write(format!("GET /health/live HTTP/1.1\r\nhost: t\r\n{lines}\r\n").as_bytes());
        let answer = client.answer();
        assert!(answer.is_none() || answer.as_ref().is_some_and(|answer| answer.status == 431), "{answer:?}");
    }
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn connections_over_the_bound_wait() {
    let server = Server::with(tidemill_server::Settings { connections_max: 1, ..settings() });
    let mut first = server.client();
    first.send("GET", "/health/live", &[], b"");
    assert_eq!(first.answer().expect("an answer").status, 200);
    let mut second = server.client();
    second.send("GET", "/health/live", &[], b"");
    drop(first);
    assert_eq!(second.answer().expect("served once there is room").status, 200);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let server = Server::with(tidemill_server::Settings { connections_per_address_max: 2, ..settings() });
    let mut held: Vec<_> = (0..2).map(|_| server.client()).collect();
    for client in &mut held {
        client.send("GET", "/health/live", &[], b"");
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    let mut third = server.client();
    third.send("GET", "/health/live", &[], b"");
    assert!(third.answer().is_none(), "closed as it came");
    held.pop();
    let began = Instant::now();
    loop {
        let mut client = server.client();
        client.send("GET", "/health/live", &[], b"");
        match client.answer() {
            Some(answer) => break assert_eq!(answer.status, 200),
            None => assert!(began.elapsed() < Duration::from_secs(5), "the place of a closed connection is not given again"),
        }
    }
}

#[test]
fn a_reader_that_stops_reading_is_cut_off() {
    let server = Server::with(tidemill_server::Settings { write_stall: Duration::from_millis(300), ..settings() });
    server.stream("s", "n:int64 text:string");
    let text = "x".repeat(1_000);
    let body: String = (0..20_000).map(|n| format!("{{\"n\":{n},\"text\":\"{text}\"}}\n")).collect();
    assert_eq!(server.post("s", "application/x-ndjson", body).status, 200);
    let mut slow = server.client();
    slow.send("GET", "/v1/streams/s/events", &[], b"");
    assert_eq!(slow.head().expect("a head").0, 200);
    std::thread::sleep(Duration::from_millis(1_200));
    let mut bytes = 0;
    while let Ok(Some(chunk)) = slow.try_chunk() {
        bytes += chunk.len();
    }
    assert!(bytes < 20_000_000, "{bytes} bytes came: it was never closed");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn an_answer_that_stands_still_in_http2_is_cut_off() {
    let server = Server::with(tidemill_server::Settings { write_stall: Duration::from_millis(400), ..settings() });
    server.stream("s", "n:int64 text:string");
    let text = "x".repeat(1_000);
    let body: String = (0..2_000).map(|n| format!("{{\"n\":{n},\"text\":\"{text}\"}}\n")).collect();
    assert_eq!(server.post("s", "application/x-ndjson", body).status, 200);
    // What comes of an answer when its window is never made larger, until the connection is closed.
    let come = |path: &str, settings: &[u8]| {
        // GET, http, the path and an authority, in literals.
        let header = [&[0x82, 0x86, 0x04, path.len() as u8], path.as_bytes(), &[0x01, 1, b'h']].concat();
        let mut client = server.client();
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.write(&[frame(4, 0, 0, settings), frame(1, 0x5, 1, &header)].concat());
        let began = Instant::now();
        let bytes = client.rest();
        assert!(began.elapsed() < Duration::from_secs(10), "{path} was kept with {} bytes", bytes.len());
        bytes.len()
    };
    let one_window = come("/v1/streams/s/events?follow=true", &[]);
    assert!((60_000..200_000).contains(&one_window), "{one_window} bytes");
    // SETTINGS_INITIAL_WINDOW_SIZE 0: not even the first byte of a body may go.
    let none = [0, 4, 0, 0, 0, 0];
    for path in ["/v1/streams/s/events", "/v1/streams"] {
        let bytes = come(path, &none);
        assert!((20..1_000).contains(&bytes), "{path}: {bytes} bytes");
    }
}

#[test]
fn a_body_that_is_held_may_not_crawl_and_lines_may() {
    let server = Server::with(impatient());
    server.stream("s", "n:int64");
    for (content, piece, crawls) in [("application/json", " ", true), ("application/x-ndjson", "{\"n\":1}\n", false)] {
        let mut client = server.client();
        client.write(
            format!(
                "POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: {content}\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            .as_bytes(),
        );
        // Never as long without a byte as a body may stand still, and four times as long in all.
        for _ in 0..12 {
            client.write(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
            std::thread::sleep(Duration::from_millis(100));
        }
        client.write(b"0\r\n\r\n");
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.status, if crawls { 408 } else { 200 }, "{content}: {answer:?}");
    }
    assert_eq!(server.rows("s").len(), 12);
}
