//! What components measure is on the host's metrics page: once for each row, however often calls fail or rows are replayed.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually};

/// The value of a series; its labels in the page's order.
fn series(host: &Host, start: &str) -> Option<f64> {
    let page = host.get("/metrics").expect(200).body;
    page.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
}

#[test]
fn rows_are_counted_once_also_when_a_row_among_them_fails_and_after_a_replay() {
    let mut host = Host::start();
    let fields = json!([
        {"name": "amount", "type": "float64", "nullable": false},
        {"name": "country", "type": "string", "nullable": false},
    ]);
    host.put("/v1/streams/payments", &json!({"fields": fields})).expect(201);
    host.push_guest("test-measure", "1.0.0").expect(201);
    let text = "pipeline: measured\nfrom: payments\nsteps:\n  - rule: test-measure@1\nto:\n  - stream: measured\n";
    host.apply("measured", text).expect(201);
    // The call with the negative amount fails after it has counted; the rows beside it count when they are called again.
    let rows: Vec<Value> = [1.0, 2.0, -3.0, 4.0].map(|amount| json!({"amount": amount, "country": "AT"})).to_vec();
    host.send("payments", &Value::Array(rows)).expect(200);
    host.wait_rows("measured", 3);
    host.wait_rows("measured.dead-letters", 1);

    let page = host.get("/metrics").expect(200).body;
    let gauge = page.lines().find_map(|line| line.strip_prefix("tidemill_component_gauge{")?.split("name=").next());
    let labels = format!("{}name=", gauge.expect("a gauge"));
    assert!(labels.contains(r#"pipeline="measured""#) && labels.contains(r#"component="test-measure""#), "{labels}");
    let counter = format!(r#"tidemill_component_counter_total{{{labels}"payments",country="AT"}}"#);
    assert_eq!(series(&host, &counter), Some(3.0));
    assert_eq!(series(&host, &format!(r#"tidemill_component_gauge{{{labels}"last_amount"}}"#)), Some(4.0));
    assert_eq!(series(&host, &format!(r#"tidemill_component_histogram_sum{{{labels}"amount"}}"#)), Some(7.0));
    let dropped = page.lines().find(|line| line.starts_with("tidemill_component_metrics_dropped_total{"));
    assert!(dropped.is_some_and(|line| line.contains(r#"reason="invalid""#)), "{dropped:?}");

    // A new life counts from 0: what is replayed was counted in the life before.
    host.kill();
    host.launch();
    host.send("payments", &json!({"amount": 5, "country": "AT"})).expect(200);
    host.wait_rows("measured", 4);
    eventually("the new row is counted", Duration::from_secs(30), || series(&host, &counter).is_some());
    assert_eq!(series(&host, &counter), Some(1.0));
}
