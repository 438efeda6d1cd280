//! Rows a component cannot handle, rows it wants again later, components that keep failing: nobody else's rows are lost, doubled or
//! late for it, and a crash at any moment changes nothing.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{BreakerStatus, DeadLetterChoice, DeadLetterId, DeadLetterQuery, PipelineState};
use tidemill_event::{Field, FieldType, Offset, PartitionId};
use tidemill_runtime::testing::TextGuest;

const EVENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"},
    {"name": "amount", "type": "float64", "nullable": false}], "partitions": 1, "key": ["user"]}"#;

/// Says yes to every row and counts them per key. By amount: 13 is rejected, 14 is to come again after half a second until its key has
/// counted three rows, 666 traps in `boom`, 777 never ends.
fn moody_rule(poison: u32) -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, false)])
        .state(vec![(Field::new("count", FieldType::Int64, false), Some("0"))])
        .fields("(func $boom unreachable)")
        .call(&MOODY.replace("POISON", &poison.to_string()))
        .build()
}

const MOODY: &str = r#"
    (local $bits i32) (local $length i32) (local $row i32) (local $counts i32) (local $bytes i32) (local $at i32)
    (local $values i32) (local $notes i32) (local $noted i32) (local $note i32) (local $v f64) (local $again i32)
    (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
    (local.set $bits (call $take (local.get $length)))
    (memory.fill (local.get $bits) (i32.const 255) (local.get $length))
    (local.set $bytes (i32.shl (local.get $keys) (i32.const 3)))
    (local.set $counts (call $take (i32.add (local.get $bytes) (i32.const 32))))
    (memory.copy (local.get $counts) (i32.add (local.get $data) (i32.load offset=8 (local.get $state))) (local.get $bytes))
    (local.set $values (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))))
    (local.set $notes (call $take (i32.mul (local.get $rows) (i32.const 20))))
    (loop $next
      (local.set $v (f64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3)))))
      (if (f64.eq (local.get $v) (f64.const POISON)) (then (call $boom)))
      (if (f64.eq (local.get $v) (f64.const 777)) (then (loop $spin (br $spin))))
      (local.set $at (i32.add (local.get $counts) (i32.shl
        (i32.load (i32.add (i32.add (local.get $data) (local.get $row_keys)) (i32.shl (local.get $row) (i32.const 2)))) (i32.const 3))))
      (local.set $again (i32.and (f64.eq (local.get $v) (f64.const 14)) (i64.lt_s (i64.load (local.get $at)) (i64.const 3))))
      (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.const 1)))
      (if (i32.or (local.get $again) (f64.eq (local.get $v) (f64.const 13)))
        (then
          (local.set $note (i32.add (local.get $notes) (i32.mul (local.get $noted) (i32.const 20))))
          (i32.store (local.get $note) (local.get $row))
          (i32.store offset=4 (local.get $note) (local.get $again))
          (i32.store offset=8 (local.get $note) (i32.mul (local.get $again) (i32.const 500)))
          (i32.store offset=12 (local.get $note) (i32.const 0))
          (i32.store offset=16 (local.get $note) (i32.const 0))
          (local.set $noted (i32.add (local.get $noted) (i32.const 1)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (drop (call $answer (local.get $bits) (local.get $length)))
    (local.set $at (i32.add (local.get $counts) (local.get $bytes)))
    (memory.fill (local.get $at) (i32.const 0) (i32.const 28))
    (i32.store8 (local.get $at) (i32.const 1))
    (i32.store offset=4 (local.get $at) (i32.const -1))
    (i32.store offset=20 (global.get $ret) (local.get $at))
    (i32.store offset=24 (global.get $ret) (i32.const 1))
    (i32.store offset=28 (global.get $ret) (local.get $counts))
    (i32.store offset=32 (global.get $ret) (local.get $bytes))
    (i32.store offset=36 (global.get $ret) (local.get $notes))
    (i32.store offset=40 (global.get $ret) (local.get $noted))
    (global.get $ret)"#;

fn event(n: i64, amount: i64) -> Value {
    json!({"user": format!("u{}", n % 7), "n": n, "amount": amount as f64})
}

/// A host with the stream and the rule, and the pipeline with what stands beside the rule.
fn prepared(setup: Setup, beside: &str) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", EVENTS);
    host.publish("moody", "1.0.0", &moody_rule(666));
    host.apply("p", &text("1.0.0", beside));
    host
}

fn text(version: &str, beside: &str) -> String {
    format!(
        "from: events\nsteps:\n- extend: {{m: n * 2}}\n- rule: moody@{version}\n  by: [user]\n{beside}to: [{{stream: out}}]\n"
    )
}

fn numbers(host: &Host, stream: &str) -> Vec<i64> {
    let of = |row: &Value| row.get("n").or_else(|| row["event"].get("n")).and_then(Value::as_i64).expect("a number");
    host.rows(stream).iter().map(of).collect()
}

#[test]
fn one_poison_row_of_a_thousand_is_alone_with_its_story() {
    let host = prepared(Setup::default(), "");
    host.send("events", &(0..1000).map(|n| event(n, if n == 613 { 666 } else { n % 10 })).collect::<Vec<_>>());
    let status = host.settle("p");
    assert_eq!((status.rows_in, status.rows_out, status.dead_letters), (1000, 999, 1));
    assert!(status.endings["trap"] <= 11, "{:?}", status.endings);
    assert_eq!(numbers(&host, "out"), (0..1000).filter(|n| *n != 613).collect::<Vec<_>>());
    let dead = host.rows("p.dead-letters");
    let letter = &dead[0];
    assert_eq!((&letter["reason"], &letter["step"]), (&json!("trap"), &json!("steps[1].rule")));
    assert_eq!((&letter["stream"], &letter["partition"], &letter["offset"]), (&json!("events"), &json!(0), &json!(613)));
    assert_eq!((&letter["component"], &letter["version"]), (&json!("moody"), &json!("1.0.0")));
    assert!(letter["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{letter}");
    // The event as it was sent, and the row as it stood before the step.
    assert_eq!(letter["event"], json!({"user": "u4", "n": 613, "amount": 666.0}));
    assert_eq!(letter["row"], json!({"user": "u4", "n": 613, "amount": 666.0, "m": 1226}));
    assert!(letter["backtrace"].as_str().is_some_and(|frames| frames.starts_with("boom at byte")), "{letter}");

    let before = host.lines("out");
    let host = host.crash();
    let status = host.settle("p");
    assert_eq!((status.divergences.len(), status.tasks[0].replayed_rows), (0, 1000), "{status:#?}");
    assert_eq!((host.lines("out"), host.rows("p.dead-letters").len()), (before, 1));
}

#[test]
fn a_row_that_never_ends_costs_only_itself() {
    let host = prepared(Setup::default(), "  limits: {fuel_per_row: 1000}\n");
    host.send("events", &(0..64).map(|n| event(n, if n == 5 { 777 } else { 1 })).collect::<Vec<_>>());
    let status = host.settle("p");
    assert_eq!((status.rows_out, status.dead_letters), (63, 1));
    assert_eq!(host.column("p.dead-letters", "reason"), [json!("out_of_fuel")]);
}

#[test]
fn a_row_comes_back_when_its_component_asked_for_that() {
    let mut host = prepared(Setup::default(), "");
    host.send("events", &[event(0, 14), event(1, 13), event(2, 2)]);
    let status = host.settle("p");
    assert_eq!((status.rows_out, status.dead_letters, status.tasks[0].waiting), (1, 1, 1));
    assert_eq!(host.column("p.dead-letters", "reason"), [json!("rejected_by_component")]);
    // Not before its time, in the same life or in another one: after a crash, and after a checkpoint.
    for life in 0..4 {
        host = match life {
            0 | 3 => host,
            1 => host.crash(),
            _ => host.restart(),
        };
        host.settle("p");
        host.send("events", &[event(100 + life, 2)]);
        let status = host.settle("p");
        assert_eq!((status.tasks[0].waiting, status.divergences.len()), (u64::from(life < 3), 0), "life {life}: {status:#?}");
        host.advance(Duration::from_millis(500));
        host.wait("p", "the row to be tried again", |status| match life {
            0 | 1 => status.tasks[0].put_back == life as u64 + 2,
            _ => status.tasks[0].waiting == 0,
        });
    }
    host.sync();
    let mut numbers = numbers(&host, "out");
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 2, 100, 101, 102, 103], "once, when its key had counted three rows");
    assert_eq!(host.status("p").tasks[0].waiting, 0);
}

#[test]
fn a_component_that_keeps_failing_holds_its_pipeline_until_a_version_works() {
    let host = prepared(Setup { batch_rows: 50, ..Setup::default() }, "");
    host.send("events", &(0..200).map(|n| event(n, if n < 150 { 666 } else { 1 })).collect::<Vec<_>>());
    let status = host.wait("p", "the hold", |status| status.state == PipelineState::Held);
    host.sync();
    assert!(
        status.last_error.as_deref().is_some_and(|error| error.contains("steps[1].rule (moody@1.0.0) keeps failing")),
        "{status:#?}"
    );
    let step = status.tasks[0].steps.iter().find(|step| step.step == "steps[1].rule").expect("listed");
    assert_eq!(step.breaker, BreakerStatus::Open);
    assert_eq!(numbers(&host, "p.dead-letters"), (0..32).collect::<Vec<_>>(), "from then on nobody is buried");
    // A crash does not let it in again, and a probe that fails neither.
    let host = host.crash();
    host.wait("p", "the hold", |status| status.state == PipelineState::Held && status.tasks[0].waiting > 0);
    let calls = |host: &Host| host.status("p").endings["trap"];
    let before = calls(&host);
    host.advance(Duration::from_secs(2));
    host.wait("p", "a probe", |status| status.endings["trap"] > before);
    host.wait("p", "the hold", |status| status.state == PipelineState::Held);
    assert_eq!(host.rows("p.dead-letters").len(), 32);
    // A version that works takes every row that waited, in order, then the others.
    host.publish("moody", "1.0.1", &moody_rule(667));
    host.apply("p", &text("1.0.1", ""));
    host.settle("p");
    host.wait("p", "every row", |status| status.rows_out == 168);
    host.sync();
    assert_eq!(numbers(&host, "out"), (32..200).collect::<Vec<_>>());
    assert_eq!(host.rows("p.dead-letters").len(), 32);
    let host = host.crash();
    assert!(host.settle("p").divergences.is_empty());
    assert_eq!(host.rows("out").len(), 168);
}

#[test]
fn rows_pass_a_component_that_is_out() {
    let host = prepared(Setup { batch_rows: 50, ..Setup::default() }, "  on_failing: pass\n  keep: all\n  as: judged\n");
    host.send("events", &(0..150).map(|n| event(n, if n < 100 { 666 } else { 1 })).collect::<Vec<_>>());
    let status = host.settle("p");
    assert_eq!((status.rows_out, status.dead_letters), (118, 32), "{status:#?}");
    assert_eq!(numbers(&host, "out"), (32..150).collect::<Vec<_>>());
    assert!(host.column("out", "judged").iter().all(Value::is_null));
    host.advance(Duration::from_secs(2));
    host.send("events", &(150..160).map(|n| event(n, 1)).collect::<Vec<_>>());
    host.settle("p");
    assert_eq!(host.column("out", "judged")[118..], vec![json!(true); 10]);
    let host = host.crash();
    assert!(host.settle("p").divergences.is_empty());
}

#[test]
fn stop_waits_for_a_person() {
    let host = prepared(Setup { batch_rows: 50, ..Setup::default() }, "  on_failing: stop\n");
    host.send("events", &(0..60).map(|n| event(n, if n < 50 { 666 } else { 1 })).collect::<Vec<_>>());
    let failed = |host: &Host| host.wait("p", "the end", |status| status.state == PipelineState::Failed);
    assert!(failed(&host).last_error.is_some_and(|error| error.contains("on_failing: stop")));
    let host = host.crash();
    failed(&host);
    // Still broken: the probe fails and nobody is lost.
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    failed(&host);
    host.sync();
    assert_eq!(host.rows("p.dead-letters").len(), 32);
    host.publish("moody", "1.0.1", &moody_rule(667));
    host.apply("p", &text("1.0.1", "  on_failing: stop\n"));
    host.settle("p");
    host.wait("p", "every row", |status| status.rows_out == 28);
    assert_eq!(numbers(&host, "out"), (32..60).collect::<Vec<_>>());
}

#[test]
fn rows_whose_step_is_gone_are_dead() {
    let host = prepared(Setup::default(), "");
    host.send("events", &[event(0, 14), event(1, 1)]);
    host.settle("p");
    host.apply("p", "from: events\nsteps:\n- where: n > 0\nto: [{stream: out}]\n");
    let status = host.wait("p", "the burial", |status| status.dead_letters == 1);
    host.sync();
    assert_eq!(status.tasks[0].waiting, 0);
    let letter = &host.rows("p.dead-letters")[0];
    assert!(letter["error"].as_str().is_some_and(|error| error.contains("step, which is gone")), "{letter}");
    assert_eq!(letter["event"], json!({"user": "u0", "n": 0, "amount": 14.0}));
    let host = host.crash();
    assert!(host.settle("p").divergences.is_empty());
    assert_eq!(host.rows("p.dead-letters").len(), 1);
}

#[test]
fn dead_letters_are_replayed_once_whatever_crashes() {
    let host = prepared(Setup { checkpoint_after: Duration::from_micros(1), ..Setup::default() }, "");
    host.send("events", &(0..20).map(|n| event(n, if n % 5 == 0 { 666 } else { 1 })).collect::<Vec<_>>());
    host.settle("p");
    host.sync();
    assert_eq!(numbers(&host, "p.dead-letters"), [0, 5, 10, 15]);
    host.publish("moody", "1.0.1", &moody_rule(667));
    host.apply("p", &text("1.0.1", ""));
    let ids = |offsets: &[u64]| {
        let id = |offset: &u64| DeadLetterId { partition: PartitionId(0), offset: Offset(*offset) };
        DeadLetterChoice::Ids(offsets.iter().map(id).collect())
    };
    let replay = |host: &Host, choice: DeadLetterChoice| {
        // Right after a start it may still be taking committed rows again.
        host.settle("p");
        host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), choice, false).expect("runs")
    };
    let answer = replay(&host, ids(&[1, 3, 9]));
    assert_eq!((answer.replayed, answer.refused.len()), (2, 1), "{answer:?}");
    // On disk, though maybe not yet through the step.
    let host = host.crash();
    let out = |host: &Host, count: u64| {
        host.wait("p", "the replayed rows", |status| status.rows_out == count);
        host.sync();
        numbers(host, "out")[16..].to_vec()
    };
    assert_eq!(out(&host, 18), [5, 15]);
    let answer = replay(&host, DeadLetterChoice::Query(DeadLetterQuery::default()));
    assert_eq!((answer.replayed, answer.refused.len()), (2, 0), "the other two: {answer:?}");
    assert_eq!(out(&host, 20), [5, 15, 0, 10]);
    let host = host.restart();
    let answer = replay(&host, ids(&[0, 1, 2, 3]));
    assert_eq!((answer.replayed, answer.refused.len()), (0, 4), "{answer:?}");
    let host = host.crash();
    assert!(host.settle("p").divergences.is_empty());
    assert_eq!(out(&host, 20).len(), 4);
    // A letter whose step is another one now cannot go on there.
    host.apply(
        "p",
        "from: events
steps:
- rule: moody@1.0.1
  by: [user]
to: [{stream: out}]
",
    );
    host.settle("p");
    let force = host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), ids(&[0]), true).expect("runs");
    assert!(force.refused[0].why.contains("no such step any more"), "{force:?}");
}

/// A small generator, so that a failing seed can be named.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Every row once: out, or dead with its reason.
fn fates(host: &Host) -> BTreeMap<i64, Vec<String>> {
    let mut fates: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for n in numbers(host, "out") {
        fates.entry(n).or_default().push("out".to_owned());
    }
    for (n, reason) in numbers(host, "p.dead-letters").into_iter().zip(host.column("p.dead-letters", "reason")) {
        fates.entry(n).or_default().push(reason.as_str().unwrap_or_default().to_owned());
    }
    fates
}

#[test]
fn a_task_with_poison_killed_at_random_loses_and_doubles_nothing() {
    for seed in [1, 2, 3] {
        let mut dice = Dice(seed);
        let mut host = prepared(Setup { batch_rows: 9, checkpoint_after: Duration::from_micros(300), ..Setup::default() }, "");
        let amount = |n: i64| match n * 7919 % 20 {
            3 | 11 => 666,
            5 => 13,
            7 | 8 => 14,
            _ => 1,
        };
        let mut sent = 0;
        while sent < 600 {
            let until = (sent + 1 + dice.roll(60) as i64).min(600);
            host.send("events", &(sent..until).map(|n| event(n, amount(n))).collect::<Vec<_>>());
            sent = until;
            std::thread::sleep(Duration::from_micros(dice.roll(3000)));
            host.advance(Duration::from_millis(dice.roll(400)));
            host = match dice.roll(8) {
                0 => host.restart(),
                _ => host.crash(),
            };
            assert!(host.status("p").divergences.is_empty(), "seed {seed}");
        }
        // What is left to wait for comes back at most five times.
        for _ in 0..8 {
            host.settle("p");
            host.advance(Duration::from_millis(600));
        }
        let status = host.wait("p", "every row", |status| status.tasks[0].waiting == 0);
        host.sync();
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
        let expected: BTreeMap<i64, Vec<String>> = (0..600)
            .map(|n| {
                let fate = match amount(n) {
                    666 => "trap",
                    13 => "rejected_by_component",
                    _ => "out",
                };
                (n, vec![fate.to_owned()])
            })
            .collect();
        assert_eq!(fates(&host), expected, "seed {seed}");
        assert_eq!((status.rows_in, status.rows_out + status.dead_letters), (600, 600), "seed {seed}");
    }
}
