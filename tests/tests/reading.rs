//! Events out over HTTP: by offset and by time, up to what was durable or following on, across restarts.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Connection, Host};

fn host(partitions: u32) -> Host {
    let host = Host::start();
    let definition = json!({
        "fields": [{"name": "ts", "type": "timestamp", "unit": "s"}, {"name": "n", "type": "int64"}, {"name": "k", "type": "string"}],
        "time": {"field": "ts"}, "key": ["k"], "partitions": partitions
    });
    host.put("/v1/streams/ticks", &definition).expect(201);
    let rows: Vec<Value> = (0..10).map(|n| json!({"ts": 1_700_000_000 + n * 60, "n": n, "k": format!("k{n}")})).collect();
    host.send("ticks", &Value::Array(rows)).expect(200);
    host
}

fn numbers(rows: &[Value]) -> Vec<i64> {
    let mut numbers: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

fn read(host: &Host, query: &str) -> Vec<i64> {
    numbers(&host.get(&format!("/v1/streams/ticks/events?{query}")).expect(200).rows())
}

#[test]
fn from_an_offset_a_time_or_an_end() {
    let host = host(1);
    assert_eq!(read(&host, ""), (0..10).collect::<Vec<_>>());
    assert_eq!(read(&host, "from=earliest&limit=3"), [0, 1, 2]);
    assert_eq!(read(&host, "from=7"), [7, 8, 9]);
    assert_eq!(read(&host, "from=latest"), [] as [i64; 0]);
    assert_eq!(read(&host, "from=2023-11-14T22:18:20Z&until=2023-11-14T22:21:20Z"), [5, 6, 7], "from is in, until is out");
    let row = &host.rows("ticks")[3];
    assert_eq!(row["_offset"], 3);
    assert_eq!(row["_partition"], 0);
    assert_eq!(row["_time"], "2023-11-14T22:16:20.000000Z");
    host.get("/v1/streams/ticks/events?from=yesterday").expect(400);
    host.get("/v1/streams/ticks/events?colour=red").expect(400);
    host.get("/v1/streams/nobody/events").expect(404);
}

#[test]
fn an_offset_needs_a_partition_where_there_are_several() {
    let host = host(4);
    host.get("/v1/streams/ticks/events?from=1").expect(400);
    let whole = host.rows("ticks");
    assert_eq!(numbers(&whole), (0..10).collect::<Vec<_>>());
    for partition in 0..4 {
        let one = host.get(&format!("/v1/streams/ticks/events?partition={partition}")).expect(200).rows();
        let of_whole: Vec<&Value> = whole.iter().filter(|row| row["_partition"] == partition).collect();
        assert_eq!(one.iter().collect::<Vec<_>>(), of_whole);
        let offsets: Vec<u64> = one.iter().map(|row| row["_offset"].as_u64().expect("an offset")).collect();
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
    }
    host.get("/v1/streams/ticks/events?partition=4").expect_client_error();
}

#[test]
fn an_empty_stream_is_no_error() {
    let host = Host::start();
    host.put("/v1/streams/quiet", &json!({"fields": []})).expect(201);
    assert_eq!(host.get("/v1/streams/quiet/events").expect(200).body, "");
}

#[test]
fn a_follower_sees_what_comes_after_it() {
    let host = host(1);
    let (url, (send, receive)) = (host.url(), mpsc::sync_channel(64));
    let follower = std::thread::spawn(move || {
        let mut connection = Connection::open(&url).expect("a connection");
        let mut left = 5;
        connection.follow("/v1/streams/ticks/events?from=8&follow=true", |line| {
            let row: Value = serde_json::from_slice(line).expect("a row");
            send.send(row["n"].as_i64().expect("a number")).expect("a test that listens");
            left -= 1;
            left > 0
        })
    });
    let next = || receive.recv_timeout(Duration::from_secs(10)).expect("a row");
    assert_eq!([next(), next()], [8, 9], "what is there comes first");
    for n in 10..13 {
        host.send("ticks", &json!({"ts": 1_700_000_000, "n": n, "k": "k"})).expect(200);
        assert_eq!(next(), n, "and then each as it comes");
    }
    assert_eq!(follower.join().expect("no panic").expect("an answer"), 200);
}

#[test]
fn everything_is_there_after_a_kill_and_after_a_clean_stop() {
    let mut host = host(4);
    let before = host.rows("ticks");
    host.kill();
    host.launch();
    assert_eq!(host.rows("ticks"), before);
    assert!(host.terminate().success());
    host.launch();
    assert_eq!(host.rows("ticks"), before);
    host.send("ticks", &json!({"ts": 1, "n": 10, "k": "k1"})).expect(200);
    assert_eq!(numbers(&host.rows("ticks")), (0..11).collect::<Vec<_>>());
}
