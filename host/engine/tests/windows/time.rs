//! Time in a task: what holds a watermark back, what a clock decides, what is late, how a `once` ends; and that neither batches nor crashes
//! show in any of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_engine::{DeadLetterChoice, DeadLetterQuery, PipelineState, Planted, Status};
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;

use crate::support::{self, Host, Setup, compare};

/// Seconds as time, placed by key.
const EVENTS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "key": ["k"], "partitions": 2, "unknown": "drop"}"#;
const ONE: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop"}"#;

/// Windows of three kinds, `over`, an expression that fails for some panes, a join of the stream with itself, a machine, a correlation, a pattern and one
/// in SQL.
const STORY: [(&str, &str); 8] = [
    (
        "tumbled",
        "- window: {tumbling: 10s, by: [k], select: {n: count(*), s: sum(v)}, lateness: 3s}\n- extend: {part: 100 / (s % 7)}",
    ),
    ("hopped", "- window: {hopping: {size: 20s, every: 5s}, by: [k], select: {most: max(v)}}"),
    (
        "sessions",
        "- over: {by: [k], rows: 3, select: {m: sum(v)}}\n- window: {session: 4s, by: [k], select: {n: count(*), m: max(m)}}",
    ),
    (
        "joined",
        "- join: {kind: left, on: a.k = b.k and a.v < b.v, within: [0s, 4s]}\n- select: {k: a.k, av: a.v, bv: b.v, t: a.t}",
    ),
    (
        "met",
        "- origin: {stream: source, offset: place}\n- correlate: {by: [k], within: 40s, kinds: {small: v < 10, middle: v >= 10 and v < 20, large: v >= 20}, at_least: 2, distinct: {of: v % 5, at_least: 2}, evidence: [source, place, v]}",
    ),
    (
        "moved",
        "- machine: {by: [k], initial: idle, variables: {n: 0, spent: 0}, states: {idle: , busy: {timeout: {after: 8s, to: stuck, emit: {spent: spent}}}, stuck: {timeout: {after: 9s, to: lost, set: {n: n + 100}, emit: {n: n}}}, done: final, lost: final}, transitions: [{from: idle, to: busy, on: v < 18, set: {n: 1}}, {from: busy, on: v < 10, set: {n: n + 1, spent: spent + v}, emit: {n: n}}, {from: [busy, stuck], to: done, on: v >= 18, when: n > 1, emit: {spent: 100 / (v - 20)}}], illegal: emit}",
    ),
    (
        "patterned",
        "- pattern: {by: [k], stages: [{begin: a, where: v % 2 = 0}, {followed_by: b, where: v > last(a.v), times: 1.., greedy: true}, {not_followed_by: c, where: v = 3}], within: 12s, timeouts: true, select: {n: count(b), last: last(b.v)}}",
    ),
    (
        "matched",
        "- match_recognize: |\n    partition by k order by t measures first(A.v) as a, last(B.v) as b after match skip past last row\n    pattern (A B+) within interval '12' second define B as v > prev(v)",
    ),
];

fn event(t: i64, k: &str, v: i64) -> Value {
    json!({"t": t, "k": k, "v": v})
}

/// Row `n` of one sender: a little out of order, some rows far too late.
fn nth(n: u64) -> Value {
    let (n, jitter) = (n as i64, (n * 7919 % 5) as i64);
    let late = if n % 23 == 11 { 60 } else { 0 };
    event(100 + n / 2 - jitter - late, &format!("k{}", n * 31 % 11), n * 13 % 29)
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", EVENTS);
    for (name, steps) in STORY {
        let source = |of: &str| format!("{{stream: events, out_of_orderness: 3s{of}}}");
        let from = if name == "joined" { format!("[{}, {}]", source(", as: a"), source(", as: b")) } else { source("") };
        let text = format!("from: {from}\nsteps:\n{steps}\nto: [{{stream: {name}-out}}]\n");
        host.apply(name, &text);
    }
    host
}

fn settle_all(host: &Host) {
    STORY.iter().for_each(|(name, _)| drop(host.settle(name)));
}

/// Sends up to row `until`; `false` if the disk is gone.
fn send_on(host: &Host, until: u64, random: &mut Random) -> bool {
    loop {
        let stream = host.log.stream(&support::stream_id("events")).expect("a stream");
        let sent: u64 = stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum();
        if sent >= until {
            return true;
        }
        let rows: Vec<Value> = (sent..(sent + 1 + random.below(15)).min(until)).map(nth).collect();
        if !host.try_send("events", &rows) {
            return false;
        }
    }
}

/// All is silent until every window has closed.
fn silence(host: &Host) {
    settle_all(host);
    for (name, _) in STORY {
        // From a settled start on, each look at the lanes finds them silent; the clock has to go on behind the first.
        host.wait(name, "every window to close", |status| {
            host.advance(Duration::from_secs(5));
            status.tasks.iter().all(|task| task.time.moved_by_clock && task.time.watermark.as_deref() > Some("1970-01-01T00:09"))
        });
    }
    host.sync();
}

/// What came out of each pipeline, what was late, what failed; each key's rows in their order.
fn outcome(host: &Host) -> BTreeMap<String, Vec<String>> {
    let mut told = BTreeMap::new();
    for (name, _) in STORY {
        for stream in [format!("{name}-out"), format!("{name}.late"), format!("{name}.dead-letters")] {
            let lines = host.lines(&stream).into_iter().map(|line| {
                let mut row: Value = serde_json::from_str(&line).expect("JSON");
                // A letter of a pane has the event whose time let it out, if it was one.
                ["stream", "offset", "event", "time", "_time"].iter().filter(|_| stream.ends_with("letters")).for_each(
                    |member| {
                        row.as_object_mut().expect("a row").remove(*member);
                    },
                );
                if name == "joined" {
                    // Which side of a pair came first is not the rows' to decide.
                    row.as_object_mut().expect("a row").remove("_offset");
                }
                row.to_string()
            });
            let mut lines: Vec<String> = lines.collect();
            if name == "joined" {
                lines.sort();
            }
            told.insert(stream.clone(), lines);
        }
    }
    told
}

/// Rows in, late, dropped late, late in part.
type Counts = (u64, u64, u64, u64);

fn counts(host: &Host) -> Vec<Counts> {
    let count = |status: Status| (status.rows_in, status.late, status.dropped_late, status.late_partial);
    STORY.iter().map(|(name, _)| count(host.status(name))).collect()
}

const ROWS: u64 = 400;

fn calm() -> (BTreeMap<String, Vec<String>>, Vec<Counts>) {
    let host = prepared(Setup::default());
    assert!(send_on(&host, ROWS, &mut Random::new(1)));
    silence(&host);
    let told = outcome(&host);
    for (name, _) in STORY {
        assert!(told[&format!("{name}-out")].len() > 20 && told[&format!("{name}.late")].len() > 5, "{name} is no story");
    }
    assert!(!told["tumbled.dead-letters"].is_empty(), "no pane fails");
    (told, counts(&host))
}

#[test]
fn neither_batches_nor_workers_show() {
    let (told, counted) = calm();
    for (batch_rows, workers) in [(1, 1), (3, 2), (17, 1)] {
        let host = prepared(Setup { batch_rows, workers, ..Setup::default() });
        assert!(send_on(&host, ROWS, &mut Random::new(batch_rows as u64)));
        silence(&host);
        compare(&told, &outcome(&host), &format!("{batch_rows} rows a batch"));
        assert_eq!(counts(&host), counted);
    }
}

/// Lives that end at random moments, before and behind what the clock decided.
fn lives(planted: Option<Planted>, seed: u64, end_of_life: impl Fn(Host, &mut Random) -> Host) {
    let (told, counted) = calm();
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let setup = Setup {
        batch_rows: 3 + random.below(9) as usize,
        checkpoint_after,
        // A window that is due is more than an entry holds, now and then.
        entry_bytes: 60 + random.below(300) as usize,
        simulated: true,
        planted,
        ..Setup::default()
    };
    let mut host = prepared(setup);
    for _ in 0..12 {
        let until = random.below(ROWS);
        send_on(&host, until, &mut random);
        host = end_of_life(host, &mut random);
    }
    assert!(send_on(&host, ROWS, &mut random), "the power is on");
    silence(&host);
    host = end_of_life(host, &mut random);
    for (name, _) in STORY {
        let status = host.settle(name);
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
    }
    compare(&told, &outcome(&host), &format!("seed {seed}"));
    assert_eq!(counts(&host), counted, "seed {seed}");
    // The time that the clock made counts for rows that come now.
    host.send("events", &[event(400, "k1", 1)]);
    let late = |host: &Host| STORY.map(|(name, _)| host.settle(name).late);
    let after = late(&host);
    assert!(
        after.iter().zip(&counted).zip([1, 1, 1, 2, 1, 1, 1, 1]).all(|((late, before), more)| *late == before.1 + more),
        "{after:?} behind {counted:?}"
    );
}

fn killed(host: Host, random: &mut Random) -> Host {
    std::thread::sleep(Duration::from_micros(random.below(2000)));
    host.crash()
}

fn cut(host: Host, random: &mut Random) -> Host {
    host.disk.fail_after(3 + random.below(40));
    let sent = host.log.stream(&support::stream_id("events")).expect("a stream");
    let sent: u64 = sent.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum();
    send_on(&host, (sent + random.below(60)).min(ROWS), random);
    host.power_cut(random.next())
}

/// The story above would notice.
#[test]
fn bugs_of_time_and_of_parts_that_are_planted_are_caught() {
    for bug in [Planted::ClockNotRecorded, Planted::TimeNotKept, Planted::ReplayWithoutTime, Planted::PartsForgotten] {
        let told = |seed: &u64| {
            let lived = |end: fn(Host, &mut Random) -> Host| catch_unwind(AssertUnwindSafe(|| lives(Some(bug), *seed, end)));
            lived(killed).is_err() || lived(cut).is_err()
        };
        assert!((1..=10).any(|seed| told(&seed)), "not caught: {}", bug.name());
    }
}

#[test]
fn a_kill_does_not_show() {
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed, killed));
}

#[test]
fn a_power_cut_does_not_show() {
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed, cut));
}

#[test]
fn a_once_ends_and_runs_again_as_a_new_run() {
    let host = Host::new(Setup { batch_rows: 3, ..Setup::default() });
    host.make_stream("events", EVENTS);
    host.send("events", &(0..100).map(nth).collect::<Vec<_>>());
    let text = "run: once\nfrom: {stream: events, out_of_orderness: 100s}\nsteps:\n- window: {tumbling: 10s, by: [k], select: {n: count(*)}}\nto: [{stream: out}]\n";
    host.apply("p", text);
    let finished = |host: &Host| host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    let status = finished(&host);
    assert_eq!(status.time.watermark.as_deref(), Some("end"));
    let total = |rows: &[Value]| rows.iter().filter_map(|row| row["n"].as_u64()).sum::<u64>();
    let first = host.rows("out");
    assert_eq!(total(&first), 100, "every row is in a window, and every window has closed");
    // A start behind the end finds nothing to do.
    let host = host.crash();
    finished(&host);
    let host = host.restart();
    finished(&host);
    assert_eq!(host.rows("out").len(), first.len());
    host.send("events", &(100..150).map(nth).collect::<Vec<_>>());
    host.apply("p", text);
    let status = host.wait("p", "its second end", |status| status.run == 2 && status.state == PipelineState::Finished);
    assert_eq!((status.rows_in, total(&host.rows("out"))), (150, 250), "from the beginning, in a run of its own");
}

#[test]
fn what_was_once_and_is_live_begins_a_new_run() {
    let host = Host::new(Setup::default());
    host.make_stream("events", EVENTS);
    host.send("events", &[event(5, "k0", 1), event(25, "k0", 1)]);
    let text = |run: &str| {
        format!(
            "run: {run}\nfrom: events\nsteps:\n- window: {{tumbling: 10s, by: [k], select: {{n: count(*)}}}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("once"));
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    let applied = host.apply("p", &text("live"));
    assert!(applied.changed);
    host.send("events", &[event(7, "k0", 1), event(36, "k0", 1)]);
    let status = host.settle("p");
    assert_eq!((status.run, status.rows_in, status.late), (2, 4, 1), "what is late is so by rows, not by an end: {status:#?}");
}

#[test]
fn a_once_of_no_rows_ends() {
    let host = Host::new(Setup::default());
    host.make_stream("events", ONE);
    host.apply("p", "run: once\nfrom: events\nsteps:\n- window: {global: {}, select: {n: count(*)}}\nto: [{stream: out}]\n");
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
}

/// Two streams of one partition, windows of ten seconds over both.
fn two(time: &str, idle: &str) -> Host {
    two_through(time, idle, "- window: {tumbling: 10s, select: {n: count(*)}}")
}

fn two_through(time: &str, idle: &str, steps: &str) -> Host {
    let host = Host::new(Setup { batch_rows: 2, ..Setup::default() });
    host.make_stream("a", ONE);
    host.make_stream("b", ONE);
    host.apply(
        "p",
        &format!(
            "{time}from: [{{stream: a, idle: {idle}}}, {{stream: b, idle: {idle}}}]\nsteps:\n{steps}\nto: [{{stream: out}}]\n"
        ),
    );
    host
}

/// `a` was ahead when everything fell silent: the windows that its next row closes come to the second window in time.
#[test]
fn what_a_stream_lets_out_as_it_wakes_is_on_time_for_the_next_step() {
    let steps = "- window: {tumbling: 10s, by: [k], select: {n: count(*)}}\n- window: {tumbling: 10s, select: {n: sum(n)}}";
    let host = two_through("time: {bound: off}\n", "30s", steps);
    host.send("a", &[event(5, "k", 1), event(25, "l", 1), event(35, "k", 1)]);
    host.send("b", &[event(7, "l", 1)]);
    host.settle("p");
    host.wait("p", "idleness", |status| {
        host.advance(Duration::from_secs(5));
        status.tasks[0].inputs.iter().all(|input| input.is_idle)
    });
    host.send("a", &[event(100, "k", 1)]);
    let status = host.settle("p");
    host.sync();
    assert_eq!((status.late, host.column("out", "n")), (0, vec![json!(2), json!(1), json!(1)]), "{status:#?}");
}

#[test]
fn a_silent_stream_holds_back_until_it_is_idle() {
    let host = two("time: {bound: off}\n", "30s");
    host.send("a", &[event(5, "k", 1), event(25, "k", 1)]);
    let status = host.settle("p");
    assert_eq!(status.time.watermark, None);
    assert_eq!(status.time.held_back_by.iter().map(|lane| &*lane.stream).collect::<Vec<_>>(), ["b"]);
    host.send("b", &[event(7, "k", 1)]);
    let status = host.settle("p");
    assert_eq!(status.time.watermark.as_deref(), Some("1970-01-01T00:00:07.000000Z"));
    assert!(status.tasks[0].inputs[1].holds_back && !status.tasks[0].inputs[0].holds_back, "{status:#?}");
    assert!(host.rows("out").is_empty());
    let status = host.wait("p", "idleness", |status| {
        host.advance(Duration::from_secs(5));
        status.tasks[0].inputs.iter().all(|input| input.is_idle)
    });
    // Both fell silent at once: nobody is ahead, and with `bound: off` time stands until a row comes.
    host.send("a", &[event(26, "k", 1)]);
    host.wait("p", "the windows", |status| status.time.watermark.as_deref() == Some("1970-01-01T00:00:26.000000Z"));
    host.sync();
    assert_eq!(host.column("out", "n"), [json!(2)], "{status:#?}");
    // Whoever comes back begins where time is.
    host.send("b", &[event(8, "k", 1), event(27, "k", 1)]);
    let status = host.settle("p");
    assert_eq!((status.late, status.dropped_late), (1, 1));
    let late = &host.rows("p.late")[0];
    assert_eq!(late["stream"], "b");
    assert_eq!(
        (&late["window_start"], &late["window_end"]),
        (&json!("1970-01-01T00:00:00.000000Z"), &json!("1970-01-01T00:00:10.000000Z"))
    );
    assert_eq!(
        (&late["watermark"], &late["late_ms"], &late["event"]),
        (&json!("1970-01-01T00:00:26.000000Z"), &json!(18_000), &event(8, "k", 1))
    );
    // What the clock decided is taken again as it was decided.
    let host = host.crash();
    let status = host.settle("p");
    assert!(status.divergences.is_empty() && status.late == 1, "{status:#?}");
}

#[test]
fn silence_everywhere_lets_time_go_on_unless_it_may_not() {
    for (time, closes) in [("", true), ("time: {bound: off}\n", false), ("time: {bound: 2m}\n", true)] {
        let host = two(time, "off");
        host.send("a", &[event(5, "k", 1)]);
        host.send("b", &[event(7, "k", 1)]);
        host.settle("p");
        if closes {
            let status = host.wait("p", "the clock", |status| {
                host.advance(Duration::from_secs(5));
                status.time.moved_by_clock
            });
            assert!(status.time.watermark.as_deref() >= Some("1970-01-01T00:00:37"), "{time}: {status:#?}");
            host.sync();
            assert_eq!(host.column("out", "n"), [json!(2)], "{time}");
            // A row of now is not behind, and takes over from the clock.
            host.send("a", &[event(4000, "k", 1)]);
            assert!(!host.settle("p").time.moved_by_clock);
        } else {
            host.advance(Duration::from_secs(3600));
            host.send("a", &[event(6, "k", 1)]);
            host.settle("p");
            assert!(host.rows("out").is_empty(), "{time}");
        }
    }
}

#[test]
fn an_idle_pipeline_writes_nothing() {
    let host = two("", "30s");
    host.send("a", &[event(5, "k", 1)]);
    host.send("b", &[event(7, "k", 1)]);
    host.settle("p");
    host.wait("p", "the clock", |status| {
        host.advance(Duration::from_secs(5));
        status.time.moved_by_clock
    });
    let commits = host.status("p").tasks[0].commits;
    for _ in 0..20 {
        host.advance(Duration::from_secs(600));
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(host.status("p").tasks[0].commits, commits, "nobody waits for time");
}

#[test]
fn streams_of_a_backfill_are_read_together() {
    let host = Host::new(Setup { batch_rows: 2, ..Setup::default() });
    host.make_stream("a", ONE);
    host.make_stream("b", ONE);
    for stream in ["a", "b"] {
        host.send(stream, &(0..100).map(|n| event(n, "k", 1)).collect::<Vec<_>>());
    }
    host.apply("p", "run: once\nfrom: [a, b]\nsteps:\n- window: {tumbling: 10s, select: {n: count(*)}}\nto: [{stream: out}]\n");
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    assert_eq!(host.column("out", "n"), vec![json!(20); 10]);
    // Neither was ever more than a few batches ahead.
    let (mut places, mut apart) = (BTreeMap::new(), 0_i64);
    for row in host.rows("p.progress") {
        let Some(commit) = row["record"].get("commit").filter(|commit| commit["stream"] != "") else { continue };
        places.insert(commit["stream"].as_str().expect("a name").to_owned(), commit["end"].as_i64().expect("a number"));
        apart = apart.max((places.get("a").unwrap_or(&0) - places.get("b").unwrap_or(&0)).abs());
    }
    assert!(apart <= 8, "{apart} rows apart");
}

#[test]
fn a_stream_far_ahead_waits_for_the_others() {
    let host = two("time: {max_drift: 20s, bound: off}\n", "30s");
    host.send("b", &[event(1, "k", 1)]);
    host.settle("p");
    host.send("a", &(0..100).map(|n| event(n, "k", 1)).collect::<Vec<_>>());
    let status = host.wait("p", "the drift", |status| status.tasks[0].inputs[0].offset >= 21);
    assert!(status.tasks[0].inputs[0].offset < 26 && status.tasks[0].inputs[0].is_ahead, "{status:#?}");
    host.send("b", &[event(60, "k", 1)]);
    host.wait("p", "more of it", |status| status.tasks[0].inputs[0].offset >= 80);
    // What waits for others is not held for ever: they are idle at last.
    host.wait("p", "all of it", |status| {
        host.advance(Duration::from_secs(5));
        status.lag_records == 0
    });
}

/// A pane that time let out and that fails is a letter without an event, and can go through its step again.
#[test]
fn a_letter_of_a_pane_that_time_let_out_goes_through_again() {
    let host = Host::new(Setup::default());
    host.make_stream("events", ONE);
    let text = |divisor: &str| {
        format!(
            "from: events\nsteps:\n- window: {{tumbling: 10s, by: [k], select: {{n: count(*)}}}}\n- extend: {{part: 100 / ({divisor})}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("n - 1"));
    host.send("events", &[event(5, "k", 1)]);
    host.settle("p");
    let status = host.wait("p", "the clock", |status| {
        host.advance(Duration::from_secs(5));
        status.dead_letters == 1
    });
    assert_eq!(status.rows_out, 0);
    host.sync();
    let letter = &host.rows("p.dead-letters")[0];
    assert_eq!((&letter["step"], &letter["reason"]), (&json!("steps[1].extend"), &json!("expression")));
    assert_eq!((&letter["event"], &letter["stream"], &letter["offset"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&letter["row"]["n"], &letter["row"]["k"]), (&json!(1), &json!("k")));
    host.apply("p", &text("n + 1"));
    host.settle("p");
    let all = DeadLetterChoice::Query(DeadLetterQuery::default());
    let replay = || host.engine.pipelines().replay_dead_letters(&support::tenant(), &support::pipeline("p"), all.clone(), false);
    let replayed = replay().expect("a replay");
    assert_eq!(replayed.replayed, 1, "{replayed:?}");
    host.wait("p", "the pane", |status| status.rows_out == 1);
    host.sync();
    assert_eq!(host.column("out", "part"), [json!(50)]);
    let host = host.crash();
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "{status:#?}");
}

/// Windows by a column that is not the stream's key: rows are placed by it between two stages, and the answers are those of one task.
fn placed_anew(partitions: u32, setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", &EVENTS.replace("\"partitions\": 2", &format!("\"partitions\": {partitions}")));
    // Each partition has an order of its own, so none of its rows is late.
    host.apply("p", "from: {stream: events, out_of_orderness: 100s}\nsteps:\n- extend: {g: v % 3}\n- window: {tumbling: 10s, by: [g], select: {n: count(*), most: max(v), s: sum(v)}}\nto: [{stream: out}]\n");
    host
}

/// The rows of `out`, sorted: where they lie hangs on the number of partitions.
fn sorted(host: &Host) -> Vec<String> {
    let mut rows: Vec<String> = host
        .rows("out")
        .into_iter()
        .map(|mut row| {
            let row_members = row.as_object_mut().expect("a row");
            ["_partition", "_offset"].iter().for_each(|member| drop(row_members.remove(*member)));
            row.to_string()
        })
        .collect();
    rows.sort();
    rows
}

/// All is silent until every row that was sent is in a window that has closed. A task without a key waits for no time, and moves none.
fn close_all(host: &Host) {
    host.settle("p");
    host.wait("p", "every window to close", |_| {
        host.advance(Duration::from_secs(5));
        host.rows("out").iter().filter_map(|row| row["n"].as_u64()).sum::<u64>() == ROWS
    });
    host.settle("p");
    host.sync();
}

#[test]
fn no_number_of_partitions_shows_whatever_the_key() {
    let mut told = Vec::new();
    for partitions in [1, 2, 5] {
        let host = placed_anew(partitions, Setup { batch_rows: 7, ..Setup::default() });
        assert!(send_on(&host, ROWS, &mut Random::new(u64::from(partitions))));
        close_all(&host);
        let status = host.status("p");
        let tasks = if partitions == 1 { 1 } else { 2 * partitions as usize };
        assert_eq!((status.tasks.len(), status.rows_in, status.late), (tasks, ROWS, 0), "{status:#?}");
        told.push(sorted(&host));
        // It is the same plan when it is applied again, and goes on where it was.
        let text = "from: {stream: events, out_of_orderness: 100s}\nsteps:\n- extend: {g: v % 3}\n- window: {tumbling: 10s, by: [g], select: {n: count(*), most: max(v), s: sum(v)}}\n- where: n > 0\nto: [{stream: out}]\n";
        assert!(host.apply("p", text).changed);
        assert_eq!((host.settle("p").run, sorted(&host).len()), (1, told[0].len()));
    }
    assert!(told[0].len() > 20);
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

#[test]
fn stages_do_not_notice_kills() {
    let calm = placed_anew(3, Setup::default());
    assert!(send_on(&calm, ROWS, &mut Random::new(1)));
    close_all(&calm);
    for seed in support::seeds(2) {
        let mut random = Random::new(seed);
        let checkpoint_after = Duration::from_micros(100 + random.below(1500));
        let mut host = placed_anew(3, Setup { batch_rows: 5, checkpoint_after, simulated: true, ..Setup::default() });
        for life in 0..10 {
            send_on(&host, ROWS * life / 10, &mut random);
            host = if life % 2 == 0 { killed(host, &mut random) } else { host.power_cut(random.next()) };
        }
        assert!(send_on(&host, ROWS, &mut random), "the power is on");
        close_all(&host);
        assert!(host.status("p").divergences.is_empty());
        assert_eq!(sorted(&host), sorted(&calm), "seed {seed}");
    }
}

#[test]
fn letters_and_replays_of_one_task_of_all_partitions() {
    let host = Host::new(Setup { batch_rows: 7, ..Setup::default() });
    host.make_stream("events", &EVENTS.replace("\"partitions\": 2", "\"partitions\": 3"));
    let text = |divisor: &str| {
        format!(
            "from: {{stream: events, out_of_orderness: 1000s}}\nsteps:\n- extend: {{x: 100 / ({divisor})}}\n- window: {{tumbling: 10s, select: {{n: count(*)}}}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("v % 5"));
    assert!(send_on(&host, 200, &mut Random::new(1)));
    let failed = host.settle("p").dead_letters;
    let of: std::collections::BTreeSet<u64> =
        host.rows("p.dead-letters").iter().filter_map(|letter| letter["partition"].as_u64()).collect();
    assert!(failed > 9 && of.len() == 3, "letters of all partitions: {of:?}");
    host.apply("p", &text("v % 5 + 1"));
    host.settle("p");
    let all = DeadLetterChoice::Query(DeadLetterQuery::default());
    let (tenant, pipeline) = (support::tenant(), support::pipeline("p"));
    let replayed = host.engine.pipelines().replay_dead_letters(&tenant, &pipeline, all, false).expect("a replay");
    assert_eq!(replayed.replayed as u64, failed, "{replayed:?}");
    // A run beside it takes the same, and becomes the pipeline's where both have come to.
    let from = tidemill_engine::ReplayFrom::parse(&json!("earliest")).expect("a place");
    host.engine.pipelines().replay(&tenant, &pipeline, &from.into()).expect("a run");
    host.wait_replay("p");
    let promoted = host.engine.pipelines().promote(&tenant, &pipeline).expect("promotes");
    assert_eq!(promoted.run, 2);
    assert!(send_on(&host, 300, &mut Random::new(2)));
    host.settle("p");
    host.wait("p", "every window to close", |status| {
        host.advance(Duration::from_secs(200));
        status.time.moved_by_clock && status.time.watermark.as_deref() > Some("1970-01-01T00:09")
    });
    host.sync();
    let total: u64 = host.rows("out").iter().filter_map(|row| row["n"].as_u64()).sum();
    assert_eq!(total, 300, "each row once, also those that had been letters");
}
