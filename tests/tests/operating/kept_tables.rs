//! Tables that follow a stream, and metrics of rows: from the command line and over HTTP, over kills and backups.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, HostOptions, eventually, request_with, tidemill_command};

use super::{command, run};

const PATIENCE: Duration = Duration::from_secs(30);

const PRICING: &str = "\
from: orders
steps:
  - lookup: {table: prices, on: symbol = symbol, take: [price], missing: null}
  - over: {by: [symbol], rows: 3, select: {sum: sum(price)}}
to:
  - stream: priced
";

fn prepared() -> Host {
    let host = Host::start();
    let field = |name: &str, ty: &str| json!({"name": name, "type": ty});
    let prices = json!({"fields": [field("symbol", "string"), field("price", "int64")], "key": ["symbol"], "partitions": 2});
    host.put("/v1/streams/prices", &prices).expect(201);
    host.put("/v1/streams/orders", &json!({"fields": [field("symbol", "string"), field("n", "int64")]})).expect(201);
    host
}

fn price(host: &Host, symbol: &str, price: Option<i64>) {
    host.send("prices", &json!([{"symbol": symbol, "price": price}])).expect(200);
}

fn order(host: &Host, symbol: &str) {
    host.send("orders", &json!([{"symbol": symbol, "n": 1}])).expect(200);
}

#[test]
fn a_kept_table_follows_its_stream_and_an_order_meets_the_price_before_it() {
    let mut host = prepared();
    price(&host, "a", Some(1));
    price(&host, "b", Some(2));
    let told = run(&host, &["table", "keep", "prices", "--from", "prices", "--key", "symbol"]);
    assert!(
        told.starts_with("kept from now on: prices") && told.contains("2 rows") && told.contains("kept from prices"),
        "{told}"
    );
    assert!(run(&host, &["table", "keep", "prices", "--from", "prices"]).starts_with("already there: prices"));
    assert_eq!(run(&host, &["table", "rows", "prices"]), "{\"symbol\":\"a\",\"price\":1}\n{\"symbol\":\"b\",\"price\":2}\n");
    assert_eq!(run(&host, &["table", "rows", "prices", "--offset", "1"]), "{\"symbol\":\"b\",\"price\":2}\n");

    host.apply("pricing", PRICING).expect(201);
    let mut expected = Vec::new();
    for round in 0..8i64 {
        // Each order is sent when the price before it was acknowledged, and meets it.
        price(&host, "a", Some(round));
        order(&host, "a");
        price(&host, "b", (round % 2 == 0).then_some(round));
        order(&host, "b");
        expected.extend([json!(round), if round % 2 == 0 { json!(round) } else { Value::Null }]);
        let rows = host.wait_rows("priced", expected.len());
        let found: Vec<Value> = rows.iter().map(|row| row["price"].clone()).collect();
        assert_eq!(found, expected);
        if round % 3 == 2 {
            host.kill();
            host.launch();
            let status = || host.get("/v1/pipelines/pricing/status").expect(200).json();
            eventually("it replays", PATIENCE, || status()["tasks"][0]["replayed_rows"].as_u64().is_some_and(|rows| rows > 0));
            assert_eq!(status()["divergences"], json!([]), "{}", status());
            assert_eq!(host.rows("priced"), rows);
        }
    }
    let shown = host.get("/v1/tables/prices").expect(200).json();
    assert_eq!((&shown["rows"], &shown["used_by"]), (&json!(1), &json!(["pricing"])), "{shown}");
    let from = &shown["from_stream"];
    assert_eq!((&from["stream"], &from["lag_records"]), (&json!("prices"), &json!(0)), "{shown}");
    let taken: u64 = from["offsets"].as_array().expect("offsets").iter().filter_map(Value::as_u64).sum();
    assert_eq!(taken, 18, "{shown}");
    let status = host.get("/v1/pipelines/pricing/status").expect(200).json();
    assert_eq!(status["steps"][0]["lookup"]["table"], json!("prices"), "{status}");
}

#[test]
fn a_kept_table_is_in_backups_and_what_needs_it_is_not_deleted() {
    let host = prepared();
    price(&host, "a", Some(1));
    let keep = |body: &Value| host.put("/v1/tables/prices", body);
    keep(&json!({"from_stream": {"stream": "prices", "keys": ["symbol"]}})).expect(400);
    let refused = keep(&json!({"from_stream": {"stream": "priecs", "key": ["symbol"]}})).expect(422).json();
    assert!(refused.to_string().contains("there is no stream `priecs`"), "{refused}");
    keep(&json!({"from_stream": {"stream": "prices"}})).expect(201);
    assert_eq!(keep(&json!({"from_stream": {"stream": "prices"}})).expect(200).json()["changed"], json!(false));
    host.ask("PUT", "/v1/tables/prices", Some("text/csv"), b"symbol,price\na,1\n").expect(409);
    host.apply("pricing", PRICING).expect(201);
    host.ask("DELETE", "/v1/tables/prices", None, b"").expect(409);
    let refused = host.ask("DELETE", "/v1/streams/prices", None, b"").expect(409).json();
    assert!(refused.to_string().contains("tables prices are kept"), "{refused}");
    order(&host, "a");
    host.wait_rows("priced", 1);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("host.tar");
    run(&host, &["backup", file.to_str().expect("UTF-8")]);
    let restored = Host::prepared(HostOptions::default(), |data| {
        let restored = tidemill_command().args(["restore"]).arg(&file).arg("--data").arg(data).stdin(Stdio::null()).output();
        let restored = restored.expect("the binary");
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    });
    price(&restored, "a", Some(7));
    order(&restored, "a");
    let found: Vec<Value> = restored.wait_rows("priced", 2).iter().map(|row| row["price"].clone()).collect();
    assert_eq!(found, [json!(1), json!(7)]);

    run(&host, &["delete", "pricing", "--yes"]);
    run(&host, &["table", "delete", "prices", "--yes"]);
    assert!(command(&host, &["streams", "delete", "prices", "--yes"]).status.success());
}

#[test]
fn a_packed_table_is_unpacked() {
    let host = Host::start();
    let put = |encoding: &str, body: &[u8]| {
        let headers = [("content-type", "text/csv"), ("content-encoding", encoding)];
        request_with("PUT", &format!("{}/v1/tables/places", host.url()), &headers, body).expect("an answer")
    };
    // A zstd frame of one block as it is.
    let rows = b"key,place\na,Aachen\nb,Berlin\n";
    let length = ((rows.len() as u32) << 3 | 1).to_le_bytes();
    let packed = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38], &length[..3], rows].concat();
    put("zstd", &packed).expect(201);
    put("gzip", &packed).expect(400);
    put("br", &packed).expect(415);
    assert_eq!(host.get("/v1/tables/places/rows?offset=1&limit=5").expect(200).body, "{\"key\":\"b\",\"place\":\"Berlin\"}\n");
}

/// Lines of the metrics page that begin so.
fn metrics(host: &Host, name: &str) -> Vec<String> {
    let page = host.get("/metrics").expect(200).body;
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn rows_measure_what_a_pipeline_says_and_the_host_serves_it() {
    let host = prepared();
    let text = "\
from: prices
steps:
  - metrics: {prices_seen: {counter: 1, by: [symbol]}, price: {gauge: price}, spread: {histogram: price}}
  - where: price > 1
to:
  - stream: high
";
    host.apply("measuring", text).expect(201);
    host.send("prices", &json!([{"symbol": "a", "price": 1}, {"symbol": "b", "price": 4}, {"symbol": "a", "price": 9}]))
        .expect(200);
    host.wait_rows("high", 2);
    let of = |symbol: &str| format!("name=\"prices_seen\",symbol=\"{symbol}\"}} ");
    let counted = metrics(&host, "tidemill_user_counter_total{");
    assert!(counted.iter().any(|line| line.contains(&(of("a") + "2"))), "{counted:?}");
    assert!(counted.iter().any(|line| line.contains(&(of("b") + "1"))), "{counted:?}");
    assert!(counted.iter().all(|line| line.contains("pipeline=\"measuring\"")), "{counted:?}");
    assert!(metrics(&host, "tidemill_user_histogram_count{").iter().any(|line| line.ends_with("} 3")));
    run(&host, &["delete", "measuring", "--yes"]);
    assert_eq!(metrics(&host, "tidemill_user_"), [""; 0], "they go with their pipeline");
}
