//! Two pipelines with state, chained through streams, and what must come out of them whatever happens.
//!
//! ```text
//! payments (2 partitions, by user) ─► p1: errors, state ─► marked (3, by user) ─► p2: state ─► found (2, by n), files
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidemill_engine::{PipelineState, Status};
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;
use tidemill_runtime::testing::{every_third_rule, threshold_rule};

use super::{Host, Setup, stream_id};

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
pub(crate) const ROWS: u64 = 500;

fn payment(n: u64) -> Value {
    json!({"user": format!("u{}", n % 17), "amount": (n * 7919 % 2003) as f64, "n": n})
}

pub(crate) fn prepared(setup: Setup) -> Host {
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
pub(crate) fn send_on(host: &Host, until: u64, random: &mut Random) -> bool {
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
pub(crate) type Outcome = BTreeMap<(&'static str, String), Vec<Value>>;

/// The checksum of each task's state, by pipeline and partition.
pub(crate) type States = BTreeMap<(&'static str, u64), Value>;

/// Everything that came out, once all of it has, and what state there is. `Err` is a host that does not get there.
pub(crate) fn outcome(host: &Host) -> Result<(Outcome, States), String> {
    outcome_with(host, |host| host.written("found"))
}

/// The same, with the rows of the files from wherever they are.
pub(crate) fn outcome_with(host: &Host, files: impl FnOnce(&Host) -> Vec<Value>) -> Result<(Outcome, States), String> {
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
    for (name, found) in [("found", host.rows("found")), ("files", files(host))] {
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
        // Its tasks end behind a checkpoint, which says what all state is.
        let (tenant, pipeline) = (super::tenant(), super::pipeline(name));
        host.engine.pipelines().pause(&tenant, &pipeline).map_err(|error| format!("{name} cannot be paused: {error}"))?;
        for row in host.rows(&format!("{name}.progress")) {
            if let Some(checkpoint) = row["record"].get("checkpoint") {
                states.insert((name, row["_partition"].as_u64().unwrap_or_default()), checkpoint["state"].clone());
            }
        }
        host.engine.pipelines().resume(&tenant, &pipeline).map_err(|error| format!("{name} cannot be resumed: {error}"))?;
    }
    Ok((rows, states))
}

/// Why a task did not begin from its last checkpoint: no power cut is a reason for that.
pub(crate) fn fell_back(host: &Host) -> Option<String> {
    ["p1", "p2"].iter().find_map(|name| host.status(name).tasks.into_iter().find_map(|task| task.checkpoint_fallback))
}

fn settle(host: &Host, name: &str) -> Result<(), String> {
    let failed = |status: &Status| {
        let fell_back = status.tasks.iter().any(|task| task.checkpoint_fallback.is_some());
        status.state == PipelineState::Failed || !status.divergences.is_empty() || fell_back
    };
    let caught_up =
        |status: &Status| status.lag_records == 0 && status.state == PipelineState::Running && !status.tasks.is_empty();
    let status = host.wait(name, "every row to be taken", |status| failed(status) || caught_up(status));
    if failed(&status) {
        return Err(format!("{name}: {:?} {:?} {:?}", status.last_error, status.divergences, fell_back(host)));
    }
    host.sync();
    host.wait(name, "its files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    Ok(())
}

pub(crate) fn compare(calm: &Outcome, found: &Outcome) -> Result<(), String> {
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
pub(crate) fn uninterrupted(rows: u64) -> (Outcome, States) {
    static KNOWN: std::sync::Mutex<BTreeMap<u64, (Outcome, States)>> = std::sync::Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fresh = || {
        let host = prepared(Setup::default());
        assert!(send_on(&host, rows, &mut Random::new(1)));
        outcome(&host).expect("nothing happens to it")
    };
    known.entry(rows).or_insert_with(fresh).clone()
}
