//! What steps hold of a key, asked from outside: after what was committed, through a restart, and what is refused.

use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tidemill_engine::StateOfKeyError;

use super::{events, host};
use crate::support::{Host, Setup, pipeline, tenant};

const STEPS: &str = "from: events\nsteps:\n- where: v > 0\n- machine: {by: [k], initial: a, variables: {n: 0}, states: {a: , b: {timeout: {after: 10s, to: c}}, c: final}, transitions: [{from: a, to: b, on: v < 9, set: {n: v}}, {from: b, on: v < 9, set: {n: n + v}}], illegal: emit}\nto: [{stream: out}]\n";

fn ask(host: &Host, step: &str, key: Option<&str>) -> Result<Value, StateOfKeyError> {
    let found = host.engine.pipelines().state_of_key(&tenant(), &pipeline("p"), step, key)?;
    Ok(json!({"step": found.step, "key": found.key, "partition": found.partition, "state": found.state}))
}

fn refused(host: &Host, step: &str, key: Option<&str>) -> String {
    ask(host, step, key).map_or_else(|error| error.to_string(), |found| found.to_string())
}

#[test]
fn a_machine_says_where_a_key_is_through_a_restart() {
    let host = host();
    host.apply("p", STEPS);
    host.send("events", &events("a@1=3 b@2=1 a@3=4 b@4=9 a@5=0"));
    host.settle("p");
    let a = json!({
        "step": "steps[1].machine", "key": {"k": "a"}, "partition": 0,
        "state": [{"state": "b", "since": "1970-01-01T00:00:01.000000Z", "until": "1970-01-01T00:00:11.000000Z", "variables": {"n": 7}}],
    });
    for step in ["1", "machine", "steps[1].machine"] {
        assert_eq!(ask(&host, step, Some("a")).expect("a state"), a);
    }
    assert_eq!(ask(&host, "machine", Some("{\"k\": \"a\"}")).expect("a state"), a);
    let host = host.crash();
    host.settle("p");
    assert_eq!(ask(&host, "machine", Some("a")).expect("the same after a crash"), a);
    host.send("events", &events("x@60=9"));
    host.settle("p");
    let said = [
        refused(&host, "machine", Some("a")),
        refused(&host, "machine", Some("nobody")),
        refused(&host, "machine", Some("{\"k\": null}")),
        refused(&host, "7", Some("a")),
        refused(&host, "where", None),
    ];
    expect![[r#"
        `steps[1].machine` holds nothing of {"k":"a"}
        `steps[1].machine` holds nothing of {"k":"nobody"}
        `steps[1].machine` holds nothing of {"k":null}
        the pipeline has no step `7`; it has steps[0].where, steps[1].machine
        `steps[0].where` keeps no state"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn a_pattern_says_its_open_partial_matches_and_a_correlation_its_events() {
    let host = Host::new(Setup::default());
    host.make_stream("events", super::EVENTS);
    host.apply(
        "p",
        "from: events\nsteps:\n- pattern: {by: [k], stages: [{begin: low, where: v < 3, times: 1..}, {followed_by: high, where: v > 2 * max(low.v) + 1}], within: 20s, select: {n: count(low), s: sum(low.v)}}\nto: [{stream: out}]\n",
    );
    host.send("events", &events("a@1=1 a@2=2 b@3=9"));
    host.settle("p");
    let found = ask(&host, "pattern", Some("a")).expect("partial matches");
    expect![[r#"
        {"at_end":"timeout","begun":"1970-01-01T00:00:01.000000Z","complete":false,"count":1,"events":[{"at":"1970-01-01T00:00:01.000000Z","row":{"v":1},"stage":"low"}],"last":"1970-01-01T00:00:01.000000Z","stage":"low","until":"1970-01-01T00:00:21.000000Z","waits_for":["high"]}
        {"at_end":"timeout","begun":"1970-01-01T00:00:01.000000Z","complete":false,"count":2,"events":[{"at":"1970-01-01T00:00:01.000000Z","row":{"v":1},"stage":"low"},{"at":"1970-01-01T00:00:02.000000Z","row":{"v":2},"stage":"low"}],"last":"1970-01-01T00:00:02.000000Z","stage":"low","until":"1970-01-01T00:00:21.000000Z","waits_for":["high","low"]}
        {"at_end":"timeout","begun":"1970-01-01T00:00:02.000000Z","complete":false,"count":1,"events":[{"at":"1970-01-01T00:00:02.000000Z","row":{"v":2},"stage":"low"}],"last":"1970-01-01T00:00:02.000000Z","stage":"low","until":"1970-01-01T00:00:22.000000Z","waits_for":["high","low"]}
    "#]].assert_eq(&found["state"].as_array().expect("rows").iter().map(|row| format!("{row}\n")).collect::<String>());
    assert!(matches!(ask(&host, "pattern", Some("b")), Err(StateOfKeyError::Nothing { .. })));
    host.apply("p", "from: events\nsteps:\n- correlate: {by: [k], within: 10s, kinds: {low: v < 3, high: v > 7}, evidence: [v]}\nto: [{stream: found}]\n");
    host.send("events", &events("a@4=1 b@5=1 b@6=9"));
    host.settle("p");
    let found = ["a", "b"].map(|key| ask(&host, "correlate", Some(key)).expect("events")["state"].to_string());
    expect![[r#"
        [{"count":1,"events":[{"at":"1970-01-01T00:00:04.000000Z","kinds":["low"],"v":1}],"kinds":["low"],"missing":["high"],"quiet_until":null}]
        [{"count":0,"events":[],"kinds":[],"missing":null,"quiet_until":"1970-01-01T00:00:15.000000Z"}]"#]]
    .assert_eq(&found.join("\n"));
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("a pause");
    assert!(refused(&host, "correlate", Some("a")).contains("is not running"));
}

/// What the first step holds of a key once these have come, and after a crash.
#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn holds(from: &str, step: &str, input: &str, key: Option<&str>, expected: Expect) {
    let host = host();
    host.apply("p", &format!("from: {from}\ntime: {{bound: off}}\nsteps:\n{step}\nto: [{{stream: out}}]\n"));
    host.send("events", &events(input));
    host.settle("p");
    let shown = |host: &Host| -> String {
        let found = ask(host, "0", key).expect("it holds something");
        let rows = found["state"].as_array().expect("rows");
        rows.iter().map(|row| row.to_string().replace("1970-01-01T00:", "").replace(".000000Z", "") + "\n").collect()
    };
    let said = shown(&host);
    let host = host.crash();
    host.settle("p");
    assert_eq!(shown(&host), said, "after a crash");
    expected.assert_eq(&said);
}

#[test]
fn windows_say_which_are_open_and_what_they_would_say_now() {
    let select = "select: {n: count(*), mean: avg(v), most: max(v)}";
    let rows = "a@1=5 b@2=1 a@3=7 a@8=2 a@12=4 b@13=1";
    holds(
        "events",
        &format!("- window: {{tumbling: 10s, by: [k], {select}}}"),
        rows,
        Some("a"),
        expect![[r#"
        {"mean":4.0,"most":4,"n":1,"window_end":"00:20","window_start":"00:10"}
    "#]],
    );
    holds(
        "events",
        &format!("- window: {{hopping: {{size: 10s, every: 5s}}, by: [k], {select}}}"),
        rows,
        Some("a"),
        expect![[r#"
            {"mean":3.0,"most":4,"n":2,"window_end":"00:15","window_start":"00:05"}
            {"mean":4.0,"most":4,"n":1,"window_end":"00:20","window_start":"00:10"}
        "#]],
    );
    holds(
        "events",
        &format!("- window: {{session: 8s, by: [k], {select}}}"),
        rows,
        Some("a"),
        expect![[r#"
        {"mean":4.5,"most":7,"n":4,"window_end":"00:20","window_start":"00:01"}
    "#]],
    );
    holds(
        "events",
        &format!("- window: {{count: 5, by: [k], {select}}}"),
        rows,
        Some("a"),
        expect![[r#"
        {"mean":4.5,"most":7,"n":4,"rows":4,"window_no":0}
    "#]],
    );
    holds(
        "events",
        &format!("- window: {{tumbling: 10s, by: [k], {select}, early: {{rows: 2}}}}"),
        rows,
        Some("a"),
        expect![[r#"
            {"mean":4.0,"most":4,"n":1,"window_end":"00:20","window_start":"00:10"}
        "#]],
    );
    holds(
        "events",
        &format!("- window: {{tumbling: 10s, {select}}}"),
        rows,
        None,
        expect![[r#"
        {"mean":2.5,"most":4,"n":2,"window_end":"00:20","window_start":"00:10"}
    "#]],
    );
}

#[test]
fn other_steps_say_which_rows_of_a_key_they_hold() {
    let sides = "[{stream: events, as: a}, {stream: events, as: b}]";
    let rows = "a@1=5 b@2=1 a@3=7 a@8=2";
    holds(
        sides,
        "- join: {kind: left, on: a.k = b.k and a.v < b.v, within: [0s, 20s]}",
        rows,
        Some("a"),
        expect![[r#"
        {"at":"00:01","matched":true,"row":{"k":"a","t":1,"v":5},"side":"left"}
        {"at":"00:03","matched":false,"row":{"k":"a","t":3,"v":7},"side":"left"}
        {"at":"00:08","matched":false,"row":{"k":"a","t":8,"v":2},"side":"left"}
        {"at":"00:08","matched":false,"row":{"k":"a","t":8,"v":2},"side":"right"}
    "#]],
    );
    holds(
        sides,
        "- join: {on: a.k = b.k, window: {tumbling: 10s}}",
        rows,
        Some("a"),
        expect![[r#"
        {"at":"00:01","matched":null,"row":{"k":"a","t":1,"v":5},"side":"left"}
        {"at":"00:03","matched":null,"row":{"k":"a","t":3,"v":7},"side":"left"}
        {"at":"00:08","matched":null,"row":{"k":"a","t":8,"v":2},"side":"left"}
        {"at":"00:01","matched":null,"row":{"k":"a","t":1,"v":5},"side":"right"}
        {"at":"00:03","matched":null,"row":{"k":"a","t":3,"v":7},"side":"right"}
        {"at":"00:08","matched":null,"row":{"k":"a","t":8,"v":2},"side":"right"}
    "#]],
    );
    holds(
        "events",
        "- over: {by: [k], rows: 3, select: {total: sum(v)}}",
        rows,
        Some("a"),
        expect![[r#"
        {"at":"00:03","row":{"v":7}}
        {"at":"00:08","row":{"v":2}}
    "#]],
    );
    holds(
        "events",
        "- dedupe: {by: [k], within: 10s}",
        rows,
        Some("a"),
        expect![[r#"
        {"first":"00:01","last":"00:01","passed":1,"until":"00:21"}
    "#]],
    );
    holds(
        "events",
        "- rate: {by: [k], limit: 2, per: 10s}",
        rows,
        Some("a"),
        expect![[r#"
        {"first":"00:01","last":"00:03","passed":2,"until":"00:21"}
    "#]],
    );
    let sought = "- match_recognize: |\n    partition by k order by t measures first(A.v) as a after match skip past last row\n    pattern (A B) define A as v = 2, B as v = 9";
    holds(
        "events",
        sought,
        rows,
        Some("a"),
        expect![[r#"
        {"at":"00:08","row":{"v":2}}
    "#]],
    );
}

/// What lies on disk is read for whoever asks: the answer is the same as with room for all.
#[test]
fn state_that_left_memory_is_said_too() {
    let rows: Vec<Value> = (0..4_000).map(|n| json!({"k": format!("key-{n}"), "t": n % 50, "v": n})).collect();
    let sides = "from: [{stream: events, as: a, out_of_orderness: 1m}, {stream: events, as: b, out_of_orderness: 1m}]";
    let one = "from: {stream: events, out_of_orderness: 1m}";
    for (bytes_a_key, from, step) in [
        (100, one, "window: {tumbling: 1h, by: [k], select: {n: count(*), s: sum(v)}}"),
        (100, one, "window: {session: 1h, by: [k], select: {n: count(*)}}"),
        (100, one, "window: {count: 9, by: [k], select: {s: sum(v)}}"),
        (100, one, "dedupe: {by: [k], within: 1h}"),
        (160, sides, "join: {on: a.k = b.k, within: [0s, 1h]}"),
        (160, sides, "join: {on: a.k = b.k, window: {tumbling: 1h}}"),
    ] {
        let said = [1 << 40, bytes_a_key * rows.len() as u64].map(|state_memory| {
            let host = super::host_with(Setup { state_memory, checkpoint_after: Duration::from_millis(1), ..Setup::default() });
            host.apply("p", &format!("{from}\ntime: {{bound: off}}\nsteps:\n- {step}\nto: [{{stream: out}}]\n"));
            rows.chunks(400).for_each(|rows| {
                host.send("events", rows);
                host.settle("p");
            });
            let on_disk = host.status("p").tasks.iter().map(|task| task.state_entries_on_disk).sum::<u64>();
            let said =
                [0, 7, 1234, 3999].map(|n| ask(&host, "0", Some(&format!("key-{n}"))).expect("a state")["state"].to_string());
            (on_disk, said)
        });
        assert_eq!(said[0].1, said[1].1, "{step}");
        assert!(said[0].0 == 0 && said[1].0 > 0, "{step}: {} and {} on disk", said[0].0, said[1].0);
    }
}
