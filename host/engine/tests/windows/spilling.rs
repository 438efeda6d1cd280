//! Windows with more keys than memory may hold: the answers are those of a host with room, whatever ends it on the way.

use serde_json::{Value, json};

use super::host_with;
use crate::support::{Host, Setup};

/// Memory for state: less than a tenth of what the rows below need.
const LITTLE: u64 = 128 << 10;
const KEYS: u64 = 3_000;

const STEPS: [&str; 7] = [
    "- window: {tumbling: 60s, by: [k], select: {n: count(*), s: sum(v), top: \"top_k(k, 3)\", last: last(v)}}",
    // What can forget, of many slices.
    "- window: {hopping: {size: 60s, every: 10s}, by: [k], select: {n: count(*), s: sum(v)}}",
    // What cannot, of many slices.
    "- window: {hopping: {size: 60s, every: 10s}, by: [k], lateness: 15s, select: {least: min(v), u: count(distinct v)}}",
    "- window: {cumulating: {size: 60s, step: 20s}, by: [k], lateness: 15s, select: {n: count(*), most: max(v)}}",
    "- window: {tumbling: 30s, by: [k], lateness: 60s, select: {n: count(*)}, top: {n: 5, order: [n desc, k]}}",
    "- window: {count: 3, by: [k], select: {n: count(*), s: sum(v), last: last(v)}}",
    "- over: {by: [k], rows: 3, select: {n: count(*), s: sum(v), first: first(v)}}",
];

/// Four rows of most keys over six minutes, up to ten seconds out of order, and a row behind them that closes every window.
fn rows(from: u64, to: u64) -> Vec<Value> {
    let row = |n: u64| {
        // Any order will do that is not that of the keys.
        let key = n.wrapping_mul(2_654_435_761) >> 7;
        json!({"k": format!("key {}", key % KEYS), "t": 100 + n / 34 - (n * 7_919) % 10, "v": n % 13})
    };
    let last = (to == ALL).then(|| json!({"k": "last", "t": 10_000, "v": 0}));
    (from..to).map(row).chain(last).collect()
}

const ALL: u64 = 12_000;

/// Every row that came out, in order, and the most entries that were on disk alone whenever somebody looked.
fn answers(setup: Setup, steps: &str, then: impl Fn(Host) -> Host) -> (Vec<Value>, u64) {
    let mut host = host_with(setup);
    host.apply("p", &format!("from: {{stream: events, out_of_orderness: 5s}}\nsteps:\n{steps}\nto:\n- stream: out\n"));
    let mut on_disk = 0;
    for from in (0..ALL).step_by(3_000) {
        host.send("events", &rows(from, from + 3_000));
        host.settle("p");
        on_disk = on_disk.max(host.status("p").tasks.iter().map(|task| task.state_entries_on_disk).sum());
        host = then(host);
        host.settle("p");
    }
    assert!(host.status("p").divergences.is_empty(), "what was taken again came out as before");
    (host.rows("out"), on_disk)
}

#[test]
fn a_budget_changes_no_answer() {
    for steps in STEPS {
        let setup = |state_memory| Setup { batch_rows: 200, state_memory, ..Setup::default() };
        let (expected, none) = answers(setup(1 << 40), steps, |host| host);
        assert!(none == 0 && !expected.is_empty(), "{steps}");
        let (rows, on_disk) = answers(setup(LITTLE), steps, |host| host);
        assert!(on_disk > 500, "{on_disk} entries on disk: {steps}");
        assert!(rows == expected, "{steps}");
        // What is too much for memory is not read at the next start either.
        let (rows, on_disk) = answers(setup(LITTLE), steps, |host| host.restart());
        assert!(rows == expected && on_disk > 500, "restarted: {steps}");
        let (rows, _) = answers(setup(LITTLE), steps, |host| host.crash());
        assert!(rows == expected, "crashed: {steps}");
        let (rows, on_disk) = answers(setup(LITTLE), steps, Host::through_a_backup);
        assert!(rows == expected && on_disk > 500, "gone on elsewhere from a backup: {steps}");
    }
}
