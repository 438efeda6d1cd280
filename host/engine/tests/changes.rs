//! What a dry run says would change, and that it changes nothing.

#[path = "changes/crashes.rs"]
mod crashes;
#[path = "changes/draining.rs"]
mod draining;
mod support;

use expect_test::{Expect, expect};
use serde_json::json;
use support::{Host, Setup, pipeline, stream_id, tenant};
use tidemill_engine::{PipelineState, StateChange};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::{counter_rule, threshold_rule};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}], "key": ["user"]}"#;
const TEXT: &str = "from: payments\nsteps:\n- where: amount > 0\n- rule: count@1\n  by: [user]\n- rule: high@1\n  keep: all\n  as: hit\nto:\n- stream: out\n";

fn prepared() -> Host {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.make_stream("refunds", PAYMENTS);
    host.make_stream("out", r#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    host.publish("count", "1.0.0", &counter_rule());
    host.publish("high", "1.0.0", &threshold_rule());
    host.send("payments", &[json!({"user": "a", "amount": 1.0, "n": 1})]);
    host.apply("p", TEXT);
    host.settle("p");
    host
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(host: &Host, text: &str, expected: Expect) {
    let before = host.status("p");
    let applied = host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, true).expect("a plan");
    let mut shown = String::new();
    for change in &applied.changes {
        shown.push_str(&format!("{:?} {}: {}\n", change.change, change.place, change.text));
        change.details.iter().for_each(|detail| shown.push_str(&format!("  {detail}\n")));
        match &change.state {
            None => {}
            Some(StateChange::Kept) => shown.push_str("  state is kept\n"),
            Some(StateChange::New(why)) => shown.push_str(&format!("  state begins empty: {why}\n")),
            Some(StateChange::Lost(why)) => shown.push_str(&format!("  state is lost: {why}\n")),
        }
    }
    expected.assert_eq(&shown);
    assert_eq!(host.status("p").plan, before.plan, "nothing was changed");
}

/// The stream was made for the columns there were: it drops what is new, and the plan says so.
#[test]
fn a_column_that_a_target_drops_is_told() {
    let host = prepared();
    let warnings = |text: &str| -> Vec<String> {
        let plan = host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, true).expect("a plan").plan;
        let told = plan["to"][0]["warnings"].as_array().into_iter().flatten();
        told.map(|warning| warning.as_str().expect("a text").split(": ").next().unwrap_or_default().to_owned()).collect()
    };
    let less = TEXT.replace("to:", "- select: {n: n}\nto:");
    let more = TEXT.replace("to:", "- select: {n: n, more: n + 1}\nto:");
    assert!(warnings(&more).is_empty(), "a declared stream keeps what it does not know");
    let more = more.replace("stream: out", "stream: made");
    assert!(warnings(&more).is_empty(), "it is made with all columns");
    host.apply("q", &less.replace("stream: out", "stream: made"));
    assert_eq!(warnings(&more), ["`more` is left out"]);
    // Once the stream has the field, the same text takes it.
    host.apply("q", &more);
    let made = host.log.stream(&stream_id("made")).expect("a stream");
    let mut schema = made.definition().schema.clone();
    schema.fields.push(Field::new("more", FieldType::Int64, true));
    host.log.evolve_stream(made.id(), schema).expect("it may have more");
    host.apply("q", &more);
    host.send("payments", &[json!({"user": "b", "amount": 2.0, "n": 4})]);
    host.settle("q");
    host.sync();
    assert_eq!(host.column("made", "more").last(), Some(&json!(5)));
}

#[test]
fn a_dry_run_says_what_would_change() {
    let host = prepared();
    check(&host, TEXT, expect![""]);
    check(
        &host,
        &TEXT
            .replace("amount > 0", "amount > 5")
            .replace("as: hit", "as: flagged")
            .replace("- stream: out", "- stream: out\n- stdout"),
        expect![[r#"
            Changed steps[0].where: where: amount > 5
              where: amount > 0 → amount > 5
            Changed steps[2].rule: rule: high@1
              as: hit → flagged
            Added to: stdout
              rows from here on are printed, at least once
        "#]],
    );
    check(
        &host,
        &TEXT.replace("by: [user]", "by: [n]").replace("from: payments", "from: [payments, refunds]"),
        expect![[r#"
        Added from.refunds: refunds
          1 partitions, 3 columns, read from where `start` says
        Changed steps[1].rule: rule: count@1
          by: ["user"] → ["n"]
          state begins empty: its state was by [user] keeps [count:int64] and is by [n] keeps [count:int64]
    "#]],
    );
    check(
        &host,
        "from: payments\nsteps:\n- extend: {m: n + 1}\n- rule: high@1\nto:\n- stream: out\n- stream: other\n",
        expect![[r#"
            Added steps[0].extend: extend: {"m":"n + 1"}
            Changed steps[1].rule: rule: high@1
              as: hit → (not said)
              keep: all → (not said)
            Removed steps[0].where: where: amount > 0
            Removed steps[1].rule: rule: count@1
              state is lost: no step of the new plan goes on with it
            Added to: stream: other
              the stream is made, with 1 partitions and no key
        "#]],
    );
    check(
        &host,
        &TEXT.replace("from: payments", "from: {stream: refunds, on_trim: skip}"),
        expect![[r#"
        Changed run: run 1 ends
          it reads none of the streams it read before
          a new run: it begins where `start` says, with empty state
        Added from.refunds: refunds
          1 partitions, 3 columns, read from where `start` says
        Removed from.payments: payments
          nothing more of it is taken; what came of it stays
        Changed steps[1].rule: rule: count@1
          state begins empty: the run is new
    "#]],
    );
    check(
        &host,
        &format!("run: once\non_divergence: stop\n{}", TEXT.replace("payments", "{stream: payments, start: latest}")),
        expect![[r#"
            Changed run: live → once
            Changed on_divergence: continue → stop
            Changed from.payments: payments
              `start` is another and moves nothing: the run goes on where it is; a replay begins elsewhere
        "#]],
    );
    let newer = [counter_rule().as_slice(), &[0, 2, 1, b'x']].concat();
    host.publish("count", "1.1.0", &newer);
    check(
        &host,
        TEXT,
        expect![[r#"
        Changed steps[1].rule: rule: count@1
          count@1.0.0 → count@1.1.0
          state is kept
    "#]],
    );
}

#[test]
fn what_a_dry_run_said_is_what_applying_does() {
    let host = prepared();
    let text = TEXT.replace("by: [user]", "by: [n]");
    let said = host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text, true).expect("a plan");
    assert_eq!(host.status("p").tasks[0].steps[0].keys, 1);
    let done = host.apply("p", &text);
    assert_eq!(said.changes, done.changes);
    assert_eq!(host.settle("p").plan, 2);
    let wider = "from: [payments, refunds]\nto:\n- stream: out\n";
    assert!(host.apply("p", wider).changed);
    assert_eq!(host.settle("p").state, PipelineState::Running);
}

/// Windows too: what was counted before a change of plan counts on, or the change says why it does not.
#[test]
fn a_window_keeps_its_state_through_a_change_of_plan_or_says_why_not() {
    const TIMED: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
        {"name": "at", "type": "timestamp"}], "key": ["user"], "time": {"field": "at"}}"#;
    const WINDOW: &str = "from: timed\ntime: {bound: off}\nsteps:\n- where: amount > 0\n- window: {tumbling: 1m, by: [user], select: {n: count(*)}}\nto:\n- stream: counted\n";
    let host = Host::new(Setup::default());
    host.make_stream("timed", TIMED);
    let row =
        |second: u32| json!({"user": "a", "amount": 1.0, "at": format!("2026-11-21T12:{:02}:{:02}Z", second / 60, second % 60)});
    host.apply("p", WINDOW);
    host.send("timed", &[row(1), row(2), row(3)]);
    host.settle("p");
    let states = |text: &str| -> Vec<StateChange> {
        let applied = host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, true).expect("a plan");
        applied.changes.into_iter().filter_map(|change| change.state).collect()
    };
    let kept = WINDOW.replace("amount > 0", "amount > 0.5").replace("- window", "- where: amount < 100\n- window");
    assert_eq!(states(&kept), [], "nothing is said of a window that goes on as it is");
    host.apply("p", &kept);
    // Four rows in the first minute, three of them from before the change; the last row ends it.
    host.send("timed", &[row(4), row(61)]);
    host.wait("p", "the window", |status| status.rows_out == 1);
    host.sync();
    assert_eq!(host.column("counted", "n"), [json!(4)]);
    for (text, why) in [
        (WINDOW.replace("count(*)", "count(*), total: sum(amount)"), "its state was"),
        (WINDOW.replace("by: [user]", "by: [amount]"), "its state was"),
        (WINDOW.replace("tumbling: 1m", "tumbling: 2m"), "its state was"),
        (WINDOW.replace("tumbling: 1m", "session: 1m"), "its state was"),
    ] {
        let said = states(&text.replace("stream: counted", "stream: another"));
        assert!(matches!(&said[..], [StateChange::New(told)] if told.contains(why)), "{text}: {said:?}");
    }
    let removed = "from: timed\nto:\n- stream: rest\n";
    assert!(matches!(&states(removed)[..], [StateChange::Lost(told)] if told.contains("no step")));
    let other = WINDOW.replace("from: timed", "from: others").replace("stream: counted", "stream: elsewhere");
    host.make_stream("others", TIMED);
    assert!(matches!(&states(&other)[..], [StateChange::New(told)] if told.contains("run is new")));
}
