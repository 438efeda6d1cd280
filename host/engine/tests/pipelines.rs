//! What a pipeline does with rows, from apply to its targets.

mod support;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{ControlError, DeleteComponentError, PipelineState};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::{TextGuest, counter_rule, threshold_rule};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}], "key": ["user"]}"#;

fn payments(from: i64, count: i64) -> Vec<Value> {
    (from..from + count).map(|n| json!({"user": format!("u{}", n % 7), "amount": (n * 7919 % 2003) as f64, "n": n})).collect()
}

#[test]
fn rows_flow_through_where_and_select_into_a_stream_that_is_made() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 10));
    let applied = host.apply("big", "from: {stream: payments, as: p}\nsteps:\n- where: p.amount > 1000\n- select: {who: p.user, twice: n * 2}\nto:\n- stream: big-ones\n");
    assert!(applied.created && applied.changed);
    let status = host.settle("big");
    assert_eq!((status.rows_in, status.rows_out, status.state), (10, 9, PipelineState::Running));
    host.send("payments", &payments(10, 10));
    host.settle("big");
    let expected: Vec<Value> = (0..20).filter(|n| n * 7919 % 2003 > 1000).map(|n| json!(n * 2)).collect();
    assert_eq!(host.column("big-ones", "twice"), expected);
    assert_eq!(host.rows("big-ones")[0]["who"], "u1");
    let again = host.apply("big", "{\"from\": {\"stream\": \"payments\", \"as\": \"p\"}, \"steps\": [{\"where\": \"p.amount > 1000\"}, {\"select\": {\"who\": \"p.user\", \"twice\": \"n * 2\"}}], \"to\": [{\"stream\": \"big-ones\"}]}");
    assert!(!again.created && !again.changed, "the same in JSON is no change");
}

#[test]
fn a_rule_and_files_and_standard_output() {
    let host = Host::new(Setup { batch_rows: 8, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("high", "1.2.0", &threshold_rule());
    host.publish("high", "1.3.0", &TextGuest::rule(vec![]).build());
    host.send("payments", &payments(0, 50));
    host.apply(
        "onward",
        "run: once\nfrom: payments\nsteps:\n- rule: high@1.2\n  keep: all\n  as: hit\nto:\n- file: {path: out/here}\n- stdout\n",
    );
    let status = host.wait("onward", "the end", |status| status.state == PipelineState::Finished);
    assert_eq!((status.rows_in, status.rows_out), (50, 50));
    let mut files: Vec<_> =
        std::fs::read_dir(host.path("files/out/here")).expect("files").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let written: String = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
    let printed = String::from_utf8(host.printed.0.lock().expect("unpoisoned").clone()).expect("text");
    assert_eq!(written, printed);
    for (n, line) in written.lines().enumerate() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((row["n"].as_u64(), row["hit"].as_bool()), (Some(n as u64), Some(n * 7919 % 2003 > 1000)), "{line}");
    }
    assert_eq!(written.lines().count(), 50);
    // Applied again, a finished one runs again: a new run over all there is now.
    host.send("payments", &payments(50, 5));
    let again = host.apply(
        "onward",
        "run: once\nfrom: payments\nsteps:\n- rule: high@1.2\n  keep: all\n  as: hit\nto:\n- file: {path: out/here}\n- stdout\n",
    );
    assert!(again.changed);
    let status = host.wait("onward", "the end", |status| status.state == PipelineState::Finished && status.run == 2);
    assert_eq!(status.rows_out, 55);
    let taken = host.faults("p", "from: payments\nto: [{file: {path: out/here}}]\n");
    assert!(taken.starts_with("line 2: to[0].file.path: `files/out/here` belongs to the pipeline `default/onward`"), "{taken}");
}

#[test]
fn a_row_that_a_component_fails_on_is_dead_and_the_others_go_on() {
    let host = Host::new(Setup { batch_rows: 4, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    // Traps when the first amount of a batch is above 1990.
    let trap = TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .call(
            "(local $at i32)
             (if (f64.gt (f64.load (i32.add (local.get $data) (i32.load offset=8 (local.get $columns)))) (f64.const 1990)) (then unreachable))
             (local.set $at (call $take (i32.const 8))) (i64.store (local.get $at) (i64.const -1))
             (call $answer (local.get $at) (i32.div_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 8)))",
        )
        .build();
    host.publish("picky", "1.0.0", &trap);
    let rows: Vec<Value> =
        (0..12).map(|n| json!({"user": "u", "amount": if n == 4 { 1999.0 } else { 1.0 }, "n": n, "more": {"x": n}})).collect();
    host.send("payments", &rows);
    host.apply("p", "from: payments\nsteps:\n- rule: picky@1\n- extend: {q: 10 / (n - 9)}\nto:\n- stream: fine\n");
    let status = host.settle("p");
    assert_eq!(host.column("fine", "n"), [0, 1, 2, 3, 5, 6, 7, 8, 10, 11].map(|n| json!(n)));
    assert_eq!((status.rows_in, status.rows_out, status.dead_letters), (12, 10, 2));
    // The batch of four, its half, the row.
    assert_eq!(status.endings.get("trap"), Some(&3));
    let dead = host.rows("p.dead-letters");
    assert_eq!(dead.iter().map(|row| row["offset"].clone()).collect::<Vec<_>>(), [4, 9].map(|n| json!(n)));
    assert_eq!(dead[0]["reason"], "trap");
    assert_eq!(
        (&dead[0]["component"], &dead[0]["version"], &dead[0]["step"]),
        (&json!("picky"), &json!("1.0.0"), &json!("steps[0].rule"))
    );
    assert!(dead[0]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(dead[0]["event"], json!({"user": "u", "amount": 1999.0, "n": 4, "more": {"x": 4}}));
    assert_eq!(dead[1]["reason"], "expression");
}

#[test]
fn keyed_state_counts_on_through_restarts() {
    let mut host = Host::new(Setup { batch_rows: 16, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &counter_rule());
    host.send("payments", &payments(0, 70));
    let text = "from: payments\nsteps:\n- rule: count@1\n  by: [user]\nto:\n- stream: counted\n";
    host.apply("c", text);
    host.settle("c");
    host = host.restart();
    let status = host.settle("c");
    assert_eq!(status.tasks[0].replayed_rows, 0, "a clean stop leaves nothing to replay");
    assert_eq!((status.rows_in, status.tasks[0].inputs[0].offset), (70, 70));
    host.send("payments", &payments(70, 7));
    let status = host.settle("c");
    assert_eq!(status.tasks[0].steps[0].keys, 7);
    assert_eq!(host.rows("counted").len(), 77);
}

#[test]
fn a_change_of_plan_goes_on_where_the_old_plan_stopped() {
    let host = Host::new(Setup { batch_rows: 8, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 20));
    host.apply("p", "from: payments\nsteps:\n- select: {n: n}\nto:\n- stream: out\n");
    host.settle("p");
    let applied = host.apply("p", "from: payments\nsteps:\n- select: {n: n + 1000}\nto:\n- stream: out\n");
    assert!(!applied.created && applied.changed);
    host.send("payments", &payments(20, 20));
    let status = host.settle("p");
    assert_eq!((status.plan, status.run), (2, 1));
    let expected: Vec<Value> = (0..20).chain(1020..1040).map(|n| json!(n)).collect();
    assert_eq!(host.column("out", "n"), expected);
}

#[test]
fn pause_resume_delete() {
    let mut host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 5));
    host.publish("high", "1.0.0", &threshold_rule());
    host.apply("p", "from: payments\nsteps:\n- rule: high@1\n  keep: all\nto:\n- stream: out\n");
    host.settle("p");
    let used = host.engine.components().delete(&tenant(), &"high".parse().expect("a name"), &"1.0.0".parse().expect("a version"));
    assert!(matches!(used, Err(DeleteComponentError::Used { pipelines }) if pipelines == ["p"]));
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    host.send("payments", &payments(5, 5));
    assert_eq!(host.status("p").state, PipelineState::Paused);
    host = host.restart();
    assert_eq!(host.status("p").state, PipelineState::Paused, "also after a restart");
    assert_eq!(host.rows("out").len(), 5);
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    host.settle("p");
    assert_eq!(host.rows("out").len(), 10);
    host.engine.pipelines().delete(&tenant(), &pipeline("p")).expect("deletes");
    assert!(matches!(host.engine.pipelines().pause(&tenant(), &pipeline("p")), Err(ControlError::Unknown(_))));
    host.engine
        .components()
        .delete(&tenant(), &"high".parse().expect("a name"), &"1.0.0".parse().expect("a version"))
        .expect("nobody uses it");
    // The same name again is another run: it begins at the beginning, whatever is left of the first one's progress.
    host.apply("p", "from: payments\nto:\n- stream: out\n");
    host.settle("p");
    assert_eq!(host.rows("out").len(), 20);
    assert_eq!(host.status("p").run, 2);
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(host: &Host, text: &str, expected: Expect) {
    expected.assert_eq(&host.faults("p", text));
}

#[test]
fn faults_of_meaning_come_all_at_once() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.make_stream(
        "wide",
        r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"}], "partitions": 3, "key": ["n"]}"#,
    );
    host.make_stream(
        "strict",
        r#"{"fields": [{"name": "n", "type": "string", "nullable": false}, {"name": "m", "type": "bool", "nullable": false}]}"#,
    );
    host.publish("count", "1.0.0", &counter_rule());
    host.publish("high", "1.0.0", &threshold_rule());
    host.publish("shy", "1.0.0", &TextGuest::rule(vec![]).open("unreachable").build());
    check(
        &host,
        "from: paymets\nto: [stdout]\n",
        expect!["line 1: from: there is no stream `paymets` (did you mean `payments`?)"],
    );
    check(
        &host,
        "from: payments\nsteps:\n- where: amont > 1\n- rule: hihg@1\n- rule: high@2\n- transform: high@1\n- rule: shy@1\n  config: {a: 1}\nto:\n- stream: payments\n",
        expect![[r#"
            line 3: steps[0].where: there is no column `amont` (did you mean `amount`? columns are user, amount, n, _time)
            line 4: steps[1].rule: there is no component `hihg`: did you mean `high`? (`GET /v1/components` lists what there is)
            line 5: steps[2].rule: no version of `high` is 2: there is 1.0.0 (`GET /v1/components` lists what there is)
            line 6: steps[3].transform: `high@1` is a rule (write `- rule: …`)
            line 8: steps[4].config: `shy@1` does not open: trap: wasm trap: wasm `unreachable` instruction executed (change `config` as the component says)
            line 10: to[0].stream: the pipeline would read what it writes: `payments` is its source (write to another stream)"#]],
    );
    check(
        &host,
        "from: payments\nsteps:\n- where: amount + 1\n- rule: count@1\nto: [stdout]\n",
        expect![[r#"
            line 3: steps[0].where: the condition is float64, not true or false (compare it with something: `amount > 0`)
            line 4: steps[1].by: `count@1` keeps state, and `by` does not say for which key (add `by: [user]`, or `by: []` for one key for all rows)"#]],
    );
    check(
        &host,
        "from: wide\nsteps:\n- rule: count@1\n  by: [user]\nto: [{stream: strict}]\n",
        expect![[r#"
        line 3: steps[0].rule: `count@1` needs a column `amount`, and there is none (make it in a step before: `extend: {amount: …}`)"#]],
    );
    check(
        &host,
        "from: payments\nsteps:\n- select: {n: n}\n- rule: count@1\n  by: [usr]\nto: [{stream: strict}]\n",
        expect![[r#"
        line 4: steps[1].rule: `count@1` needs a column `amount`, and there is none (make it in a step before: `extend: {amount: …}`)
        line 5: steps[1].by: there is no column `usr` (there are `n`)"#]],
    );
    check(
        &host,
        "from: payments\nsteps:\n- rule: high@1\n  by: [user]\nto: [{stream: strict}]\n",
        expect!["line 4: steps[0].by: `high@1` keeps no state (remove `by`)"],
    );
    host.apply("first", "from: payments\nto: [{stream: second}]\n");
    check(
        &host,
        "from: second\nto: [{stream: payments}]\n",
        expect!["line 2: to[0].stream: the pipeline would read what it writes, through `first` (write to another stream)"],
    );
}

#[test]
fn a_new_version_of_a_component_keeps_the_state_of_the_old_one() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &counter_rule());
    host.send("payments", &payments(0, 70));
    let text = "from: payments\nsteps:\n- rule: count@1\n  by: [user]\nto:\n- stream: counted\n";
    host.apply("c", text);
    let before = host.settle("c");
    // A custom section more: other bytes, the same shape of state.
    let newer = [counter_rule().as_slice(), &[0, 2, 1, b'x']].concat();
    host.publish("count", "1.1.0", &newer);
    let applied = host.apply("c", text);
    assert!(applied.changed, "`@1` means another version now");
    assert_eq!(
        (&applied.plan["steps"][0]["state"], &applied.plan["steps"][0]["component"]),
        (&json!("kept"), &json!("count@1.1.0"))
    );
    host.send("payments", &payments(70, 7));
    let after = host.settle("c");
    assert_eq!((before.tasks[0].steps[0].keys, after.tasks[0].steps[0].keys), (7, 7));
    assert_eq!(after.tasks[0].steps[0].component, "count@1.1.0");
    // Another key is another state.
    let other = host.apply("c", "from: payments\nsteps:\n- rule: count@1\n  by: [n]\nto:\n- stream: counted\n");
    assert_eq!(other.plan["steps"][0]["state"], "new");
}

#[test]
fn rows_removed_before_they_were_taken_stop_a_pipeline_or_are_counted() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 10));
    host.apply("stops", "from: payments\nto: [{stream: one}]\n");
    host.apply("skips", "from: {stream: payments, on_trim: skip}\nto: [{stream: two}]\n");
    host.settle("stops");
    host.settle("skips");
    for name in ["stops", "skips"] {
        host.engine.pipelines().pause(&tenant(), &pipeline(name)).expect("pauses");
    }
    host.send("payments", &payments(10, 10));
    let key = host.log.stream(&support::stream_id("payments")).expect("a stream").partitions()[0].key().clone();
    host.log.trim(&key, tidemill_event::Offset(15)).expect("trims");
    host.sync();
    for name in ["stops", "skips"] {
        host.engine.pipelines().resume(&tenant(), &pipeline(name)).expect("resumes");
    }
    let status = host.wait("stops", "the hold", |status| status.state == PipelineState::Held);
    assert!(status.last_error.as_deref().is_some_and(|error| error.contains("[10, 15) of `payments`")), "{status:?}");
    assert_eq!(host.rows("one").len(), 10);
    let status = host.settle("skips");
    assert_eq!(status.tasks[0].skipped, 5);
    assert_eq!(host.rows("two").len(), 15);
}

#[test]
fn a_source_may_gain_columns_while_it_is_read() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 3));
    host.apply("p", "from: payments\nsteps:\n- extend: {m: n + 1}\nto: [{stream: out}]\n");
    host.settle("p");
    let id = support::stream_id("payments");
    let mut schema = host.log.stream(&id).expect("a stream").definition().schema.clone();
    schema.fields.push(Field::new("country", FieldType::String, true));
    host.log.evolve_stream(&id, schema).expect("evolves");
    host.send("payments", &[json!({"user": "u", "n": 3, "country": "NL"})]);
    host.settle("p");
    // The plan knows the columns it was applied to; what came later travels with the unknown fields.
    assert_eq!(host.rows("out")[3]["country"], "NL");
    assert_eq!(host.column("out", "m"), [1, 2, 3, 4].map(|n| json!(n)));
    let applied = host.apply("p", "from: payments\nsteps:\n- extend: {m: n + 1}\nto: [{stream: out}]\n");
    assert!(applied.changed, "applied again, it knows the new column");
}

#[test]
fn a_drain_leaves_everything_on_disk_and_in_files() {
    let mut host = Host::new(Setup { batch_rows: 16, ..Setup::default() });
    host.make_stream("payments", &PAYMENTS.replace("\"key\"", "\"partitions\": 3, \"key\""));
    host.apply("p", "from: payments\nto: [{file: {path: out}}]\n");
    host.send("payments", &payments(0, 500));
    host = host.restart();
    let count = || -> usize {
        let files = std::fs::read_dir(host.path("files/out")).expect("files").map(|file| file.expect("a file").path());
        files.map(|file| std::fs::read_to_string(file).expect("text").lines().count()).sum()
    };
    host.settle("p");
    host.wait("p", "the files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    assert_eq!(count(), 500);
}

#[test]
fn a_host_without_room_refuses() {
    let host = Host::new(Setup { instances: 2, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("high", "1.0.0", &threshold_rule());
    host.apply("one", "from: payments\nsteps: [{rule: high@1}]\nto: [{stream: a}]\n");
    check(
        &host,
        "from: payments\nsteps: [{rule: high@1}, {rule: high@1}]\nto: [{stream: a}]\n",
        expect![
            "line 1: steps: it needs 2 sandboxes (component steps times its 1 tasks), and the host has room for 1 more (use fewer component steps, a source with fewer partitions, or delete pipelines nobody needs)"
        ],
    );
}

#[test]
fn a_panic_in_one_task_fails_its_pipeline_and_no_other() {
    let host = Host::new(Setup { workers: 1, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.make_stream("others", PAYMENTS);
    host.apply("p", "from: payments\nto: [{stream: out}]\n");
    host.apply("q", "from: others\nto: [{stream: out-of-others}]\n");
    host.send("payments", &payments(0, 5));
    host.settle("p");
    host.armed.store(true, std::sync::atomic::Ordering::Release);
    host.send("payments", &payments(5, 5));
    let status = host.wait("p", "the failure", |status| status.state == PipelineState::Failed);
    assert!(status.last_error.as_deref().is_some_and(|error| error.contains("planted")), "{status:?}");
    host.send("others", &payments(0, 3));
    assert_eq!(host.settle("q").rows_in, 3);
    // Nothing was committed half: it goes on where it was.
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    host.settle("p");
    assert_eq!(host.column("out", "n"), (0..10).map(|n| json!(n)).collect::<Vec<_>>());
}

#[test]
fn calls_commits_and_checkpoints_are_measured() {
    let mut host = Host::new(Setup { checkpoint_after: std::time::Duration::ZERO, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("high", "1.0.0", &threshold_rule());
    host.apply("p", "from: payments\nsteps: [{rule: high@1}]\nto: [{stream: out}]\n");
    host.send("payments", &payments(0, 5));
    host.settle("p");
    host.wait("p", "a checkpoint", |status| status.tasks[0].checkpoint > 0);
    let mut registry = prometheus_client::registry::Registry::default();
    host.engine.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
    for line in [
        "tidemill_component_call_seconds_count{tenant=\"default\",pipeline=\"p\",step=\"steps[0].rule\",component=\"high\"} 1",
        "tidemill_component_rows_total{tenant=\"default\",pipeline=\"p\",step=\"steps[0].rule\",component=\"high\"} 5",
        "tidemill_task_commits_total 1",
        "task_divergences_total 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    host = host.crash();
    assert_eq!(host.settle("p").tasks[0].replayed_rows, 0, "the checkpoint covers everything");
}
