//! What a crash may not change: outputs, dead letters and state are those of a task that was never killed.

#[path = "recovery/lifetimes.rs"]
mod lifetimes;
mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::PipelineState;
use tidemill_event::{Field, FieldType};
use tidemill_log::Visibility;
use tidemill_runtime::testing::{TextGuest, counter_rule, every_third_rule, threshold_rule, twice_transform};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}, {"name": "text", "type": "string"}], "key": ["user"], "partitions": 2}"#;

/// Where, state, columns added, rows multiplied, rows that die: every kind of step that could go wrong twice.
const PIPELINE: &str = "
from: payments
steps:
- where: n % 11 <> 5
- extend: {part: 100 / (n % 13)}
- rule: count@1
  by: [user]
  keep: all
  as: seen
- rule: high@1
to:
- stream: out
- stream: keyed
";

fn payment(n: u64) -> Value {
    let n = n as i64;
    json!({"user": format!("u{}", n % 29), "amount": (n * 7919 % 2003) as f64, "n": n, "text": format!("t{}", n % 5)})
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("payments", PAYMENTS);
    host.make_stream("keyed", r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"}, {"name": "seen", "type": "bool"}], "unknown": "drop", "key": ["n"], "partitions": 3}"#);
    host.publish("count", "1.0.0", &counter_rule());
    host.publish("high", "1.0.0", &threshold_rule());
    host.publish("twice", "1.0.0", &twice_transform());
    host.apply("p", PIPELINE);
    host
}

/// The checksum of all state of each partition, as the last checkpoints say.
fn states(host: &Host) -> Vec<(u64, Value)> {
    let mut last = std::collections::BTreeMap::new();
    for row in host.rows("p.progress") {
        if let Some(checkpoint) = row["record"].get("checkpoint") {
            last.insert(row["_partition"].as_u64().expect("a number"), checkpoint["state"].clone());
        }
    }
    last.into_iter().collect()
}

/// A small generator, so that a failing seed can be named.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Rows `0..count`, in the order of one sender, resumed after each crash where the log says it stopped.
fn send_on(host: &Host, count: u64, dice: &mut Dice) -> bool {
    loop {
        let stream = host.log.stream(&support::stream_id("payments")).expect("a stream");
        let sent: u64 = stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum();
        if sent >= count {
            return true;
        }
        let rows: Vec<Value> = (sent..(sent + 1 + dice.roll(12)).min(count)).map(payment).collect();
        if !host.try_send("payments", &rows) {
            return false;
        }
    }
}

fn killed_often(seed: u64, count: u64, go_on: impl Fn(Host, &mut Dice) -> (Host, bool)) {
    let mut calm = prepared(Setup::default());
    assert!(send_on(&calm, count, &mut Dice(seed)));
    calm.settle("p");

    let mut dice = Dice(seed);
    let checkpoint_after = Duration::from_micros(300);
    // What a batch makes is more than an entry holds, now and then.
    let mut host = prepared(Setup { batch_rows: 7, checkpoint_after, entry_bytes: 400, ..Setup::default() });
    let mut crashes = 0;
    loop {
        let done;
        (host, done) = go_on(host, &mut dice);
        crashes += 1;
        if done || crashes > 400 {
            break;
        }
    }
    assert!(crashes > 5, "{crashes} crashes are no test");
    assert!(send_on(&host, count, &mut dice));
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
    assert!(status.tasks.iter().all(|task| task.checkpoint_fallback.is_none()), "seed {seed}: {:#?}", status.tasks);
    for stream in ["out", "keyed", "p.dead-letters"] {
        let (expected, found) = (calm.lines(stream), host.lines(stream));
        assert_eq!(expected.len(), found.len(), "seed {seed}, {crashes} crashes: rows of {stream}");
        // The order of entries of two tasks in one partition is not the tasks' to decide; all else is.
        let sorted = |mut lines: Vec<String>| {
            if stream == "keyed" {
                for line in &mut lines {
                    let end = line.find(",\"_partition\"").expect("a place");
                    line.truncate(end);
                }
                lines.sort();
            }
            lines
        };
        assert_eq!(sorted(expected), sorted(found), "seed {seed}, {crashes} crashes: {stream}");
    }
    let totals = calm.status("p");
    assert_eq!(
        (totals.rows_in, totals.rows_out, totals.dead_letters),
        (status.rows_in, status.rows_out, status.dead_letters),
        "seed {seed}"
    );
    // And the state itself, not only its checksum: a clean restart goes on from it.
    calm = calm.restart();
    host = host.restart();
    assert_eq!(states(&calm), states(&host), "seed {seed}: state");
    for host in [&calm, &host] {
        assert!(send_on(host, count + 50, &mut Dice(1)));
        host.settle("p");
        assert_eq!(host.status("p").tasks.iter().map(|task| task.replayed_rows).sum::<u64>(), 0);
    }
    assert_eq!(states(&calm.restart()), states(&host.restart()), "seed {seed}: state, one restart later");
}

#[test]
fn a_task_killed_at_random_equals_one_never_killed() {
    for seed in [1, 2] {
        killed_often(seed, 1200, |host, dice| {
            let stream = host.log.stream(&support::stream_id("payments")).expect("a stream");
            let sent: u64 = stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum();
            let until = (sent + dice.roll(120)).min(1200);
            assert!(send_on(&host, until, dice));
            std::thread::sleep(Duration::from_micros(dice.roll(3000)));
            (host.crash(), until == 1200)
        });
    }
}

#[test]
fn a_task_that_lost_its_power_equals_one_that_never_did() {
    for seed in [4, 5, 6] {
        killed_often(seed, 900, |host, dice| {
            host.disk.fail_after(3 + dice.roll(30));
            let done = send_on(&host, 900, dice);
            (host.power_cut(dice.roll(u64::MAX)), done)
        });
    }
}

/// What one checkpoint failed to save is in none that comes after it: no later one may count.
#[test]
fn a_checkpoint_that_fails_once_leaves_no_hole_in_the_state() {
    let payments = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"}, {"name": "amount", "type": "float64"}],
        "key": ["user"], "partitions": 1}"#;
    let rows = |from: i64, until: i64| -> Vec<Value> {
        (from..until).map(|n| json!({"user": format!("u{}", n % 3), "n": n, "amount": 1.0})).collect()
    };
    let mut failures = 0;
    for calls in 0..12 {
        let setup = Setup { simulated: true, batch_rows: 5, checkpoint_after: Duration::from_micros(1), ..Setup::default() };
        let host = Host::new(setup);
        host.make_stream("payments", payments);
        host.publish("third", "1.0.0", &every_third_rule());
        host.apply("p", "from: payments\nsteps: [{rule: third@1, by: [user]}]\nto: [{stream: out}]\n");
        host.send("payments", &rows(0, 30));
        host.settle("p");
        host.fail_state_once(calls);
        for from in (30..90).step_by(5) {
            host.send("payments", &rows(from, from + 5));
            host.wait("p", "these rows, or the failure", |status| {
                status.state == PipelineState::Failed || status.lag_records == 0
            });
        }
        // Whether it was told already or not, nobody loses by it.
        if host.status("p").state == PipelineState::Failed {
            failures += 1;
            host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
        }
        host.wait("p", "every row", |status| status.lag_records == 0 || status.state == PipelineState::Failed);
        let host = host.crash();
        host.send("payments", &rows(90, 120));
        let status = host.settle("p");
        assert!(status.divergences.is_empty(), "call {calls}: {:#?}", status.divergences);
        let thirds: Vec<Value> = (0..120).filter(|n| n / 3 % 3 == 2).map(|n| json!(n)).collect();
        assert_eq!(host.column("out", "n"), thirds, "call {calls}: every third row of each key");
    }
    // Checkpoints that wait for each other share their syncs, so how many of the calls above are one's own is the machine's to say.
    assert!(failures > 2, "{failures} failures are no test");
}

/// Yes or no at random: what no component may do, and what the test-only import makes possible.
fn random_rule() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .random()
        .call(
            "(local $at i32)
             (local.set $at (call $take (i32.const 8))) (i64.store (local.get $at) (call $random))
             (call $answer (local.get $at) (i32.div_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 8)))",
        )
        .build()
}

fn random_pipeline(on_divergence: &str) -> Host {
    let host = Host::new(Setup { batch_rows: 32, ..Setup::default() });
    host.make_stream("payments", &PAYMENTS.replace("\"partitions\": 2", "\"partitions\": 1"));
    host.publish("high", "1.0.0", &threshold_rule());
    host.publish("dice", "2.1.0", &random_rule());
    host.apply("p", &format!("on_divergence: {on_divergence}\nfrom: payments\nsteps:\n- rule: high@1\n  keep: all\n- rule: dice@2\nto: [{{stream: out}}]\n"));
    host.send("payments", &(0..200).map(payment).collect::<Vec<_>>());
    host.settle("p");
    host
}

#[test]
fn a_rule_that_reads_something_undeclared_is_named() {
    let host = random_pipeline("continue");
    let committed = host.lines("out");
    let host = host.crash();
    host.send("payments", &(200..210).map(payment).collect::<Vec<_>>());
    let status = host.settle("p");
    assert_eq!(status.divergences.len(), 1, "{status:#?}");
    let named = &status.divergences[0];
    assert_eq!(named.step, "steps[1].rule");
    assert!(named.component.as_deref().is_some_and(|component| component.starts_with("dice@2.1.0 (sha256:")), "{named:?}");
    assert_eq!(status.tasks[0].replayed_rows, 200);
    assert_eq!(status.rows_in, 210);
    // What was committed stands.
    assert_eq!(host.lines("out")[..committed.len()], committed);
    // The replayed state was saved: there is nothing to take again a third time.
    let host = host.crash();
    let status = host.settle("p");
    assert!(status.tasks[0].replayed_rows <= 10, "{status:#?}");
}

#[test]
fn on_divergence_stop_waits_for_a_person() {
    let host = random_pipeline("stop").crash();
    let status = host.wait("p", "the hold", |status| status.state == PipelineState::Held);
    assert!(status.last_error.as_deref().is_some_and(|error| error.contains("steps[1].rule (dice@2.1.0")), "{status:#?}");
    host.send("payments", &(200..210).map(payment).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(host.status("p").rows_in, 200, "it takes nothing while it is held");
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    assert_eq!(host.settle("p").rows_in, 210);
}

#[test]
fn a_call_that_did_not_return_is_not_made_again() {
    // It answers yes to everything, or traps, by the toss of a coin: with the endings recorded, a replay makes only the calls that
    // answered, and each of those answers yes again unless the coin falls otherwise.
    let coin = TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)]).random().call("unreachable").build();
    let host = Host::new(Setup { batch_rows: 10, ..Setup::default() });
    host.make_stream("payments", &PAYMENTS.replace("\"partitions\": 2", "\"partitions\": 1"));
    host.publish("coin", "1.0.0", &coin);
    host.apply("p", "from: payments\nsteps:\n- rule: coin@1\nto: [{stream: out}]\n");
    host.send("payments", &(0..30).map(payment).collect::<Vec<_>>());
    let before = host.settle("p");
    // Each batch of ten is halved until every row is alone: 10 + 9 calls.
    assert_eq!((before.dead_letters, before.endings.get("trap")), (30, Some(&57)));
    let dead = host.lines("p.dead-letters");
    let host = host.crash();
    let after = host.settle("p");
    assert!(after.divergences.is_empty(), "{after:#?}");
    assert_eq!((after.dead_letters, after.endings.get("trap")), (30, Some(&57)));
    assert_eq!(host.lines("p.dead-letters"), dead);
    assert!(after.tasks[0].steps.iter().all(|step| step.calls == 0), "no call was made: {after:#?}");
}
