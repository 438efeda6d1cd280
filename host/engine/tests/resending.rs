//! Rows that a receiver refused, and rows that a step refused for their time: sent through again, each once, whatever crashes.

mod support;

// The whole-host tests' receiver: one is enough.
#[allow(unreachable_pub, dead_code, reason = "it is public where it lives, and each test file uses its own part of it")]
#[path = "../../../tests/src/receiver.rs"]
mod receiver;

use std::time::Duration;

use receiver::{Receiver, Reply};
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::{DeadLetterChoice, DeadLetterId, DeadLetterQuery, ReplayedLetters};
use tidemill_event::{Offset, PartitionId};
use tidemill_runtime::testing::twice_transform;

const ROWS: &str = r#"{"fields": [{"name": "n", "type": "int64"}], "partitions": 1}"#;

fn rows(from: i64, until: i64) -> Vec<Value> {
    (from..until).map(|n| json!({"n": n})).collect()
}

fn text(receiver: &Receiver) -> String {
    format!(
        "from: rows\nto:\n- webhook: {{url: '{}', batch: {{rows: 8, linger: 1ms}}, on_refused: dead_letters}}\n",
        receiver.url()
    )
}

/// Refuses bodies with one of these rows.
fn refuse(receiver: &Receiver, bad: &'static [i64]) {
    receiver.refuse_if(move |body| {
        let text = std::str::from_utf8(body).expect("text");
        bad.iter().any(|n| text.lines().any(|line| line == format!("{{\"n\":{n}}}"))).then_some(422)
    });
}

fn taken(receiver: &Receiver) -> Vec<i64> {
    let number = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["n"].as_i64().expect("a number");
    let mut taken: Vec<i64> = receiver.lines().iter().map(number).collect();
    taken.sort_unstable();
    taken
}

fn refused(host: &Host) -> Vec<i64> {
    host.column("p.dead-letters", "event").iter().map(|event| event["n"].as_i64().expect("a number")).collect()
}

/// A host whose receiver refused rows 3 and 12 of 20.
fn prepared() -> (Host, Receiver) {
    let (host, receiver) = (Host::new(Setup::default()), Receiver::start());
    refuse(&receiver, &[3, 12]);
    host.make_stream("rows", ROWS);
    host.apply("p", &text(&receiver));
    host.send("rows", &rows(0, 20));
    delivered(&host);
    (host, receiver)
}

fn delivered(host: &Host) {
    host.settle("p");
    host.wait("p", "every row at its receiver", |status| {
        status.sinks.iter().all(|sink| sink.lag_records == 0 && sink.again_records == 0)
    });
    host.sync();
}

fn replay(host: &Host, choice: DeadLetterChoice, force: bool) -> ReplayedLetters {
    host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), choice, force).expect("runs")
}

fn all() -> DeadLetterChoice {
    DeadLetterChoice::Query(DeadLetterQuery::default())
}

fn id(offset: u64) -> DeadLetterId {
    DeadLetterId { partition: PartitionId(0), offset: Offset(offset) }
}

#[test]
fn a_refused_row_goes_to_its_receiver_again_and_each_once() {
    let (host, receiver) = prepared();
    assert_eq!(refused(&host), [3, 12]);
    let good: Vec<i64> = (0..20).filter(|n| ![3, 12].contains(n)).collect();
    assert_eq!(taken(&receiver), good);
    let letters = host.engine.pipelines().dead_letters(&tenant(), &pipeline("p"), &DeadLetterQuery::default()).expect("there");
    assert!(letters.iter().all(|letter| letter["replayed"] == json!(false)), "{letters:?}");
    // It does not like one of them still: that one is a letter of its own again.
    refuse(&receiver, &[12]);
    assert_eq!(replay(&host, all(), false).replayed, 2);
    delivered(&host);
    host.wait("p", "the second refusal", |_| host.rows("p.dead-letters").len() == 3);
    assert_eq!((refused(&host), taken(&receiver).len()), (vec![3, 12, 12], 19));
    let error = host.column("p.dead-letters", "error")[2].to_string();
    assert!(error.contains("answered 422"), "{error}");
    // Neither of the first is asked for again; the new one is.
    let answer = replay(&host, DeadLetterChoice::Ids(vec![id(0), id(1), id(9)]), false);
    assert_eq!((answer.replayed, answer.refused.len()), (0, 3), "{answer:?}");
    refuse(&receiver, &[]);
    let host = host.crash();
    host.settle("p");
    assert_eq!(replay(&host, all(), false).replayed, 1);
    delivered(&host);
    assert_eq!(taken(&receiver), (0..20).collect::<Vec<_>>(), "each once");
    let letters = host.engine.pipelines().dead_letters(&tenant(), &pipeline("p"), &DeadLetterQuery::default()).expect("there");
    assert!(letters.iter().all(|letter| letter["replayed"] == json!(true)), "{letters:?}");
    assert_eq!(replay(&host, all(), false), ReplayedLetters::default());
    assert_eq!(replay(&host, DeadLetterChoice::Ids(vec![id(0)]), true).replayed, 1, "somebody insists");
    delivered(&host);
    assert_eq!(taken(&receiver).len(), 21);
}

#[test]
fn what_was_asked_for_is_sent_after_a_crash_under_the_same_key() {
    let (host, receiver) = prepared();
    let before = receiver.attempts().len();
    refuse(&receiver, &[]);
    // Taken, but nobody said so; then not now.
    receiver.script([Reply::TakeAndHangUp, Reply::Refuse(503, None), Reply::Refuse(503, None)]);
    assert_eq!(replay(&host, all(), false).replayed, 2);
    host.wait("p", "tries", |_| receiver.attempts().len() >= before + 2);
    let host = host.crash();
    host.wait("p", "the letters at their receiver", |status| status.sinks[0].again_records == 0);
    let ids: Vec<String> = receiver.attempts()[before..].iter().map(|attempt| attempt.id().to_owned()).collect();
    assert!(ids.len() >= 3 && ids.iter().all(|id| *id == ids[0] && id.ends_with("-0-again-0")), "{ids:?}");
    assert_eq!(taken(&receiver), (0..20).collect::<Vec<_>>());
    assert_eq!(replay(&host, all(), false), ReplayedLetters::default(), "they are remembered");
}

#[test]
fn a_wrong_secret_holds_the_sink_and_costs_no_row() {
    let (host, receiver) = (Host::new(Setup::default()), Receiver::start());
    receiver.refuse_if(|_| Some(401));
    host.make_stream("rows", ROWS);
    host.apply("p", &text(&receiver));
    host.send("rows", &rows(0, 5));
    let status = host.wait("p", "a reason", |status| status.sinks[0].last_error.is_some());
    assert!(status.sinks[0].last_error.as_ref().is_some_and(|error| error.contains("answered 401")), "{:?}", status.sinks);
    receiver.refuse_if(|_| None);
    delivered(&host);
    assert_eq!((taken(&receiver).len(), refused(&host).len()), (5, 0));
}

#[test]
fn a_target_that_is_gone_is_named() {
    let (host, receiver) = prepared();
    host.apply("p", "from: rows\nto: [stdout]\n");
    host.settle("p");
    let answer = replay(&host, all(), false);
    assert_eq!((answer.replayed, answer.refused.len()), (0, 2));
    assert!(answer.refused[0].why.contains(&format!("no such target any more (webhook: {}", receiver.url())), "{answer:?}");
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    let paused = host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), all(), false);
    assert!(paused.expect_err("is refused").to_string().contains("resume it"));
}

#[test]
fn a_row_without_the_time_it_had_to_have_goes_on_behind_its_step() {
    let host = Host::new(Setup { checkpoint_after: Duration::from_micros(1), ..Setup::default() });
    host.make_stream("lines", r#"{"fields": [{"name": "line", "type": "string", "nullable": false}], "partitions": 1}"#);
    host.publish("twice", "1.0.0", &twice_transform());
    let text = |rest: &str| format!("from: lines\nsteps:\n- transform: twice@1\n{rest}to: [{{stream: out}}]\n");
    host.apply("p", &text(""));
    host.send("lines", &[json!({"line": "four"})]);
    host.settle("p");
    // As a version of the component left it that declared a time; the one there is does not.
    let letter = json!({
        "time": "2023-11-14T22:13:20Z", "reason": "schema", "error": "`at` is the rows' time and null in this one", "stream": "lines",
        "partition": 0, "offset": 0, "pipeline": "p", "step": "steps[0].transform", "component": "twice", "version": "0.9.0",
        "event": {"line": "four"}, "row": {"length": 77},
    });
    host.send("p.dead-letters", &[letter.clone(), json!({"row": {"length": "long"}, "reason": "schema", "time": "2023-11-14T22:13:20Z",
        "step": "steps[0].transform", "component": "twice", "partition": 0, "offset": 0, "event": {"line": "x"}, "stream": "lines"})]);
    let answer = replay(&host, all(), false);
    assert_eq!((answer.replayed, answer.refused.len()), (1, 1), "{answer:?}");
    assert!(answer.refused[0].why.contains("does not fit the step any more"), "{answer:?}");
    // On disk, though maybe not through: a start takes it from there, behind the step.
    let host = host.crash();
    host.wait("p", "the row", |status| status.rows_out == 3 && status.tasks[0].waiting == 0);
    host.sync();
    assert_eq!(host.column("out", "length"), [json!(4), json!(4), json!(77)]);
    let host = host.restart();
    assert!(host.settle("p").divergences.is_empty());
    assert_eq!((host.rows("out").len(), replay(&host, DeadLetterChoice::Ids(vec![id(0)]), false).replayed), (3, 0));
}
