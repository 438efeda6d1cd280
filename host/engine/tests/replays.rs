//! Replays: a run beside the one there is, and how it takes over at one cut.

#[path = "replays/checkpoints.rs"]
mod checkpoints;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{ApplyError, BeginReplay, CompareReplay, ControlError, PipelineState, ReplayCompared, ReplayFrom, Status};
use tidemill_event::{EventTime, Field, FieldType};
use tidemill_log::Visibility;
use tidemill_runtime::testing::{TextGuest, counter_rule};

const PAYMENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"},
    {"name": "n", "type": "int64"}], "key": ["user"], "partitions": 2}"#;
const TEXT: &str =
    "from: payments\nsteps:\n- rule: count@1\n  by: [user]\n- extend: {twice: n * 2}\nto:\n- stream: out\n- file: {path: out}\n";

fn payments(from: i64, count: i64) -> Vec<Value> {
    (from..from + count).map(|n| json!({"user": format!("u{}", n % 13), "amount": n as f64, "n": n})).collect()
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("payments", PAYMENTS);
    host.publish("count", "1.0.0", &counter_rule());
    host.send("payments", &payments(0, 200));
    host.apply("p", TEXT);
    host.settle("p");
    host
}

fn replay(host: &Host, from: &Value) -> Result<u64, ControlError> {
    let from = ReplayFrom::parse(from).expect("a place");
    host.engine.pipelines().replay(&tenant(), &pipeline("p"), &from.into())
}

fn replay_status(host: &Host) -> Status {
    host.engine.pipelines().replay_status(&tenant(), &pipeline("p")).expect("a replay")
}

/// Waits until the replay has taken everything, and that is on disk.
fn settle_replay(host: &Host) -> Status {
    for _ in 0..15_000 {
        let status = replay_status(host);
        if status.lag_records == 0 && !status.tasks.is_empty() {
            host.sync();
            return status;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it does not come to its end: {:#?}", replay_status(host));
}

fn numbers(host: &Host, stream: &str) -> Vec<i64> {
    let mut numbers: Vec<i64> = host.column(stream, "n").iter().filter_map(Value::as_i64).collect();
    numbers.sort_unstable();
    numbers
}

fn file_lines(host: &Host) -> usize {
    host.sync();
    host.wait("p", "the files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    let files = std::fs::read_dir(host.path("files/out")).expect("files").map(|file| file.expect("a file").path());
    files.map(|file| std::fs::read_to_string(file).expect("text").lines().count()).sum()
}

#[test]
fn a_replay_runs_beside_the_pipeline_and_writes_streams_of_its_own() {
    let host = prepared(Setup::default());
    let (before, lines) = (host.lines("out"), file_lines(&host));
    assert_eq!(replay(&host, &json!("earliest")).expect("begins"), 2);
    let status = settle_replay(&host);
    assert_eq!((status.run, status.rows_in, status.rows_out), (2, 200, 200));
    assert_eq!(numbers(&host, "out@2"), (0..200).collect::<Vec<_>>());
    assert_eq!(numbers(&host, "p.output@2"), (0..200).collect::<Vec<_>>(), "what files would get");
    assert_eq!((host.lines("out"), file_lines(&host)), (before, lines), "nothing of the pipeline's own changed");
    assert_eq!(host.status("p").replay.map(|replay| (replay.run, replay.lag_records)), Some((2, 0)));
    // Rows that come now are for both.
    host.send("payments", &payments(200, 10));
    host.settle("p");
    settle_replay(&host);
    assert_eq!((numbers(&host, "out").len(), numbers(&host, "out@2").len()), (210, 210));
    // One at a time, and no other plan meanwhile.
    assert!(matches!(replay(&host, &json!("earliest")), Err(ControlError::Conflict(_))));
    let other = host.engine.pipelines().apply(&tenant(), &pipeline("p"), &TEXT.replace("n * 2", "n * 3"), false);
    assert!(matches!(other, Err(ApplyError::Conflict(_))), "{other:?}");
    // It is gone with its streams, and the next one has another number.
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("goes");
    assert!(host.log.stream(&support::stream_id("out@2")).is_none());
    assert!(matches!(host.engine.pipelines().discard(&tenant(), &pipeline("p")), Err(ControlError::Conflict(_))));
    assert_eq!(replay(&host, &json!("earliest")).expect("begins"), 3);
    host.engine.pipelines().delete(&tenant(), &pipeline("p")).expect("goes with its pipeline");
    assert!(host.log.stream(&support::stream_id("out@3")).is_none());
}

#[test]
fn a_replay_begins_where_it_is_told() {
    let host = prepared(Setup::default());
    let ends = host.status("p").tasks.iter().map(|task| task.inputs[0].offset).collect::<Vec<_>>();
    replay(&host, &json!([ends[0] - 3, ends[1]])).expect("begins");
    assert_eq!(settle_replay(&host).rows_in, 3);
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("goes");
    replay(&host, &json!({"payments": [ends[0], ends[1] - 5]})).expect("begins");
    assert_eq!(settle_replay(&host).rows_in, 5);
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("goes");
    for wrong in [json!([0]), json!([ends[0] + 1, 0])] {
        assert!(matches!(replay(&host, &wrong), Err(ControlError::Conflict(_))), "{wrong}");
    }
    for wrong in [json!("soon"), json!(true), json!({"payments": {}}), json!([-1])] {
        assert!(ReplayFrom::parse(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_promoted_replay_goes_on_behind_the_rows_of_the_run_before() {
    let mut host = prepared(Setup { batch_rows: 16, ..Setup::default() });
    replay(&host, &json!("earliest")).expect("begins");
    let sender = {
        // Rows keep coming while one run takes over from the other.
        let (log, rows) = (host.log.clone(), payments(200, 400));
        std::thread::spawn(move || {
            for rows in rows.chunks(10) {
                support::send_to(&log, "payments", rows);
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    std::thread::sleep(Duration::from_millis(20));
    let promoted = host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("takes over");
    sender.join().expect("sent");
    assert_eq!((promoted.run, promoted.streams.len()), (2, 1));
    assert_eq!((promoted.streams[0].stream.as_str(), promoted.streams[0].history.as_str()), ("out", "out@2"));
    let status = host.settle("p");
    assert_eq!((status.run, status.plan, status.replay), (2, 2, None));
    let expected: Vec<i64> = (0..600).collect();
    assert_eq!(numbers(&host, "out"), expected, "every row's outcome once, of one run or the other");
    // What the new run made of the rows before the cut, and nothing behind it.
    let before_cut: u64 = promoted.streams[0].from.iter().sum();
    assert_eq!(numbers(&host, "out@2").len() as u64, before_cut);
    host = host.restart();
    host.send("payments", &payments(600, 20));
    let status = host.settle("p");
    assert_eq!((status.run, numbers(&host, "out").len()), (2, 620));
    assert_eq!(file_lines(&host), 620, "files too");
    assert!(status.divergences.is_empty(), "{:#?}", status.divergences);
}

#[test]
fn a_crash_leaves_both_runs_as_they_were() {
    let mut host = prepared(Setup { batch_rows: 7, checkpoint_after: Duration::from_micros(300), ..Setup::default() });
    replay(&host, &json!("earliest")).expect("begins");
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(round));
        host.send("payments", &payments(200 + 10 * round as i64, 10));
        host = host.crash();
    }
    let (main, replayed) = (host.settle("p"), settle_replay(&host));
    for status in [&main, &replayed] {
        assert!(status.divergences.is_empty(), "{:#?}", status.divergences);
    }
    let rows = |stream: &str| {
        let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in host.rows(stream) {
            by_key.entry(row["user"].to_string()).or_default().push(row["twice"].clone());
        }
        by_key
    };
    assert_eq!(rows("out"), rows("out@2"), "the same rows make the same outcome");
    assert_eq!(numbers(&host, "out"), (0..260).collect::<Vec<_>>());
    host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("takes over");
    let host = host.crash();
    assert_eq!(host.settle("p").run, 2);
    assert!(host.engine.pipelines().replay_status(&tenant(), &pipeline("p")).is_none());
}

#[test]
fn what_cannot_take_over_is_refused_and_both_go_on() {
    let host = prepared(Setup::default());
    let promote = |host: &Host| host.engine.pipelines().promote(&tenant(), &pipeline("p"));
    assert!(matches!(promote(&host), Err(ControlError::Conflict(why)) if why.contains("no replay")));
    replay(&host, &json!("earliest")).expect("begins");
    settle_replay(&host);
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    assert!(matches!(promote(&host), Err(ControlError::Conflict(why)) if why.contains("paused")));
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    host.settle("p");
    assert_eq!(promote(&host).expect("takes over").run, 2);
}

#[test]
fn a_replay_says_nothing_and_a_finished_pipeline_can_be_replayed() {
    let host = Host::new(Setup { batch_rows: 10, ..Setup::default() });
    host.make_stream("payments", &PAYMENTS.replace("\"partitions\": 2", "\"partitions\": 1"));
    let loud = TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .logging()
        .fields("(data (i32.const 4096) \"said\")")
        .call(
            "(local $at i32)
             (call $say (i32.const 1) (i32.const 4096) (i32.const 4))
             (local.set $at (call $take (i32.const 8))) (i64.store (local.get $at) (i64.const -1))
             (call $answer (local.get $at) (i32.div_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 8)))",
        )
        .build();
    host.publish("loud", "1.0.0", &loud);
    host.send("payments", &payments(0, 30));
    host.apply("p", "run: once\nfrom: payments\nsteps:\n- rule: loud@1\nto: [{stream: out}]\n");
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    let said = |host: &Host| host.engine.pipelines().logs(&tenant(), &pipeline("p"), 0, 100, |_| true).expect("a pipeline").lines;
    let lines = said(&host);
    assert_eq!(lines.len(), 3);
    assert_eq!((&*lines[0].step, &*lines[0].component, lines[0].message.as_str()), ("steps[0].rule", "loud@1.0.0", "said"));
    replay(&host, &json!("earliest")).expect("begins");
    settle_replay(&host);
    assert_eq!((numbers(&host, "out@2").len(), said(&host).len()), (30, 3));
    let promoted = host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("takes over");
    assert_eq!(promoted.streams[0].from, [30]);
    host.wait("p", "the end", |status| status.state == PipelineState::Finished && status.run == 2);
    assert_eq!(host.column("out", "n").len(), 30);
}

/// A run beside `p` with another text.
fn trial(host: &Host, text: &str, from: &Value, ends_now: bool) -> Result<u64, ControlError> {
    let from = ReplayFrom::parse(from).expect("a place");
    let asked = BeginReplay { from, text: Some(text.to_owned()), ends_now };
    host.engine.pipelines().replay(&tenant(), &pipeline("p"), &asked)
}

/// Waits until it has taken all that it is to take.
fn finished_trial(host: &Host) -> Status {
    for _ in 0..15_000 {
        let status = replay_status(host);
        if status.state == PipelineState::Finished {
            return status;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it does not come to its end: {:#?}", replay_status(host));
}

fn compared(host: &Host) -> ReplayCompared {
    let query = CompareReplay { examples: 3, ..CompareReplay::default() };
    host.engine.pipelines().compare_replay(&tenant(), &pipeline("p"), &query).expect("a comparison")
}

const OTHER: &str =
    "from: payments\nsteps:\n- rule: count@1\n  by: [user]\n- where: n % 10 <> 7\n- extend: {twice: n * 2}\nto:\n- stream: out\n";

#[test]
fn a_back_test_says_what_another_text_would_have_made() {
    let host = prepared(Setup::default());
    assert_eq!(trial(&host, OTHER, &json!("earliest"), true).expect("begins"), 2);
    // What comes now is not the back-test's.
    host.send("payments", &payments(200, 30));
    host.settle("p");
    let status = finished_trial(&host);
    assert_eq!((status.run, status.rows_in, status.rows_out), (2, 200, 180));
    let query = CompareReplay { since: None, until: Some(EventTime(i64::MAX)), examples: 3 };
    let all = host.engine.pipelines().compare_replay(&tenant(), &pipeline("p"), &query).expect("a comparison");
    let [stream] = &all.streams[..] else { panic!("{all:?}") };
    assert_eq!((stream.stream.as_str(), stream.of_replay.as_str()), ("out", "out@2"));
    assert_eq!((stream.same, stream.only_live, stream.only_replay), (180, 50, 0));
    assert!(stream.live_rows.iter().all(|row| row["n"].as_i64().is_some_and(|n| n % 10 == 7)), "{stream:?}");
    assert_eq!((stream.live_rows.len(), stream.replay_rows.len()), (3, 0));
    // Up to where both have come, the rows behind the back-test do not count.
    let both = compared(&host);
    assert!(both.streams[0].only_live <= 20 && both.until.is_some(), "{both:?}");
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("discarded");
    assert_eq!(numbers(&host, "out"), (0..230).collect::<Vec<_>>());
    assert!(host.log.stream(&support::stream_id("out@2")).is_none());
}

#[test]
fn a_back_test_of_a_time_without_rows_has_nothing_to_compare() {
    let host = prepared(Setup::default());
    let payments = host.log.stream(&support::stream_id("payments")).expect("a stream");
    let ends: Vec<u64> = payments.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect();
    let ends = json!(ends);
    trial(&host, OTHER, &ends, true).expect("begins");
    assert_eq!(finished_trial(&host).rows_in, 0);
    let streams = compared(&host).streams;
    let counts: Vec<_> = streams.iter().map(|of| (of.same, of.only_live, of.only_replay)).collect();
    assert!(counts.iter().all(|counts| *counts == (0, 0, 0)), "{counts:?}");
}

#[test]
fn a_shadow_takes_over_with_its_text_and_survives_a_crash() {
    let host = prepared(Setup { checkpoint_after: Duration::ZERO, ..Setup::default() });
    trial(&host, &OTHER.replace("- stream: out\n", "- stream: out\n- stream: second\n"), &json!("earliest"), false)
        .expect("begins");
    host.send("payments", &payments(200, 40));
    host.settle("p");
    settle_replay(&host);
    assert_eq!(
        compared(&host).streams.iter().map(|of| (of.same, of.only_live, of.only_replay)).collect::<Vec<_>>(),
        [(216, 24, 0), (0, 0, 216)]
    );
    let host = host.crash();
    settle_replay(&host);
    host.settle("p");
    host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("promoted");
    host.send("payments", &payments(240, 20));
    let status = host.settle("p");
    assert_eq!((status.run, status.plan, status.rows_in), (2, 2, 260));
    let expected: Vec<i64> = (0..240).chain((240..260).filter(|n| n % 10 != 7)).collect();
    assert_eq!(numbers(&host, "out"), expected, "of its own rows it has what the shadow makes");
    assert_eq!(numbers(&host, "second"), (240..260).filter(|n| n % 10 != 7).collect::<Vec<_>>());
    let text = host.engine.pipelines().get(&tenant(), &pipeline("p")).expect("a pipeline").document;
    assert_eq!(text["steps"][1]["where"], "n % 10 <> 7");
}

#[test]
fn a_text_may_be_tried_before_there_is_a_pipeline() {
    let host = Host::new(Setup::default());
    host.make_stream("payments", PAYMENTS);
    host.send("payments", &payments(0, 50));
    let text = "from: payments\nsteps:\n- where: n < 10\nto:\n- stream: fresh\n- file: {path: fresh}\n";
    assert!(matches!(trial(&host, "from: nowhere\nto: [{stream: x}]\n", &json!("earliest"), true), Err(ControlError::Faults(_))));
    trial(&host, text, &json!("earliest"), true).expect("begins");
    let status = finished_trial(&host);
    assert_eq!((status.rows_in, status.rows_out), (50, 10));
    let of: Vec<(String, u64, u64)> =
        compared(&host).streams.into_iter().map(|of| (of.stream, of.same, of.only_replay)).collect();
    assert_eq!(of, [("fresh".to_owned(), 0, 10), ("p.output".to_owned(), 0, 10)]);
    let promoted = host.engine.pipelines().promote(&tenant(), &pipeline("p"));
    assert!(matches!(promoted, Err(ControlError::Conflict(why)) if why.contains("apply its text")));
    let host = host.crash();
    finished_trial(&host);
    let applied = host.engine.pipelines().apply(&tenant(), &pipeline("p"), text, false);
    assert!(matches!(applied, Err(ApplyError::Conflict(_))), "{applied:?}");
    host.engine.pipelines().discard(&tenant(), &pipeline("p")).expect("discarded");
    assert!(host.log.stream(&support::stream_id("fresh")).is_none() && host.log.stream(&support::stream_id("fresh@1")).is_none());
    host.apply("p", text);
    let status = host.settle("p");
    assert_eq!((status.run, status.rows_out), (2, 10));
}
