//! Pipelines whose rows are placed anew between two steps: the answers are those of one task, whatever the number of partitions, the batches,
//! the crashes, and however far one stage is ahead of the next.

mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Host, Setup, compare, pipeline, tenant};
use tidemill_engine::{DeadLetterChoice, DeadLetterQuery, PipelineState, Planted, ReplayFrom};
use tidemill_log::Visibility;
use tidemill_log::simulated::Random;
use tidemill_runtime::testing::counter_rule;

/// Placed by a key that no step below has.
fn events(partitions: u32) -> String {
    format!(
        r#"{{"fields": [{{"name": "t", "type": "int64"}}, {{"name": "id", "type": "string"}}, {{"name": "g", "type": "int64"}}, {{"name": "v", "type": "int64"}}],
        "time": {{"field": "t", "unit": "ms"}}, "key": ["id"], "partitions": {partitions}, "unknown": "drop"}}"#
    )
}

const FROM: &str = "{stream: events, out_of_orderness: 40s, idle: 30s}";

/// Steps of every kind that keeps state by a key, and two changes of key behind one another.
const STORY: [(&str, &str); 5] = [
    ("tumbled", "- extend: {w: v * 2}\n- window: {tumbling: 10s, by: [g], select: {n: count(*), s: sum(w)}, lateness: 3s}"),
    ("sessions", "- where: v > 2\n- window: {session: 4s, by: [g], select: {n: count(*), most: max(v)}}"),
    ("over", "- over: {by: [g], rows: 3, select: {m: sum(v)}}\n- select: {g: g, id: id, m: m}"),
    (
        "twice",
        "- window: {tumbling: 10s, by: [g, v], select: {n: count(*)}}\n- window: {tumbling: 20s, by: [v], select: {groups: count(*), n: sum(n)}}\n- window: {tumbling: 40s, select: {n: sum(n), values: count(*)}}",
    ),
    ("joined", "- join: {kind: left, on: a.g = b.v and a.v < b.g, within: [0s, 4s]}\n- select: {a: a.id, b: b.id, g: a.g}"),
];

fn text(name: &str, steps: &str, run: &str) -> String {
    let side = |of: &str| FROM.replace('}', &format!(", as: {of}}}"));
    let from = if name == "joined" { format!("[{}, {}]", side("a"), side("b")) } else { FROM.to_owned() };
    format!("run: {run}\nfrom: {from}\nsteps:\n{steps}\nto: [{{stream: {name}-out}}]\n")
}

/// Row `n` of one sender: out of order, no two at one moment, some far too late.
fn nth(n: u64, late: bool) -> Value {
    let (n, jitter) = (n as i64, (n * 7919 % 5) as i64);
    let late = if late && n % 23 == 11 { 600_000 } else { 0 };
    json!({"t": 1_000_000 + n * 500 - jitter * 1700 - late + n % 7, "id": format!("e{n}"), "g": n * 31 % 11, "v": n * 13 % 29})
}

fn prepared(partitions: u32, setup: Setup, run: &str) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", &events(partitions));
    if run == "once" {
        assert!(send_on(&host, ROWS, &mut Random::new(7), false));
    }
    for (name, steps) in STORY {
        host.apply(name, &text(name, steps, run));
    }
    host
}

fn sent(host: &Host) -> u64 {
    let stream = host.log.stream(&support::stream_id("events")).expect("a stream");
    stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).sum()
}

/// Sends up to row `until`; `false` if the disk is gone.
fn send_on(host: &Host, until: u64, random: &mut Random, late: bool) -> bool {
    loop {
        let sent = sent(host);
        if sent >= until {
            return true;
        }
        let rows: Vec<Value> = (sent..(sent + 1 + random.below(15)).min(until)).map(|n| nth(n, late)).collect();
        if !host.try_send("events", &rows) {
            return false;
        }
    }
}

const ROWS: u64 = 400;

/// What came out of each pipeline, in the order of its rows' texts: where rows lie hangs on the number of partitions.
fn outcome(host: &Host) -> BTreeMap<String, Vec<String>> {
    let of = |stream: String| {
        let mut rows = host.rows(&stream);
        for row in &mut rows {
            let members = row.as_object_mut().expect("a row");
            ["_partition", "_offset", "partition", "offset"].iter().for_each(|member| drop(members.remove(*member)));
        }
        let mut lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        lines.sort();
        (stream, lines)
    };
    STORY.iter().flat_map(|(name, _)| [format!("{name}-out"), format!("{name}.late")]).map(of).collect()
}

fn finished(host: &Host) {
    for (name, _) in STORY {
        host.wait(name, "the end", |status| status.state == PipelineState::Finished);
    }
    host.sync();
}

#[test]
fn no_number_of_partitions_shows() {
    let one = prepared(1, Setup::default(), "once");
    finished(&one);
    let told = outcome(&one);
    STORY.iter().for_each(|(name, _)| assert!(told[&format!("{name}-out")].len() > 4, "{name} is no story: {told:?}"));
    for (partitions, stage_rows, workers) in [(2, 1 << 17, 2), (4, 3, 1), (7, 1, 2)] {
        let setup = Setup { batch_rows: 5, stage_rows, workers, ..Setup::default() };
        let host = prepared(partitions, setup, "once");
        finished(&host);
        for (name, stages) in [("tumbled", 2), ("sessions", 2), ("over", 2), ("twice", 4), ("joined", 2)] {
            let status = host.status(name);
            assert_eq!(status.tasks.iter().map(|task| task.stage).max(), Some(stages), "{name}");
            assert_eq!((status.rows_in % ROWS, status.lag_records), (0, 0), "{name}");
            assert_eq!(status.time.watermark.as_deref(), Some("end"));
        }
        compare(&told, &outcome(&host), &format!("{partitions} partitions"));
        // A start behind the end finds nothing to do.
        let host = host.crash();
        finished(&host);
        compare(&told, &outcome(&host), &format!("{partitions} partitions, once more"));
    }
}

/// Whether every row that was sent has left its pipeline.
fn is_complete(host: &Host, name: &str) -> bool {
    let rows = host.rows(&format!("{name}-out"));
    let counted = || rows.iter().filter_map(|row| row["n"].as_u64()).sum::<u64>();
    match name {
        "sessions" => counted() == (0..ROWS).filter(|n| n * 13 % 29 > 2).count() as u64,
        "over" => rows.len() as u64 == ROWS,
        "joined" => rows.iter().map(|row| row["a"].to_string()).collect::<std::collections::BTreeSet<_>>().len() as u64 == ROWS,
        _ => counted() == ROWS,
    }
}

/// All is silent until every window has closed.
fn silence(host: &Host) {
    for (name, _) in STORY {
        host.settle(name);
    }
    for (name, _) in STORY {
        host.wait(name, "every window to close", |_| {
            host.advance(Duration::from_secs(20));
            is_complete(host, name)
        });
        host.settle(name);
    }
    host.sync();
}

fn killed(host: Host, random: &mut Random) -> Host {
    std::thread::sleep(Duration::from_micros(random.below(2000)));
    host.crash()
}

fn cut(host: Host, random: &mut Random) -> Host {
    host.disk.fail_after(3 + random.below(60));
    let until = (sent(&host) + random.below(60)).min(ROWS);
    send_on(&host, until, random, false);
    host.power_cut(random.next())
}

/// Lives that end at random moments, in every stage.
fn lives(planted: Option<Planted>, seed: u64, end_of_life: impl Fn(Host, &mut Random) -> Host) {
    let calm = prepared(3, Setup::default(), "live");
    assert!(send_on(&calm, ROWS, &mut Random::new(1), false));
    silence(&calm);
    let told = outcome(&calm);
    assert!(told.values().filter(|rows| rows.len() > 4).count() >= STORY.len(), "{told:?}");
    let mut random = Random::new(seed);
    let setup = Setup {
        batch_rows: 3 + random.below(9) as usize,
        checkpoint_after: Duration::from_micros(100 + random.below(1500)),
        stage_rows: 1 + random.below(40),
        entry_bytes: 60 + random.below(300) as usize,
        simulated: true,
        planted,
        ..Setup::default()
    };
    let mut host = prepared(3, setup, "live");
    for _ in 0..12 {
        let until = random.below(ROWS);
        send_on(&host, until, &mut random, false);
        host = end_of_life(host, &mut random);
    }
    assert!(send_on(&host, ROWS, &mut random, false), "the power is on");
    silence(&host);
    host = end_of_life(host, &mut random);
    for (name, _) in STORY {
        let status = host.settle(name);
        assert!(status.divergences.is_empty(), "seed {seed}: {:#?}", status.divergences);
        assert_eq!(status.late, 0, "{name}, seed {seed}: each partition keeps its order, and each lane its own time");
    }
    compare(&told, &outcome(&host), &format!("seed {seed}"));
}

#[test]
fn a_kill_does_not_show() {
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed, killed));
}

#[test]
fn a_power_cut_does_not_show() {
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed, cut));
}

/// Rows between stages, lanes and what each stage has taken of them are of one moment in a backup.
#[test]
fn a_backup_that_goes_on_elsewhere_does_not_show() {
    let elsewhere = |host: Host, random: &mut Random| {
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        host.through_a_backup()
    };
    support::seeds(3).into_iter().for_each(|seed| lives(None, seed, elsewhere));
}

/// The story above would notice.
#[test]
fn bugs_that_are_planted_are_caught() {
    for bug in [Planted::HeadTooEarly, Planted::TimeNotKept, Planted::ReplayedOutputs, Planted::CommitWithoutRange] {
        let told = |seed: &u64| catch_unwind(AssertUnwindSafe(|| lives(Some(bug), *seed, cut))).is_err();
        assert!((1..=10).any(|seed| told(&seed)), "not caught: {}", bug.name());
    }
}

#[test]
fn what_is_late_is_late_by_the_partition_it_came_from() {
    let host = Host::new(Setup { batch_rows: 4, ..Setup::default() });
    host.make_stream("events", &events(3));
    let (name, steps) = STORY[0];
    host.apply(name, &text(name, steps, "live"));
    assert!(send_on(&host, ROWS, &mut Random::new(3), true));
    let status = host.settle(name);
    let late = host.rows("tumbled.late");
    assert_eq!((status.late, late.len() as u64), (late.len() as u64, status.late));
    assert!(late.len() > 10, "{status:#?}");
    // 10 minutes behind its lane, which is 40 s behind its newest.
    assert!(late.iter().all(|row| row["late_ms"].as_i64() > Some(400_000) && row["stream"] == "tumbled.stage-2"), "{late:?}");
    let host = host.crash();
    assert_eq!(host.settle(name).late, status.late);
    assert_eq!(host.rows("tumbled.late").len(), late.len());
}

fn event(t: i64, id: &str, g: i64) -> Value {
    json!({"t": t * 1000, "id": id, "g": g, "v": 1})
}

/// An id that lies in each of two partitions.
fn apart(host: &Host) -> [String; 2] {
    let in_partition = |wanted: u64| {
        let mut ids = (0..).map(|n| format!("x{n}"));
        ids.find(|id| tidemill_event::partition_of(id.as_bytes(), 2).0 as u64 == wanted).expect("some id")
    };
    assert_eq!(host.log.stream(&support::stream_id("events")).expect("a stream").partitions().len(), 2);
    [in_partition(0), in_partition(1)]
}

#[test]
fn a_stalled_partition_holds_windows_until_it_is_idle() {
    let host = Host::new(Setup::default());
    host.make_stream("events", &events(2));
    let [here, there] = apart(&host);
    host.apply("p", "time: {bound: off}\nfrom: {stream: events, idle: 30s}\nsteps:\n- window: {tumbling: 10s, by: [g], select: {n: count(*)}}\nto: [{stream: out}]\n");
    host.send("events", &[event(5, &here, 1), event(6, &there, 1), event(25, &here, 1)]);
    let status = host.settle("p");
    assert!(host.rows("out").is_empty(), "the other partition is at 6 s");
    assert_eq!(status.time.held_back_by.iter().map(|lane| (&*lane.stream, lane.partition)).collect::<Vec<_>>(), [("events", 1)]);
    host.wait("p", "idleness", |status| {
        host.advance(Duration::from_secs(5));
        status.tasks.iter().filter(|task| task.stage == 1).all(|task| task.inputs[0].is_idle)
    });
    host.send("events", &[event(36, &here, 1)]);
    host.wait("p", "a window", |status| status.rows_out == 2);
    host.sync();
    assert_eq!(host.column("out", "n"), [json!(2), json!(1)]);
    // Whoever comes back begins where time is.
    host.send("events", &[event(7, &there, 1), event(37, &there, 1)]);
    assert_eq!(host.settle("p").late, 1);
}

#[test]
fn a_stage_that_is_behind_holds_the_one_before_it_back() {
    let host = Host::new(Setup { batch_rows: 10, stage_rows: 20, ..Setup::default() });
    host.make_stream("events", &events(2));
    host.publish("count", "1.0.0", &counter_rule());
    let most = "- extend: {user: 'case when g < 5 then 1 else 2 end', amount: v * 1.0}";
    host.apply(
        "p",
        &format!("from: {FROM}\nsteps:\n{most}\n- dedupe: {{by: [user, t], within: 1s, lateness: 1h}}\nto: [{{stream: out}}]\n"),
    );
    assert!(send_on(&host, 5 * ROWS, &mut Random::new(1), false));
    let status = host.settle("p");
    assert_eq!((status.rows_in, status.rows_out), (5 * ROWS, 5 * ROWS), "nothing stands still: {status:#?}");
    assert!(status.tasks.iter().all(|task| task.waits_for.is_none()));
}

#[test]
fn pipelines_that_feed_each_other_through_stages_come_to_an_end() {
    let host = Host::new(Setup { batch_rows: 5, stage_rows: 2, workers: 1, ..Setup::default() });
    host.make_stream("events", &events(3));
    host.apply(
        "a",
        &format!("from: {FROM}\nsteps:\n- dedupe: {{by: [g, t], within: 1s, lateness: 1h}}\nto: [{{stream: mid}}]\n"),
    );
    host.apply("b", "from: mid\nsteps:\n- dedupe: {by: [v, t], within: 1s, lateness: 1h}\nto: [{stream: end}]\n");
    assert!(send_on(&host, ROWS, &mut Random::new(1), false));
    host.wait("b", "every row", |status| status.rows_out == ROWS);
    host.settle("a");
    assert_eq!(host.rows("end").len() as u64, ROWS);
    assert!(host.status("b").tasks.iter().any(|task| task.stage == 2), "it has stages, too");
}

#[test]
fn streams_between_stages_are_trimmed_and_go_with_the_pipeline() {
    let host = Host::new(Setup { checkpoint_after: Duration::ZERO, batch_rows: 20, ..Setup::default() });
    host.make_stream("events", &events(3));
    let (name, steps) = STORY[0];
    host.apply(name, &text(name, steps, "live"));
    for until in (0..ROWS).step_by(50) {
        assert!(send_on(&host, until, &mut Random::new(1), false));
        host.settle(name);
    }
    let inner = host.log.stream(&support::stream_id("tumbled.stage-2")).expect("a stream between stages");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while inner.partitions().iter().any(|partition| partition.trim_point().0 == 0) {
        assert!(std::time::Instant::now() < until, "rows that nobody needs stay");
        let until = sent(&host) + 20;
        assert!(send_on(&host, until, &mut Random::new(1), false));
        host.settle(name);
    }
    let used = host.engine.pipelines().delete_stream(&tenant(), &"tumbled.stage-2".parse().expect("a name"));
    assert!(used.is_err(), "it is the pipeline's own");
    host.engine.pipelines().pause(&tenant(), &pipeline(name)).expect("pauses");
    host.engine.pipelines().resume(&tenant(), &pipeline(name)).expect("goes on");
    host.settle(name);
    host.engine.pipelines().delete(&tenant(), &pipeline(name)).expect("goes");
    assert!(host.log.stream(&support::stream_id("tumbled.stage-2")).is_none(), "it went with its pipeline");
}

#[test]
fn a_change_of_plan_keeps_state_where_stages_stay_what_they_are() {
    let host = Host::new(Setup::default());
    host.make_stream("events", &events(3));
    let plan = |before: &str, behind: &str| {
        format!(
            "from: {FROM}\nsteps:\n{before}- window: {{tumbling: 1000s, by: [g], select: {{n: count(*)}}}}\n{behind}to: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &plan("", ""));
    assert!(send_on(&host, 100, &mut Random::new(1), false));
    host.settle("p");
    let applied = host.apply("p", &plan("", "- where: n > 0\n"));
    assert_eq!((host.settle("p").run, applied.changed), (1, true));
    // Another column between the stages is another stream.
    let applied = host.apply("p", &plan("- extend: {w: v + 1}\n", ""));
    let why: Vec<&str> = applied.changes.iter().flat_map(|change| change.details.iter().map(String::as_str)).collect();
    assert!(why.iter().any(|why| why.contains("hands to the next")), "{applied:#?}");
    let status = host.settle("p");
    assert_eq!((status.run, status.rows_in), (2, 100));
    assert!(host.log.stream(&support::stream_id("p.stage-2@2")).is_some());
    assert!(host.log.stream(&support::stream_id("p.stage-2")).is_none(), "that of the run before went with it");
}

#[test]
fn runs_and_named_checkpoints_of_stages_take_each_row_once() {
    let host = Host::new(Setup { batch_rows: 7, ..Setup::default() });
    host.make_stream("events", &events(3));
    let text = format!(
        "time: {{bound: 5s}}\nfrom: {FROM}\nsteps:\n- window: {{tumbling: 10s, by: [g], select: {{n: count(*)}}}}\nto: [{{stream: out}}]\n"
    );
    host.apply("p", &text);
    assert!(send_on(&host, 150, &mut Random::new(1), false));
    // In the middle of it: what is on its way between stages is taken first.
    let name = "noon".parse().expect("a name");
    host.engine.pipelines().take_checkpoint(&tenant(), &pipeline("p"), &name).expect("taken");
    assert!(send_on(&host, 300, &mut Random::new(2), false));
    host.settle("p");
    host.engine.pipelines().restore_checkpoint(&tenant(), &pipeline("p"), &name).expect("a run");
    host.wait_replay("p");
    assert_eq!(host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("promotes").run, 3);
    assert!(send_on(&host, ROWS, &mut Random::new(2), false));
    host.settle("p");
    host.engine
        .pipelines()
        .replay(&tenant(), &pipeline("p"), &ReplayFrom::parse(&json!("earliest")).expect("a place").into())
        .expect("a run");
    host.wait_replay("p");
    host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("promotes");
    host.wait("p", "every window to close", |status| {
        host.advance(Duration::from_secs(40));
        status.time.watermark.as_deref() > Some("1970-01-01T00:30")
    });
    host.settle("p");
    host.sync();
    // The run that began with the checkpoint, in its own stream: what was before it, and every row behind it, once.
    let of = |stream: &str| host.rows(stream).iter().filter_map(|row| row["n"].as_u64()).sum::<u64>();
    let history: u64 = of("out@4") + of("out");
    assert!(history >= ROWS, "{history}");
    let mut windows: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in host.rows("out@4").into_iter().chain(host.rows("out")) {
        windows.entry(format!("{} {}", row["g"], row["window_start"])).or_default().push(row["n"].as_u64().expect("a count"));
    }
    let one = prepared_once();
    for row in one.rows("out") {
        let found = &windows[&format!("{} {}", row["g"], row["window_start"])];
        assert!(found.iter().all(|n| Some(*n) == row["n"].as_u64()), "{row}: {found:?}");
    }
}

fn prepared_once() -> Host {
    let host = Host::new(Setup::default());
    host.make_stream("events", &events(1));
    assert!(send_on(&host, ROWS, &mut Random::new(2), false));
    host.apply("p", &format!("run: once\nfrom: {FROM}\nsteps:\n- window: {{tumbling: 10s, by: [g], select: {{n: count(*)}}}}\nto: [{{stream: out}}]\n"));
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    host.sync();
    host
}

#[test]
fn letters_of_a_later_stage_go_through_it_again() {
    let host = Host::new(Setup { batch_rows: 7, ..Setup::default() });
    host.make_stream("events", &events(3));
    let text = |by: &str| {
        format!(
            "from: {FROM}\nsteps:\n- extend: {{w: v * 2}}\n- dedupe: {{by: [g, t], within: 1s, lateness: 1h}}\n- extend: {{x: 100 / ({by})}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("v % 5"));
    assert!(send_on(&host, ROWS, &mut Random::new(1), false));
    let status = host.settle("p");
    assert!(status.dead_letters > 50, "{status:#?}");
    host.apply("p", &text("v % 5 + 1"));
    host.settle("p");
    let all = DeadLetterChoice::Query(DeadLetterQuery::default());
    let replayed = host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), all, false).expect("a replay");
    assert_eq!(replayed.replayed as u64, status.dead_letters, "{replayed:?} {:?}", host.lines("p.dead-letters"));
    host.wait("p", "every row", |status| status.rows_out == ROWS);
    host.sync();
    assert_eq!(host.rows("out").len() as u64, ROWS);
}
