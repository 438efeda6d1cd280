//! Several streams read as one: columns by name, places of their own, an order that a replay repeats.

mod support;

use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::PipelineState;
use tidemill_runtime::testing::counter_rule;

const CARDS: &str = r#"{"fields": [{"name": "user", "type": "string", "nullable": false}, {"name": "amount", "type": "float64", "nullable": false},
    {"name": "card", "type": "string"}], "key": ["user"], "partitions": 2}"#;
const WIRES: &str = r#"{"fields": [{"name": "amount", "type": "float64", "nullable": false}, {"name": "user", "type": "string", "nullable": false},
    {"name": "bank", "type": "string"}, {"name": "at", "type": "timestamp", "unit": "s"}], "time": {"field": "at", "missing": "arrival"}, "key": ["user"], "partitions": 2}"#;
const COUNT: &str = "from: [cards, wires]\nsteps:\n- rule: count@1\n  by: [user]\nto:\n- stream: counted\n";

fn cards(from: i64, count: i64) -> Vec<Value> {
    (from..from + count).map(|n| json!({"user": format!("u{}", n % 11), "amount": n as f64, "card": format!("c{n}")})).collect()
}

fn wires(from: i64, count: i64) -> Vec<Value> {
    (from..from + count)
        .map(|n| json!({"user": format!("u{}", n % 11), "amount": n as f64, "bank": format!("b{n}"), "at": n}))
        .collect()
}

fn prepared(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("cards", CARDS);
    host.make_stream("wires", WIRES);
    host.publish("count", "1.0.0", &counter_rule());
    host
}

/// The texts of one field, without nulls, sorted.
fn texts(host: &Host, stream: &str, field: &str) -> Vec<String> {
    let mut texts: Vec<String> =
        host.column(stream, field).iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
    texts.sort();
    texts
}

fn numbered(letter: char, range: std::ops::Range<i64>) -> Vec<String> {
    let mut texts: Vec<String> = range.map(|n| format!("{letter}{n}")).collect();
    texts.sort();
    texts
}

#[test]
fn several_streams_are_one_by_column_name() {
    let host = prepared(Setup { batch_rows: 16, ..Setup::default() });
    host.send("cards", &cards(0, 40));
    host.send("wires", &wires(100, 40));
    let applied = host.apply("p", COUNT);
    assert_eq!(applied.plan["from"][1]["stream"], "wires");
    assert_eq!(applied.plan["tasks"], 2);
    host.settle("p");
    host.send("wires", &[json!({"user": "u1", "amount": 1.5, "bank": "b500", "other": true})]);
    let status = host.settle("p");
    assert_eq!((status.rows_in, status.rows_out, status.state), (81, 81, PipelineState::Running));
    let inputs: Vec<&str> = status.tasks[0].inputs.iter().map(|input| input.stream.as_str()).collect();
    assert_eq!(inputs, ["cards", "wires"]);
    assert_eq!(texts(&host, "counted", "card"), numbered('c', 0..40));
    assert_eq!(texts(&host, "counted", "bank"), [numbered('b', 100..140), vec!["b500".to_owned()]].concat());
    let rows = host.rows("counted");
    let wire = rows.iter().find(|row| row["bank"] == "b500").expect("the last wire");
    assert_eq!(
        (&wire["card"], &wire["other"]),
        (&Value::Null, &json!(true)),
        "what a stream lacks is null, what it has beside stays"
    );
    // Eleven users in all: a user's rows of both streams are counted under one key.
    assert_eq!(status.tasks.iter().map(|task| task.steps[0].keys).sum::<u64>(), 11);
}

#[test]
fn a_replay_takes_the_streams_in_the_order_in_which_they_were_taken() {
    let mut host = prepared(Setup { batch_rows: 5, checkpoint_after: Duration::from_micros(200), ..Setup::default() });
    host.apply("p", COUNT);
    for round in 0..30 {
        host.send("cards", &cards(round * 10, 10));
        host.send("wires", &wires(round * 7, 7));
        std::thread::sleep(Duration::from_micros(137 * (round as u64 % 9)));
        // The state's checksum is part of every commit, so another order would be a divergence.
        host = host.crash();
        let status = host.status("p");
        assert!(status.divergences.is_empty(), "round {round}: {:#?}", status.divergences);
    }
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "{:#?}", status.divergences);
    assert_eq!(status.rows_out, 300 + 210);
    assert_eq!(texts(&host, "counted", "card"), numbered('c', 0..300));
    assert_eq!(texts(&host, "counted", "bank"), numbered('b', 0..210));
}

#[test]
fn a_run_begins_where_each_stream_says() {
    let host = prepared(Setup::default());
    host.make_stream("one", r#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    host.send("one", &(0..10).map(|n| json!({"n": n})).collect::<Vec<_>>());
    host.send("cards", &cards(0, 20));
    host.send("wires", &wires(0, 60));
    host.apply(
        "p",
        "from:\n- {stream: one, start: 7}\n- {stream: cards, start: latest}\n- {stream: wires, start: 1970-01-01T00:00:40Z}\nto: [{stream: out}]\n",
    );
    host.settle("p");
    host.send("cards", &cards(20, 3));
    host.settle("p");
    let n: Vec<i64> = host.column("out", "n").iter().filter_map(Value::as_i64).collect();
    assert_eq!(n, [7, 8, 9]);
    assert_eq!(texts(&host, "out", "card"), numbered('c', 20..23));
    assert_eq!(texts(&host, "out", "bank"), numbered('b', 40..60));
}

#[test]
fn a_stream_may_join_and_leave_a_run() {
    let host = prepared(Setup::default());
    host.send("cards", &cards(0, 22));
    host.apply("p", "from: cards\nsteps:\n- rule: count@1\n  by: [user]\nto:\n- stream: counted\n");
    host.settle("p");
    host.send("wires", &wires(0, 22));
    let applied = host.apply("p", COUNT);
    assert_eq!(applied.plan["steps"][0]["state"], "kept");
    let status = host.settle("p");
    assert_eq!((status.run, status.plan, status.rows_in), (1, 2, 44));
    assert_eq!(texts(&host, "counted", "card"), numbered('c', 0..22), "rows of before are not taken again");
    assert_eq!(texts(&host, "counted", "bank"), numbered('b', 0..22));
    let alone = "from: wires\nsteps:\n- rule: count@1\n  by: [user]\nto:\n- stream: counted\n";
    host.apply("p", alone);
    host.settle("p");
    // What comes in between is not read, and when the stream joins again it begins where its text says.
    host.send("cards", &cards(22, 5));
    host.apply("p", &COUNT.replace("[cards,", "[{stream: cards, start: latest},"));
    host.send("cards", &cards(27, 5));
    let status = host.settle("p");
    assert_eq!((status.run, status.plan), (1, 4));
    let mut expected = [numbered('c', 0..22), numbered('c', 27..32)].concat();
    expected.sort();
    assert_eq!(texts(&host, "counted", "card"), expected);
    let host = host.crash();
    let status = host.settle("p");
    assert!(status.divergences.is_empty(), "{:#?}", status.divergences);
    assert_eq!(status.tasks.iter().map(|task| task.steps[0].keys).sum::<u64>(), 11);
}

#[test]
fn another_number_of_tasks_is_a_run_of_its_own() {
    let host = prepared(Setup::default());
    host.make_stream("narrow", r#"{"fields": [{"name": "user", "type": "string"}]}"#);
    host.send("narrow", &[json!({"user": "a"}), json!({"user": "b"})]);
    host.apply("p", "from: narrow\nto: [{stream: out}]\n");
    host.settle("p");
    host.send("cards", &cards(0, 10));
    host.apply("p", "from: [narrow, cards]\nto: [{stream: out}]\n");
    let status = host.settle("p");
    assert_eq!((status.run, status.tasks.len(), status.rows_in), (2, 2, 12));
    assert_eq!(status.tasks[1].inputs.len(), 1, "the narrow stream has no partition 1");
    let host = host.crash();
    assert_eq!(host.settle("p").rows_in, 12);
}

#[test]
fn on_trim_is_each_streams_own() {
    let host = prepared(Setup::default());
    host.send("cards", &cards(0, 20));
    host.send("wires", &wires(0, 20));
    host.apply("p", "from: [{stream: cards, on_trim: skip}, wires]\nto: [{stream: out}]\n");
    host.settle("p");
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    let trim = |host: &Host, name: &str| {
        for partition in host.log.stream(&support::stream_id(name)).expect("a stream").partitions() {
            let end = partition.end(tidemill_log::Visibility::Durable);
            host.log.trim(partition.key(), end).expect("trims");
        }
        host.sync();
    };
    host.send("cards", &cards(20, 20));
    trim(&host, "cards");
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    let status = host.settle("p");
    assert_eq!(status.tasks.iter().map(|task| task.skipped).sum::<u64>(), 20);
    host.engine.pipelines().pause(&tenant(), &pipeline("p")).expect("pauses");
    host.send("wires", &wires(20, 20));
    trim(&host, "wires");
    host.engine.pipelines().resume(&tenant(), &pipeline("p")).expect("resumes");
    let status = host.wait("p", "the hold", |status| status.state == PipelineState::Held);
    assert!(status.last_error.as_deref().is_some_and(|error| error.contains("of `wires` were removed")), "{status:#?}");
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(host: &Host, text: &str, expected: Expect) {
    expected.assert_eq(&host.faults("p", text));
}

#[test]
fn streams_that_do_not_go_together_are_refused() {
    let host = prepared(Setup::default());
    host.make_stream(
        "odd",
        r#"{"fields": [{"name": "amount", "type": "string"}, {"name": "bank", "type": "string"}], "partitions": 3}"#,
    );
    host.make_stream("three", r#"{"fields": [{"name": "user", "type": "string"}, {"name": "amount", "type": "float64"}], "key": ["user"], "partitions": 3}"#);
    host.send("cards", &cards(0, 4));
    check(
        &host,
        "from:\n- cards\n- odd\n- there\nto: [stdout]\n",
        expect![[r#"
        line 3: from[1]: `amount` is string in `odd` and float64 in `cards` (bring one to the type of the other in a pipeline of its own: `select: {amount: …}`)
        line 4: from[2]: there is no stream `there` (did you mean `three`?)"#]],
    );
    check(
        &host,
        "from:\n- {stream: cards, start: 3}\n- {stream: wires, start: [0, 7]}\nto: [stdout]\n",
        expect![[r#"
            line 2: from[0].start: 1 offsets for the 2 partitions of `cards` (write one offset that is there for each partition, `[1200, 990]`, or a time, or `earliest`)
            line 3: from[1].start: partition 1 of `wires` has the rows [0, 0), and 7 is none of them (write one offset that is there for each partition, `[1200, 990]`, or a time, or `earliest`)"#]],
    );
    check(
        &host,
        "from: [cards, wires]\nsteps:\n- where: cards.amount > 1\nto:\n- stream: wires\n",
        expect![[r#"
        line 3: steps[0].where: there is no column `cards.amount` (columns are user, amount, card, bank, at, _time; texts stand in single quotes)
        line 5: to[0].stream: the pipeline would read what it writes: `wires` is its source (write to another stream)"#]],
    );
}
