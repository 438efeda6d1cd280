//! A component with a memory: carts of a shop, in a table, with a timer for silence and an output beside the main one. The host is killed in
//! the middle of it, over and over, and says the same.

#[path = "processes/hostile.rs"]
mod hostile;
#[path = "processes/lifetimes.rs"]
mod lifetimes;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually, guest, tidemill_command};

const PATIENCE_S: i64 = 1800;
const CLICKS: &str = r#"{"fields": [{"name": "at", "type": "timestamp", "nullable": false}, {"name": "shopper", "type": "string", "nullable": false},
    {"name": "action", "type": "string", "nullable": false}, {"name": "item", "type": "string"}, {"name": "cents", "type": "int64"}],
    "time": {"field": "at"}, "key": ["shopper"], "partitions": 1}"#;
const PIPELINE: &str = "from: {stream: clicks, out_of_orderness: 0s, idle: off}\ntime: {bound: off}\nsteps:\n- process: std-session-cart@1\n  by: [shopper]\n  outputs: {abandoned: left-behind}\nto: [{stream: orders}]\n";

#[derive(Clone)]
struct Click {
    second: i64,
    shopper: String,
    action: &'static str,
    item: &'static str,
    cents: i64,
}

impl Click {
    fn json(&self) -> Value {
        json!({"at": time(self.second), "shopper": self.shopper, "action": self.action, "item": self.item, "cents": self.cents})
    }
}

/// Seconds of one day, and of the next.
fn time(second: i64) -> String {
    let (day, second) = (1 + second / 86_400, second % 86_400);
    format!("2026-01-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// What shoppers do, by a generator of its own: the same in every run.
fn clicks(count: usize) -> Vec<Click> {
    let mut state = 7u64;
    let mut dice = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let mut second = 0;
    let mut clicks: Vec<Click> = (0..count)
        .map(|_| {
            second += dice(240) as i64;
            let action = ["add", "add", "add", "remove", "pay"][dice(5) as usize];
            let item = ["apple", "bread", "cheese", "dates"][dice(4) as usize];
            Click { second, shopper: format!("s{}", dice(9)), action, item, cents: 1 + dice(500) as i64 }
        })
        .collect();
    clicks.push(Click { second: second + 86_000, shopper: "last".to_owned(), action: "add", item: "apple", cents: 1 });
    clicks
}

#[derive(Default)]
struct Cart {
    lines: Vec<(&'static str, i64)>,
    due: Option<i64>,
}

/// Orders, carts left behind, clicks that were refused: one click after the other.
fn model(clicks: &[Click]) -> (Vec<String>, Vec<String>, usize) {
    let (mut carts, mut orders, mut left, mut refused) = (BTreeMap::<String, Cart>::new(), Vec::new(), Vec::new(), 0);
    let told = |shopper: &str, cart: &Cart, at: i64| {
        let items: Vec<&str> = cart.lines.iter().map(|(item, _)| *item).collect();
        let cents: i64 = cart.lines.iter().map(|(_, cents)| cents).sum();
        format!("{} {shopper}: {} for {cents}", time(at), items.join(" "))
    };
    let mut watermark = i64::MIN;
    for click in clicks {
        for (shopper, cart) in &mut carts {
            if let Some(due) = cart.due.filter(|due| *due < watermark) {
                cart.due = None;
                if !cart.lines.is_empty() {
                    left.push(told(shopper, cart, due));
                }
                cart.lines.clear();
            }
        }
        watermark = watermark.max(click.second);
        let cart = carts.entry(click.shopper.clone()).or_default();
        let line = cart.lines.iter().position(|(item, _)| *item == click.item);
        match (click.action, line) {
            ("add", Some(line)) => cart.lines[line].1 += click.cents,
            ("add", None) => cart.lines.push((click.item, click.cents)),
            ("remove", Some(line)) => drop(cart.lines.remove(line)),
            ("remove", None) => {
                refused += 1;
                continue;
            }
            _ => {
                orders.push(told(&click.shopper, cart, click.second));
                *cart = Cart::default();
                continue;
            }
        }
        cart.due = Some(click.second + PATIENCE_S);
    }
    // The last click is a day behind all others, and its own timer has yet to fire.
    for (shopper, cart) in carts.iter().filter(|(_, cart)| cart.due.is_some_and(|due| due < watermark)) {
        if !cart.lines.is_empty() {
            left.push(told(shopper, cart, cart.due.unwrap_or(0)));
        }
    }
    left.sort();
    (orders, left, refused)
}

fn told(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {row}")).to_owned();
    format!("{} {}: {} for {}", text("_time").replace(".000000", ""), text("shopper"), text("items"), row["cents"])
}

#[test]
fn carts_are_the_same_however_often_the_host_is_killed() {
    let mut host = Host::start();
    host.push_guest("std-session-cart", "1.0.0").expect(201);
    host.put("/v1/streams/clicks", &serde_json::from_str(CLICKS).expect("a definition")).expect(201);
    host.apply("carts", PIPELINE).expect(201);
    let clicks = clicks(900);
    for (round, part) in clicks.chunks(97).enumerate() {
        host.send("clicks", &Value::Array(part.iter().map(Click::json).collect())).expect(200);
        // Sometimes before anything of it was taken, sometimes in the middle, sometimes behind it.
        if round % 3 == 2 {
            eventually("an order", Duration::from_secs(60), || !host.rows("orders").is_empty());
        }
        host.kill();
        host.launch();
    }
    let (orders, left, refused) = model(&clicks);
    let found: Vec<String> = host.wait_rows("orders", orders.len()).iter().map(told).collect();
    assert_eq!(found, orders);
    let rows = host.wait_rows("left-behind", left.len());
    let mut found: Vec<String> = rows.iter().map(told).collect();
    found.sort();
    assert_eq!(found, left);
    assert!(left.len() > 50 && refused > 5, "{} left behind, {refused} refused", left.len());
    let letters = host.wait_rows("carts.dead-letters", refused);
    assert!(letters.iter().all(|letter| letter["error"] == "an item that is not in the cart"), "{letters:?}");
    let status = host.get("/v1/pipelines/carts/status").expect(200).json();
    assert_eq!(status["state"], "running", "{status}");
}

#[test]
fn what_is_wrong_with_a_process_is_told_when_it_is_applied() {
    let host = Host::start();
    host.push_guest("std-session-cart", "1.0.0").expect(201);
    host.put("/v1/streams/clicks", &serde_json::from_str(CLICKS).expect("a definition")).expect(201);
    let faults = |beside: &str| {
        let text = format!("from: clicks\nsteps:\n- process: std-session-cart@1\n{beside}to: [{{stream: orders}}]\n");
        host.apply("carts", &text).expect_client_error().body
    };
    assert!(faults("").contains("`by` does not say for which key"));
    assert!(faults("  by: [shopper]\n  outputs: {abandonned: x}\n").contains("did you mean `abandoned`?"));
    assert!(faults("  by: [shopper]\n  on_failing: pass\n").contains("a row that skips a process"));
    assert!(faults("  by: [shopper]\n  outputs: {abandoned: orders}\n").contains("named twice"));
    assert!(faults("  by: [shopper]\n  outputs: {abandoned: clicks}\n").contains("would read what it writes"));
}

#[test]
fn a_process_can_be_tried_on_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (component, events) = (folder.path().join("cart.wasm"), folder.path().join("clicks.ndjson"));
    fs::write(&component, guest("std-session-cart")).expect("written");
    let lines = [
        r#"{"_time": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:00Z", "shopper": "ann", "action": "add", "item": "apple", "cents": 30}"#,
        r#"{"_time": "2026-01-01T00:01:00Z", "at": "2026-01-01T00:01:00Z", "shopper": "bob", "action": "add", "item": "bread", "cents": 90}"#,
        r#"{"_time": "2026-01-01T00:02:00Z", "at": "2026-01-01T00:02:00Z", "shopper": "ann", "action": "pay"}"#,
    ];
    fs::write(&events, lines.join("\n")).expect("written");
    let mut command = tidemill_command();
    command.arg("test").arg(&component).arg(&events).args(["--by", "shopper", "--print"]);
    let output = command.output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains(r#""shopper":"ann","items":"apple","cents":30"#), "{said}");
    assert!(said.contains(r#"{"abandoned":{"shopper":"bob","items":"bread","cents":90"#), "{said}");
}
