//! Rows a component cannot handle, rows it wants again later, components that keep failing: nobody else's rows are lost, doubled or
//! late for it, and a crash at any moment changes nothing.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::moody::{Dice, moody_rule, picky_rule};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{BreakerStatus, DeadLetterChoice, DeadLetterId, DeadLetterQuery, PipelineState};
use tidemill_event::{Offset, PartitionId};

const EVENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"},
    {"name": "amount", "type": "float64", "nullable": false}], "partitions": 1, "key": ["user"]}"#;

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

/// Two components in one step, asked about different rows, of which some fail in one and some in the other.
const ASKING: &str = "
from: events
steps:
- rules:
  - {name: third, when: n % 3 = 0, priority: 2, set: {asked: 0}}
  - {name: even, when: n % 2 = 0, rule: picky@1, set: {asked: 1}}
  - {name: all, rule: picky@1}
  match: all
to: [{stream: out}]
";

#[test]
fn a_rule_set_that_asks_components_killed_at_random_loses_and_doubles_nothing() {
    for seed in [4, 5] {
        let mut dice = Dice(seed);
        let mut host = Host::new(Setup { batch_rows: 16, checkpoint_after: Duration::from_micros(300), ..Setup::default() });
        host.make_stream("events", EVENTS);
        host.publish("picky", "1.0.0", &picky_rule());
        host.apply("p", ASKING);
        let is_poison = |n: i64| matches!(n * 7919 % 20, 3 | 10);
        let mut sent = 0;
        while sent < 400 {
            let until = (sent + 1 + dice.roll(60) as i64).min(400);
            host.send("events", &(sent..until).map(|n| event(n, if is_poison(n) { 666 } else { 1 })).collect::<Vec<_>>());
            sent = until;
            std::thread::sleep(Duration::from_micros(dice.roll(3000)));
            host = match dice.roll(8) {
                0 => host.restart(),
                _ => host.crash(),
            };
            assert!(host.status("p").divergences.is_empty(), "seed {seed}");
        }
        let status = host.settle("p");
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
        let fate = |n: i64| vec![if is_poison(n) { "trap" } else { "out" }.to_owned()];
        assert_eq!(fates(&host), (0..400).map(|n| (n, fate(n))).collect(), "seed {seed}");
        let fine = (0..400).filter(|n| !is_poison(*n)).collect::<Vec<_>>();
        assert_eq!(numbers(&host, "out"), fine, "seed {seed}: in their order");
        // Each letter names the rule that asked: the first of them, since rows that died are asked about no more.
        let errors = host.column("p.dead-letters", "error");
        let rule = |n: i64| if n % 2 == 0 { "rule `even`: " } else { "rule `all`: " };
        for (n, error) in numbers(&host, "p.dead-letters").into_iter().zip(errors) {
            assert!(error.as_str().is_some_and(|error| error.starts_with(rule(n))), "{n}: {error}");
        }
    }
}
