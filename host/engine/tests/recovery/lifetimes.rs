//! State with a time to live through kills and power cuts, by event time and by the host's clock: a row sees what rows say, and what is over is gone
//! from memory and from the store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_runtime::testing::every_third_rule;

use crate::Dice;
use crate::support::{Host, Setup, pipeline, tenant};

const TAPS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "user", "type": "string"}, {"name": "n", "type": "int64"},
    {"name": "amount", "type": "float64"}], "time": {"field": "t", "unit": "s"}, "key": ["user"], "partitions": 1}"#;
const TTL_S: i64 = 10;
/// Beside what its steps keep, a task keeps its breakers and its time.
const OF_THE_TASK: u64 = 2;

fn prepared(ttl: &str, setup: Setup) -> Host {
    let host = Host::new(Setup { simulated: true, ..setup });
    host.make_stream("taps", TAPS);
    host.publish("third", "1.0.0", &every_third_rule());
    let text = format!(
        "from: {{stream: taps, out_of_orderness: 0s, idle: off}}\ntime: {{bound: off}}\nsteps:\n- rule: third@1\n  by: [user]\n  keep: all\n  as: third\n  ttl: {ttl}\nto: [{{stream: out}}]\n"
    );
    host.apply("p", &text);
    host
}

/// Small batches, and checkpoints all the time.
fn busy() -> Setup {
    Setup { batch_rows: 5, checkpoint_after: Duration::from_micros(300), ..Setup::default() }
}

/// Which rows are the third of their key since its state began, where `at` is the second that counts.
#[derive(Default)]
struct Model {
    counts: BTreeMap<String, (i64, i64)>,
    thirds: Vec<Value>,
}

impl Model {
    fn take(&mut self, user: &str, at: i64) {
        let (count, end) = self.counts.entry(user.to_owned()).or_insert((0, i64::MIN));
        *count = if at >= *end { 1 } else { *count + 1 };
        *end = (*end).max(at + TTL_S);
        self.thirds.push(json!(*count % 3 == 0));
    }
}

fn tap(n: usize, second: i64, user: &str) -> Value {
    json!({"t": second, "user": user, "n": n, "amount": 1.0})
}

/// Keys in memory, keys and bytes that a checkpoint of all state has.
fn kept(host: &Host, called: &str) -> (u64, u64, u64) {
    let taken = host
        .engine
        .pipelines()
        .take_checkpoint(&tenant(), &pipeline("p"), &called.parse().expect("a name"))
        .expect("a checkpoint");
    (host.status("p").steps.iter().map(|step| step.keys).sum(), taken.keys - OF_THE_TASK, taken.bytes)
}

#[test]
fn by_event_time_a_crash_neither_lengthens_nor_shortens_a_life() {
    for seed in [3, 4, 5] {
        let mut dice = Dice(seed);
        let mut host = prepared("10s", busy());
        let (mut model, mut second, mut sent) = (Model::default(), 0, 0);
        for round in 0..30 {
            let rows: Vec<Value> = (0..dice.roll(25))
                .map(|row| {
                    second += dice.roll(4) as i64;
                    let user = format!("u{}", dice.roll(4));
                    model.take(&user, second);
                    tap(sent + row as usize, second, &user)
                })
                .collect();
            sent += rows.len();
            host.send("taps", &rows);
            host = match round % 3 {
                0 => host.crash(),
                1 => host.power_cut(dice.roll(u64::MAX)),
                _ => {
                    host.settle("p");
                    host
                }
            };
        }
        let status = host.settle("p");
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
        assert_eq!(host.column("out", "third"), model.thirds, "seed {seed}");
    }
}

#[test]
fn by_the_clock_a_replay_sees_the_time_that_was_recorded() {
    let mut dice = Dice(9);
    let mut host = prepared("{wall_clock: 10s}", busy());
    let (mut model, mut clock, mut sent) = (Model::default(), 0, 0);
    for round in 0..25 {
        let rows: Vec<Value> = (0..1 + dice.roll(12))
            .map(|row| {
                let user = format!("u{}", dice.roll(4));
                model.take(&user, clock);
                // What the rows say of time counts for nothing.
                tap(sent + row as usize, 500 - sent as i64, &user)
            })
            .collect();
        sent += rows.len();
        host.send("taps", &rows);
        // All of them by this time, and maybe taken again by a later one.
        host.settle("p");
        let on = dice.roll(8) as i64;
        clock += on;
        host.advance(Duration::from_secs(on as u64));
        if round % 2 == 1 {
            host = host.crash();
        }
    }
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "{:#?}", status.divergences);
    assert_eq!(host.column("out", "third"), model.thirds);
}

#[test]
fn what_is_over_is_gone_from_memory_and_from_the_store() {
    const KEYS: usize = 3_000;
    for (ttl, by_clock) in [("10s", false), ("{wall_clock: 10s}", true)] {
        let host = prepared(ttl, Setup { batch_rows: 500, ..Setup::default() });
        // As many as the small log of these tests takes at once.
        for part in (0..KEYS).collect::<Vec<_>>().chunks(200) {
            host.send("taps", &part.iter().map(|n| tap(*n, 0, &format!("u{n}"))).collect::<Vec<_>>());
        }
        host.settle("p");
        let (keys, stored, bytes) = kept(&host, "full");
        assert_eq!((keys, stored), (KEYS as u64, KEYS as u64), "{ttl}");
        let host = host.crash();
        let later = if by_clock {
            host.advance(Duration::from_secs(10));
            0
        } else {
            10
        };
        host.send("taps", &[tap(KEYS, later, "new")]);
        host.settle("p");
        let (keys, stored, left) = kept(&host, "empty");
        assert_eq!((keys, stored), (1, 1), "{ttl}: only what the last row wrote is there");
        assert!(left < bytes / 100, "{ttl}: {left} of {bytes} bytes");
        // And what is gone does not come back with a restart.
        let host = host.restart();
        host.send("taps", &[tap(KEYS + 1, later, "u7"), tap(KEYS + 2, later, "u7")]);
        host.settle("p");
        assert_eq!(host.column("out", "third")[KEYS..], [json!(false), json!(false), json!(false)], "{ttl}");
        assert_eq!(kept(&host, "again").1, 2, "{ttl}");
    }
}
