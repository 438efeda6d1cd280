//! A WebSocket that sends and subscribes: acknowledged as a POST is, never more rows than were asked for, closed with a reason.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_server::{Role, Settings};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

use crate::server::{Server, settings};

/// A client of one stream's socket.
struct Socket(WebSocket<TcpStream>);

impl Socket {
    fn try_open(server: &Server, stream: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let tcp = TcpStream::connect(server.address).expect("the service listens");
        tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        tcp.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let url = format!("ws://{}/v1/streams/{stream}/events", server.address);
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        match tungstenite::client(request, tcp) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    fn open(server: &Server) -> Self {
        Self::try_open(server, "s", &[]).expect("a WebSocket")
    }

    fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).expect("sent");
    }

    /// The next frame; pings go by.
    fn next(&mut self) -> Value {
        loop {
            match self.0.read().expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The code the host closes with; frames before it are let go.
    fn closed(&mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.expect("a reason").code.into(),
                Ok(_) => {}
                Err(error) => panic!("closed without a code: {error}"),
            }
        }
    }

    /// Rows of a subscription until `count` have come; their `n`.
    fn rows(&mut self, count: usize) -> Vec<i64> {
        let mut rows = Vec::new();
        while rows.len() < count {
            let frame = self.next();
            assert_eq!(frame["type"], "rows", "{frame}");
            rows.extend(frame["rows"].as_array().expect("rows").iter().map(|row| row["n"].as_i64().expect("n")));
        }
        rows
    }
}

fn server_with(settings: Settings) -> Server {
    let server = Server::with(settings);
    server.stream("s", "n:int64");
    server
}

fn fill(server: &Server, rows: std::ops::Range<i64>) {
    let body: String = rows.map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(server.post("s", "application/x-ndjson", body).status, 200);
}

#[test]
fn what_is_published_is_acknowledged_and_subscribers_get_it() {
    let server = server_with(settings());
    let (mut sender, mut listener) = (Socket::open(&server), Socket::open(&server));
    listener.send(&json!({"type": "subscribe", "id": "live", "from": "latest", "follow": true}));
    assert_eq!(listener.next(), json!({"type": "subscribed", "id": "live"}));
    sender.send(&json!({"type": "publish", "id": 1, "events": [{"n": 1}, {"n": "x"}, {"n": 2}]}));
    let ack = sender.next();
    assert_eq!(
        (&ack["type"], &ack["id"], &ack["accepted"], &ack["rejected_total"]),
        (&json!("ack"), &json!(1), &json!(2), &json!(1))
    );
    assert_eq!(ack["rejected"][0]["index"], 1, "{ack}");
    assert_eq!(listener.rows(2), [1, 2]);
    assert_eq!(server.rows("s"), ["{\"n\":1}", "{\"n\":2}"], "acknowledged, so anybody can read it");

    sender.send(&json!({"type": "publish", "id": "bad", "events": [{"n": "x"}]}));
    let refused = sender.next();
    assert_eq!((&refused["type"], &refused["problem"]["status"]), (&json!("refused"), &json!(422)), "{refused}");
    for n in 3..40 {
        sender.send(&json!({"type": "publish", "id": n, "events": {"n": n}}));
    }
    let mut acks: Vec<i64> = (3..40).map(|_| sender.next()["id"].as_i64().expect("an id")).collect();
    acks.sort_unstable();
    assert_eq!(acks, (3..40).collect::<Vec<_>>());
    assert_eq!(listener.rows(37), (3..40).collect::<Vec<_>>(), "in the order in which they were sent");
}

#[test]
fn one_socket_does_both() {
    let server = server_with(settings());
    fill(&server, 0..5);
    let mut socket = Socket::open(&server);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("tidemill_http_websockets 1"), "{metrics}");
    let open = metrics.lines().find_map(|line| line.strip_prefix("tidemill_http_connections ")?.parse::<u32>().ok());
    assert!(open >= Some(2), "its own, and the one that asks: {metrics}");
    socket.send(&json!({"type": "subscribe", "id": 1, "from": 3}));
    assert_eq!(socket.next()["type"], "subscribed");
    let frame = socket.next();
    assert_eq!((&frame["next"], &frame["rows"][0]["_offset"]), (&json!({"0": 5}), &json!(3)), "{frame}");
    assert_eq!(socket.next(), json!({"type": "end", "id": 1}));
    socket.send(&json!({"type": "subscribe", "id": 1, "follow": true, "limit": 6}));
    assert_eq!(socket.next()["type"], "subscribed", "an id that ended is free again");
    assert_eq!(socket.rows(5), [0, 1, 2, 3, 4]);
    socket.send(&json!({"type": "publish", "id": 2, "events": {"n": 5}}));
    let both = [socket.next(), socket.next(), socket.next()];
    for kind in ["ack", "rows", "end"] {
        assert!(both.iter().any(|frame| frame["type"] == kind), "{kind}: {both:?}");
    }
    socket.0.close(None).expect("a close");
    assert!(matches!(socket.0.read(), Ok(Message::Close(_)) | Err(Error::ConnectionClosed)));
}

#[test]
fn credit_says_how_many_rows_come() {
    let server = server_with(settings());
    fill(&server, 0..3_000);
    let mut socket = Socket::open(&server);
    socket.send(&json!({"type": "subscribe", "id": "a", "credit": 10, "follow": true}));
    assert_eq!(socket.next()["type"], "subscribed");
    assert_eq!(socket.rows(10), (0..10).collect::<Vec<_>>());
    // What would come without credit would come before this.
    socket.send(&json!({"type": "publish", "id": 1, "events": []}));
    assert_eq!(socket.next()["type"], "ack");
    socket.send(&json!({"type": "credit", "id": "a", "rows": 2_000}));
    assert_eq!(socket.rows(2_000), (10..2_010).collect::<Vec<_>>());
    socket.send(&json!({"type": "unsubscribe", "id": "a"}));
    assert_eq!(socket.next(), json!({"type": "end", "id": "a"}));
    socket.send(&json!({"type": "credit", "id": "a", "rows": 1}));
    socket.send(&json!({"type": "publish", "id": 2, "events": []}));
    assert_eq!(socket.next()["id"], 2, "an ended subscription needs no credit, and that is no fault");
}

#[test]
fn wrong_frames_are_answered_and_a_flood_of_them_is_closed() {
    let server = server_with(settings());
    let mut socket = Socket::open(&server);
    socket.send(&json!({"type": "subscribe", "id": "a", "from": "soon"}));
    let refused = socket.next();
    assert_eq!((&refused["id"], &refused["problem"]["status"]), (&json!("a"), &json!(400)), "{refused}");
    socket.send(&json!({"type": "subscribe", "id": "a", "follow": true}));
    assert_eq!(socket.next()["type"], "subscribed");
    socket.send(&json!({"type": "subscribe", "id": "a"}));
    assert_eq!(socket.next()["type"], "refused", "an id means one subscription");
    for id in 0..15 {
        socket.send(&json!({"type": "subscribe", "id": id, "follow": true}));
        assert_eq!(socket.next()["type"], "subscribed");
    }
    socket.send(&json!({"type": "subscribe", "id": 16, "follow": true}));
    assert_eq!(socket.next()["type"], "refused", "sixteen are enough");
    for _ in 0..17 {
        // The host may have closed already.
        let _ = socket.0.send(Message::text("{"));
    }
    assert_eq!(socket.closed(), 1008);

    let mut binary = Socket::open(&server);
    binary.0.send(Message::binary(vec![1, 2])).expect("sent");
    assert_eq!(binary.closed(), 1003);

    // Three MiB of it are on their way when the host has had enough: it must not reset the connection over them, or nobody would hear why.
    let mut whole = Socket::open(&server);
    whole.0.send(Message::text("x".repeat(3 << 20))).expect("sent");
    assert_eq!(whole.closed(), 1009);

    let mut large = Socket::open(&server);
    // The head of a masked text frame: its length is enough.
    let mut head = vec![0x81, 0x80 | 127];
    head.extend_from_slice(&((1_u64 << 20) + 1).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    large.0.get_mut().write_all(&head).expect("sent");
    assert_eq!(large.closed(), 1009);

    let mut pinging = Socket::open(&server);
    for _ in 0..1_000 {
        // The host may have closed already.
        let _ = pinging.0.send(Message::Ping(vec![0; 100].into()));
    }
    assert_eq!(pinging.closed(), 1008);
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn silent_and_idle_sockets_are_closed_and_so_are_all_at_the_end() {
    let quick = Settings { websocket_ping: Duration::from_millis(200), websocket_idle: Duration::from_millis(900), ..settings() };
    let mut server = server_with(quick);
    let mut idle = Socket::open(&server);
    assert_eq!(idle.closed(), 1000, "it answered every ping, but wanted nothing");

    let mut silent = Socket::open(&server);
    silent.send(&json!({"type": "subscribe", "id": 1, "follow": true}));
    // Nothing is read, so no ping is answered.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(silent.closed(), 1008);

    let mut busy = Socket::open(&server);
    busy.send(&json!({"type": "subscribe", "id": 1, "follow": true}));
    assert_eq!(busy.next()["type"], "subscribed");
    let began = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1_500));
        server.stop().expect("a clean stop");
        server
    });
    assert_eq!(busy.closed(), 1001, "kept while it is subscribed, and told when the host stops");
    assert!(began.elapsed() >= Duration::from_millis(1_400));
    drop(busy);
    stopper.join().expect("no panic");
}

#[test]
fn a_subscriber_that_reads_nothing_is_cut_off_and_hinders_nobody() {
    let server = server_with(Settings { write_stall: Duration::from_millis(500), ..settings() });
    server.stream("wide", "n:int64 text:string");
    let text = "x".repeat(1_000);
    let body: String = (0..20_000).map(|n| format!("{{\"n\":{n},\"text\":\"{text}\"}}\n")).collect();
    assert_eq!(server.post("wide", "application/x-ndjson", body).status, 200);
    let mut stuck = Socket::try_open(&server, "wide", &[]).expect("a WebSocket");
    stuck.send(&json!({"type": "subscribe", "id": 1, "follow": true}));
    let mut http = server.client();
    http.send("GET", "/v1/streams/wide/events?follow=true", &[], b"");
    std::thread::sleep(Duration::from_millis(1_500));
    // Others are served meanwhile.
    let mut other = Socket::open(&server);
    other.send(&json!({"type": "publish", "id": 1, "events": {"n": 1}}));
    assert_eq!(other.next()["accepted"], 1);
    // Twenty megabytes were on their way: what the kernel held comes, then the connection is over.
    let ended = std::iter::from_fn(|| stuck.0.read().ok()).take_while(|message| !message.is_close()).count();
    assert!(ended < 1_000, "{ended} frames came");
    assert_eq!(http.head().expect("a head").0, 200);
    let mut bytes = 0;
    while let Ok(Some(chunk)) = http.try_chunk() {
        bytes += chunk.len();
    }
    assert!(bytes < 20_000_000, "{bytes} bytes came");
}

#[test]
fn a_handshake_needs_a_stream_a_credential_and_the_right_page() {
    let server = Server::with(Settings { open: false, ..settings() });
    let open = |stream: &str, headers: &[(&'static str, &str)]| Socket::try_open(&server, stream, headers);
    assert_eq!(open("s", &[]).err(), Some(401));
    let (admin, reader, ingest) = (server.bearer(Role::Admin), server.bearer(Role::Reader), server.bearer(Role::Ingest));
    assert_eq!(open("s", &[("authorization", &admin)]).err(), Some(404));
    let headers = [("authorization", admin.as_str()), ("content-type", "application/json")];
    let made = server.request("PUT", "/v1/streams/s", &headers, br#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(open("s", &[("authorization", &admin), ("origin", "https://evil.example")]).err(), Some(403));
    assert_eq!(open("s", &[("authorization", &admin), ("sec-websocket-version", "8")]).err(), Some(400));

    let both = [json!({"type": "publish", "id": 1, "events": {"n": 1}}), json!({"type": "subscribe", "id": 2, "from": "latest"})];
    for (token, allowed) in [(&reader, "subscribed"), (&ingest, "ack")] {
        let mut socket = open("s", &[("authorization", token)]).expect("a WebSocket");
        for frame in &both {
            socket.send(frame);
        }
        let answers: Vec<Value> = (0..2).map(|_| socket.next()).collect();
        assert!(answers.iter().any(|answer| answer["type"] == allowed), "{answers:?}");
        let refused = answers.iter().find(|answer| answer["type"] == "refused").expect("the other one");
        assert_eq!(refused["problem"]["status"], 403, "{refused}");
    }
}

#[test]
fn a_socket_is_of_its_tenant_and_ends_with_its_token() {
    let server = Server::with(Settings { open: false, ..settings() });
    let admin = server.bearer(Role::Admin);
    let headers = [("authorization", admin.as_str()), ("content-type", "application/json")];
    let made = server.request("PUT", "/v1/streams/s", &headers, br#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let (_, other) = server.token(&json!({"role": "admin", "tenant": "shop"}));
    assert_eq!(Socket::try_open(&server, "s", &[("authorization", &other)]).err(), Some(404));

    let (id, bearer) = server.token(&json!({"role": "developer"}));
    let mut socket = Socket::try_open(&server, "s", &[("authorization", &bearer)]).expect("a WebSocket");
    socket.send(&json!({"type": "subscribe", "id": 1, "follow": true}));
    assert_eq!(socket.next()["type"], "subscribed");
    let revoked = server.request("DELETE", &format!("/v1/tokens/{id}"), &headers, b"");
    assert_eq!(revoked.status, 204, "{revoked:?}");
    assert_eq!(socket.closed(), 1008);
}
