//! Checkpoints that people keep, and checkpoints that the disk damaged.

use std::io::Read;

use crate::support::chained::{ROWS, compare, outcome, prepared as chained, send_on, uninterrupted};
use crate::support::{Host, Setup, pipeline, tenant};
use serde_json::{Value, json};
use tidemill_engine::{CheckpointName, ControlError, NamedCheckpoint, PipelineState, SnapshotError, TaskStatus};
use tidemill_log::simulated::Random;
use tidemill_runtime::testing::{counter_rule, every_third_rule};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}], "key": ["user"], "partitions": 2}"#;
const TEXT: &str = "from: payments\nsteps:\n- rule: count@1\n  by: [user]\n  keep: all\n  as: seen\nto:\n- stream: out\n";

fn payments(from: i64, count: i64) -> Vec<Value> {
    (from..from + count).map(|n| json!({"user": format!("u{}", n % 13), "amount": n as f64, "n": n})).collect()
}

fn prepared() -> Host {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &counter_rule());
    host.send("payments", &payments(0, 200));
    host.apply("p", TEXT);
    host.settle("p");
    host
}

fn name(text: &str) -> CheckpointName {
    text.parse().expect("a name")
}

fn take(host: &Host, called: &str) -> Result<NamedCheckpoint, ControlError> {
    host.engine.pipelines().take_checkpoint(&tenant(), &pipeline("p"), &name(called))
}

fn restore(host: &Host, called: &str) -> Result<u64, ControlError> {
    let restored = host.engine.pipelines().restore_checkpoint(&tenant(), &pipeline("p"), &name(called))?;
    assert!(restored.lost.is_empty(), "{restored:?}");
    Ok(restored.run)
}

fn discard(host: &Host) {
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("goes");
}

/// Each row with what the rule said of it, by number: the same whatever tasks and partitions did.
fn said(host: &Host, stream: &str) -> Vec<(i64, Value)> {
    let mut rows: Vec<(i64, Value)> =
        host.rows(stream).iter().map(|row| (row["n"].as_i64().expect("a number"), row["seen"].clone())).collect();
    rows.sort_by_key(|(n, _)| *n);
    rows
}

#[test]
fn a_run_begins_with_a_checkpoint_and_goes_on_as_the_first_one_did() {
    let host = prepared();
    let taken = take(&host, "noon").expect("taken");
    assert_eq!((taken.keys > 0, taken.run, taken.from["payments"].iter().sum::<u64>()), (true, 1, 200), "{taken:?}");
    assert!(matches!(take(&host, "noon"), Err(ControlError::Conflict(_))), "a name is given once");
    host.send("payments", &payments(200, 100));
    host.settle("p");
    let later: Vec<(i64, Value)> = said(&host, "out").split_off(200);
    // The checkpoint survives a crash and a restart.
    let host = host.crash().restart();
    host.settle("p");
    let listed = host.engine.pipelines().checkpoints(&tenant(), &pipeline("p")).expect("a pipeline");
    assert_eq!(listed, [taken]);
    let run = restore(&host, "noon").expect("begins");
    host.wait_replay("p");
    host.sync();
    assert_eq!(said(&host, &format!("out@{run}")), later, "the rows behind it, judged with the state as of it");
    assert!(matches!(restore(&host, "noon"), Err(ControlError::Conflict(_))), "one at a time");
    // A restored run has a crash behind it like any other, and another may begin with the same checkpoint.
    let host = host.crash();
    host.wait_replay("p");
    discard(&host);
    let run = restore(&host, "noon").expect("begins again");
    host.wait_replay("p");
    host.sync();
    assert_eq!(said(&host, &format!("out@{run}")), later);
    // It takes over, and counts on from what it has.
    host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("takes over");
    host.send("payments", &payments(300, 30));
    host.settle("p");
    assert_eq!(host.status("p").run, run);
    assert_eq!(said(&host, "out").len(), 330);
    // Deleted, it is gone; deleting the pipeline takes the others along.
    host.engine.pipelines().delete_checkpoint(&tenant(), &pipeline("p"), &name("noon")).expect("goes");
    assert!(matches!(restore(&host, "noon"), Err(ControlError::Conflict(_))));
    take(&host, "evening").expect("taken");
    host.engine.pipelines().delete(&tenant(), &pipeline("p")).expect("goes");
    host.apply("p", TEXT);
    assert_eq!(host.engine.pipelines().checkpoints(&tenant(), &pipeline("p")).expect("a pipeline"), []);
}

#[test]
fn a_paused_pipeline_has_a_checkpoint_too_also_behind_a_restart() {
    let host = prepared();
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    let first = take(&host, "a").expect("taken");
    let host = host.restart();
    let second = take(&host, "b").expect("taken");
    assert_eq!((first.keys, first.bytes, first.from), (second.keys, second.bytes, second.from));
}

#[test]
fn a_checkpoint_travels_as_a_file_and_damage_is_told() {
    let host = prepared();
    take(&host, "noon").expect("taken");
    let pipelines = host.engine.pipelines();
    let export = || pipelines.export_checkpoint(&tenant(), &pipeline("p"), &name("noon")).expect("a file");
    let bytes = export().collect::<Result<Vec<_>, _>>().expect("reads").concat();
    let import = |called: &str, mut bytes: &[u8]| {
        let from: &mut dyn Read = &mut bytes;
        pipelines.import_checkpoint(&tenant(), &pipeline("p"), &name(called), from)
    };
    assert!(matches!(import("half", &bytes[..bytes.len() / 2]), Err(SnapshotError::Damaged { .. })));
    let mut turned = bytes.clone();
    turned[bytes.len() / 2] ^= 1;
    assert!(matches!(import("turned", &turned), Err(SnapshotError::Damaged { .. })));
    import("copy", &bytes).expect("whole");
    let listed = pipelines.checkpoints(&tenant(), &pipeline("p")).expect("a pipeline");
    assert_eq!(listed.iter().map(|checkpoint| checkpoint.name.as_str()).collect::<Vec<_>>(), ["copy", "noon"]);
    assert_eq!((listed[0].keys, &listed[0].from), (listed[1].keys, &listed[1].from));
    host.send("payments", &payments(200, 50));
    host.settle("p");
    let run = restore(&host, "copy").expect("begins");
    host.wait_replay("p");
    host.sync();
    assert_eq!(said(&host, &format!("out@{run}")), said(&host, "out").split_off(200));
}

#[test]
fn what_does_not_fit_the_plan_is_refused_with_the_reason() {
    let refused = |partitions: &str| {
        let host = Host::new(Setup::default());
        host.make_stream("payments", &PAYMENTS.replace("\"partitions\": 2", partitions));
        host.publish("count", "1.0.0", &counter_rule());
        host.send("payments", &payments(0, 20));
        host.apply("p", TEXT);
        host.settle("p");
        take(&host, "noon").expect("taken");
        host.apply("p", &TEXT.replace("by: [user]", "by: [amount]"));
        host.settle("p");
        restore(&host, "noon").expect_err("another key").to_string()
    };
    let said = refused("\"partitions\": 1");
    assert!(said.contains("by [amount]") && said.contains("was by [user]"), "{said}");
    // For a key that lies in several partitions, rows are placed anew.
    let said = refused("\"partitions\": 2");
    assert!(said.contains("the state of 2 tasks, and the plan has 4"), "{said}");
}

/// Bits that turn in what the last checkpoint wrote: the task says so, begins from the one before, and comes to the same end.
#[test]
fn damage_in_the_last_checkpoint_falls_back_to_the_one_before() {
    let calm = uninterrupted(ROWS).0;
    for restarts in 1..4_u64 {
        let mut host = chained(Setup::default());
        let mut random = Random::new(restarts);
        for part in 1..=restarts {
            assert!(send_on(&host, ROWS / 4 * part, &mut random));
            outcome(&host).expect("it goes on");
            host = host.restart();
        }
        assert!(send_on(&host, ROWS / 8 * 7, &mut random));
        outcome(&host).expect("it goes on");
        let last = host.status("p1").tasks.iter().map(|task| task.checkpoint).max().expect("tasks");
        assert!(host.damage_checkpoint(last) > 0, "checkpoint {last} wrote something");
        let host = host.crash();
        let told =
            host.wait("p1", "a word of the damage", |status| status.tasks.iter().any(|task| task.checkpoint_fallback.is_some()));
        let told = told.tasks.iter().find_map(|task| task.checkpoint_fallback.clone()).expect("told");
        assert!(
            told.contains(&format!("checkpoint {last} is damaged")) && told.contains(&format!("from checkpoint {}", last - 1)),
            "{told}"
        );
        host.settle("p1");
        host.settle("p2");
        // From here on it is whole again: a clean stop saves what there is.
        let host = host.restart();
        assert!(send_on(&host, ROWS, &mut random));
        let (found, _) = outcome(&host).unwrap_or_else(|broken| panic!("{restarts} restarts: {broken}"));
        compare(&calm, &found).unwrap_or_else(|differs| panic!("{restarts} restarts: {differs}"));
    }
}

/// What changed is written, whatever else there is.
#[test]
fn a_checkpoint_of_a_thousand_changes_among_a_million_cold_keys_writes_a_thousand() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &counter_rule());
    host.apply("p", TEXT);
    let rows = |from: i64, until: i64| -> Vec<Value> {
        (from..until).map(|n| json!({"user": format!("u{n}"), "amount": 1.0, "n": n})).collect()
    };
    let saved = |host: &Host| {
        host.settle("p");
        host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
        let tasks = host.status("p").tasks;
        host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("goes on");
        let sum = |of: fn(&TaskStatus) -> u64| tasks.iter().map(of).sum::<u64>();
        (sum(|task| task.checkpoint_keys), sum(|task| task.checkpoint_bytes), sum(|task| task.state_bytes))
    };
    const COLD: i64 = 1_000_000;
    for from in (0..COLD).step_by(50_000) {
        host.send("payments", &rows(from, from + 50_000));
    }
    let (keys, all_bytes, memory) = saved(&host);
    assert!(keys >= COLD as u64 && memory > all_bytes, "{keys} keys, {all_bytes} bytes, {memory} in memory");
    host.send("payments", &rows(500_000, 501_000));
    let (keys, bytes, _) = saved(&host);
    // Beside them a task keeps its breakers and its time.
    assert!((1_000..1_010).contains(&keys) && bytes < all_bytes / 500, "{keys} keys, {bytes} bytes of {all_bytes}");
}

/// State that cannot leave memory and outgrows its budget stops its task with the reason, and nothing is lost: with more memory it goes on where
/// it stood.
#[test]
fn a_pipeline_whose_state_outgrows_its_budget_is_held() {
    let host = Host::new(Setup { batch_rows: 100, state_memory: 200 << 10, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &every_third_rule());
    host.apply("p", &TEXT.replace("  as: seen\n", "  as: seen\n  ttl: 1h\n"));
    let rows: Vec<Value> = (0..4_000).map(|n| json!({"user": format!("u{n}"), "amount": 1.0, "n": n})).collect();
    host.send("payments", &rows);
    let status = host.wait("p", "a task to be held", |status| status.state == PipelineState::Held);
    let why = status.last_error.expect("a reason");
    assert!(why.contains("`state_memory`") && why.contains("steps[0]"), "{why}");
    let roomy = Setup { batch_rows: 100, ..Setup::default() };
    let host = host.crash_with(Some(roomy));
    host.settle("p");
    assert_eq!(said(&host, "out").iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..4_000).collect::<Vec<_>>());
}

/// State of a component leaves memory and comes back with the rows that need it: the component sees what it would have seen.
#[test]
fn the_state_of_a_component_may_be_larger_than_memory() {
    const USERS: i64 = 3_000;
    let mut host = Host::new(Setup { batch_rows: 100, state_memory: 200 << 10, ..Setup::default() });
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &every_third_rule());
    host.apply("p", TEXT);
    for round in 0..6_i64 {
        // In another order each time: these have no factor in common with the number of users.
        let stride = [7, 11, 13, 17, 19, 23][round as usize];
        let row = |n: i64| json!({"user": format!("u{}", n * stride % USERS), "amount": 1.0, "n": round * USERS + n});
        host.send("payments", &(0..USERS).map(row).collect::<Vec<_>>());
        let status = host.settle("p");
        let on_disk: u64 = status.tasks.iter().map(|task| task.state_entries_on_disk).sum();
        assert!(on_disk > 500, "round {round}: {on_disk} entries on disk");
        host = match round % 3 {
            0 => host.restart(),
            1 => host.crash(),
            _ => host,
        };
    }
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "{:?}", status.divergences);
    let expected: Vec<(i64, Value)> = (0..6 * USERS).map(|n| (n, json!(n / USERS % 3 == 2))).collect();
    assert!(said(&host, "out") == expected);
}
