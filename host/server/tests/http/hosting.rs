//! Health, metrics, the description of the API, and how the service ends.

use std::collections::BTreeSet;

use crate::server::Server;

#[test]
fn it_says_that_it_lives_and_is_ready() {
    let server = Server::start();
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.get("/health/ready").status, 200);
}

#[test]
fn metrics_count_requests_rows_and_the_log() {
    let server = Server::start();
    server.stream("s", "n:int64");
    assert_eq!(server.post("s", "application/x-ndjson", "{\"n\":1}\n{\"n\":\"x\"}\n").status, 200);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    for line in [
        "tidemill_events_accepted_total 1",
        "tidemill_events_rejected_total 1",
        r#"tidemill_http_request_seconds_count{method="POST",route="/v1/streams/{stream}/events",status="2xx"} 1"#,
        r#"tidemill_http_request_seconds_count{method="PUT",route="/v1/streams/{stream}",status="2xx"} 1"#,
        "# TYPE tidemill_log_sync_seconds histogram",
    ] {
        assert!(metrics.body.lines().any(|known| known == line), "`{line}` is missing in\n{}", metrics.body);
    }
    let value = |name: &str| -> f64 {
        let line = metrics.body.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(value("tidemill_log_syncs_total") >= 1.0);
    assert_eq!(value("tidemill_log_sync_seconds_count"), value("tidemill_log_syncs_total"));
    assert!(metrics.body.trim_end().ends_with("# EOF"));
}

#[test]
fn every_described_path_has_a_handler() {
    let server = Server::start();
    let document = server.get("/v1/openapi.json").json();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let concrete = path.replace("{stream}", "x").replace("{name}", "x").replace("{version}", "1.0.0");
            let answer = server.request(&method.to_uppercase(), &concrete, &[("content-type", "application/json")], b"");
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!answer.body.contains("unknown-route"), "{method} {path}");
            described.insert(format!("{method} {path}"));
        }
    }
    assert!(described.contains("post /v1/streams/{stream}/events"), "{described:?}");
    assert_eq!(server.get("/v1/nothing").status, 404);
}

#[test]
fn a_stop_lets_requests_end_and_refuses_new_connections() {
    let mut server = Server::start();
    server.stream("s", "n:int64");
    let mut client = server.client();
    client.write(b"POST /v1/streams/s/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n");
    // The row is on disk: the request is known to be in flight.
    while server.rows("s").is_empty() {}
    let stopped = std::thread::scope(|scope| {
        let ending = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            client.write(b"8\r\n{\"n\":2}\n\r\n0\r\n\r\n");
            client.answer().expect("an answer")
        });
        let address = server.address;
        server.stop().expect("a clean stop");
        let answer = ending.join().expect("no panic");
        assert_eq!(answer.json()["accepted"], 2, "{answer:?}");
        std::net::TcpStream::connect(address)
    });
    assert!(stopped.is_err(), "nobody listens any more");
}
