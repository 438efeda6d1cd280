//! Replays of a pipeline and replays of its dead letters at once, with pauses, crashes and changes between: nothing is lost, and no row has
//! two outcomes in a target.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::moody::{Dice, moody_rule};
use support::{Host, Setup, pipeline, seeds, tenant};
use tidemill_engine::{ControlError, DeadLetterChoice, DeadLetterQuery, PipelineState, ReplayFrom, ReplayedLetters};

const EVENTS: &str = r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"},
    {"name": "amount", "type": "float64", "nullable": false}], "partitions": 2, "key": ["user"]}"#;

fn event(n: i64) -> Value {
    let amount = match n * 7919 % 20 {
        3 | 11 | 17 => 666,
        5 => 13,
        _ => 1,
    };
    json!({"user": format!("u{}", n % 7), "n": n, "amount": f64::from(amount)})
}

fn text(version: &str) -> String {
    format!("from: events\nsteps:\n- rule: moody@{version}\n  by: [user]\nto: [{{stream: out}}]\n")
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", EVENTS);
    host.publish("moody", "1.0.0", &moody_rule(666));
    host.publish("moody", "1.0.1", &moody_rule(667));
    host.apply("p", &text("1.0.0"));
    host
}

fn number(row: &Value) -> i64 {
    row.get("n").or_else(|| row["event"].get("n")).and_then(Value::as_i64).expect("a number")
}

fn replay_letters(host: &Host, force: bool) -> Result<ReplayedLetters, ControlError> {
    let all = DeadLetterChoice::Query(DeadLetterQuery::default());
    host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), all, force)
}

/// Asks until the tasks are through with what they take again after a start.
fn replay_letters_soon(host: &Host) -> ReplayedLetters {
    for _ in 0..5_000 {
        match replay_letters(host, false) {
            Ok(answer) => return answer,
            Err(ControlError::Unavailable(_)) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("its tasks do not come to the end of what they take again");
}

fn begin_replay(host: &Host) -> Result<u64, ControlError> {
    host.engine.pipelines().replay(&tenant(), &pipeline("p"), &ReplayFrom::parse(&json!("earliest")).expect("a place").into())
}

fn letters(host: &Host) -> Vec<Value> {
    let query = DeadLetterQuery { limit: Some(usize::MAX), ..DeadLetterQuery::default() };
    host.engine.pipelines().dead_letters(&tenant(), &pipeline("p"), &query).expect("there")
}

#[test]
fn letters_of_a_replay_go_with_it_and_those_before_it_need_a_word() {
    let host = prepared(Setup::default());
    host.send("events", &(0..40).map(event).collect::<Vec<_>>());
    host.settle("p");
    let bad = |n: &i64| event(*n)["amount"] != json!(1.0);
    let failed: Vec<i64> = (0..40).filter(bad).collect();
    begin_replay(&host).expect("begins");
    host.apply_conflicts("p", &text("1.0.1"));
    host.wait_replay("p");
    host.engine.pipelines().promote(&tenant(), &pipeline("p")).expect("takes over");
    host.settle("p");
    let all = letters(&host);
    assert_eq!(all.len(), 2 * failed.len(), "those of the first run, and those of the second behind them: {all:#?}");
    host.apply("p", &text("1.0.1"));
    host.settle("p");
    // Only the second run's are meant.
    let trapped = (0..40).filter(|n| event(*n)["amount"] == json!(666.0)).count();
    assert_eq!(replay_letters_soon(&host).replayed, failed.len());
    host.wait("p", "them", |status| status.tasks.iter().all(|task| task.waiting == 0 && task.lag_records == 0));
    host.settle("p");
    let mut out: Vec<i64> = host.rows("out").iter().map(number).collect();
    out.sort_unstable();
    out.dedup();
    assert_eq!((out.len(), host.rows("out").len()), (40 - failed.len() + trapped, 40 - failed.len() + trapped));
    // By its id one of the first run's is refused, and goes only if somebody insists.
    let first = all[0]["id"].as_str().expect("an id").parse().expect("an id");
    let ask = |force| {
        let choice = DeadLetterChoice::Ids(vec![first]);
        host.engine.pipelines().replay_dead_letters(&tenant(), &pipeline("p"), choice, force).expect("runs")
    };
    assert!(ask(false).refused[0].why.contains("of a run before this one"));
    assert_eq!(ask(true).replayed, 1);
}

#[test]
fn while_one_pipeline_is_promoted_others_change() {
    let host = prepared(Setup::default());
    host.send("events", &(0..10).map(event).collect::<Vec<_>>());
    host.settle("p");
    begin_replay(&host).expect("begins");
    host.wait_replay("p");
    // A row that is to come back in half a second of a clock that stands still: until then the two runs do not come together.
    host.send("events", &[json!({"user": "new", "n": 1_000, "amount": 14.0})]);
    host.wait("p", "a row that waits", |status| status.tasks.iter().any(|task| task.waiting == 1));
    host.wait_replay("p");
    std::thread::scope(|scope| {
        let promoting = scope.spawn(|| host.engine.pipelines().promote(&tenant(), &pipeline("p")));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!promoting.is_finished(), "it waits for the row");
        host.publish("moody", "1.0.2", &moody_rule(668));
        host.apply("q", "from: events\nto: [{stream: other}]\n");
        host.settle("q");
        host.engine.pipelines().delete(&tenant(), &pipeline("q")).expect("goes");
        assert!(!promoting.is_finished(), "nobody waited for it");
        // It has its own turn: whoever wants to change the same one waits.
        let pausing = scope.spawn(|| host.engine.pipelines().pause(&tenant(), &pipeline("p")));
        while !promoting.is_finished() {
            host.advance(Duration::from_millis(500));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(promoting.join().expect("no panic").expect("takes over").run, 2);
        pausing.join().expect("no panic").expect("pauses behind it");
    });
    assert_eq!((host.status("p").state, host.status("p").run), (PipelineState::Paused, 2));
}

/// What happened to events, and may only grow.
#[derive(Default)]
struct Story {
    sent: i64,
    steps: Vec<&'static str>,
}

impl Story {
    fn step(&mut self, host: Host, dice: &mut Dice) -> Host {
        let pipelines = host.engine.pipelines();
        let replaying = pipelines.replay_status(&tenant(), &pipeline("p")).is_some();
        let did = match dice.roll(12) {
            0..=3 => {
                let until = self.sent + 1 + dice.roll(30) as i64;
                host.send("events", &(self.sent..until).map(event).collect::<Vec<_>>());
                self.sent = until;
                "send"
            }
            4 | 5 => {
                // Sometimes in the middle of a start, of a replay, of a pause.
                let _ = replay_letters(&host, false);
                "letters"
            }
            6 if !replaying => {
                begin_replay(&host).expect("begins");
                "replay"
            }
            7 if replaying => {
                // A pipeline that is paused says no.
                let _ = pipelines.promote(&tenant(), &pipeline("p"));
                "promote"
            }
            8 if replaying => {
                pipelines.discard(&tenant(), &pipeline("p")).expect("goes");
                "discard"
            }
            9 => {
                pipelines.pause(&tenant(), &pipeline("p")).expect("pauses");
                "pause"
            }
            10 => {
                pipelines.resume(&tenant(), &pipeline("p")).expect("resumes");
                "resume"
            }
            11 => {
                self.steps.push("crash");
                return if dice.roll(3) == 0 { host.restart() } else { host.crash() };
            }
            _ => "nothing",
        };
        self.steps.push(did);
        std::thread::sleep(Duration::from_micros(dice.roll(2_000)));
        host
    }
}

#[test]
fn replays_pauses_and_crashes_while_letters_are_sent_again() {
    for seed in seeds(6) {
        let mut dice = Dice(seed);
        let setup = Setup { batch_rows: 9, checkpoint_after: Duration::from_micros(300), ..Setup::default() };
        let (mut host, mut story) = (prepared(setup), Story::default());
        for _ in 0..40 {
            host = story.step(host, &mut dice);
            let divergences = host.status("p").divergences;
            assert!(divergences.is_empty(), "SEED={seed} {:?}: {divergences:?}", story.steps);
        }
        let pipelines = host.engine.pipelines();
        if pipelines.replay_status(&tenant(), &pipeline("p")).is_some() {
            pipelines.discard(&tenant(), &pipeline("p")).expect("goes");
        }
        pipelines.resume(&tenant(), &pipeline("p")).expect("resumes");
        // A component that keeps failing may be out by now: the version that works ends that, takes what waits, and takes those that trapped,
        // each once; it rejects the others again.
        let told = || format!("SEED={seed} {:?}", story.steps);
        host.apply("p", &text("1.0.1"));
        host.settle("p");
        replay_letters_soon(&host);
        host.wait("p", "the letters", |status| status.tasks.iter().all(|task| task.waiting == 0));
        host.settle("p");
        let mut out: Vec<i64> = host.rows("out").iter().map(number).collect();
        out.sort_unstable();
        let expected: Vec<i64> = (0..story.sent).filter(|n| event(*n)["amount"] != json!(13.0)).collect();
        assert_eq!(out, expected, "{}", told());
        let host = host.crash();
        assert!(host.settle("p").divergences.is_empty(), "{}", told());
    }
}
