//! Power cuts under pipelines with state, chained through streams: log, state and files on one platter, of which a random subset of what
//! was not synced survives. What comes out is what comes out of a host that never lost its power, and every replay agrees.
//!
//! ```text
//! payments (2 partitions, by user) ─► p1: errors, state ─► marked (3, by user) ─► p2: state ─► found (2, by n), files
//! ```

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Host, Setup, stream_id};
use tidemill_engine::{PipelineState, Planted, Status};
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;
use tidemill_runtime::testing::{every_third_rule, threshold_rule};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}], "key": ["user"], "partitions": 2}"#;
const MARKED: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}, {"name": "third", "type": "bool"}], "unknown": "drop", "key": ["user"], "partitions": 3}"#;
const FOUND: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"},
    {"name": "third", "type": "bool"}], "unknown": "drop", "key": ["n"], "partitions": 2}"#;

const P1: &str = "
from: payments
steps:
- where: n % 11 <> 5
- extend: {part: 100 / (n % 13)}
- rule: third@1
  by: [user]
  keep: all
  as: third
- rule: high@1
to:
- stream: marked
";
const P2: &str = "from: marked\nsteps:\n- rule: third@1\n  by: [user]\nto:\n- stream: found\n- file: {path: found}\n";

/// Rows that one sender sends in all.
const ROWS: u64 = 500;
/// A story with more lives than this goes nowhere.
const LIVES_MAX: u64 = 200;

fn payment(n: u64) -> Value {
    json!({"user": format!("u{}", n % 17), "amount": (n * 7919 % 2003) as f64, "n": n})
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(Setup { simulated: true, ..setup });
    host.make_stream("payments", PAYMENTS);
    host.make_stream("marked", MARKED);
    host.make_stream("found", FOUND);
    host.publish("third", "1.0.0", &every_third_rule());
    host.publish("high", "1.0.0", &threshold_rule());
    host.apply("p1", P1);
    host.apply("p2", P2);
    host
}

/// Rows from where the log says that the sender stopped, up to `until`. `false` if the power went.
fn send_on(host: &Host, until: u64, random: &mut Random) -> bool {
    loop {
        let stream = host.log.stream(&stream_id("payments")).expect("a stream");
        let sent: u64 = stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum();
        if sent >= until {
            return true;
        }
        let rows: Vec<Value> = (sent..(sent + 1 + random.below(12)).min(until)).map(payment).collect();
        if !host.try_send("payments", &rows) {
            return false;
        }
    }
}

/// What two hosts have in common however their tasks took turns: the rows of each user, in order.
type Outcome = BTreeMap<(&'static str, String), Vec<Value>>;

/// The checksum of each task's state, by pipeline and partition.
type States = BTreeMap<(&'static str, u64), Value>;

/// Everything that came out, once all of it has, and what state there is. `Err` is a host that does not get there.
fn outcome(host: &Host) -> Result<(Outcome, States), String> {
    for name in ["p1", "p2"] {
        settle(host, name)?;
    }
    let mut rows = Outcome::new();
    for name in ["marked", "p1.dead-letters"] {
        for row in host.rows(name) {
            let user = row["user"].as_str().or_else(|| row["event"]["user"].as_str()).unwrap_or_default().to_owned();
            let row = json!([row["n"], row["third"], row["event"], row["offset"], row["error"]]);
            rows.entry((name, user)).or_default().push(row);
        }
    }
    for (name, found) in [("found", host.rows("found")), ("files", host.written("found"))] {
        for row in found {
            let user = row["user"].as_str().unwrap_or_default().to_owned();
            rows.entry((name, user)).or_default().push(json!([row["n"], row["third"]]));
        }
    }
    for ((name, _), rows) in &mut rows {
        if *name == "found" {
            // Tasks of `p2` take turns in writing these partitions.
            rows.sort_by_key(|row| row[0].as_i64());
        }
    }
    let mut states = BTreeMap::new();
    for name in ["p1", "p2"] {
        for row in host.rows(&format!("{name}.progress")) {
            if let Some(commit) = row["record"].get("commit") {
                states.insert((name, row["_partition"].as_u64().unwrap_or_default()), commit["state"].clone());
            }
        }
    }
    Ok((rows, states))
}

fn settle(host: &Host, name: &str) -> Result<(), String> {
    let failed = |status: &Status| status.state == PipelineState::Failed || !status.divergences.is_empty();
    let caught_up =
        |status: &Status| status.lag_records == 0 && status.state == PipelineState::Running && !status.tasks.is_empty();
    let status = host.wait(name, "every row to be taken", |status| failed(status) || caught_up(status));
    if failed(&status) {
        return Err(format!("{name}: {:?} {:?}", status.last_error, status.divergences));
    }
    host.sync();
    host.wait(name, "its files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    Ok(())
}

/// Lives of one host, each ended by a power cut, until the sender has sent all; compared with what came out of `calm`. How many.
fn lives(planted: Option<Planted>, seed: u64, calm: &Outcome) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let mut host = prepared(Setup { batch_rows: 3 + random.below(9) as usize, checkpoint_after, planted, ..Setup::default() });
    let mut count = 0;
    loop {
        host.disk.fail_after(3 + random.below(60));
        let done = send_on(&host, ROWS, &mut random);
        host = host.try_power_cut(random.next())?;
        count += 1;
        if done || count >= LIVES_MAX {
            break;
        }
    }
    if !send_on(&host, ROWS, &mut random) {
        return Err("the log stopped with the power on".to_owned());
    }
    let (found, states) = outcome(&host)?;
    compare(calm, &found).map_err(|differs| format!("after {count} cuts: {differs}"))?;
    // The state itself, not only what it said: a life from checkpoints, and one that was never interrupted, go on alike.
    host = host.restart();
    if !send_on(&host, ROWS + 60, &mut random) {
        return Err("the log stopped with the power on".to_owned());
    }
    let (_, later) = outcome(&host)?;
    let whole = uninterrupted(ROWS + 60);
    compare(&whole.0, &outcome(&host)?.0).map_err(|differs| format!("after {count} cuts and a restart: {differs}"))?;
    if later != whole.1 {
        return Err(format!("after {count} cuts the state differs: {later:?}, and should be {:?} (it was {states:?})", whole.1));
    }
    Ok(count)
}

fn compare(calm: &Outcome, found: &Outcome) -> Result<(), String> {
    for key in calm.keys().chain(found.keys()) {
        let none = Vec::new();
        let (calm, found) = (calm.get(key).unwrap_or(&none), found.get(key).unwrap_or(&none));
        if let Some(at) = (0..calm.len().max(found.len())).find(|at| calm.get(*at) != found.get(*at)) {
            return Err(format!(
                "{} of {}: row {at} of {} is {:?}, and should be {:?} of {}",
                key.1,
                key.0,
                found.len(),
                found.get(at),
                calm.get(at),
                calm.len()
            ));
        }
    }
    Ok(())
}

/// What comes out of a host that nothing happens to.
fn uninterrupted(rows: u64) -> (Outcome, States) {
    static KNOWN: std::sync::Mutex<BTreeMap<u64, (Outcome, States)>> = std::sync::Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fresh = || {
        let host = prepared(Setup::default());
        assert!(send_on(&host, rows, &mut Random::new(1)));
        outcome(&host).expect("nothing happens to it")
    };
    known.entry(rows).or_insert_with(fresh).clone()
}

#[test]
fn chained_pipelines_do_not_notice_power_cuts() {
    let calm = uninterrupted(ROWS).0;
    let mut cuts = 0;
    for seed in support::seeds(12) {
        cuts += lives(None, seed, &calm).unwrap_or_else(|broken| panic!("{broken}\nrepeat it with SEED={seed}"));
    }
    println!("{cuts} power cuts");
    assert!(cuts > 60 || support::seeds(12).len() == 1, "only {cuts} power cuts");
}

/// A disk that takes no state stops the tasks that it is asked for, and nothing that they committed is lost or taken twice.
#[test]
fn a_state_store_that_fails_costs_nothing_but_time() {
    let calm = uninterrupted(ROWS).0;
    for calls in 1..12 {
        let host = prepared(Setup { batch_rows: 5, checkpoint_after: Duration::from_micros(200), ..Setup::default() });
        host.fail_state_after(calls);
        assert!(send_on(&host, ROWS, &mut Random::new(calls)), "the log takes on what comes");
        let status = host.wait("p1", "the failure", |status| status.state == PipelineState::Failed);
        assert!(status.last_error.is_some_and(|error| error.contains("checkpoint could not be written")));
        let host = host.try_power_cut(calls).expect("a log");
        compare(&calm, &outcome(&host).expect("it goes on").0).unwrap_or_else(|differs| panic!("call {calls}: {differs}"));
    }
}

/// Every bug that can be planted in the engine is caught by the story above.
#[test]
fn every_planted_bug_is_caught() {
    let calm = uninterrupted(ROWS).0;
    let mut holes = Vec::new();
    for bug in Planted::ALL {
        match (1..=20).find_map(|seed| lives(Some(*bug), seed, &calm).err().map(|broken| (seed, broken))) {
            Some((seed, broken)) => println!("{}: seed {seed}: {}", bug.name(), broken.chars().take(300).collect::<String>()),
            None => holes.push(bug.name()),
        }
    }
    assert!(holes.is_empty(), "not caught: {}", holes.join(", "));
}
