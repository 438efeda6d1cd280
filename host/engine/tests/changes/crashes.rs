//! Power cuts around changes of patterns and rules: each change is applied when so many rows are through, however often the power went meanwhile, and
//! what comes out is what comes out of a host that never lost it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_engine::{PipelineState, Status};
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;

use crate::support::{self, Host, Setup, pipeline, stream_id, tenant};

const EVENTS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}, {"name": "n", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "key": ["k"], "partitions": 2}"#;

const RISE: &str = "stages: [{begin: a, where: v = 0}, {followed_by: b, where: v = 1, times: 1..2}, {followed_by: c, where: v = 4}], within: 400s, skip: past_last, select: {first: a.n, last: c.n}";
const TWICE: &str = "stages: [{begin: a, where: v = 2}, {followed_by: b, where: v = 2}], within: 300s, timeouts: true, select: {first: a.n, last: b.n}";
const NONE: &str = "stages: [{begin: a, where: v = 3}, {not_followed_by: b, where: v = 1}], within: 30s, select: {first: a.n}";

/// The plans, and how many rows are through before each.
fn plans() -> Vec<(u64, String)> {
    let text = |patterns: &[String], rules: &str| {
        let patterns: String = patterns.iter().map(|pattern| format!("  - {{{pattern}}}\n")).collect();
        format!(
            "from: events\ntime: {{bound: off}}\nsteps:\n- patterns:\n{patterns}  by: [k]\n- rules: [{rules}]\n  match: all\n  keep: all\nto: [{{stream: out}}]\n"
        )
    };
    let rise = |more: &str, text: &str| format!("name: rise, {more}{text}");
    let (twice, none) = (format!("name: twice, {TWICE}"), format!("name: none, {NONE}"));
    let shorter = RISE.replace("v = 4", "v = 3");
    let (early, late) = ("{name: early, when: first < 200, tag: [early]}", "{name: late, when: first >= 150, tag: [late]}");
    vec![
        (0, text(&[rise("", RISE), twice.clone()], early)),
        // Another version of one beside the old, which is drained; a third one comes.
        (130, text(&[rise("", &shorter), rise("draining: true, ", RISE), twice.clone(), none.clone()], early)),
        // Other rules alone.
        (
            180,
            text(&[rise("", &shorter), rise("draining: true, ", RISE), twice.clone(), none.clone()], &format!("{early}, {late}")),
        ),
        // The old one goes, one is changed in place, which drops what it holds.
        (260, text(&[rise("", &shorter), twice.replace("300s", "200s"), none], late)),
        (330, text(&[rise("draining: true, ", &shorter)], late)),
    ]
}

/// Rows in all.
const ROWS: u64 = 400;

fn row(n: u64) -> Value {
    // Any order will do in which no key has a rhythm.
    let v = ((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 5;
    json!({"t": n, "k": format!("k{}", n * 31 % 7), "v": v, "n": n})
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(Setup { simulated: true, ..setup });
    host.make_stream("events", EVENTS);
    host.apply("p", &plans()[0].1);
    host
}

/// Sends rows that were not sent yet, and applies each plan when it is its turn. `Ok(false)`: the power went.
fn go_on(host: &Host, random: &mut Random) -> Result<bool, String> {
    let stream = host.log.stream(&stream_id("events")).expect("a stream");
    let sent = || stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum::<u64>();
    let plans = plans();
    loop {
        let next = plans.get(host.status("p").plan as usize);
        let until = next.map_or(ROWS, |(rows, _)| *rows);
        if sent() < until {
            let rows: Vec<Value> = (sent()..(sent() + 1 + random.below(9)).min(until)).map(row).collect();
            if !host.try_send("events", &rows) {
                return Ok(false);
            }
            continue;
        }
        let all_taken = |status: &Status| status.lag_records == 0 && !status.tasks.is_empty();
        // Without power nobody may be left to take them, or to say that it failed.
        let status = host.wait("p", "every row so far, or no power", |status| {
            status.state == PipelineState::Failed || all_taken(status) || host.disk.is_off()
        });
        if let Some(told) = status.tasks.iter().find_map(|task| task.checkpoint_fallback.clone()) {
            return Err(told);
        }
        if !status.divergences.is_empty() {
            return Err(format!("{:?}", status.divergences));
        }
        if status.state == PipelineState::Failed || host.disk.is_off() {
            return Ok(false);
        }
        let Some((_, text)) = next else { return Ok(true) };
        if host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, false).is_err() {
            return Ok(false);
        }
    }
}

/// What came out of each key, in order, and what state there is.
fn outcome(host: &Host) -> (BTreeMap<String, Vec<Value>>, BTreeMap<u64, Value>) {
    host.sync();
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for mut row in host.rows("out") {
        let members = row.as_object_mut().expect("a row");
        members.retain(|name, _| !name.starts_with("_p") && !name.starts_with("_o"));
        rows.entry(row["k"].as_str().expect("a key").to_owned()).or_default().push(row);
    }
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("it can be paused");
    let mut states = BTreeMap::new();
    for row in host.rows("p.progress") {
        if let Some(checkpoint) = row["record"].get("checkpoint") {
            states.insert(row["_partition"].as_u64().expect("a partition"), checkpoint["state"].clone());
        }
    }
    (rows, states)
}

/// Lives of a host, each ended by a power cut, until all is through. How many.
fn lives(seed: u64, calm: &(BTreeMap<String, Vec<Value>>, BTreeMap<u64, Value>)) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let mut host = prepared(Setup { batch_rows: 3 + random.below(9) as usize, checkpoint_after, ..Setup::default() });
    let mut cuts = 0;
    loop {
        host.disk.fail_after(3 + random.below(80));
        let is_done = go_on(&host, &mut random)?;
        host = host.try_power_cut(random.next())?;
        cuts += 1;
        if is_done || cuts > 200 {
            break;
        }
    }
    if !go_on(&host, &mut random)? {
        return Err(format!("it stopped with the power on: {:?}", host.status("p").last_error));
    }
    let found = outcome(&host);
    for (key, rows) in &calm.0 {
        if found.0.get(key) != Some(rows) {
            return Err(format!("after {cuts} cuts {key} has {:?}, and should have {rows:?}", found.0.get(key)));
        }
    }
    if found != *calm {
        return Err(format!("after {cuts} cuts there is {:?}, and should be {:?}", found.1, calm.1));
    }
    Ok(cuts)
}

#[test]
fn changes_of_patterns_and_rules_do_not_notice_power_cuts() {
    let host = prepared(Setup::default());
    assert!(go_on(&host, &mut Random::new(1)).expect("nothing happens to it"));
    let calm = outcome(&host);
    drop(host);
    // What the changes are about did happen.
    let rows: Vec<&Value> = calm.0.values().flatten().collect();
    let of = |pattern: &str, from: std::ops::Range<u64>, to: std::ops::Range<u64>| {
        let is_in =
            |row: &Value, name: &str, range: &std::ops::Range<u64>| row[name].as_u64().is_some_and(|n| range.contains(&n));
        rows.iter().filter(|row| row["pattern"] == pattern && is_in(row, "first", &from) && is_in(row, "last", &to)).count()
    };
    assert!(of("rise", 0..130, 131..260) > 0, "the old version brought something to its end");
    assert!(of("rise", 131..330, 331..400) > 0, "and so did the new one");
    assert!(of("twice", 0..130, 131..260) > 0, "another one went on");
    assert_eq!(of("twice", 0..260, 261..400), 0, "until it was changed");
    assert!(rows.iter().any(|row| row["pattern"] == "none"));
    let mut cuts = 0;
    for seed in support::seeds(10) {
        cuts += lives(seed, &calm).unwrap_or_else(|broken| panic!("{broken}\nrepeat it with SEED={seed}"));
    }
    println!("{cuts} power cuts");
    assert!(cuts > 40 || support::seeds(10).len() == 1, "only {cuts} power cuts");
}
