//! A disk that is slow or broken: requests wait, are refused with `Retry-After`, and nothing is acknowledged that is not on disk.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tidemill_server::ServiceError;

use crate::disk::Syncs;
use crate::server::{Server, settings};

const NDJSON: &str = "application/x-ndjson";

fn rows(count: usize) -> String {
    (0..count).map(|n| format!("{{\"n\":{n},\"s\":\"{n} {}\"}}\n", "x".repeat(90))).collect()
}

#[test]
fn nothing_is_acknowledged_before_it_is_on_disk() {
    let server = Server::start();
    server.stream("s", "n:int64 s:string");
    server.disk.set(Syncs::Wait);
    thread::scope(|scope| {
        for (content, body) in [("application/json", "{\"n\":1}".to_owned()), (NDJSON, rows(2_000))] {
            let server = &server;
            scope.spawn(move || {
                let answer = server.post("s", content, body);
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(!server.rows("s").is_empty(), "acknowledged, so it can be read");
            });
        }
        thread::sleep(Duration::from_millis(300));
        assert!(server.rows("s").is_empty(), "readers see what is on disk");
        server.disk.set(Syncs::Work);
    });
    assert_eq!(server.rows("s").len(), 2_001);
}

#[test]
fn what_does_not_fit_the_queue_is_refused_and_may_come_again() {
    let server = Server::over(settings(), |log| log.queue_bytes_max = 64 << 10);
    server.stream("s", "n:int64 s:string");
    server.disk.set(Syncs::Wait);
    let answers: Vec<_> = thread::scope(|scope| {
        let requests: Vec<_> = (0..12).map(|_| scope.spawn(|| server.post("s", NDJSON, rows(1_000)))).collect();
        // Longer than a request waits for room.
        thread::sleep(Duration::from_millis(4_000));
        server.disk.set(Syncs::Work);
        requests.into_iter().map(|request| request.join().expect("no panic")).collect()
    });
    let mut accepted = 0;
    for answer in &answers {
        match answer.status {
            200 => accepted += 1_000,
            503 => {
                assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
                assert_eq!(answer.json()["accepted"], 0, "{answer:?}");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 503), "the queue was never full");
    assert_eq!(server.rows("s").len(), accepted, "what was accepted, and nothing else");
    assert_eq!(server.post("s", NDJSON, rows(10)).json()["accepted"], 10, "it goes on");
}

#[test]
fn a_failed_sync_ends_the_service() {
    let mut server = Server::start();
    server.stream("s", "n:int64");
    assert_eq!(server.post("s", "application/json", "{\"n\":1}").json()["accepted"], json!(1));
    server.disk.set(Syncs::Fail);
    let mut client = server.client();
    client.send("POST", "/v1/streams/s/events", &[("content-type", "application/json")], b"{\"n\":2}");
    if let Some(answer) = client.answer() {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    let ended = server.ended();
    assert!(matches!(ended, Err(ServiceError::LogFailed(_))), "{ended:?}");
}
