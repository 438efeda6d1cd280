//! A request that is sent twice is taken once: by key, by producer and sequence, at the same time, after a kill, after half of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Answer, Host, eventually};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn host() -> Host {
    let host = Host::start();
    host.put("/v1/streams/pay", &json!({"fields": [{"name": "n", "type": "int64"}], "partitions": 3})).expect(201);
    host
}

fn keyed(host: &Host, key: &str, body: &str) -> Answer {
    host.send_with("pay", &[NDJSON, ("idempotency-key", key)], body.as_bytes())
}

fn numbers(host: &Host) -> Vec<u64> {
    let mut numbers: Vec<u64> = host.rows("pay").iter().filter_map(|row| row["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_key_is_answered_as_the_first_time_also_after_a_kill() {
    let mut host = host();
    let first = keyed(&host, "a", "{\"n\":1}\n{\"n\":\"x\"}\n{\"n\":2}\n").expect(200).json();
    assert_eq!((&first["accepted"], &first["rejected_total"], &first["duplicate"]), (&json!(2), &json!(1), &Value::Null));
    let again = keyed(&host, "a", "{\"n\":1}\n{\"n\":\"x\"}\n{\"n\":2}\n").expect(200).json();
    assert_eq!(again["duplicate"], json!(true), "{again}");
    assert_eq!((&again["accepted"], &again["rejected"]), (&first["accepted"], &first["rejected"]));
    // The name says which request it is, not the bytes.
    assert_eq!(keyed(&host, "a", "{\"n\":7}\n").expect(200).json()["duplicate"], json!(true));
    let none = keyed(&host, "none", "{\"n\":\"x\"}\n").expect(422).json();
    let none_again = keyed(&host, "none", "{\"n\":\"x\"}\n").expect(422).json();
    assert_eq!((&none["duplicate"], &none_again["duplicate"]), (&Value::Null, &json!(true)));
    host.kill();
    host.launch();
    assert_eq!(keyed(&host, "a", "{\"n\":9}\n").expect(200).json()["accepted"], 2, "remembered across a kill");
    assert_eq!(keyed(&host, "b", "{\"n\":3}\n").expect(200).json()["duplicate"], Value::Null);
    assert_eq!(numbers(&host), [1, 2, 3]);
    assert_eq!(host.rows("pay.rejected").len(), 2);
}

#[test]
fn a_producer_numbers_its_requests() {
    let host = host();
    let send = |producer: &str, sequence: &str, body: &str| {
        let headers = [NDJSON, ("tidemill-producer", producer), ("tidemill-sequence", sequence)];
        host.send_with("pay", &headers, body.as_bytes())
    };
    for (producer, sequence, n, duplicate) in [
        ("p", "0", 1, false),
        ("p", "1", 2, false),
        ("p", "1", 3, true),
        ("q", "1", 4, false),
        ("p", "5", 5, false),
        ("p", "0", 6, true),
    ] {
        let answer = send(producer, sequence, &format!("{{\"n\":{n}}}\n")).expect(200).json();
        assert_eq!(answer["duplicate"].as_bool().unwrap_or(false), duplicate, "{producer} {sequence}: {answer}");
    }
    assert_eq!(numbers(&host), [1, 2, 4, 5]);
    send("p", "x", "{\"n\":1}\n").expect(400);
    host.send_with("pay", &[NDJSON, ("tidemill-producer", "p")], b"{\"n\":1}\n").expect(400);
}

#[test]
fn requests_of_one_key_at_the_same_time_are_one() {
    let host = host();
    let body: String = (0..5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| keyed(&host, "k", &body).expect(200).json())).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert!(answers.iter().all(|answer| answer["accepted"] == 5_000), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer["duplicate"].is_null()).count(), 1, "{answers:?}");
    assert_eq!(numbers(&host), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_retry_goes_on_where_the_first_broke_off() {
    let host = host();
    let lines: Vec<String> = (0..120_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for (attempt, taken) in [(0, 30_000), (1, 75_000)] {
        let mut stream = TcpStream::connect(host.url().trim_start_matches("http://")).expect("a connection");
        let head = "POST /v1/streams/pay/events HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-ndjson\r\nidempotency-key: half\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("sent");
        for chunk in lines[..taken].chunks(1_000) {
            let chunk = chunk.concat();
            stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).expect("sent");
        }
        // Complete lines stand even if the client goes away in the middle.
        let landed = numbers(&host).len();
        drop(stream);
        eventually("rows of the first part", Duration::from_secs(20), || {
            numbers(&host).len() >= landed.max(attempt * 30_000 + 1)
        });
    }
    let other = keyed(&host, "half", &lines[..10].concat()).expect(409).json();
    assert!(other["detail"].as_str().is_some_and(|detail| detail.contains("has only 10")), "{other}");
    let answer = keyed(&host, "half", &lines.concat()).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["duplicate"]), (&json!(120_000), &Value::Null), "{answer}");
    assert_eq!(numbers(&host), (0..120_000).collect::<Vec<_>>(), "each once");
    assert_eq!(keyed(&host, "half", "").expect(200).json()["duplicate"], json!(true));
}

#[test]
fn an_acknowledgement_from_memory_says_so() {
    let host = host();
    let send = |body: &[u8]| host.ask("POST", "/v1/streams/pay/events?ack=memory", Some(NDJSON.1), body).expect(200).json();
    assert_eq!(send(b"{\"n\":1}\n{\"n\":\"x\"}\n")["durable"], json!(false));
    let large: String = (2..30_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let answer = send(large.as_bytes());
    assert_eq!((&answer["durable"], &answer["accepted"]), (&json!(false), &json!(29_998)));
    eventually("every row is there", Duration::from_secs(20), || numbers(&host).len() == 29_999);
    assert_eq!(host.send_as("pay", NDJSON.1, b"{\"n\":0}").expect(200).json()["durable"], Value::Null);
    host.ask("POST", "/v1/streams/pay/events?ack=never", Some(NDJSON.1), b"{\"n\":1}").expect(400);
}

#[test]
fn a_body_that_stands_still_is_given_up() {
    let host = host();
    let mut stream = TcpStream::connect(host.url().trim_start_matches("http://")).expect("a connection");
    let head = "POST /v1/streams/pay/events HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-ndjson\r\ncontent-length: 1000000\r\n\r\n{\"n\":1}\n{\"n\":";
    stream.write_all(head.as_bytes()).expect("sent");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(numbers(&host), [1], "what was complete stays");
}
