//! Bodies made to hurt: they are refused, or cost what any body of their size costs, and the host's memory does not move.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use tidemill_tests::Host;

fn host() -> Host {
    let host = Host::start();
    host.put("/v1/streams/pay", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    host
}

/// The most memory that the host ever had, in MiB.
fn peak_mib(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.process_id())).expect("its state");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

/// Sends a body of `length` bytes made by `fill`, and answers the status and the body of the answer.
fn stream(host: &Host, content_type: &str, head: &[u8], filler: &[u8], mebibytes: usize, tail: &[u8]) -> String {
    let mut stream = TcpStream::connect(host.url().trim_start_matches("http://")).expect("a connection");
    let length = head.len() + mebibytes * filler.len() + tail.len();
    let request = format!(
        "POST /v1/streams/pay/events HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    stream.write_all(head).expect("sent");
    for _ in 0..mebibytes {
        if stream.write_all(filler).is_err() {
            break;
        }
    }
    // The host may have refused it already and closed.
    let _ = stream.write_all(tail);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_line_of_a_gibibyte_is_one_rejected_row() {
    let host = host();
    let filler = vec![b'x'; 1 << 20];
    for (content_type, head, tail) in [
        ("application/x-ndjson", &b"{\"n\":1}\n{\"n\":"[..], &b"}\n{\"n\":2}\n"[..]),
        ("text/csv", &b"n\n1\n\""[..], &b"\"\n2\n"[..]),
    ] {
        let before = peak_mib(&host);
        let answer = stream(&host, content_type, head, &filler, 1 << 10, tail);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"accepted\":2"), "{content_type}: {answer}");
        assert!(answer.contains("\"rejected_total\":1"), "{answer}");
        let grown = peak_mib(&host) - before;
        assert!(grown < 48, "{content_type}: the host grew by {grown} MiB");
    }
    let json = stream(&host, "application/json", b"[\"", &filler, 64, b"\"]");
    assert!(json.starts_with("HTTP/1.1 413"), "{json}");
}

#[test]
fn nesting_costs_no_stack() {
    let host = host();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"n\":1,\"a\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        let answer = host.send_as("pay", "application/x-ndjson", deep.as_bytes()).expect(422);
        assert!(answer.body.contains("level"), "{}", answer.body);
        host.send_as("pay", "application/json", deep.as_bytes()).expect(422);
        let cut = &deep.as_bytes()[..deep.len() / 2];
        host.send_as("pay", "application/json", cut).expect(400);
        host.send_as("pay", "application/cloudevents+json", deep.as_bytes()).expect(422);
    }
    let cell = format!("n,more\n1,\"{}\"\n", "[".repeat(100_000));
    host.send_as("pay", "text/csv", cell.as_bytes()).expect(200);
    host.get("/health/live").expect(200);
}

#[test]
fn many_names_and_long_numbers_are_rows_like_others() {
    let host = host();
    let names: String = (0..50_000).map(|n| format!(",\"k{n}\":{n}")).collect();
    host.send("pay", &json!({"n": 1})).expect(200);
    host.send_as("pay", "application/x-ndjson", format!("{{\"n\":1{names}}}").as_bytes()).expect(200);
    let number = "9".repeat(500_000);
    let answer = host.send_as("pay", "application/x-ndjson", format!("{{\"n\":{number}}}").as_bytes()).expect(422);
    assert!(answer.body.contains("range"), "{}", &answer.body[..300.min(answer.body.len())]);
    let repeated = format!("{{{}\"n\":3}}", "\"n\":2,".repeat(100_000));
    host.send_as("pay", "application/x-ndjson", repeated.as_bytes()).expect(200);
    let last = host.rows("pay").pop().expect("a row");
    assert_eq!(last["n"], 3, "the last one counts");
}
