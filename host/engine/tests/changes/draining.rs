//! A pattern that is changed: what is open of the old one is brought to its end beside the new one, or dropped and counted.

use expect_test::expect;
use serde_json::{Value, json};
use tidemill_engine::{DrainingStatus, PartialMatches};

use super::check;
use crate::support::{Host, Setup, pipeline, tenant};

const EVENTS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop"}"#;
const RISE: &str =
    "{name: rise, stages: [{begin: a, where: v = 1}, {followed_by: b, where: v = 2}], within: 1h, select: {b: b.v}}";
const HIGHER: &str =
    "{name: rise, stages: [{begin: a, where: v = 1}, {followed_by: b, where: v = 3}], within: 1h, select: {b: b.v}}";
const FALL: &str =
    "{name: fall, stages: [{begin: a, where: v = 9}, {followed_by: b, where: v = 8}], within: 1h, select: {b: b.v}}";

fn host() -> Host {
    let host = Host::new(Setup { batch_rows: 3, ..Setup::default() });
    host.make_stream("events", EVENTS);
    host
}

fn list(patterns: &[&str]) -> String {
    format!("from: events\nsteps:\n- patterns: [{}]\n  by: [k]\nto: [{{stream: out}}]\n", patterns.join(", "))
}

fn drained(pattern: &str) -> String {
    pattern.replace("{name: rise, ", "{name: rise, draining: true, ")
}

/// `a@3=5`: key, second, value.
fn send(host: &Host, text: &str) {
    let event = |word: &str| {
        let (key, rest) = word.split_once('@').expect("key@second=value");
        let (second, value) = rest.split_once('=').expect("second=value");
        json!({"k": key, "t": second.parse::<i64>().expect("a second"), "v": value.parse::<i64>().expect("a value")})
    };
    host.send("events", &text.split_whitespace().map(event).collect::<Vec<_>>());
    host.settle("p");
}

/// Whose match, of which key, ended by which value.
fn found(host: &Host) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    host.rows("out").iter().map(|row| [&row["pattern"], &row["k"], &row["b"]].map(text).join(" ")).collect()
}

/// Waits until that is left; a task that has not begun says nothing yet.
fn left(host: &Host, expected: &[DrainingStatus]) {
    host.wait("p", "what is drained", |status| status.steps.first().is_some_and(|step| step.draining == expected));
}

fn rise(runs: u64, keys: u64) -> DrainingStatus {
    DrainingStatus { pattern: Some("rise".to_owned()), runs, keys }
}

fn metric(host: &Host, name: &str) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    host.engine.register(&mut registry);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
    page.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

#[test]
fn the_old_version_of_a_pattern_finishes_what_it_holds_beside_the_new_one() {
    let host = host();
    host.apply("p", &list(&[RISE, FALL]));
    send(&host, "a@1=1 a@2=1 b@3=1 c@4=9");
    check(
        &host,
        &list(&[HIGHER, FALL]),
        expect![[r#"
            Changed steps[0].patterns: patterns: rise, fall
              patterns[rise]: stages: [{"begin":"a","where":"v = 1"},{"followed_by":"b","where":"v = 2"}] → [{"begin":"a","where":"v = 1"},{"followed_by":"b","where":"v = 3"}]; 3 partial matches of 2 keys are DROPPED
              state is kept
        "#]],
    );
    let both = list(&[HIGHER, &drained(RISE), FALL]);
    check(
        &host,
        &both,
        expect![[r#"
            Changed steps[0].patterns: patterns: rise, rise, fall
              patterns[rise]: added
              patterns[rise]: draining: (not said) → true; 3 partial matches of 2 keys are brought to an end
              state is kept
        "#]],
    );
    host.apply("p", &both);
    // Before any row came.
    left(&host, &[rise(3, 2)]);
    // The new one takes what begins, the old one ends what it holds, and the third goes on as if nothing had been.
    send(&host, "d@5=1 b@6=2 d@7=2 d@8=3 c@9=8");
    assert_eq!(found(&host), ["rise b 2", "rise d 3", "fall c 8"]);
    left(&host, &[rise(2, 1)]);
    let host = host.crash();
    host.settle("p");
    left(&host, &[rise(2, 1)]);
    let applied = host.engine.pipelines().apply(&tenant(), &pipeline("p"), &list(&[HIGHER, FALL]), true).expect("a plan");
    assert_eq!(applied.changes[0].dropped, Some(PartialMatches { partial_matches: 2, keys: 1 }));
    send(&host, "a@10=2");
    assert_eq!(found(&host)[3..], ["rise a 2", "rise a 2"]);
    left(&host, &[rise(0, 0)]);
    let without = list(&[HIGHER, FALL]);
    check(
        &host,
        &without,
        expect![[r#"
            Changed steps[0].patterns: patterns: rise, fall
              patterns[rise]: removed; nothing of it is open
              state is kept
        "#]],
    );
    host.apply("p", &without);
    host.wait("p", "its tasks", |status| status.steps.first().is_none_or(|step| step.draining.is_empty()));
    assert_eq!(metric(&host, "tidemill_pattern_dropped_total"), "", "nothing was dropped");
}

#[test]
fn what_a_change_drops_is_told_and_counted() {
    let host = host();
    // Takes rows of every plan below.
    host.make_stream("out", r#"{"fields": [{"name": "pattern", "type": "string"}, {"name": "k", "type": "string"}, {"name": "b", "type": "int64"}], "unknown": "drop"}"#);
    host.apply("p", &list(&[RISE, FALL]));
    send(&host, "a@1=1 b@2=1 c@3=9");
    let applied = host.apply("p", &list(&[HIGHER, FALL]));
    assert_eq!(applied.changes[0].dropped, Some(PartialMatches { partial_matches: 2, keys: 2 }));
    assert!(metric(&host, "tidemill_pattern_dropped_total").ends_with(" 2"), "{}", metric(&host, "tidemill_pattern_dropped"));
    // The changed one has begun anew, the other has not noticed.
    send(&host, "a@4=2 b@5=3 c@6=8");
    assert_eq!(found(&host), ["fall c 8"]);
    send(&host, "c@7=9 c@8=9");
    // Another key: all begin anew.
    check(
        &host,
        &list(&[HIGHER, FALL]).replace("by: [k]", "by: [v]"),
        expect![[r#"
            Changed steps[0].patterns: patterns: rise, fall
              by: ["k"] → ["v"]
              2 partial matches of 1 key are DROPPED
              state begins empty: its state was patterns by [k string] of [t int64, k string, v int64] and is patterns by [v int64] of [t int64, k string, v int64]
        "#]],
    );
    check(
        &host,
        "from: events\nto: [{stream: out}]\n",
        expect![[r#"
            Removed steps[0].patterns: patterns: rise, fall
              2 partial matches of 1 key are DROPPED
              state is lost: no step of the new plan goes on with it
        "#]],
    );
    // While it is paused its tasks have said what they left; after a restart nobody knows.
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("paused");
    let without = |host: &Host| {
        let text = "from: events\nto: [{stream: out}]\n";
        host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, true).expect("a plan").changes.remove(0)
    };
    assert_eq!(without(&host).dropped, Some(PartialMatches { partial_matches: 2, keys: 1 }));
    let host = host.restart();
    let change = without(&host);
    assert!(change.dropped.is_none() && change.details.iter().any(|line| line.contains("nobody can say")), "{change:?}");
}

#[test]
fn a_pattern_that_stands_alone_is_drained_too_and_one_that_stands_twice_is_refused() {
    let host = host();
    let text = |draining: bool| {
        format!(
            "from: events\nsteps:\n- pattern: {{by: [k], stages: [{{begin: a, where: v = 1}}, {{next: b, where: v = 2}}], within: 1h, draining: {draining}}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text(false));
    send(&host, "a@1=1 b@2=1");
    host.apply("p", &text(true));
    left(&host, &[DrainingStatus { pattern: None, runs: 2, keys: 2 }]);
    send(&host, "a@3=2 c@4=1 c@5=2");
    assert_eq!(host.column("out", "k"), [json!("a")]);
    // What it holds of `b` waits on; applied without `draining`, it begins again what it did.
    host.apply("p", &text(false));
    send(&host, "c@6=1 c@7=2 b@8=2");
    assert_eq!(host.column("out", "k"), [json!("a"), json!("c"), json!("b")]);
    let twice = list(&[RISE, &drained(RISE)]);
    assert!(host.faults("q", &twice).contains("there is nothing to drain"), "{}", host.faults("q", &twice));
    let without_mark = list(&[RISE, HIGHER]);
    assert!(host.faults("q", &without_mark).contains("`rise` is another pattern of the list"));
}
