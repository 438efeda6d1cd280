//! State machines asked of a real host: every step of every key through kills, who is where while it runs, and what is refused.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_oracle::random::Chance;
use tidemill_tests::{Cycles, Host, eventually, tidemill_command};

/// How often the host is killed, unless `TIDEMILL_CRASH_CYCLES` says.
const KILLS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const ORDERS: usize = 40;

const STEPS: &str = "
from: events
time: {bound: off}
steps:
  - machine:
      by: [order]
      initial: placed
      variables: {paid: 0}
      states:
        placed: {timeout: {after: 60s, to: abandoned, emit: {paid: paid}}}
        paid: {timeout: {after: 2m, to: stuck}, entry: {note: \"'to be packed'\"}}
        stuck:
        shipped: final
        abandoned: final
      transitions:
        - {from: placed, to: paid, on: kind = 'pay', when: paid + amount >= 100, set: {paid: paid + amount}, emit: {paid: paid}}
        - {from: placed, on: kind = 'pay', set: {paid: paid + amount}, tell: false}
        - {from: [paid, stuck], to: shipped, on: kind = 'ship'}
      illegal: emit
to: [{stream: steps}]
";

fn host() -> Host {
    let host = Host::start();
    let fields = json!([
        {"name": "order", "type": "string"},
        {"name": "kind", "type": "string"},
        {"name": "amount", "type": "int64"},
        {"name": "ts_ms", "type": "int64", "nullable": false},
    ]);
    let stream = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}, "key": ["order"], "partitions": 2});
    host.put("/v1/streams/events", &stream).expect(201);
    host
}

fn event(order: usize, kind: &str, amount: i64, ts_ms: i64) -> Value {
    json!({"order": format!("o-{order}"), "kind": kind, "amount": amount, "ts_ms": ts_ms})
}

/// One order, as somebody who reads the text above would move it by hand.
#[derive(Default)]
struct Order {
    /// The state, since when, and what was paid.
    at: Option<(&'static str, i64, i64)>,
    steps: Vec<String>,
}

impl Order {
    fn time(&mut self, now: i64) {
        if let Some((state, since, paid)) = self.at {
            match state {
                "placed" if since + 60_000 <= now => {
                    self.at = None;
                    self.steps.push(format!("placed abandoned timeout {paid}"));
                }
                "paid" if since + 120_000 <= now => {
                    self.at = Some(("stuck", since + 120_000, paid));
                    self.steps.push("paid stuck timeout null".to_owned());
                }
                _ => {}
            }
        }
    }

    fn row(&mut self, kind: &str, amount: i64, now: i64) {
        self.time(now);
        let (state, since, paid) = self.at.unwrap_or(("placed", now, 0));
        match (state, kind) {
            (_, "look") => {}
            ("placed", "pay") if paid + amount >= 100 => {
                self.at = Some(("paid", now, paid + amount));
                self.steps.push(format!("placed paid event {}", paid + amount));
            }
            ("placed", "pay") => self.at = Some(("placed", since, paid + amount)),
            ("paid" | "stuck", "ship") => {
                self.at = None;
                self.steps.push(format!("{state} shipped event null"));
            }
            _ => self.steps.push(format!("{state} {state} illegal null")),
        }
    }
}

#[test]
fn every_step_of_every_order_is_told_once_through_kills() {
    let mut host = host();
    host.apply("orders", STEPS).expect(201);
    let mut chance = Chance::new(29);
    let kills = Cycles::wanted(KILLS) as usize;
    let (mut rows, mut time) = (0, 1_700_000_000_000_i64);
    let mut model: BTreeMap<String, Order> = BTreeMap::new();
    for kill in 0..=kills {
        let mut lines = String::new();
        for _ in 0..600 {
            time += chance.below(900) as i64;
            let kind = ["pay", "pay", "ship", "look"][chance.below(4) as usize];
            let (order, amount) = (chance.below(ORDERS as u64) as usize, chance.below(90) as i64);
            lines.push_str(&format!("{}\n", event(order, kind, amount, time)));
            model.entry(format!("o-{order}")).or_default().row(kind, amount, time);
            rows += 1;
        }
        host.send_as("events", "application/x-ndjson", lines.as_bytes()).expect(200);
        if kill < kills {
            std::thread::sleep(Duration::from_millis(chance.below(120)));
            host.kill();
            host.launch();
        }
    }
    // Rows of other orders that mean nothing, in both partitions: time goes on, and whoever waits is over.
    let late: Vec<Value> = (ORDERS..ORDERS + 20).map(|order| event(order, "look", 0, time + 3_600_000)).collect();
    host.send("events", &Value::Array(late)).expect(200);
    rows += 20;
    model.values_mut().for_each(|order| order.time(i64::MAX));
    let expected: BTreeMap<&str, &[String]> =
        model.iter().filter(|(_, order)| !order.steps.is_empty()).map(|(name, order)| (&**name, &order.steps[..])).collect();
    let steps: usize = expected.values().map(|steps| steps.len()).sum();
    for word in ["timeout", "illegal", "shipped", "stuck"] {
        assert!(expected.values().any(|steps| steps.iter().any(|step| step.contains(word))), "the story has no {word}");
    }
    let status = || host.get("/v1/pipelines/orders/status").expect(200).json();
    eventually("every row is taken", PATIENCE, || status()["rows_in"] == json!(rows));
    host.wait_rows("steps", steps);
    host.ask("POST", "/v1/pipelines/orders/pause", None, b"").expect_success();
    eventually("it is paused", PATIENCE, || status()["state"] == "paused");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in host.rows("steps") {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        let step = format!("{} {} {} {}", text("from_state"), text("to_state"), text("moved_by"), row["paid"]);
        found.entry(text("order")).or_default().push(step);
    }
    let found: BTreeMap<&str, &[String]> = found.iter().map(|(name, steps)| (&**name, &steps[..])).collect();
    assert_eq!(found, expected);
}

fn said(host: &Host, words: &[&str]) -> String {
    let output = tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output();
    let output = output.expect("the binary");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn status_shows_who_is_where_and_since_when() {
    let host = host();
    let dry = host.ask("PUT", "/v1/pipelines/orders?dry_run=true", Some("application/yaml"), STEPS.as_bytes()).expect(200).json();
    let machine = &dry["plan"]["steps"][0]["machine"];
    assert_eq!(
        (&machine["initial"], &machine["transitions"], &machine["triggers"]),
        (&json!("placed"), &json!(3), &json!(2)),
        "{dry}"
    );
    assert_eq!(machine["states"][1]["timeout"], json!({"after": "2m", "to": "stuck"}), "{dry}");
    host.apply("orders", STEPS).expect(201);
    let rows = [event(1, "pay", 100, 1_000), event(2, "pay", 40, 2_000), event(3, "pay", 7, 3_000), event(1, "pay", 9, 4_000)];
    host.send("events", &json!(rows)).expect(200);
    host.wait_rows("steps", 2);
    let machine = || host.get("/v1/pipelines/orders/status").expect(200).json()["steps"][0]["machine"].clone();
    eventually("both partitions are counted", PATIENCE, || machine()["moved"] == 3);
    let now = machine();
    let state = |name: &str, keys: u64, since: Value| json!({"state": name, "keys": keys, "oldest_since": since});
    let expected = [
        state("placed", 2, json!("1970-01-01T00:00:02.000000Z")),
        state("paid", 1, json!("1970-01-01T00:00:01.000000Z")),
        state("stuck", 0, Value::Null),
    ];
    assert_eq!((&now["states"], &now["illegal"]), (&json!(expected), &json!(1)), "{now}");
    let metrics = host.get("/metrics").expect(200).body;
    for (name, state, value) in [
        ("tidemill_machine_keys{", "placed", " 2"),
        ("tidemill_machine_oldest_timestamp_seconds{", "paid", " 1"),
        ("tidemill_machine_illegal_rows_total{", "", " 1"),
    ] {
        let is_it = |line: &&str| line.starts_with(name) && (state.is_empty() || line.contains(&format!("state=\"{state}\"")));
        let line = metrics.lines().find(is_it).unwrap_or_else(|| panic!("no {name} {state} in\n{metrics}"));
        assert!(line.contains("steps[0].machine") && (line.ends_with(value) || line.ends_with(&format!("{value}.0"))), "{line}");
    }
    let state = host.get("/v1/pipelines/orders/steps/machine/state?key=o-1").expect(200).json();
    let held = json!([{"state": "paid", "since": "1970-01-01T00:00:01.000000Z", "until": "1970-01-01T00:02:01.000000Z", "variables": {"paid": 100}}]);
    assert_eq!(
        (&state["step"], &state["key"], &state["state"]),
        (&json!("steps[0].machine"), &json!({"order": "o-1"}), &held),
        "{state}"
    );
    let nobody = host.get("/v1/pipelines/orders/steps/0/state?key=nobody").expect(404).json();
    assert_eq!(nobody["type"], "urn:tidemill:problem:unknown-key", "{nobody}");
    host.get("/v1/pipelines/orders/steps/9/state?key=o-1").expect(404);
    host.get("/v1/pipelines/orders/steps/machine/state?key=%7B%22x%22").expect(404);
    host.get("/v1/pipelines/elsewhere/steps/0/state?key=o-1").expect(404);
    let shown = said(&host, &["state", "orders", "machine", "--key", "o-2"]);
    assert!(shown.contains("state       placed") && shown.contains("paid        40"), "{shown}");
    let page = said(&host, &["status", "orders"]);
    let row = |line: &&str| line.contains("paid") && line.contains("1970-01-01T00:00:01.000000Z");
    assert!(page.lines().any(|line| row(&line)), "{page}");
}
