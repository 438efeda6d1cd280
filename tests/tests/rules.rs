//! Rule sets over HTTP: what rules do to rows, where rows go, why they went there, and how rules are changed while rows come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::TextGuest;
use tidemill_tests::{Host, eventually};

fn host() -> Host {
    let host = Host::start();
    let definition = json!({
        "fields": [
            {"name": "ts", "type": "timestamp", "unit": "ms"}, {"name": "merchant", "type": "string", "nullable": true},
            {"name": "amount", "type": "int64"}, {"name": "parts", "type": "int64"}
        ],
        "time": {"field": "ts"}, "partitions": 2, "key": ["merchant"]
    });
    host.put("/v1/streams/payments", &definition).expect(201);
    host
}

fn send(host: &Host, rows: &[(Option<&str>, i64, i64)]) {
    let row = |(n, (merchant, amount, parts)): (usize, &(Option<&str>, i64, i64))| json!({"ts": 1_000 * n, "merchant": merchant, "amount": amount, "parts": parts});
    let rows: Vec<Value> = rows.iter().enumerate().map(row).collect();
    host.send("payments", &Value::Array(rows)).expect(200);
}

const TRIAGE: &str = "\
pipeline: triage
from: payments
tags: [strict]
steps:
  - rules:
      - {name: rest, priority: -1, set: {risk: 0}}
      - {name: known, when: \"merchant in ('m1', 'm2')\", priority: 10, drop: true}
      - {name: large, when: amount > 1000 and merchant = 'm3', set: {risk: 0.9}, tag: money, route: review}
      - {name: split, when: amount / parts > 100, set: {risk: 0.5, amount: amount / parts}, tag: [money, parts]}
      - {name: strict, when: amount > 50, enabled: {tags: [strict]}, route: review}
      - {name: over, when: amount > 50, enabled: {until: 1970-01-01T00:00:00Z}}
    trace: true
to:
  - {stream: review, route: review}
  - {stream: others, route: none}
";

#[test]
fn rules_judge_route_and_say_why() {
    let host = host();
    host.apply("triage", TRIAGE).expect(201);
    send(
        &host,
        &[
            (Some("m1"), 9_999, 1),
            (Some("m3"), 2_000, 0),
            (Some("m4"), 900, 3),
            (None, 60, 1),
            (Some("m4"), 7, 1),
            (Some("m5"), 7, 0),
        ],
    );
    let by_amount = |rows: Vec<Value>| -> BTreeMap<i64, Value> {
        rows.into_iter().map(|row| (row["amount"].as_i64().expect("an amount"), row)).collect()
    };
    let review = by_amount(host.wait_rows("review", 2));
    assert_eq!(
        (&review[&2_000]["rule"], &review[&2_000]["risk"], &review[&2_000]["tags"]),
        (&json!("large"), &json!(0.9), &json!(["money"]))
    );
    assert_eq!(
        (&review[&60]["rule"], &review[&60]["risk"], &review[&60]["merchant"]),
        (&json!("strict"), &Value::Null, &Value::Null)
    );
    let others = by_amount(host.wait_rows("others", 2));
    assert_eq!((&others[&300]["rule"], &others[&300]["tags"]), (&json!("split"), &json!(["money", "parts"])), "{others:?}");
    assert_eq!(
        (&others[&7]["rule"], &others[&7]["risk"].as_f64(), &others[&7]["route"]),
        (&json!("rest"), &Some(0.0), &Value::Null)
    );
    let trace = &others[&7]["trace"];
    assert_eq!(trace["yes"][0]["rule"], "rest", "{trace}");
    assert_eq!(trace["no"][0], json!({"rule": "known", "at": "merchant IN ('m1', 'm2')", "is": "false"}), "{trace}");
    assert_eq!(trace["no"].as_array().map(Vec::len), Some(5), "{trace}");
    // A rule that cannot be asked has not said no.
    let dead = host.wait_rows("triage.dead-letters", 1);
    assert!(dead[0]["error"].as_str().expect("why").starts_with("rule `split`"), "{dead:?}");
    let status = host.get("/v1/pipelines/triage/status").expect(200).json();
    let rules = &status["steps"][0]["rules"];
    assert_eq!((&rules["count"], &rules["rows"], &rules["matched"]), (&json!(6), &json!(6), &json!(5)), "{status}");
    assert_eq!(rules["by_rule"], json!({"known": 1, "large": 1, "rest": 1, "split": 1, "strict": 1}));
    assert_eq!(status["dropped"], json!({"steps[0].rules": 1}));
}

#[test]
fn rules_change_between_two_rows_and_a_kill_changes_nothing() {
    let mut host = host();
    let text = |threshold: u32, tags: &str| {
        format!(
            "pipeline: p\nfrom: payments\ntags: [{tags}]\nsteps:\n- rate: {{by: [merchant], limit: 2, per: 1h}}\n- rules:\n  - {{name: large, when: amount > {threshold}}}\n  - {{name: strict, when: amount > 5, enabled: {{tags: [on]}}}}\n  keep: all\nto:\n- stream: judged\n"
        )
    };
    host.apply("p", &text(100, "")).expect(201);
    send(&host, &[(Some("a"), 60, 1)]);
    assert_eq!(host.wait_rows("judged", 1)[0]["rule"], Value::Null);
    let plan = host.apply("p", &text(50, "on")).expect(200).json();
    assert_eq!(plan["changed"], true, "{plan}");
    host.kill();
    host.launch();
    send(&host, &[(Some("a"), 61, 1), (Some("a"), 62, 1), (Some("b"), 7, 1)]);
    // The rate kept its state: two rows of `a` in an hour, and no third.
    let rows = host.wait_rows("judged", 3);
    let mut judged: Vec<(i64, Value)> =
        rows.iter().map(|row| (row["amount"].as_i64().expect("an amount"), row["rule"].clone())).collect();
    judged.sort_by_key(|(amount, _)| *amount);
    assert_eq!(judged, [(7, json!("strict")), (60, Value::Null), (61, json!("large"))]);
    eventually("the third row of a key is dropped", Duration::from_secs(30), || {
        let status = host.get("/v1/pipelines/p/status").expect(200).json();
        status["rows_in"] == 4 && status["dropped"]["steps[0].rate"] == 1
    });
}

#[test]
fn what_a_rule_set_cannot_be_is_refused_by_name() {
    let host = host();
    let text = "\
from: payments
steps:
- rules:
  - {name: a, when: amount}
  - {name: b, when: amont > 1}
  - {name: c, set: {risk: 1.5}}
  - {name: d, set: {risk: \"'high'\"}}
  - {name: e, set: {trace: 1}}
  - {name: f, route: nowhere}
to:
- {stream: x, route: here}
";
    let problem = host.apply("wrong", text).expect(422).json();
    let faults: Vec<String> = problem["faults"]
        .as_array()
        .expect("faults")
        .iter()
        .map(|fault| {
            format!(
                "{} {}: {}",
                fault["line"],
                fault["path"].as_str().unwrap_or_default(),
                fault["error"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        faults,
        [
            "4 steps[0].rules[0].when: the condition is int64, not true or false",
            "5 steps[0].rules[1].when: there is no column `amont`",
            "7 steps[0].rules[3].set.risk: `risk` is float64 elsewhere, and string here",
            "8 steps[0].rules[4].set.trace: `trace` is a column that the step makes itself",
            "9 steps[0].rules[5].route: no target takes rows of the route `nowhere`",
        ]
    );
    host.push_guest("test-count-per-key", "1.0.0").expect(201);
    let text = "\
from: payments
steps:
- rules:
  - {name: a, rule: test-count-per-key@1}
  - {name: b, rule: nowhere@1}
to: [stdout]
";
    let problem = host.apply("wrong", text).expect(422).json();
    let errors: Vec<&str> =
        problem["faults"].as_array().expect("faults").iter().filter_map(|fault| fault["error"].as_str()).collect();
    assert_eq!(errors.len(), 2, "{problem}");
    assert!(errors[0].contains("keeps state, and a rule set keeps none"), "{errors:?}");
}

/// A rule that says yes to every price, with the price as `score`; 666 traps as long as it is broken.
fn scoring(broken: bool) -> Vec<u8> {
    let poison = if broken { "666" } else { "-1" };
    let body = "
        (local $bits i32) (local $length i32) (local $scores i32) (local $bytes i32) (local $row i32) (local $layout i32)
        (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
        (local.set $bits (call $take (local.get $length)))
        (memory.fill (local.get $bits) (i32.const 255) (local.get $length))
        (local.set $bytes (i32.shl (local.get $rows) (i32.const 3)))
        (local.set $scores (call $take (i32.add (local.get $bytes) (i32.const 32))))
        (memory.copy (local.get $scores) (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))) (local.get $bytes))
        (loop $next
          (if (f64.eq (f64.load (i32.add (local.get $scores) (i32.shl (local.get $row) (i32.const 3)))) (f64.const POISON))
            (then unreachable))
          (local.set $row (i32.add (local.get $row) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
        (drop (call $answer (local.get $bits) (local.get $length)))
        (local.set $layout (i32.add (local.get $scores) (local.get $bytes)))
        (memory.fill (local.get $layout) (i32.const 0) (i32.const 28))
        (i32.store8 (local.get $layout) (i32.const 1))
        (i32.store offset=4 (local.get $layout) (i32.const -1))
        (i32.store offset=12 (global.get $ret) (local.get $layout))
        (i32.store offset=16 (global.get $ret) (i32.const 1))
        (i32.store offset=28 (global.get $ret) (local.get $scores))
        (i32.store offset=32 (global.get $ret) (local.get $bytes))
        (global.get $ret)";
    TextGuest::rule(vec![Field::new("price", FieldType::Float64, true)])
        .outputs(vec![Field::new("score", FieldType::Float64, false)])
        .call(&body.replace("POISON", poison))
        .build()
}

#[test]
fn a_rule_asks_a_component_about_the_rows_that_need_it_and_no_others() {
    let mut host = host();
    host.push("scoring", "1.0.0", &scoring(true)).expect(201);
    let text = |version: &str| {
        format!(
            "pipeline: scored
from: payments
steps:
  - extend: {{price: cast(amount as double)}}
  - rules:
      - {{name: known, when: \"merchant = 'm1'\", priority: 9}}
      - {{name: risky, when: amount > 100, rule: scoring@{version}, set: {{risk: score * 2 + parts}}, tag: [asked]}}
      - {{name: rest}}
    trace: true
to: [{{stream: judged}}]
"
        )
    };
    host.apply("scored", &text("1.0.0")).expect(201);
    send(&host, &[(Some("m1"), 666, 0), (Some("m2"), 66, 0), (Some("m2"), 666, 3), (Some("m2"), 200, 1)]);
    let judged = host.wait_rows("judged", 3);
    let of = |rows: &[Value], amount: i64| rows.iter().find(|row| row["amount"] == amount).expect("it is there").clone();
    assert_eq!((&of(&judged, 666)["rule"], &of(&judged, 666)["risk"]), (&json!("known"), &Value::Null));
    assert_eq!((&of(&judged, 66)["rule"], &of(&judged, 66)["tags"]), (&json!("rest"), &json!([])));
    let risky = of(&judged, 200);
    assert_eq!((&risky["rule"], &risky["risk"], &risky["tags"]), (&json!("risky"), &json!(401.0), &json!(["asked"])), "{risky}");
    assert_eq!(risky["trace"]["yes"][0]["because"], json!(["amount > 100", "scoring@1.0.0"]), "{risky}");
    assert!(risky.get("score").is_none(), "what the component says is for `set`: {risky}");
    let dead = host.wait_rows("scored.dead-letters", 1);
    assert_eq!((&dead[0]["step"], &dead[0]["reason"]), (&json!("steps[1].rules"), &json!("trap")), "{dead:?}");
    assert_eq!((&dead[0]["component"], &dead[0]["version"]), (&json!("scoring"), &json!("1.0.0")), "{dead:?}");
    assert!(dead[0]["error"].as_str().expect("why").starts_with("rule `risky`: "), "{dead:?}");
    let step = host.get("/v1/pipelines/scored/status").expect(200).json()["steps"][0].clone();
    assert_eq!((&step["component"], &step["breaker"]), (&json!("scoring@1.0.0"), &json!("closed")), "{step}");
    // Alone, or first with the row beside it; nobody asked about the two that other rules had taken.
    assert!(step["calls"].as_u64().is_some_and(|calls| (2..=3).contains(&calls)), "{step}");

    // Killed: the ending was recorded, and nothing is said twice. Another version is a change that names it.
    host.kill();
    host.launch();
    host.push("scoring", "1.0.1", &scoring(false)).expect(201);
    let plan = host.apply("scored", &text("1.0.1")).expect(200).json();
    assert!(plan.to_string().contains("scoring@1.0.1"), "{plan}");
    send(&host, &[(Some("m2"), 666, 4)]);
    let judged = host.wait_rows("judged", 4);
    assert_eq!(judged.iter().filter(|row| row["risk"] == 1336.0).count(), 1, "{judged:?}");
    assert_eq!(host.rows("scored.dead-letters").len(), 1);
    let status = host.get("/v1/pipelines/scored/status").expect(200).json();
    assert_eq!(status["divergences"], json!([]), "{status}");
}

#[test]
fn alerts_are_rows_of_a_stream_with_the_same_fingerprint_for_the_same_labels() {
    let mut host = host();
    let text = "\
pipeline: watch
from: payments
steps:
  - rules:
      - {name: large, when: amount > 100}
      - {name: rest}
  - alert:
      name: large-payment
      when: rule = 'large'
      severity: critical
      summary: merchant || ' paid ' || cast(amount as varchar)
      labels: {merchant: merchant, share: amount / parts}
to: [{stream: judged}]
";
    host.apply("watch", text).expect(201);
    send(&host, &[(Some("m1"), 200, 1), (Some("m2"), 7, 1), (Some("m1"), 200, 1), (None, 300, 1), (Some("m3"), 500, 0)]);
    // Every row goes on, but for the one whose label fails: that is dead, and no alert.
    assert_eq!(host.wait_rows("judged", 4).len(), 4);
    let alerts = host.wait_rows("watch.alerts", 3);
    let dead = host.wait_rows("watch.dead-letters", 1);
    assert!(dead[0]["error"].as_str().is_some_and(|error| error.starts_with("`share`: ")), "{dead:?}");
    let of: Vec<&Value> = alerts.iter().filter(|alert| alert["labels"]["merchant"] == "m1").collect();
    assert_eq!((of.len(), &of[0]["alert"], &of[0]["severity"]), (2, &json!("large-payment"), &json!("critical")), "{alerts:?}");
    assert_eq!((&of[0]["summary"], &of[0]["step"]), (&json!("m1 paid 200"), &json!("steps[1].alert")));
    assert_eq!(
        (&of[0]["labels"], &of[0]["starts_at"]),
        (&json!({"merchant": "m1", "share": "200"}), &of[0]["_time"]),
        "{alerts:?}"
    );
    assert_eq!(of[0]["fingerprint"], of[1]["fingerprint"]);
    let other = alerts.iter().find(|alert| alert["labels"].get("merchant").is_none()).expect("one without a merchant");
    assert_ne!(other["fingerprint"], of[0]["fingerprint"], "{alerts:?}");
    assert_eq!(other["summary"], Value::Null);
    // Exactly once, with the rows they came with.
    host.kill();
    host.launch();
    send(&host, &[(Some("m9"), 101, 1)]);
    assert_eq!(host.wait_rows("watch.alerts", 4).len(), 4);
    assert_eq!(host.rows("judged").len(), 5);
    // A pipeline that reads them is one like any other.
    host.apply("pages", "from: watch.alerts\nsteps: [{where: severity = 'critical'}, {dedupe: {by: [fingerprint], within: 1h}}]\nto: [{stream: paged}]\n").expect(201);
    assert_eq!(host.wait_rows("paged", 3).len(), 3);
}
