//! Joins in a pipeline, from the text to the rows: small inputs, exact answers.

mod support;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::PipelineState;

const EVENTS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop"}"#;

/// `a@3=5`: key, second, value; `-` is null.
fn events(text: &str) -> Vec<Value> {
    let event = |word: &str| {
        let (key, rest) = word.split_once('@').expect("key@second=value");
        let (second, value) = rest.split_once('=').expect("second=value");
        let key = (key != "-").then_some(key);
        json!({"k": key, "t": second.parse::<i64>().expect("a second"), "v": value.parse::<i64>().ok()})
    };
    text.split_whitespace().map(event).collect()
}

/// A row a line, in the order of the lines: which side came first is not said.
fn shown(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let mut row = row.clone();
        let members = row.as_object_mut().expect("a row");
        members.remove("_partition");
        members.remove("_offset");
        row.to_string().replace("1970-01-01T00:", "").replace(".000000Z", "") + "\n"
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.sort();
    lines.concat()
}

fn host() -> Host {
    let host = Host::new(Setup { batch_rows: 3, ..Setup::default() });
    host.make_stream("lefts", EVENTS);
    host.make_stream("rights", EVENTS);
    host
}

const SIDES: &str = "[{stream: lefts, as: a}, {stream: rights, as: b}]";
const PLAIN: &str = "- select: {k: 'coalesce(a.k, b.k)', a: a.v, b: b.v}";

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(from: &str, steps: &str, (left, right): (&str, &str), expected: Expect) {
    let host = host();
    host.send("lefts", &events(left));
    host.send("rights", &events(right));
    host.apply("p", &format!("run: once\nfrom: {from}\nsteps:\n{steps}\nto:\n- stream: out\n"));
    let status = host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    assert_eq!(status.dead_letters, 0, "{:?}", host.rows("p.dead-letters"));
    expected.assert_eq(&shown(&host.rows("out")));
}

#[test]
fn pairs_lie_within_bounds_that_belong_to_them() {
    let rows = ("x@10=1 y@11=2 -@12=3", "x@9=10 x@10=11 y@12=14 -@12=15 x@15=12 x@16=13");
    let within = |kind: &str| format!("- join: {{kind: {kind}, on: a.k = b.k, within: [0s, 5s]}}\n{PLAIN}");
    check(
        SIDES,
        &within("inner"),
        rows,
        expect![[r#"
            {"_time":"00:10","a":1,"b":11,"k":"x"}
            {"_time":"00:12","a":2,"b":14,"k":"y"}
            {"_time":"00:15","a":1,"b":12,"k":"x"}
        "#]],
    );
    check(
        SIDES,
        &within("left"),
        rows,
        expect![[r#"
            {"_time":"00:10","a":1,"b":11,"k":"x"}
            {"_time":"00:12","a":2,"b":14,"k":"y"}
            {"_time":"00:15","a":1,"b":12,"k":"x"}
            {"_time":"00:17","a":3,"b":null,"k":null}
        "#]],
    );
    check(
        SIDES,
        &within("right"),
        rows,
        expect![[r#"
            {"_time":"00:09","a":null,"b":10,"k":"x"}
            {"_time":"00:10","a":1,"b":11,"k":"x"}
            {"_time":"00:12","a":2,"b":14,"k":"y"}
            {"_time":"00:12","a":null,"b":15,"k":null}
            {"_time":"00:15","a":1,"b":12,"k":"x"}
            {"_time":"00:16","a":null,"b":13,"k":"x"}
        "#]],
    );
    check(
        SIDES,
        &within("full"),
        rows,
        expect![[r#"
            {"_time":"00:09","a":null,"b":10,"k":"x"}
            {"_time":"00:10","a":1,"b":11,"k":"x"}
            {"_time":"00:12","a":2,"b":14,"k":"y"}
            {"_time":"00:12","a":null,"b":15,"k":null}
            {"_time":"00:15","a":1,"b":12,"k":"x"}
            {"_time":"00:16","a":null,"b":13,"k":"x"}
            {"_time":"00:17","a":3,"b":null,"k":null}
        "#]],
    );
    let of_left = |kind: &str| format!("- join: {{kind: {kind}, on: a.k = b.k and b.v > 11, within: [-1s, 5s]}}");
    check(
        SIDES,
        &of_left("semi"),
        rows,
        expect![[r#"
            {"_time":"00:12","a":{"k":"y","t":11,"v":2}}
            {"_time":"00:15","a":{"k":"x","t":10,"v":1}}
        "#]],
    );
    check(
        SIDES,
        &of_left("anti"),
        rows,
        expect![[r#"
            {"_time":"00:17","a":{"k":null,"t":12,"v":3}}
        "#]],
    );
}

#[test]
fn pairs_are_in_the_same_window() {
    let rows = ("x@1=1 y@2=2 x@11=3", "x@9=10 x@12=11 z@13=12");
    check(
        SIDES,
        "- join: {kind: full, on: a.k = b.k, window: {tumbling: 10s}}",
        rows,
        expect![[r#"
        {"_time":"00:09.999999Z","a":{"k":"x","t":1,"v":1},"b":{"k":"x","t":9,"v":10},"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:09.999999Z","a":{"k":"y","t":2,"v":2},"b":{"k":null,"t":null,"v":null},"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:19.999999Z","a":{"k":"x","t":11,"v":3},"b":{"k":"x","t":12,"v":11},"window_end":"00:20","window_start":"00:10"}
        {"_time":"00:19.999999Z","a":{"k":null,"t":null,"v":null},"b":{"k":"z","t":13,"v":12},"window_end":"00:20","window_start":"00:10"}
    "#]],
    );
    check(
        SIDES,
        "- join: {on: a.k = b.k and a.v < b.v, window: {hopping: {size: 10s, every: 5s}}}\n- select: {w: window_start, a: a.v, b: b.v}",
        rows,
        expect![[r#"
            {"_time":"00:09.999999Z","a":1,"b":10,"w":"00:00"}
            {"_time":"00:14.999999Z","a":3,"b":10,"w":"00:05"}
            {"_time":"00:14.999999Z","a":3,"b":11,"w":"00:05"}
            {"_time":"00:19.999999Z","a":3,"b":11,"w":"00:10"}
        "#]],
    );
}

#[test]
fn a_stream_is_joined_with_itself() {
    check(
        "[{stream: lefts, as: a}, {stream: lefts, as: b}]",
        "- join: {on: a.k = b.k and a.v <> b.v, within: [0s, 5s]}\n- window: {tumbling: 1m, by: [a.k], select: {n: count(*), wait: avg(b.t - a.t)}}\n- select: {k: a.k, n: n, wait: wait}",
        ("x@1=1 x@3=2 y@4=3 x@6=4 x@12=5", ""),
        expect![[r#"
            {"_time":"00:59.999999Z","k":"x","n":3,"wait":3.3333333333333335}
        "#]],
    );
}

#[test]
fn without_an_equality_every_row_meets_every_other() {
    check(
        SIDES,
        "- join: {on: a.v < b.v, within: off}\n- window: {global: {}, select: {n: count(*)}}",
        ("x@1=1 y@20=2", "z@3=2 z@40=3 z@41=0"),
        expect![[r#"
            {"_time":"00:40","n":3}
        "#]],
    );
}

#[test]
fn a_join_goes_on_with_its_rows_after_a_restart() {
    let mut host = host();
    host.send("lefts", &events("x@10=1 y@11=2"));
    host.apply(
        "p",
        &format!("from: {SIDES}\nsteps:\n- join: {{on: a.k = b.k, within: [0s, 5s]}}\n{PLAIN}\nto:\n- stream: out\n"),
    );
    host.settle("p");
    host = host.restart();
    host.send("rights", &events("x@12=10 y@13=11"));
    host.settle("p");
    expect![[r#"
        {"_time":"00:12","a":1,"b":10,"k":"x"}
        {"_time":"00:13","a":2,"b":11,"k":"y"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    let status = host.status("p");
    assert_eq!((status.rows_in, status.rows_out), (4, 2));
}

#[test]
fn what_cannot_be_joined_is_said() {
    let host = host();
    for (name, key) in [("wide", "k"), ("wider", "v")] {
        host.make_stream(name, &EVENTS.replace("\"unknown\"", &format!("\"key\": [\"{key}\"], \"partitions\": 3, \"unknown\"")));
    }
    let faults = |from: &str, steps: &str| host.faults("p", &format!("from: {from}\nsteps:\n{steps}\nto: [stdout]\n"));
    expect![
        "line 3: steps[0].join.on: there is no column `a.q` (did you mean `a.k`? columns are a.t, a.k, a.v, b.t, b.k, b.v, _time)"
    ]
    .assert_eq(&faults(SIDES, "- join: {on: a.q = b.k, within: off}"));
    expect!["line 3: steps[0].join.on: `a.k = b.v` compares `k`, which is string, with `v`, which is int64 (make them alike where the streams are declared, or turn the one that is no text into one: `cast(b.id as varchar)`)"]
        .assert_eq(&faults(SIDES, "- join: {on: a.k = b.v, within: off}"));
    expect!["line 3: steps[0].join.on: `on` is int64, not true or false (compare columns of the two streams: `a.id = b.id`)"]
        .assert_eq(&faults(SIDES, "- join: {on: a.v + b.v, within: off}\n- where: a.v > 1"));
    expect!["line 4: steps[1].join: a join is the first step: it says how two streams become one (put what stands before it behind it, or into a pipeline that writes a stream of its own)"].assert_eq(&faults("lefts", "- where: v > 1\n- join: {on: a.k = b.k, within: off}"));
    // Rows that may belong together and lie in several partitions are placed anew, or taken by one task; the plan says which, and why.
    let wide = "[{stream: wide, as: a}, {stream: wider, as: b}]";
    let plan = |on: &str| {
        let text = format!("from: {wide}\nsteps:\n- join: {{on: {on}, within: off}}\nto: [stdout]\n");
        host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text, true).expect("a plan").plan
    };
    let of_key = plan("a.k = b.k");
    assert_eq!((&of_key["tasks"], &of_key["gathered"]), (&json!(6), &Value::Null));
    expect!["steps[0].join: rows with equal k = k are in several of the 3 partitions of `wide`, which has the key [k], and of the 3 partitions of `wider`, which has the key [v]"].assert_eq(of_key["stages"][1]["why"].as_str().expect("why"));
    let of_all = plan("a.v > b.v");
    assert_eq!(of_all["tasks"], 1);
    expect!["steps[0].join: without an equality in `on` every row may belong to every other"]
        .assert_eq(of_all["gathered"].as_str().expect("why"));
    expect!["line 4: steps[1].select.k: there is no column `k` (columns are a.t, a.k, a.v, b.t, b.k, b.v, _time; texts stand in single quotes)"].assert_eq(&faults(SIDES, "- join: {on: a.k = b.k, within: off}\n- select: {k: k}"));
}

#[test]
fn what_is_asked_of_one_side_is_asked_before_its_rows_are_kept() {
    let rows = ("x@10=1 x@11=2", "x@12=10 x@13=11");
    let on = |kind: &str| {
        format!("- join: {{kind: {kind}, on: a.k = b.k and a.v > 1 and b.v > 10 and b.v > a.v, within: [0s, 5s]}}\n{PLAIN}")
    };
    check(
        SIDES,
        &on("inner"),
        rows,
        expect![[r#"
        {"_time":"00:13","a":2,"b":11,"k":"x"}
    "#]],
    );
    check(
        SIDES,
        &on("left"),
        rows,
        expect![[r#"
        {"_time":"00:13","a":2,"b":11,"k":"x"}
        {"_time":"00:15","a":1,"b":null,"k":"x"}
    "#]],
    );
    check(
        SIDES,
        &on("full"),
        rows,
        expect![[r#"
        {"_time":"00:12","a":null,"b":10,"k":"x"}
        {"_time":"00:13","a":2,"b":11,"k":"x"}
        {"_time":"00:15","a":1,"b":null,"k":"x"}
    "#]],
    );
    let host = host();
    host.send("lefts", &events(rows.0));
    host.send("rights", &events(rows.1));
    host.apply("p", &format!("from: {SIDES}\nsteps:\n{}\nto: [{{stream: out}}]\n", on("inner")));
    let status = host.settle("p");
    // One row of each side is kept.
    assert_eq!(status.tasks[0].steps[0].keys, 2);
}

#[test]
fn a_join_keeps_the_columns_that_are_asked_for() {
    let host = host();
    let columns = |steps: &str| {
        let text = format!("from: {SIDES}\nsteps:\n{steps}\nto: [stdout]\n");
        let plan = host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text, true).expect("a plan").plan;
        let columns = plan["steps"][0]["columns"].as_array().expect("columns").clone();
        columns.iter().map(|column| column["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>().join(" ")
    };
    let join = "- join: {on: a.k = b.k, within: [0s, 5s]}";
    assert_eq!(columns(join), "a.t a.k a.v b.t b.k b.v");
    assert_eq!(columns(&format!("{join}\n- where: a.v > 1\n- select: {{n: b.v}}")), "a.k a.v b.k b.v");
    assert_eq!(columns(&format!("{join}\n- window: {{tumbling: 5s, by: [a.k], select: {{n: count(*)}}}}")), "a.t a.k b.t b.k");
}

#[test]
fn equal_keys_of_streams_placed_alike_meet() {
    let host = host();
    let wide = EVENTS.replace("\"unknown\"", "\"key\": [\"k\"], \"partitions\": 3, \"unknown\"");
    host.make_stream("wide", &wide);
    host.make_stream("wider", &wide);
    let of = |value: i64| (0..20).map(|n| format!("k{n}@{n}={value}")).collect::<Vec<_>>().join(" ");
    host.send("wide", &events(&of(1)));
    host.send("wider", &events(&of(2)));
    host.apply("p", "run: once\nfrom: [{stream: wide, as: a}, {stream: wider, as: b}]\nsteps:\n- join: {on: a.k = b.k, within: [0s, 0s]}\n- window: {global: {}, by: [a.k], select: {n: count(*)}}\nto: [{stream: out}]\n");
    let status = host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    assert_eq!((status.rows_in, status.rows_out, status.tasks.len()), (40, 20, 3));
}

#[test]
fn a_left_row_goes_with_the_right_row_as_of_its_time() {
    let rows = ("x@10=1 x@20=2 y@20=3", "x@5=50 x@10=51 x@18=52 x@21=53 y@25=54");
    let as_of = |kind: &str, how: &str| format!("- join: {{kind: {kind}, on: a.k = b.k, as_of: {how}}}\n{PLAIN}");
    check(
        SIDES,
        &as_of("left", "backward"),
        rows,
        expect![[r#"
            {"_time":"00:10","a":1,"b":51,"k":"x"}
            {"_time":"00:20","a":2,"b":52,"k":"x"}
            {"_time":"00:20","a":3,"b":null,"k":"y"}
        "#]],
    );
    check(
        SIDES,
        &as_of("inner", "forward"),
        rows,
        expect![[r#"
            {"_time":"00:10","a":1,"b":51,"k":"x"}
            {"_time":"00:21","a":2,"b":53,"k":"x"}
            {"_time":"00:25","a":3,"b":54,"k":"y"}
        "#]],
    );
    check(
        SIDES,
        &as_of("left", "nearest, tolerance: 2s"),
        rows,
        expect![[r#"
            {"_time":"00:10","a":1,"b":51,"k":"x"}
            {"_time":"00:21","a":2,"b":53,"k":"x"}
            {"_time":"00:22","a":3,"b":null,"k":"y"}
        "#]],
    );
    let faults = |join: &str| host().faults("p", &format!("from: {SIDES}\nsteps:\n- join: {join}\nto: [stdout]\n"));
    expect![[r#"
        line 3: steps[0].join.as_of: a `full` join `as_of`: each left row goes with one right row, and right rows do not come out alone (write `kind: inner` or `kind: left`)"#]]
    .assert_eq(&faults("{kind: full, on: a.k = b.k, as_of: backward}"));
    expect![[r#"
        line 3: steps[0].join.on: with `as_of` a row is looked for by its key and its time alone, and `on` says more than equalities of columns (write equalities joined by `and`, and a `where` behind the join for the rest)"#]]
    .assert_eq(&faults("{on: a.k = b.k and a.v < b.v, as_of: backward}"));
    expect![[r#"
        line 3: steps[0].join.as_of: `within` and `as_of` in one join (keep one of them: how far apart, in the same window, or the one row that was there)"#]]
    .assert_eq(&faults("{on: a.k = b.k, within: [0s, 5s], as_of: backward}"));
}
