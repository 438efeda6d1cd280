//! Tables that are kept up to date from a stream: what a row meets, through crashes, and what is refused.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use expect_test::expect;
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{DeleteStreamError, DeleteTableError, FromStream, PutTableError, TableEntry};
use tidemill_event::TableName;

const PRICES: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "symbol", "type": "string"}, {"name": "price", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop", "key": ["symbol"], "partitions": 2}"#;
const ORDERS: &str = r#"{"fields": [{"name": "n", "type": "int64"}, {"name": "symbol", "type": "string"}], "unknown": "drop", "key": ["symbol"], "partitions": 2}"#;

/// With state behind the lookup, so that a replay that meets another price is found out.
const PRICING: &str = "
from: orders
steps:
- lookup: {table: prices, on: symbol = symbol, take: [price]}
- over: {by: [symbol], rows: 3, select: {sum: sum(price)}}
to:
- stream: priced
";

fn table(name: &str) -> TableName {
    name.parse().expect("a name")
}

fn from(stream: &str, key: Option<&[&str]>, delete: Option<&str>) -> FromStream {
    FromStream {
        stream: stream.parse().expect("a name"),
        key: key.map(|key| key.iter().map(|name| (*name).to_owned()).collect()),
        delete: delete.map(str::to_owned),
    }
}

fn keep(host: &Host, name: &str, from: &FromStream) -> Result<TableEntry, PutTableError> {
    host.engine.pipelines().keep_table(&tenant(), &table(name), from).map(|put| put.table)
}

fn refused(host: &Host, name: &str, from: &FromStream) -> String {
    keep(host, name, from).expect_err("refused").to_string()
}

fn entry(host: &Host, name: &str) -> TableEntry {
    host.engine.tables().get(&tenant(), &table(name)).expect("a table")
}

/// Its rows, once it has all of its stream.
fn rows(host: &Host, name: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let status = entry(host, name).from_stream.expect("kept");
        assert_eq!(status.error, None);
        if status.lag_records == 0 {
            break;
        }
        assert!(Instant::now() < until, "the table does not come to its end: {status:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    let content = host.engine.tables().content(&tenant(), &table(name)).expect("a table").expect("rows");
    String::from_utf8(content.ndjson(0, usize::MAX)).expect("UTF-8")
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("prices", PRICES);
    host.make_stream("orders", ORDERS);
    keep(&host, "prices", &from("prices", None, None)).expect("a table");
    host
}

fn price(t: i64, symbol: &str, price: Option<i64>) -> Value {
    json!({"t": t, "symbol": symbol, "price": price})
}

/// A small generator, so that a failing seed can be named.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn the_last_row_of_a_key_by_time_counts_and_an_empty_one_takes_it_away() {
    let host = prepared(Setup::default());
    host.send("prices", &[price(10, "a", Some(1)), price(12, "b", Some(2)), price(11, "a", Some(3)), price(5, "a", Some(4))]);
    expect![[r#"
        {"t":11,"symbol":"a","price":3}
        {"t":12,"symbol":"b","price":2}
    "#]]
    .assert_eq(&rows(&host, "prices"));
    host.send("prices", &[price(13, "b", None), price(12, "b", Some(5))]);
    expect![[r#"
        {"t":11,"symbol":"a","price":3}
    "#]]
    .assert_eq(&rows(&host, "prices"));
    host.make_stream("plain", r#"{"fields": [{"name": "k", "type": "string"}, {"name": "v", "type": "int64"}, {"name": "off", "type": "bool"}], "unknown": "drop"}"#);
    host.send("plain", &[json!({"k": "a", "v": 1}), json!({"k": "b", "v": 2}), json!({"k": "c"}), json!({"v": 4})]);
    keep(&host, "empty", &from("plain", Some(&["k"]), None)).expect("a table");
    keep(&host, "told", &from("plain", Some(&["k"]), Some("off"))).expect("a table");
    host.send("plain", &[json!({"k": "a"}), json!({"k": "b", "v": 5, "off": true}), json!({"k": "d", "v": 6, "off": false})]);
    expect![[r#"
        {"k":"b","v":5,"off":true}
        {"k":"d","v":6,"off":false}
    "#]]
    .assert_eq(&rows(&host, "empty"));
    expect![[r#"
        {"k":"a","v":null}
        {"k":"c","v":null}
        {"k":"d","v":6}
    "#]]
    .assert_eq(&rows(&host, "told"));
    let status = entry(&host, "told").from_stream.expect("kept");
    assert_eq!((status.stream.as_str(), status.offsets), ("plain", vec![7]));
    assert_eq!(entry(&host, "told").rows, 3);
}

/// Every order meets the price that was there before it was sent, in whatever way the host ended and came back.
#[test]
fn a_row_meets_what_was_there_before_it_through_crashes() {
    for seed in support::seeds(6) {
        let mut dice = Dice(seed);
        let simulated = seed % 2 == 0;
        let mut host =
            prepared(Setup { batch_rows: 4, checkpoint_after: Duration::from_micros(300), simulated, ..Setup::default() });
        host.apply("pricing", PRICING);
        let mut prices: BTreeMap<String, (i64, Option<i64>)> = BTreeMap::new();
        let mut expected: BTreeMap<i64, Option<i64>> = BTreeMap::new();
        for step in 0..50i64 {
            for at in 0..dice.roll(4) as i64 {
                let (symbol, time) = (format!("s{}", dice.roll(5)), step + dice.roll(6) as i64);
                let row = price(time, &symbol, Some(step * 10 + at));
                host.send("prices", &[row]);
                let last = prices.entry(symbol).or_insert((i64::MIN, None));
                if time >= last.0 {
                    *last = (time, Some(step * 10 + at));
                }
            }
            let orders: Vec<Value> = (0..1 + dice.roll(6) as i64)
                .map(|at| json!({"n": step * 10 + at, "symbol": format!("s{}", dice.roll(5))}))
                .collect();
            for order in &orders {
                let price = prices.get(order["symbol"].as_str().expect("a symbol")).and_then(|last| last.1);
                expected.insert(order["n"].as_i64().expect("a number"), price);
            }
            host.send("orders", &orders);
            // Later prices must not come before these orders were taken; what comes of them may not be on disk yet.
            host.wait("pricing", "the orders to be taken", |status| status.lag_records == 0 && !status.tasks.is_empty());
            host = match dice.roll(6) {
                0 => host.crash(),
                1 if simulated => host.power_cut(seed * 1000 + step as u64),
                2 => host.restart(),
                _ => host,
            };
        }
        let status = host.settle("pricing");
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
        let found: BTreeMap<i64, Option<i64>> =
            host.rows("priced").iter().map(|row| (row["n"].as_i64().expect("a number"), row["price"].as_i64())).collect();
        // A power cut may take what was taken but not on disk: those orders are taken again, and may meet later prices.
        let differ: Vec<_> = expected.iter().filter(|(n, price)| found.get(n) != Some(price)).collect();
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        assert!(simulated || differ.is_empty(), "seed {seed}: {differ:?}");
        for (n, price) in differ {
            let met = found[n].unwrap_or(i64::MAX);
            assert!(
                price.is_none_or(|price| met >= price),
                "seed {seed}: order {n} met {met}, and {price:?} was there before it"
            );
        }
    }
}

#[test]
fn prices_that_come_beside_the_orders_are_met_again_after_a_crash() {
    for seed in support::seeds(4) {
        let mut dice = Dice(seed);
        let mut host = prepared(Setup { batch_rows: 3, checkpoint_after: Duration::from_micros(300), ..Setup::default() });
        host.apply("pricing", PRICING);
        for round in 0..12i64 {
            for at in 0..30i64 {
                let n = round * 30 + at;
                host.send("prices", &[price(n, &format!("s{}", dice.roll(4)), Some(n))]);
                host.send("orders", &[json!({"n": n, "symbol": format!("s{}", dice.roll(4))})]);
            }
            let before = host.rows("priced");
            host = host.crash();
            let status = host.settle("pricing");
            assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
            let after = host.rows("priced");
            assert!(before.iter().all(|row| after.contains(row)), "seed {seed}: what was committed stands");
        }
        assert_eq!(host.rows("priced").len(), 360);
    }
}

#[test]
fn a_base_takes_the_place_of_the_rows_before_it() {
    let mut host = prepared(Setup { checkpoint_after: Duration::from_micros(300), ..Setup::default() });
    host.apply("pricing", PRICING);
    host.send("orders", &[json!({"n": 1, "symbol": "s1"})]);
    host.settle("pricing");
    for part in 0..4i64 {
        let rows: Vec<Value> = (0..20_000).map(|n| price(part * 20_000 + n, &format!("s{}", n % 500), Some(n))).collect();
        host.send("prices", &rows);
    }
    let until = Instant::now() + Duration::from_secs(30);
    while entry(&host, "prices").version < 2 {
        assert!(Instant::now() < until, "no base is written: {:?}", entry(&host, "prices"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let told = rows(&host, "prices");
    assert_eq!(told.lines().count(), 500);
    host = host.crash();
    assert_eq!(rows(&host, "prices"), told);
    host.send("orders", &[json!({"n": 2, "symbol": "s1"})]);
    host.settle("pricing");
    assert_eq!(host.column("priced", "price"), [json!(null), json!(19_501)]);
    // Nobody needs the first base once checkpoints are behind its commits.
    for n in 3..6 {
        host.send("orders", &[json!({"n": n, "symbol": "s1"})]);
        host.settle("pricing");
        host = host.restart();
    }
    let until = Instant::now() + Duration::from_secs(30);
    while !entry(&host, "prices").kept_versions.is_empty() {
        assert!(Instant::now() < until, "old bases stay: {:?}", entry(&host, "prices"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(rows(&host, "prices"), told);
}

#[test]
fn what_cannot_be_kept_is_refused_with_what_to_change() {
    let host = prepared(Setup::default());
    host.make_stream("wide", r#"{"fields": [{"name": "k", "type": "string"}, {"name": "j", "type": "json"}, {"name": "v", "type": "int64"}], "partitions": 2}"#);
    let texts = [
        refused(&host, "t", &from("priecs", Some(&["symbol"]), None)),
        refused(&host, "t", &from("prices", Some(&["symbl"]), None)),
        refused(&host, "t", &from("prices", Some(&[]), None)),
        refused(&host, "t", &from("prices", Some(&["t"]), None)),
        refused(&host, "t", &from("prices", None, Some("price"))),
        refused(&host, "t", &from("wide", Some(&["k"]), None)),
        refused(&host, "t", &from("wide", Some(&["j"]), None)),
        refused(&host, "prices", &from("prices", Some(&["symbol", "t"]), None)),
    ];
    expect![[r#"
        there is no stream `priecs`
        the stream `prices` has no field `symbl`: it has `t`, `symbol`, `price`
        `key` names 1 to 16 different fields: the last row of each of their values is the table's
        rows of one key lie in several partitions of `prices`, and which of them is the last cannot be said: its key must be among the table's
        `delete`: `price` is not a bool: rows in which it is true take their key away
        rows of one key lie in several partitions of `wide`, and which of them is the last cannot be said: its key must be among the table's
        `key`: `j` is json, which is not compared
        it is kept from `prices` in another way: delete it first"#]]
    .assert_eq(&texts.join("\n"));
    assert!(
        !host.engine.pipelines().keep_table(&tenant(), &table("prices"), &from("prices", None, None)).expect("there").changed
    );

    let by = |on: &str| PRICING.replace("symbol = symbol", on);
    let fault = |text: &str| host.faults("pricing", text).lines().next().unwrap_or_default().to_owned();
    expect![
        "line 4: steps[0].lookup.on: `prices`: it is kept from a stream and found by its whole key alone, [symbol], as `column = symbol` (write `on` so)"
    ]
    .assert_eq(&fault(&by("n = price")));

    host.apply("pricing", PRICING);
    let deleted = host.engine.pipelines().delete_stream(&tenant(), &"prices".parse().expect("a name"));
    assert!(matches!(deleted, Err(DeleteStreamError::KeptFrom { tables }) if tables == ["prices"]));
    let deleted = host.engine.pipelines().delete_table(&tenant(), &table("prices"));
    assert!(matches!(deleted, Err(DeleteTableError::Used { pipelines }) if pipelines == ["pricing"]));
    host.engine.pipelines().delete(&tenant(), &pipeline("pricing")).expect("gone");
    host.engine.pipelines().delete_table(&tenant(), &table("prices")).expect("gone");
    host.engine.pipelines().delete_stream(&tenant(), &"prices".parse().expect("a name")).expect("gone");
}
