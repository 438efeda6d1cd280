//! Windows and `over` in a pipeline, from the text to the rows: small inputs, exact answers.

#[path = "windows/asked.rs"]
mod asked;
#[path = "windows/correlations.rs"]
mod correlations;
#[path = "windows/machines.rs"]
mod machines;
#[path = "windows/panes.rs"]
mod panes;
#[path = "windows/patterns.rs"]
mod patterns;
#[path = "windows/spilling.rs"]
mod spilling;
mod support;
#[path = "windows/thinning.rs"]
mod thinning;
#[path = "windows/time.rs"]
mod time;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use support::{Host, Setup, pipeline, tenant};
use tidemill_engine::PipelineState;
use tidemill_runtime::testing::threshold_rule;

const EVENTS: &str = r#"{"fields": [{"name": "t", "type": "int64"}, {"name": "k", "type": "string"}, {"name": "v", "type": "int64"}],
    "time": {"field": "t", "unit": "s"}, "unknown": "drop"}"#;

/// `a@3=5`: key, second, value.
fn events(text: &str) -> Vec<Value> {
    let event = |word: &str| {
        let (key, rest) = word.split_once('@').expect("key@second=value");
        let (second, value) = rest.split_once('=').expect("second=value");
        json!({"k": key, "t": second.parse::<i64>().expect("a second"), "v": value.parse::<i64>().ok()})
    };
    text.split_whitespace().map(event).collect()
}

/// A row a line: what instants have in common left out, and where the host put it.
fn shown(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let mut row = row.clone();
        let members = row.as_object_mut().expect("a row");
        members.remove("_partition");
        members.remove("_offset");
        row.to_string().replace("1970-01-01T00:", "").replace(".000000Z", "") + "\n"
    };
    rows.iter().map(line).collect()
}

fn host() -> Host {
    host_with(Setup { batch_rows: 3, ..Setup::default() })
}

fn host_with(setup: Setup) -> Host {
    let host = Host::new(setup);
    host.make_stream("events", EVENTS);
    host
}

/// What comes of `input` through `steps`, when it has come to its end.
fn run(source: &str, steps: &str, input: &str) -> Host {
    let host = host();
    host.send("events", &events(input));
    host.apply("p", &format!("run: once\nfrom: {source}\nsteps:\n{steps}\nto:\n- stream: out\n"));
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    host
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(steps: &str, input: &str, expected: Expect) {
    expected.assert_eq(&shown(&run("events", steps, input).rows("out")));
}

#[test]
fn tumbling_windows_say_what_their_select_says() {
    check(
        "- window: {tumbling: 10s, by: [k], select: {n: count(*), s: sum(v * 2), range: max(v) - min(v), big: count(*) filter (where v > 3), per: sum(v * 2) / count(*), u: count(distinct v)}}",
        "a@1=5 b@2=1 a@3=7 a@9=7 a@10=1 b@31=2",
        expect![[r#"
            {"_time":"00:09.999999Z","big":3,"k":"a","n":3,"per":12,"range":2,"s":38,"u":2,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","big":0,"k":"b","n":1,"per":2,"range":0,"s":2,"u":1,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:19.999999Z","big":0,"k":"a","n":1,"per":2,"range":0,"s":2,"u":1,"window_end":"00:20","window_start":"00:10"}
            {"_time":"00:39.999999Z","big":0,"k":"b","n":1,"per":4,"range":0,"s":4,"u":1,"window_end":"00:40","window_start":"00:30"}
        "#]],
    );
    check(
        "- window: {tumbling: 10s, offset: 3s, select: {n: count(v), mean: avg(v), dev: stddev_pop(v), first: first(k), last: last(k)}}",
        "a@2=5 b@3=1 a@4=- a@12=7 a@13=1",
        expect![[r#"
            {"_time":"00:02.999999Z","dev":0.0,"first":"a","last":"a","mean":5.0,"n":1,"window_end":"00:03","window_start":"1969-12-31T23:59:53"}
            {"_time":"00:12.999999Z","dev":3.0,"first":"b","last":"a","mean":4.0,"n":2,"window_end":"00:13","window_start":"00:03"}
            {"_time":"00:22.999999Z","dev":0.0,"first":"a","last":"a","mean":1.0,"n":1,"window_end":"00:23","window_start":"00:13"}
        "#]],
    );
}

#[test]
fn windows_of_every_kind() {
    check(
        "- where: v > 0\n- window: {hopping: {size: 10s, every: 5s}, select: {n: count(*), s: sum(v)}}",
        "a@1=5 a@6=1 a@7=0 a@12=7",
        expect![[r#"
            {"_time":"00:04.999999Z","n":1,"s":5,"window_end":"00:05","window_start":"1969-12-31T23:59:55"}
            {"_time":"00:09.999999Z","n":2,"s":6,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:14.999999Z","n":2,"s":8,"window_end":"00:15","window_start":"00:05"}
            {"_time":"00:19.999999Z","n":1,"s":7,"window_end":"00:20","window_start":"00:10"}
        "#]],
    );
    check(
        "- window: {cumulating: {size: 6s, step: 2s}, select: {n: count(*)}}",
        "a@0=5 a@3=1 a@5=0 a@7=7",
        expect![[r#"
        {"_time":"00:01.999999Z","n":1,"window_end":"00:02","window_start":"00:00"}
        {"_time":"00:03.999999Z","n":2,"window_end":"00:04","window_start":"00:00"}
        {"_time":"00:05.999999Z","n":3,"window_end":"00:06","window_start":"00:00"}
        {"_time":"00:07.999999Z","n":1,"window_end":"00:08","window_start":"00:06"}
        {"_time":"00:09.999999Z","n":1,"window_end":"00:10","window_start":"00:06"}
        {"_time":"00:11.999999Z","n":1,"window_end":"00:12","window_start":"00:06"}
    "#]],
    );
    check(
        "- window: {session: 5s, by: [k], select: {n: count(*)}}",
        "a@0=5 b@3=1 a@5=0 a@11=7",
        expect![[r#"
        {"_time":"00:08","k":"b","n":1,"window_end":"00:08","window_start":"00:03"}
        {"_time":"00:10","k":"a","n":2,"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:16","k":"a","n":1,"window_end":"00:16","window_start":"00:11"}
    "#]],
    );
    check(
        "- window: {session: {gap_ms: v * 1000}, by: [k], select: {n: count(*)}}",
        "a@0=5 a@5=2 a@8=3",
        expect![[r#"
        {"_time":"00:07","k":"a","n":2,"window_end":"00:07","window_start":"00:00"}
        {"_time":"00:11","k":"a","n":1,"window_end":"00:11","window_start":"00:08"}
    "#]],
    );
    check(
        "- window: {count: 2, by: [k], select: {s: sum(v)}}",
        "a@0=5 b@3=1 a@5=0 a@11=7 b@12=2",
        expect![[r#"
        {"_time":"00:05","k":"a","s":5,"window_no":0}
        {"_time":"00:12","k":"b","s":3,"window_no":0}
    "#]],
    );
    check(
        "- window: {global: {}, by: [k], select: {n: count(*), q: 'approx_quantile(v, 0.5)'}}",
        "a@0=5 b@3=1 a@5=5",
        expect![[r#"
            {"_time":"00:05","k":"a","n":2,"q":5.002829575110705}
            {"_time":"00:05","k":"b","n":1,"q":0.99}
        "#]],
    );
}

#[test]
fn the_first_keys_of_a_window_are_ranked() {
    check(
        "- window: {tumbling: 10s, by: [k], select: {n: count(*)}, top: {n: 2, order: [n desc, k], as: place}}\n- select: {window_start: window_start, place: place, k: k, n: n}",
        "c@0=1 b@1=1 a@2=1 c@3=1 a@11=1",
        expect![[r#"
            {"_time":"00:09.999999Z","k":"c","n":2,"place":1,"window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"a","n":1,"place":2,"window_start":"00:00"}
            {"_time":"00:19.999999Z","k":"a","n":1,"place":1,"window_start":"00:10"}
        "#]],
    );
}

#[test]
fn keys_share_a_rank_or_are_ranked_among_those_that_share_a_part() {
    check(
        "- window: {tumbling: 10s, by: [k], select: {n: count(*)}, top: {n: 1, order: [n desc], ties: all, as: place}}",
        "c@0=1 b@1=1 a@2=1 c@3=1 b@4=1",
        expect![[r#"
            {"_time":"00:09.999999Z","k":"b","n":2,"place":1,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"c","n":2,"place":1,"window_end":"00:10","window_start":"00:00"}
        "#]],
    );
    check(
        "- window: {global: {}, by: [k, v], select: {n: count(*)}, top: {n: 1, per: [k], order: [v desc]}}\n- select: {k: k, v: v, rank: rank}",
        "b@0=7 a@1=3 a@2=5 b@3=2",
        expect![[r#"
            {"_time":"00:03","k":"a","rank":1,"v":5}
            {"_time":"00:03","k":"b","rank":1,"v":7}
        "#]],
    );
}

#[test]
fn keys_are_ranked_by_what_is_computed_of_them() {
    check(
        "- window: {tumbling: 10s, by: [k], select: {mean: sum(v) * 1.0 / count(*), n: count(*)}, top: {n: 2, order: [mean desc]}}",
        "c@0=1 b@1=5 a@2=1 c@3=9 a@11=1 d@4=0",
        expect![[r#"
            {"_time":"00:09.999999Z","k":"b","mean":5.0,"n":1,"rank":1,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:09.999999Z","k":"c","mean":5.0,"n":2,"rank":2,"window_end":"00:10","window_start":"00:00"}
            {"_time":"00:19.999999Z","k":"a","mean":1.0,"n":1,"rank":1,"window_end":"00:20","window_start":"00:10"}
        "#]],
    );
}

#[test]
fn a_window_a_rule_and_a_window_behind_one_another() {
    let host = host();
    host.publish("high", "1.0.0", &threshold_rule());
    host.send("events", &events("a@1=600 a@2=600 b@3=700 a@11=2000 a@12=1 b@21=5000 a@29=1"));
    host.apply(
        "p",
        "run: once\nfrom: events\nsteps:\n- window: {tumbling: 10s, by: [k], select: {amount: sum(v) * 1.0, n: count(*)}}\n- rule: high@1\n- window: {tumbling: 20s, by: [k], select: {windows: count(*), n: sum(n)}}\nto: [{stream: out}]\n",
    );
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    expect![[r#"
        {"_time":"00:19.999999Z","k":"a","n":4,"window_end":"00:20","window_start":"00:00","windows":2}
        {"_time":"00:39.999999Z","k":"b","n":1,"window_end":"00:40","window_start":"00:20","windows":1}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
}

#[test]
fn rows_that_come_too_late_are_kept_aside_as_they_came() {
    let host = run(
        "{stream: events, out_of_orderness: 2s}",
        "- window: {tumbling: 10s, by: [k], select: {s: sum(v * 2)}}",
        "a@1=1 a@11=1 a@9=10 a@12=1 a@9=100 b@13=1",
    );
    expect![[r#"
        {"_time":"00:09.999999Z","k":"a","s":22,"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:19.999999Z","k":"a","s":4,"window_end":"00:20","window_start":"00:10"}
        {"_time":"00:19.999999Z","k":"b","s":2,"window_end":"00:20","window_start":"00:10"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    expect![[r#"
        {"_time":"00:09","event":{"k":"a","t":9,"v":100},"late_ms":1000,"offset":4,"partition":0,"pipeline":"p","row":null,"step":"steps[0].window","stream":"events","time":"00:09","watermark":"00:10","window_end":"00:10","window_start":"00:00"}
    "#]].assert_eq(&shown(&host.rows("p.late")));
    let host = run(
        "events",
        "- window: {tumbling: 10s, by: [k], select: {s: sum(v)}, lateness: 5s}",
        "a@1=1 a@11=1 a@9=10 a@15=1 a@9=100",
    );
    expect![[r#"
        {"_time":"00:09.999999Z","k":"a","s":1,"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:09.999999Z","k":"a","s":11,"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:19.999999Z","k":"a","s":2,"window_end":"00:20","window_start":"00:10"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
}

#[test]
fn a_row_and_those_before_it() {
    check(
        "- over: {by: [k], rows: 2, select: {m: avg(v), more: v - min(v)}}\n- where: more >= 0",
        "a@1=1 b@2=9 a@5=3 a@4=2",
        expect![[r#"
            {"_time":"00:01","k":"a","m":1.0,"more":0,"t":1,"v":1}
            {"_time":"00:02","k":"b","m":9.0,"more":0,"t":2,"v":9}
            {"_time":"00:05","k":"a","m":2.0,"more":2,"t":5,"v":3}
        "#]],
    );
}

#[test]
fn what_cannot_be_is_said_with_every_fault() {
    let host = host();
    host.make_stream("wide", &EVENTS.replace("\"unknown\"", "\"key\": [\"v\"], \"partitions\": 3, \"unknown\""));
    let faults = |text: &str| host.faults("p", text);
    expect![[r#"
        line 3: steps[0].window.by: there is no column `q` (did you mean `k`?)
        line 3: steps[0].window.select.z: `count` inside another aggregate (aggregate in one `window` step, and its results in a second one behind it)
        line 3: steps[0].window.select.s: sum needs numbers: `k` is string (convert the argument, `cast(x as double)`, or use another aggregate)
        line 3: steps[0].window.select.m: there is no column `w` (did you mean `k`? columns are t, k, v, _time)
        line 3: steps[0].window.select.k: `k` is a column that comes out beside the results (give the result another name)
        line 3: steps[0].window.select.x: `v + 1` has a column of single rows outside of an aggregate (aggregate it, `max(x)`, or name it in `by`)
        line 3: steps[0].window.select.y: there is no function `skew` (the aggregates are `approx_distinct`, `count`, `count_distinct`, `sum`, `avg`, `min`, `max`, `first`, `last`, `stddev_pop`, `stddev_samp`, `var_pop`, `var_samp`, `bool_and`, `bool_or`, `ratio`, `increase`, `rate`, `median`, `array_agg`, `stddev`, `variance`, `every`, `any_value`, `approx_median`, `mean`, `approx_quantile`, `quantile_cont`, `percentile_cont`, `quantile_disc`, `percentile_disc`, `top_k`)
        line 4: steps[1].window: the size of a cumulating window is a multiple of its step (write a size that its steps fill: `{size: 1d, step: 1h}`)"#]].assert_eq(&faults(
        "from: events\nsteps:\n- window: {tumbling: 1h, by: [q, k], select: {k: count(*), s: sum(k), x: v + 1, y: skew(v), z: sum(count(*)), m: max(w)}, top: {n: 3, order: [nn]}}\n- window: {cumulating: {size: 10s, step: 3s}, select: {n: count(*)}}\nto: [stdout]\n",
    ));
    expect![[r#"
        line 3: steps[0].window.select.f: `filter (where v)` is int64, not true or false (compare it with something: `filter (where amount > 0)`)
        line 3: steps[0].window.select.q: a quantile is a number from 0 to 1, and not `2` (write `approx_quantile(x, 0.95)`)
        line 3: steps[0].window.select.d: `sum` takes no `distinct` (there is `count(distinct x)`)"#]].assert_eq(&faults(
        "from: events\nsteps:\n- window: {tumbling: 1h, by: [k], select: {r: sum(v) / count(*), f: sum(v) filter (where v), q: 'approx_quantile(v, 2)', d: sum(distinct v)}}\nto: [stdout]\n",
    ));
    expect!["line 3: steps[0].window.top.as: the rank cannot be called `n` (choose a name that no other column has: `as: place`)"].assert_eq(&faults(
        "from: events\nsteps:\n- window: {tumbling: 1h, by: [k], select: {n: count(*), r: sum(v) / count(*)}, top: {n: 3, order: [r desc], as: n}}\nto: [stdout]\n",
    ));
    expect![[r#"
        line 3: steps[0].over.select.v: `v` is a column that comes out beside the results (give the result another name)"#]]
    .assert_eq(&faults("from: events\nsteps:\n- over: {by: [k], rows: 3, select: {v: avg(v)}}\n- where: v > 3\nto: [stdout]\n"));
    expect![[r#"
        line 3: steps[0].window.top.ties: `some` is none of the values there are (use `apart` or `all`)
        line 3: steps[0].window.top.per: `v` is no part of the key (keys can be ranked per `k`)"#]].assert_eq(&faults(
        "from: events\nsteps:\n- window: {tumbling: 1h, by: [k], select: {n: count(*)}, top: {n: 1, per: [v], order: [n], ties: some}}\nto: [stdout]\n",
    ));
    expect![[r#"
        line 4: steps[1].window.by: `window_start` is what this window calls its own bounds (give the column another name in a step before: `extend: {first_window_start: window_start}`)
        line 4: steps[1].window.select.v: there is no column `v` (did you mean `k`? columns are k, window_start, window_end, n, _time)"#]].assert_eq(&faults(
        "from: events\nsteps:\n- window: {tumbling: 1h, by: [k], select: {n: count(*)}}\n- window: {tumbling: 1d, by: [window_start], select: {n: count(*), v: max(v)}}\nto: [stdout]\n",
    ));
}

#[test]
fn a_fault_says_what_to_write_instead() {
    let host = host();
    host.make_stream(
        "typed",
        r#"{"fields": [{"name": "k", "type": "string"}, {"name": "tags", "type": "string"}, {"name": "ok", "type": "bool"}]}"#,
    );
    let check = |from: &str, step: &str, expected: &[&str]| {
        let faults = host.faults("p", &format!("from: {from}\nsteps:\n- {step}\nto: [stdout]\n"));
        expected.iter().for_each(|part| assert!(faults.contains(part), "no `{part}` in {faults}"));
    };
    check(
        "events",
        "window: {tumbling: 1h, by: [k], select: {n: 'count(distinct *)', m: 'max(*)', s: summ(v), p: 'percentile(v, 0.9)', t: 'top_k(v, 3)'}}",
        &["name a column, `count(distinct x)`", "name a column: `max(amount)`"],
    );
    check(
        "events",
        "window: {tumbling: 1h, by: [k], select: {s: summ(v), p: 'percentile(v, 0.9)', t: 'top_k(v, 3)'}}",
        &[
            "select.s: there is no function `summ` (did you mean `sum`?)",
            "select.p: there is no function `percentile` (the aggregates are `approx_distinct`, ",
            "`top_k(cast(x as varchar), 3)`",
        ],
    );
    check("typed", "window: {tumbling: 1h, select: {m: min(ok)}}", &["use `bool_and`, `bool_or` or `ratio`"]);
    check(
        "events",
        "window: {tumbling: 1h, offset: -3s, select: {n: count(*)}, top: {n: 1, order: [n down]}}",
        &[
            "offset: `-3s` is negative",
            "`n down` is no order (write a column, `desc` for the greatest first, and where nulls stand: `n desc`, `n desc nulls last`)",
        ],
    );
    check("events", "window: {sliding: 1h, select: {n: count(*)}}", &["windows that overlap are `hopping"]);
    check("typed", "rules: [{name: a, tag: [x]}]", &["a column `tags` that is string, and what rules say there is json"]);
}

#[test]
fn nulls_are_ranked_where_they_are_said_to() {
    let ranked = |order: &str| {
        let step = format!("- window: {{tumbling: 10s, by: [k], select: {{s: sum(v)}}, top: {{n: 2, order: ['{order}']}}}}");
        let rows = run("events", &step, "a@1=5 b@2=- c@3=9").rows("out");
        rows.iter().map(|row| row["k"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().concat()
    };
    assert_eq!([ranked("s desc"), ranked("s desc nulls last"), ranked("s NULLS FIRST"), ranked("s")], ["bc", "ca", "ba", "ac"]);
}

#[test]
fn a_rule_set_adds_to_what_one_before_said() {
    let first = "- rules: [{name: one, when: v > 1, tag: [x, y], route: r}]\n  keep: all";
    let second = "- rules: [{name: two, when: v > 5, tag: [y, z]}, {name: three, when: v = 3, route: s}]\n  keep: all";
    let rows = run("events", &format!("{first}\n{second}"), "a@1=1 a@2=2 a@3=3 a@4=9").rows("out");
    let told: Vec<String> = rows.iter().map(|row| format!("{} {} {}", row["rule"], row["tags"], row["route"])).collect();
    assert_eq!(told, ["null [] null", r#""one" ["x","y"] "r""#, r#""three" ["x","y"] "s""#, r#""two" ["x","y","z"] "r""#]);
}

#[test]
fn a_dry_run_tells_windows_and_what_becomes_of_their_state() {
    let host = host();
    let text = |steps: &str| format!("from: events\nsteps:\n{steps}\nto: [stdout]\n");
    let dry = |steps: &str| host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text(steps), true).expect("a plan");
    let window = "- window: {tumbling: 1h, by: [k], select: {n: count(*), s: sum(v * 2)}, lateness: 5s}";
    let warned = |steps: &str| dry(steps).plan["steps"][0].get("warnings").is_some();
    assert!(warned("- window: {global: {}, select: {n: count(*)}}"), "it never says anything");
    assert!(!warned("- window: {global: {}, select: {n: count(*)}, early: 10s}"));
    let planned = dry(window).plan;
    assert_eq!(planned["steps"][0]["window"], "tumbling 1h");
    assert_eq!(planned["steps"][0]["aggregates"], json!(["count(*)", "sum(v * 2)"]));
    assert_eq!((&planned["steps"][0]["by"], &planned["steps"][0]["state"]), (&json!(["k"]), &json!("new")));
    let stream = host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text(window).replace("stdout", "{stream: out}"), true);
    assert_eq!(stream.expect("a plan").plan["to"][0]["key"], json!(["k"]));
    host.apply("p", &text(window));
    let changed = |steps: &str| {
        dry(steps)
            .changes
            .iter()
            .map(|change| format!("{} {:?} {:?}\n", change.place, change.details, change.state))
            .collect::<String>()
    };
    expect![[r#"
        steps[0].where [] None
    "#]]
    .assert_eq(&changed(&format!("- where: v > 0\n{window}")));
    expect![[r#"
        steps[0].window ["lateness: 5s → 1m"] Some(Kept)
    "#]]
    .assert_eq(&changed(&window.replace("lateness: 5s", "lateness: 1m")));
    expect![[r#"
        steps[0].window ["tumbling: 1h → 2h"] Some(New("its state was tumbling 1h by [k string] keeps [Count, Sum v * 2 int64] and is tumbling 2h by [k string] keeps [Count, Sum v * 2 int64]"))
    "#]].assert_eq(&changed(&window.replace("tumbling: 1h", "tumbling: 2h")));
    expect![[r#"
        steps[0].where [] None
        steps[0].window [] Some(Lost("no step of the new plan goes on with it"))
    "#]]
    .assert_eq(&changed("- where: v > 0"));
}

#[test]
fn a_window_goes_on_with_its_rows_through_a_restart_and_a_change_of_plan() {
    let mut host = host();
    let text = |before: &str, lateness: &str| {
        let window = format!("- window: {{tumbling: 10s, by: [k], select: {{n: count(*), s: sum(v)}}, lateness: {lateness}}}");
        format!("from: events\nsteps:\n{before}{window}\nto:\n- stream: out\n")
    };
    host.send("events", &events("a@1=1 b@2=2"));
    host.apply("p", &text("", "0s"));
    host.settle("p");
    host = host.restart();
    host.send("events", &events("a@3=10"));
    host.settle("p");
    // Another plan, with the step at another place: its state is that of the number it keeps.
    host.apply("p", &text("- where: v < 1000\n", "5s"));
    host.send("events", &events("a@4=100 a@5=1000 b@11=1"));
    host.settle("p");
    expect![[r#"
        {"_time":"00:09.999999Z","k":"a","n":3,"s":111,"window_end":"00:10","window_start":"00:00"}
        {"_time":"00:09.999999Z","k":"b","n":1,"s":2,"window_end":"00:10","window_start":"00:00"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
}

#[test]
fn what_cannot_be_said_is_a_dead_letter_and_nobody_elses_trouble() {
    let host = run(
        "events",
        "- window: {tumbling: 10s, by: [k], select: {s: sum(v), inverse: sum(12 / v)}}",
        "a@1=3 a@2=0 b@3=9223372036854775807 b@4=1 a@5=4",
    );
    expect![[r#"
        {"_time":"00:09.999999Z","inverse":7,"k":"a","s":7,"window_end":"00:10","window_start":"00:00"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    // What is wrong with a result is told with the result, and with no event: which one let it out says nothing.
    let letter = |row: &Value| {
        let of = if row["event"].is_null() { format!("result of {}", row["row"]["k"]) } else { "event".to_owned() };
        format!("{} {} {} {of}\n", row["step"], row["reason"], row["error"])
    };
    expect![[r#"
        "steps[0].window" "expression" "`12 / v`: division by zero" event
        "steps[0].window" "expression" "`s`: the sum 9223372036854775808 is outside int64" result of "b"
    "#]]
    .assert_eq(&host.rows("p.dead-letters").iter().map(letter).collect::<String>());
}

#[test]
fn a_window_that_is_larger_than_an_entry_leaves_in_parts() {
    let host = Host::new(Setup { batch_rows: 64, entry_bytes: 1000, ..Setup::default() });
    host.make_stream("events", EVENTS);
    host.make_stream("by-key", r#"{"fields": [{"name": "k", "type": "string"}, {"name": "n", "type": "int64"}], "unknown": "drop", "key": ["k"], "partitions": 3}"#);
    let rows: Vec<Value> = (0..500).map(|n| json!({"k": format!("k{n:03}"), "t": n % 10, "v": n})).collect();
    host.send("events", &rows);
    let steps = "- window: {tumbling: 10s, by: [k], select: {n: count(*), v: max(v)}}";
    host.apply(
        "p",
        &format!("run: once\nfrom: {{stream: events, out_of_orderness: 10s}}\nsteps:\n{steps}\nto: [{{stream: out}}, {{stream: by-key}}]\n"),
    );
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    let mut keys: Vec<String> = host.rows("out").iter().map(|row| format!("{} {}", row["k"], row["v"])).collect();
    keys.sort();
    assert_eq!(keys, (0..500).map(|n| format!("\"k{n:03}\" {n}")).collect::<Vec<_>>());
    assert_eq!(host.rows("by-key").len(), 500);
    let written: Vec<u64> = host.rows("p.progress").iter().filter_map(|row| row["record"]["part"]["written"].as_u64()).collect();
    assert!(written.len() > 20 && written.is_sorted() && written.iter().all(|rows| *rows < 1000), "{written:?}");
}
