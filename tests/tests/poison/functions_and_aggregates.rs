//! Components that expressions call, through the real binary: functions in every place an expression stands, aggregates in windows beside
//! native ones, those that misbehave, a crash in the middle, and a change of version.

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::TextGuest;
use tidemill_tests::{Host, eventually, guest};

const READINGS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}, {"name": "w", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop"}"#;

fn readings() -> Value {
    serde_json::from_str(READINGS).expect("JSON")
}

/// The members of rows that a test is about.
fn picked(rows: &[Value], names: &[&str]) -> Vec<Value> {
    rows.iter().map(|row| Value::Array(names.iter().map(|name| row[*name].clone()).collect())).collect()
}

fn finished(host: &Host, pipeline: &str) {
    eventually("the end", std::time::Duration::from_secs(60), || {
        host.get(&format!("/v1/pipelines/{pipeline}/status")).expect(200).json()["state"] == "finished"
    });
}

#[test]
fn a_function_is_called_wherever_an_expression_stands() {
    let host = Host::start();
    host.push_guest("test-entropy", "1.0.0").expect(201);
    let fields = json!({"fields": [{"name": "t", "type": "int64"}, {"name": "name", "type": "string"}], "time": {"field": "t", "unit": "s"}});
    host.put("/v1/streams/names", &fields).expect(201);
    host.apply(
        "p",
        "run: once
from: names
functions:
  bits: {component: test-entropy@1, config: {least_bytes: 2}}
steps:
  - where: bits(lower(name)) > 0.5 or bits(name) is null
  - extend: {level: 'case when bits(name) >= 2 then ''high'' else ''low'' end'}
  - window: {global: {}, by: [level], select: {n: count(*), most: max(bits(name)), some: sum(bits(name)) filter (where bits(name) > 1)}}
to:
  - stream: levels
",
    )
    .expect(201);
    // Nothing there yet: it is applied again below, as a new run.
    finished(&host, "p");
    let names = json!([
        {"t": 1, "name": "abcd"}, {"t": 2, "name": "AAAA"}, {"t": 3, "name": "abab"}, {"t": 4, "name": null}, {"t": 5, "name": "x"},
        {"t": 6, "name": "abcdabcd"}
    ]);
    host.send("names", &names).expect(200);
    let text = host.get("/v1/pipelines/p").expect(200).json();
    assert_eq!(text["functions"]["bits"]["component"], "test-entropy@1.0.0", "{text}");
    assert!(text["pinned"].as_array().is_some_and(|pins| pins.iter().any(|pin| pin["step"] == "functions.bits")), "{text}");
    let mut again = text;
    for own in ["pinned", "name"] {
        again.as_object_mut().expect("an object").remove(own);
    }
    host.apply("p", &again.to_string()).expect(200);
    let rows = host.wait_rows("levels", 2);
    assert_eq!(
        picked(&rows, &["level", "n", "most", "some"]),
        [json!(["high", 2, 2.0, 4.0]), json!(["low", 3, 1.0, null])],
        "the hidden columns of calls do not come out: {rows:?}"
    );
    assert!(rows[0].as_object().is_some_and(|row| row.keys().all(|name| !name.contains("bits"))), "{rows:?}");
}

#[test]
fn rows_that_a_function_does_not_survive_are_letters() {
    let host = Host::start();
    host.push_guest("hostile-function", "1.0.0").expect(201);
    let fields = json!({"fields": [{"name": "do", "type": "string"}, {"name": "n", "type": "int64"}]});
    host.put("/v1/streams/orders", &fields).expect(201);
    host.apply("p", "from: orders\nfunctions: {size_of: hostile-function@1}\nsteps:\n  - extend: {l: 'size_of(lower(\"do\")) + 1'}\nto:\n  - stream: fine\n")
        .expect(201);
    let ways = [("loop", "out_of_fuel"), ("panic", "trap"), ("reject", "rejected_by_component")];
    let way = |n: usize| (n % 9 == 4).then(|| ways[n / 9 % 3]);
    let rows: Vec<Value> = (0..54).map(|n| json!({"do": way(n).map_or("Four", |(what, _)| what), "n": n})).collect();
    host.send("orders", &Value::Array(rows)).expect(200);
    let fine = host.wait_rows("fine", 48);
    assert!(
        fine.iter()
            .all(|row| row["l"] == 5 && row.as_object().is_some_and(|row| row.keys().all(|name| !name.contains("size_of")))),
        "{fine:?}"
    );
    let dead = host.wait_rows("p.dead-letters", 6);
    for (at, letter) in dead.iter().enumerate() {
        let (what, reason) = ways[at % 3];
        assert_eq!((&letter["reason"], &letter["event"]["do"]), (&json!(reason), &json!(what)), "{letter}");
        assert_eq!((&letter["component"], &letter["step"]), (&json!("hostile-function"), &json!("steps[0].extend")), "{letter}");
        assert!(letter["row"].is_null(), "the row before the step was the event: {letter}");
    }
}

/// An aggregate of an integer that answers with one accumulator, however many groups there are.
fn short() -> Vec<u8> {
    let number = |name: &str| Field::new(name, FieldType::Int64, false);
    let one = r#"
        (local $at i32)
        (local.set $at (call $take (i32.const 40)))
        (memory.fill (local.get $at) (i32.const 0) (i32.const 40))
        (i32.store offset=8 (local.get $at) (i32.const 1))
        (i32.store offset=12 (local.get $at) (i32.const -1))
        (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
        (i32.store offset=4 (global.get $ret) (i32.add (local.get $at) (i32.const 8)))
        (i32.store offset=8 (global.get $ret) (i32.const 1))
        (i32.store offset=12 (global.get $ret) (local.get $at))
        (i32.store offset=16 (global.get $ret) (i32.const 8))
        (i32.store offset=20 (global.get $ret) (i32.const 4))
        (global.get $ret)"#;
    let value = r#"
        (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
        (i32.store offset=4 (global.get $ret) (i32.const 1))
        (i32.store offset=8 (global.get $ret) (i32.const -1))
        (i32.store offset=32 (global.get $ret) (call $take (i32.const 8)))
        (i32.store offset=36 (global.get $ret) (i32.const 8))
        (i32.store offset=40 (global.get $ret) (i32.const 4))
        (global.get $ret)"#;
    TextGuest::aggregate(vec![number("of")], number("value"))
        .state(vec![(number("n"), Some("0"))])
        .call(one)
        .further(one, one, value)
        .build()
}

#[test]
fn rows_that_an_aggregate_does_not_survive_count_for_nothing() {
    let host = Host::start();
    host.push_guest("hostile-aggregate", "1.0.0").expect(201);
    host.push("short", "1.0.0", &short()).expect(201);
    host.put("/v1/streams/readings", &readings()).expect(201);
    let rows = json!([
        {"t": 1, "k": "a", "v": 1}, {"t": 2, "k": "a", "v": 66}, {"t": 3, "k": "b", "v": 77}, {"t": 4, "k": "a", "v": 13},
        {"t": 5, "k": "c", "v": 2000}, {"t": 6, "k": "a", "v": 5}, {"t": 7, "k": "d", "v": null}, {"t": 8, "k": "e", "v": -3}
    ]);
    host.send("readings", &rows).expect(200);
    host.apply(
        "p",
        "run: once\nfrom: readings\nfunctions: {total: hostile-aggregate@1}\nsteps:\n  - window: {tumbling: 1m, by: [k], select: {n: count(*), mine: total(v), theirs: sum(v)}}\nto:\n  - stream: sums\n",
    )
    .expect(201);
    finished(&host, "p");
    let sums = host.wait_rows("sums", 2);
    // b had one row, and that was at fault: there is no such result. Of null nobody tells the component.
    assert_eq!(picked(&sums, &["k", "n", "mine", "theirs"]), [json!(["a", 2, 6, 6]), json!(["d", 1, 0, null])]);
    let dead = host.wait_rows("p.dead-letters", 5);
    let told: Vec<(&str, &str)> =
        dead.iter().map(|letter| (letter["reason"].as_str().unwrap_or(""), letter["component"].as_str().unwrap_or(""))).collect();
    let of = |reason| (reason, "hostile-aggregate");
    let expected = ["trap", "out_of_fuel", "rejected_by_component", "trap", "rejected_by_component"].map(of);
    assert_eq!(told, expected, "{dead:?}");
    assert_eq!(dead[3]["row"]["k"], "c", "what cannot be said is a result, and its letter shows it: {}", dead[3]);
    assert!(dead[3]["error"].as_str().is_some_and(|error| error.contains("too much to finish")), "{}", dead[3]);

    // One that answers with fewer accumulators than there are groups is told apart by halving: alone, each has its one.
    host.apply("q", "run: once\nfrom: readings\nfunctions: {n: short@1}\nsteps:\n  - window: {tumbling: 1m, by: [k], select: {n: n(v)}}\nto:\n  - stream: shorts\n")
        .expect(201);
    finished(&host, "q");
    assert_eq!(host.wait_rows("shorts", 5).len(), 5);
}

/// Rows of two keys over five minutes, with weights.
fn many() -> Value {
    let row = |n: u64| json!({"t": n, "k": if n.is_multiple_of(3) { "a" } else { "b" }, "v": n % 17, "w": if n.is_multiple_of(4) { Value::Null } else { json!(n % 4) }});
    Value::Array((0..300).map(row).collect())
}

const SLIDING: &str = "from: readings
functions: {wmean: test-mean@1}
steps:
  - window: {hopping: {size: 60s, every: 5s}, by: [k], select: {mine: 'wmean(v, w)', theirs: 'sum(v * coalesce(w, 1)) / cast(sum(coalesce(w, 1)) as double)', n: count(*)}}
to:
  - stream: means
";

/// Both say the same in every window.
fn check_means(rows: &[Value]) {
    for row in rows {
        assert_eq!(row["mine"], row["theirs"], "{row}");
    }
}

#[test]
fn an_aggregate_says_in_sliding_windows_what_native_ones_say_also_after_a_crash() {
    let mut host = Host::start();
    host.push_guest("test-mean", "1.0.0").expect(201);
    host.put("/v1/streams/readings", &readings()).expect(201);
    host.apply("p", &format!("time: {{bound: off}}\n{SLIDING}")).expect(201);
    let all = many();
    let all = all.as_array().expect("rows");
    let mut before = 0;
    for part in all.chunks(75) {
        host.send("readings", &json!(part)).expect(200);
        eventually("some results", std::time::Duration::from_secs(60), || host.rows("means").len() > before);
        before = host.rows("means").len();
        host.kill();
        host.launch();
    }
    // The last windows close when a row far ahead says that their time is over.
    host.send("readings", &json!([{"t": 1000, "k": "z", "v": 1}])).expect(200);
    let keys = |rows: &[Value]| {
        let mut keys: Vec<String> = rows.iter().map(|row| format!("{} {}", row["window_start"], row["k"])).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "each result once");
        count
    };
    // 71 windows have a row of those 300: from the one that ends at 5 s to the one that begins at 295 s, two keys each.
    let rows = host.wait_rows("means", 142);
    assert_eq!(keys(&rows), 142);
    check_means(&rows);
    assert!(!host.log().contains("replay differs"), "what was committed comes again");
}

#[test]
fn another_version_is_another_state_and_what_does_not_fit_is_refused() {
    let host = Host::start();
    host.push_guest("test-mean", "1.0.0").expect(201);
    host.put("/v1/streams/readings", &readings()).expect(201);
    host.apply("p", SLIDING).expect(201);
    assert_eq!(host.apply("p", SLIDING).expect(200).json()["changed"], false);
    // The same with a custom section behind it: other bytes.
    let mut other = guest("test-mean");
    other.extend([0, 5, 4, b't', b'e', b's', b't']);
    host.push("test-mean", "1.1.0", &other).expect(201);
    let plan = host.ask("PUT", "/v1/pipelines/p?dry_run=true", Some("application/yaml"), SLIDING.as_bytes()).expect(200).json();
    let changes = plan["changes"].to_string();
    assert!(changes.contains("test-mean@1.0.0 → test-mean@1.1.0") && changes.contains("functions.wmean"), "{plan}");
    assert!(changes.contains("its state was hopping 1m every 5s"), "the window begins anew, and says why: {plan}");

    let faults = |text: &str| {
        let answer = host.apply("q", text).expect(422).json();
        answer["faults"]
            .as_array()
            .expect("faults")
            .iter()
            .map(|fault| fault["error"].as_str().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    let with =
        |steps: &str| format!("from: readings\nfunctions: {{wmean: test-mean@1}}\nsteps:\n  - {steps}\nto:\n  - stream: x\n");
    for (steps, expected) in [
        ("where: wmean(v, w) > 1", "`wmean` is over many rows"),
        ("window: {tumbling: 1m, select: {m: wmean(v)}}", "`wmean` takes 2 arguments, and has 1"),
        ("window: {tumbling: 1m, select: {m: 'wmean(k, w)'}}", "`wmean` takes int64 as `value`, and `k` is string"),
        ("rule: test-mean@1", "`test-mean@1` is an aggregate"),
    ] {
        let told = faults(&with(steps));
        assert!(told.iter().any(|error| error.contains(expected)), "{steps}: {told:?}");
    }
    let told = faults(
        "from: readings\nfunctions: {lower: test-mean@1, Mean: test-mean@1, none: nobody@1}\nsteps: []\nto:\n  - stream: x\n",
    );
    for expected in ["`lower` is a function of SQL", "`Mean` is no name", "nobody"] {
        assert!(told.iter().any(|error| error.contains(expected)), "{told:?}");
    }
    let used = host.ask("DELETE", "/v1/components/test-mean/versions/1.0.0", None, b"");
    assert_eq!(used.expect(409).status, 409, "a pipeline uses it");
}
