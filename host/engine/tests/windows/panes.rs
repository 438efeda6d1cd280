//! Windows that speak before and after their end: by rows, by event time, by the clock; and that crashes do not show in what they say together.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};
use tidemill_engine::Planted;
use tidemill_log::simulated::Random;

use crate::support::{self, Host, Setup};
use crate::{check, events, host_with, shown};

#[test]
fn panes_say_which_they_are() {
    check(
        "- window: {tumbling: 10s, by: [k], select: {n: count(*), s: sum(v)}, early: each, lateness: 5s, panes: retracting}",
        "a@1=5 a@12=1 a@3=2",
        expect![[r#"
            {"_time":"00:09.999999Z","k":"a","n":1,"pane":"early","pane_no":0,"retracted":false,"s":5,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:19.999999Z","k":"a","n":1,"pane":"early","pane_no":0,"retracted":false,"s":1,"window_end":"00:20","window_start":"00:10"}
            {"_time":"00:09.999999Z","k":"a","n":1,"pane":"early","pane_no":0,"retracted":true,"s":5,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"a","n":1,"pane":"on_time","pane_no":1,"retracted":false,"s":5,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"a","n":1,"pane":"on_time","pane_no":1,"retracted":true,"s":5,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"a","n":2,"pane":"late","pane_no":2,"retracted":false,"s":7,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:19.999999Z","k":"a","n":1,"pane":"early","pane_no":0,"retracted":true,"s":1,"window_end":"00:20","window_start":"00:10"}
            {"_time":"00:19.999999Z","k":"a","n":1,"pane":"on_time","pane_no":1,"retracted":false,"s":1,"window_end":"00:20","window_start":"00:10"}
        "#]],
    );
    check(
        "- window: {global: {}, select: {n: count(*), mean: avg(v) * 1.5}, early: {rows: 2}, panes: discarding}",
        "a@1=5 a@2=1 a@3=2 a@4=2 a@9=8",
        expect![[r#"
            {"_time":"00:02","mean":4.5,"n":2,"pane":"early","pane_no":0}
            {"_time":"00:04","mean":3.0,"n":2,"pane":"early","pane_no":1}
            {"_time":"00:09","mean":12.0,"n":1,"pane":"on_time","pane_no":2}
        "#]],
    );
    check(
        "- window: {hopping: {size: 20s, every: 10s}, by: [k], select: {s: sum(v)}, early: {event_time: 5s}, top: {n: 1, order: [s desc]}}",
        "a@1=5 b@2=6 a@6=2 b@11=9 a@31=1",
        expect![[r#"
            {"_time":"00:09.999999Z","k":"a","pane":"early","pane_no":0,"rank":1,"s":5,"window_end":"00:10","window_start":"1969-12-31T23:59:50"}
            {"_time":"00:09.999999Z","k":"a","pane":"early","pane_no":1,"rank":1,"s":7,"window_end":"00:10","window_start":"1969-12-31T23:59:50"}
            {"_time":"00:19.999999Z","k":"a","pane":"early","pane_no":0,"rank":1,"s":7,"window_end":"00:20","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"a","pane":"on_time","pane_no":2,"rank":1,"s":7,"window_end":"00:10","window_start":"1969-12-31T23:59:50"}
            {"_time":"00:19.999999Z","k":"b","pane":"early","pane_no":1,"rank":1,"s":15,"window_end":"00:20","window_start":"00:00"}
            {"_time":"00:19.999999Z","k":"b","pane":"on_time","pane_no":2,"rank":1,"s":15,"window_end":"00:20","window_start":"00:00"}
            {"_time":"00:39.999999Z","k":"a","pane":"early","pane_no":0,"rank":1,"s":1,"window_end":"00:40","window_start":"00:20"}
            {"_time":"00:29.999999Z","k":"b","pane":"on_time","pane_no":0,"rank":1,"s":9,"window_end":"00:30","window_start":"00:10"}
            {"_time":"00:39.999999Z","k":"a","pane":"on_time","pane_no":1,"rank":1,"s":1,"window_end":"00:40","window_start":"00:20"}
            {"_time":"00:49.999999Z","k":"a","pane":"on_time","pane_no":0,"rank":1,"s":1,"window_end":"00:50","window_start":"00:30"}
        "#]],
    );
}

#[test]
fn a_session_takes_late_rows_and_ends_when_it_is_long() {
    check(
        "- window: {session: {gap: 5s, max_length: 10s}, by: [k], select: {n: count(*)}}",
        "a@0=1 a@4=1 a@8=1 a@11=1 a@40=1",
        expect![[r#"
            {"_time":"00:10","k":"a","n":3,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:16","k":"a","n":1,"window_end":"00:16","window_start":"00:11"}
            {"_time":"00:45","k":"a","n":1,"window_end":"00:45","window_start":"00:40"}
        "#]],
    );
    check(
        "- window: {session: 5s, by: [k], select: {n: count(*)}, lateness: 30s}",
        "a@0=1 a@9=1 a@16=1 a@5=1 a@40=1",
        expect![[r#"
            {"_time":"00:05","k":"a","n":1,"window_end":"00:05","window_start":"00:00"}
            {"_time":"00:14","k":"a","n":1,"window_end":"00:14","window_start":"00:09"}
            {"_time":"00:14","k":"a","n":3,"window_end":"00:14","window_start":"00:00"}
            {"_time":"00:21","k":"a","n":1,"window_end":"00:21","window_start":"00:16"}
            {"_time":"00:45","k":"a","n":1,"window_end":"00:45","window_start":"00:40"}
        "#]],
    );
}

fn live(setup: Setup, name: &str, steps: &str) -> Host {
    let host = host_with(setup);
    host.apply(name, &format!("from: events\ntime: {{bound: off}}\nsteps:\n{steps}\nto:\n- stream: {name}-out\n"));
    host
}

/// Lets the clock go on until so many rows came out.
fn wait_rows(host: &Host, name: &str, rows: u64) {
    host.wait(name, &format!("{rows} rows"), |status| {
        if status.rows_out < rows {
            host.advance(Duration::from_millis(100));
        }
        status.rows_out >= rows
    });
    host.sync();
}

/// A pipeline is quiet and its window is open: what it has is told when the clock says so, once.
#[test]
fn the_clock_lets_an_open_window_speak() {
    let host = live(Setup::default(), "p", "- window: {tumbling: 1h, by: [k], select: {n: count(*)}, early: 10s}");
    host.send("events", &events("a@1=5 a@2=1 b@3=2"));
    host.settle("p");
    assert!(host.rows("p-out").is_empty());
    wait_rows(&host, "p", 2);
    // Nothing is new: nothing is said, whatever the clock says.
    host.advance(Duration::from_secs(60));
    host.send("events", &events("b@4=5"));
    wait_rows(&host, "p", 3);
    expect![[r#"
        {"_time":"59:59.999999Z","k":"a","n":2,"pane":"early","pane_no":0,"window_end":"1970-01-01T01:00:00","window_start":"00:00"}
        {"_time":"59:59.999999Z","k":"b","n":1,"pane":"early","pane_no":0,"window_end":"1970-01-01T01:00:00","window_start":"00:00"}
        {"_time":"59:59.999999Z","k":"b","n":2,"pane":"early","pane_no":1,"window_end":"1970-01-01T01:00:00","window_start":"00:00"}
    "#]].assert_eq(&shown(&host.rows("p-out")));
}

#[test]
fn a_window_by_the_clock_ends_without_a_row() {
    let host = live(
        Setup::default(),
        "p",
        "- window: {tumbling: 1m, time: processing, by: [k], select: {n: count(*)}}\n- select: {k: k, n: n, whole: cast(window_end as bigint) - cast(window_start as bigint) = 60000000}",
    );
    host.send("events", &events("a@1=5 a@900=1 b@3=2"));
    host.settle("p");
    wait_rows(&host, "p", 2);
    let counted: Vec<(Value, Value, Value)> =
        host.rows("p-out").iter().map(|row| (row["k"].clone(), row["n"].clone(), row["whole"].clone())).collect();
    assert_eq!(counted, [(json!("a"), json!(2), json!(true)), (json!("b"), json!(1), json!(true))]);
}

/// Early by the clock, discarding and retracting; windows by the clock. Which panes there are hangs on the clock; what they say together does not.
const STORY: [(&str, &str); 4] = [
    (
        "told",
        "- window: {tumbling: 20s, by: [k], select: {n: count(*), s: sum(v)}, early: 3s, lateness: 10s, late: 2s, panes: discarding}",
    ),
    (
        "retold",
        "- window: {session: 4s, by: [k], select: {n: count(*), s: sum(v)}, early: {rows: 2}, lateness: 20s, panes: retracting}",
    ),
    ("clocked", "- window: {tumbling: 5s, time: processing, by: [k], select: {n: count(*), s: sum(v)}}"),
    (
        "visits",
        "- window: {session: {gap: 3s, max_length: 9s}, time: processing, by: [k], select: {n: count(*), s: sum(v)}, early: 1s, panes: retracting}",
    ),
];
const ROWS: i64 = 300;

fn nth(n: i64) -> Value {
    json!({"t": 100 + n / 3 - n * 7919 % 5, "k": format!("k{}", n * 31 % 7), "v": n * 13 % 29})
}

/// Per key, how many rows and their sum: all panes together, less what was taken back.
fn together(host: &Host, name: &str) -> BTreeMap<String, (i64, i64)> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for row in host.rows(&format!("{name}-out")) {
        let sign = if row["retracted"] == json!(true) { -1 } else { 1 };
        let sum = sums.entry(row["k"].as_str().expect("a key").to_owned()).or_default();
        sum.0 += sign * row["n"].as_i64().expect("a count");
        sum.1 += sign * row["s"].as_i64().unwrap_or(0);
    }
    sums
}

fn lives(planted: Option<Planted>, seed: u64) {
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let setup =
        Setup { batch_rows: 2 + random.below(9) as usize, checkpoint_after, simulated: true, planted, ..Setup::default() };
    let mut host = host_with(setup);
    for (name, steps) in STORY {
        let from = "{stream: events, out_of_orderness: 2s}";
        host.apply(name, &format!("from: {from}\nsteps:\n{steps}\nto:\n- stream: {name}-out\n"));
    }
    let mut sent = 0;
    while sent < ROWS {
        let until = (sent + 1 + random.below(20) as i64).min(ROWS);
        host.send("events", &(sent..until).map(nth).collect::<Vec<_>>());
        sent = until;
        host.advance(Duration::from_millis(random.below(3000)));
        if random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(3000)));
            host = host.crash();
        }
    }
    host = host.crash();
    agrees(&host, seed);
    // The end of all windows is told too: silence, and the clock goes on.
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for row in (0..ROWS).map(nth) {
        let sum = expected.entry(row["k"].as_str().expect("a key").to_owned()).or_default();
        *sum = (sum.0 + 1, sum.1 + row["v"].as_i64().expect("a number"));
    }
    for (name, _) in STORY {
        host.settle(name);
        host.wait(name, "all panes", |_| {
            host.advance(Duration::from_secs(3));
            host.sync();
            together(&host, name) == expected
        });
        let status = host.settle(name);
        assert_eq!((status.late, status.dead_letters), (0, 0), "{name}");
    }
    // Nothing is said twice behind a crash, and what was committed by the clock is found again.
    host = host.crash();
    agrees(&host, seed);
    for (name, _) in STORY {
        assert_eq!(together(&host, name), expected, "seed {seed}, {name}");
    }
}

/// What was committed was found again.
fn agrees(host: &Host, seed: u64) {
    for (name, _) in STORY {
        let status = host.settle(name);
        assert!(status.divergences.is_empty(), "seed {seed}, {name}: {:#?}", status.divergences);
    }
}

#[test]
fn a_kill_does_not_show_in_panes() {
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed));
}

/// The story above would notice.
#[test]
fn a_clock_that_is_not_recorded_is_noticed() {
    let told = |seed: u64| catch_unwind(AssertUnwindSafe(|| lives(Some(Planted::ClockNotRecorded), seed))).is_err();
    assert!((1..=10).any(told), "what the clock let out was found again, though nobody had written it down");
}
