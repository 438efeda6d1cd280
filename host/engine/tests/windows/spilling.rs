//! Windows with more keys than memory may hold: the answers are those of a host with room, whatever ends it on the way.

use std::cell::RefCell;

use serde_json::{Value, json};
use tidemill_engine::PipelineState;
use tidemill_log::simulated::Random;

use super::host_with;
use crate::support::{Host, Setup, pipeline, tenant};

/// Memory for state, in bytes a key: less than a tenth of what the first steps below need.
const LITTLE: u64 = 42;
/// The same for entries that time comes to, of which more stays in memory; and for rows of joins, of which there are two a key.
const DATED: u64 = 100;
const ROWS: u64 = 160;
/// Rows that are sent at once.
const PIECE: u64 = 100;

const ONE: &str = "{stream: events, out_of_orderness: 5s}";
/// A stream beside itself, without late rows: whom those still meet hangs on how far the other input was read.
const TWO: &str = "[{stream: events, as: a, out_of_orderness: 10s}, {stream: events, as: b, out_of_orderness: 10s}]";

const CASES: [(u64, &str, &str); 14] = [
    (LITTLE, ONE, "- window: {tumbling: 60s, by: [k], select: {n: count(*), s: sum(v), top: \"top_k(k, 3)\", last: last(v)}}"),
    // What can forget, of many slices.
    (LITTLE, ONE, "- window: {hopping: {size: 60s, every: 10s}, by: [k], select: {n: count(*), s: sum(v)}}"),
    // What cannot, of many slices.
    (
        LITTLE,
        ONE,
        "- window: {hopping: {size: 60s, every: 10s}, by: [k], lateness: 15s, select: {least: min(v), u: count(distinct v)}}",
    ),
    (LITTLE, ONE, "- window: {cumulating: {size: 60s, step: 20s}, by: [k], lateness: 15s, select: {n: count(*), most: max(v)}}"),
    (LITTLE, ONE, "- window: {tumbling: 30s, by: [k], lateness: 60s, select: {n: count(*)}, top: {n: 5, order: [n desc, k]}}"),
    (LITTLE, ONE, "- window: {count: 3, by: [k], select: {n: count(*), s: sum(v), last: last(v)}}"),
    (LITTLE, ONE, "- over: {by: [k], rows: 3, select: {n: count(*), s: sum(v), first: first(v)}}"),
    // Some go on with the next row of their key, some end before it.
    (DATED, ONE, "- window: {session: 90s, by: [k], select: {n: count(*), s: sum(v), top: \"top_k(k, 3)\", last: last(v)}}"),
    (DATED, ONE, "- dedupe: {by: [k], within: 2m}"),
    (DATED, ONE, "- rate: {by: [k], limit: 2, per: 3m, lateness: 10s}"),
    (ROWS, TWO, "- join: {kind: inner, on: a.k = b.k and a.v <> b.v, within: [0s, 2m]}"),
    (ROWS, TWO, "- join: {kind: full, on: a.k = b.k and a.v < b.v, within: [-1m, 1m]}"),
    (ROWS, TWO, "- join: {kind: semi, on: a.k = b.k and a.v < b.v, within: [-90s, -10s]}"),
    (ROWS, TWO, "- join: {kind: left, on: a.k = b.k and a.v < b.v, window: {hopping: {size: 60s, every: 20s}}}"),
];

/// So many of the first.
const UNDATED: usize = 7;

/// Four rows of most keys over six minutes, up to ten seconds out of order, and a row behind them that closes every window.
fn rows(keys: u64, from: u64, to: u64) -> Vec<Value> {
    let row = |n: u64| {
        // Any order will do that is not that of the keys.
        let key = n.wrapping_mul(2_654_435_761) >> 7;
        json!({"k": format!("key {}", key % keys), "t": 100 + n * 88 / keys - (n * 7_919) % 10, "v": n % 13})
    };
    let last = (to == 4 * keys).then(|| json!({"k": "last", "t": 10_000, "v": 0}));
    (from..to).map(row).chain(last).collect()
}

/// Every row that came out, in order if that is one stream's, and the most entries that were on disk alone whenever somebody looked. `then`: what
/// happens to the host while it works on a quarter of the rows, and again when it has.
fn answers(setup: Setup, keys: u64, (_, from, steps): (u64, &str, &str), then: impl Fn(Host) -> Host) -> (Vec<Value>, u64) {
    let mut host = host_with(setup);
    host.apply("p", &format!("from: {from}\nsteps:\n{steps}\nto:\n- stream: out\n"));
    let mut on_disk = 0;
    for quarter in 0..4 {
        for first in (quarter * keys..(quarter + 1) * keys).step_by(PIECE as usize) {
            host.send("events", &rows(keys, first, first + PIECE));
        }
        host = then(host);
        host.settle("p");
        on_disk = on_disk.max(host.status("p").tasks.iter().map(|task| task.state_entries_on_disk).sum());
        host = then(host);
        host.settle("p");
    }
    assert!(host.status("p").divergences.is_empty(), "what was taken again came out as before");
    let mut rows = host.rows("out");
    if from == TWO {
        // Which of two inputs is read first is nobody's promise.
        rows.iter_mut().for_each(|row| drop(row.as_object_mut().and_then(|row| row.remove("_offset"))));
        rows.sort_by_key(Value::to_string);
    }
    (rows, on_disk)
}

fn setup(memory_a_key: u64, keys: u64) -> Setup {
    // Most of what is there at a start is listed behind rows that are taken meanwhile.
    let listed_at_once = keys as usize / 8;
    Setup { batch_rows: 200, state_memory: memory_a_key * keys, listed_at_once, ..Setup::default() }
}

const ENOUGH: u64 = 1 << 20;

#[test]
fn a_budget_changes_no_answer() {
    whatever_ends_it(&CASES[..UNDATED]);
}

#[test]
fn a_budget_changes_no_answer_of_what_time_comes_to() {
    whatever_ends_it(&CASES[UNDATED..]);
}

fn whatever_ends_it(cases: &[(u64, &str, &str)]) {
    let keys = 1_500;
    for case in cases.iter().copied() {
        let (expected, none) = answers(setup(ENOUGH, keys), keys, case, |host| host);
        assert!(none == 0 && !expected.is_empty(), "{case:?}");
        let (rows, on_disk) = answers(setup(case.0, keys), keys, case, |host| host);
        assert!(on_disk > 250, "{on_disk} entries on disk: {case:?}");
        assert!(rows == expected, "{case:?}");
        // How many are on disk alone behind a start hangs on the moment: those that are not listed yet count as none.
        let (rows, _) = answers(setup(case.0, keys), keys, case, |host| host.restart());
        assert!(rows == expected, "restarted: {case:?}");
        let (rows, _) = answers(setup(case.0, keys), keys, case, |host| host.crash());
        assert!(rows == expected, "crashed: {case:?}");
        let (rows, _) = answers(setup(case.0, keys), keys, case, Host::through_a_backup);
        assert!(rows == expected, "gone on elsewhere from a backup: {case:?}");
    }
}

/// Most of the state is met behind rows, and so is damage to it: the task says so and fails, and resumed it goes on from the checkpoint before.
#[test]
fn damage_that_is_found_behind_rows_is_told_and_fallen_back_from() {
    let keys = 300;
    let text = format!("from: {ONE}\nsteps:\n{}\nto:\n- stream: out\n", CASES[5].2);
    let through = |damages: bool| {
        let mut host = host_with(Setup { simulated: true, entry_bytes: 32 << 10, listed_at_once: 1, ..setup(ENOUGH, keys) });
        host.apply("p", &text);
        for third in 0..3 {
            for first in (third * keys..(third + 1) * keys).step_by(PIECE as usize) {
                host.send("events", &rows(keys, first, first + PIECE));
            }
            host.settle("p");
            host = host.restart();
        }
        if damages {
            let last = host.wait("p", "its state", |status| status.tasks[0].checkpoint > 0).tasks[0].checkpoint;
            host.damage_an_entry("p", last);
            host = host.crash();
            let said =
                host.wait("p", "the damage", |status| status.tasks[0].state == PipelineState::Failed).tasks[0].last_error.clone();
            assert!(said.as_ref().is_some_and(|said| said.contains(&format!("checkpoint {last} is damaged"))), "{said:?}");
            host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("goes on");
            host.wait("p", "a word of it", |status| status.tasks[0].checkpoint_fallback.is_some());
        }
        host.send("events", &rows(keys, 3 * keys, 4 * keys));
        host.settle("p");
        (host.rows("out"), host.status("p").divergences.len())
    };
    assert_eq!(through(true), through(false));
}

#[test]
fn a_power_cut_loses_nothing_that_left_memory() {
    // What a simulated journal file holds is little.
    let keys = 300;
    let mut left = 0;
    for (seed, case) in (1..).zip(CASES) {
        let (expected, _) = answers(setup(ENOUGH, keys), keys, case, |host| host);
        let random = RefCell::new(Random::new(seed));
        let cut = |host: Host| host.power_cut(random.borrow_mut().next());
        let (rows, on_disk) = answers(Setup { simulated: true, entry_bytes: 32 << 10, ..setup(case.0, keys) }, keys, case, cut);
        assert!(rows == expected, "{case:?}");
        left += on_disk;
    }
    // How many of one case somebody finds there hangs on the moment.
    assert!(left > 300, "{left} entries on disk alone, of all cases");
}
