//! `dedupe`, `rate` and `sample` in a pipeline: which rows go on, what becomes of the others, what is wrong with a text.

use std::collections::BTreeSet;

use expect_test::expect;
use serde_json::json;

use super::{check, events, host, run, shown};
use crate::support::{pipeline, tenant};

#[test]
fn a_repetition_within_a_time_is_dropped_and_counted() {
    let host = run(
        "{stream: events, out_of_orderness: 2s}",
        "- dedupe: {by: [k], within: 10s, lateness: 5s}",
        "a@1=1 b@2=1 a@10=2 a@11=3 b@8=9 b@30=4 a@22=5",
    );
    expect![[r#"
        {"_time":"00:01","k":"a","t":1,"v":1}
        {"_time":"00:02","k":"b","t":2,"v":1}
        {"_time":"00:11","k":"a","t":11,"v":3}
        {"_time":"00:30","k":"b","t":30,"v":4}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    let status = host.status("p");
    assert_eq!(json!(status.dropped), json!({"steps[0].dedupe": 2}));
    assert_eq!((status.late, status.dropped_late), (1, 1), "the row at 22 came when time was at 28");
    assert!(shown(&host.rows("p.late")).contains(r#""event":{"k":"a","t":22,"v":5}"#));
}

#[test]
fn a_rate_holds_in_every_stretch_and_tells_or_drops_what_is_beyond() {
    let input = "a@1=1 a@2=2 b@3=3 a@9=4 a@11=5 a@12=6";
    check(
        "- rate: {by: [k], limit: 2, per: 10s}",
        input,
        expect![[r#"
            {"_time":"00:01","k":"a","t":1,"v":1}
            {"_time":"00:02","k":"a","t":2,"v":2}
            {"_time":"00:03","k":"b","t":3,"v":3}
            {"_time":"00:11","k":"a","t":11,"v":5}
            {"_time":"00:12","k":"a","t":12,"v":6}
        "#]],
    );
    check(
        "- rate: {limit: 3, per: 10s, as: beyond}\n- where: beyond",
        input,
        expect![[r#"
            {"_time":"00:09","beyond":true,"k":"a","t":9,"v":4}
        "#]],
    );
}

#[test]
fn a_sample_keeps_whole_keys() {
    let input: String = (0..200).map(|row| format!("k{}@{row}={row} ", row % 20)).collect();
    let host = run("events", "- sample: {rate: 0.4, by: [k]}", &input);
    let rows = host.rows("out");
    let keys: BTreeSet<&str> = rows.iter().map(|row| row["k"].as_str().expect("a key")).collect();
    assert_eq!(rows.len(), keys.len() * 10, "all rows of a key or none");
    assert!((3..14).contains(&keys.len()), "{keys:?}");
    assert_eq!(json!(host.status("p").dropped), json!({"steps[0].sample": 200 - rows.len()}));
}

#[test]
fn days_of_a_zone_are_as_long_as_its_clock_makes_them() {
    // 2026-03-28T23:00Z is midnight in Berlin; 23 hours later the next day begins.
    let midnight = 1_774_738_800;
    let input: String =
        [-1, 0, 22 * 3600, 23 * 3600 - 1, 23 * 3600].map(|after| format!("a@{}={after} ", midnight + after)).concat();
    check(
        "- window: {calendar: day, zone: Europe/Berlin, by: [k], select: {n: count(*), usual: median(v)}}",
        &input,
        expect![[r#"
            {"_time":"2026-03-28T22:59:59.999999Z","k":"a","n":1,"usual":-1.0,"window_end":"2026-03-28T23:00:00","window_start":"2026-03-27T23:00:00"}
            {"_time":"2026-03-29T21:59:59.999999Z","k":"a","n":3,"usual":79200.0,"window_end":"2026-03-29T22:00:00","window_start":"2026-03-28T23:00:00"}
            {"_time":"2026-03-30T21:59:59.999999Z","k":"a","n":1,"usual":82800.0,"window_end":"2026-03-30T22:00:00","window_start":"2026-03-29T22:00:00"}
        "#]],
    );
}

#[test]
fn lists_conditions_and_exact_quantiles() {
    check(
        "- window: {tumbling: 1m, by: [k], select: {all: array_agg(v), two: 'array_agg(v, 2)', some: bool_or(v > 8), every: bool_and(v > 0), share: ratio(v > 2), low: 'quantile_disc(v, 0.25)', mid: 'quantile_cont(v, 0.5)', one: any_value(v)}}",
        "a@3=9 a@1=1 a@2=- a@4=4 a@5=2",
        expect![[r#"
            {"_time":"00:59.999999Z","all":[1,9,4,2],"every":true,"k":"a","low":1,"mid":3.0,"one":1,"share":0.5,"some":true,"two":[1,9],"window_end":"01:00","window_start":"00:00"}
        "#]],
    );
}

#[test]
fn a_counter_grows_by_the_second_and_may_begin_again() {
    let grown = "select: {grown: increase(v), rate: rate(v)}";
    check(
        &format!("- window: {{tumbling: 1m, by: [k], {grown}}}"),
        "a@40=9 a@0=10 a@30=3 a@10=14 a@20=20 b@5=1",
        expect![[r#"
            {"_time":"00:59.999999Z","grown":19,"k":"a","rate":0.475,"window_end":"01:00","window_start":"00:00"}
            {"_time":"00:59.999999Z","grown":null,"k":"b","rate":null,"window_end":"01:00","window_start":"00:00"}
        "#]],
    );
    check(
        &format!("- window: {{hopping: {{size: 20s, every: 10s}}, by: [k], {grown}}}"),
        "a@1=1 a@11=4 a@21=2 a@31=8",
        expect![[r#"
        {"_time":"00:09.999999Z","grown":null,"k":"a","rate":null,"window_end":"00:10","window_start":"1969-12-31T23:59:50"}
        {"_time":"00:19.999999Z","grown":3,"k":"a","rate":0.3,"window_end":"00:20","window_start":"00:00"}
        {"_time":"00:29.999999Z","grown":2,"k":"a","rate":0.2,"window_end":"00:30","window_start":"00:10"}
        {"_time":"00:39.999999Z","grown":6,"k":"a","rate":0.6,"window_end":"00:40","window_start":"00:20"}
        {"_time":"00:49.999999Z","grown":null,"k":"a","rate":null,"window_end":"00:50","window_start":"00:30"}
    "#]],
    );
    check(
        "- over: {by: [k], rows: 2, select: {rate: rate(v)}}",
        "a@0=10 a@10=30 a@20=5",
        expect![[r#"
        {"_time":"00:00","k":"a","rate":null,"t":0,"v":10}
        {"_time":"00:10","k":"a","rate":2.0,"t":10,"v":30}
        {"_time":"00:20","k":"a","rate":0.5,"t":20,"v":5}
    "#]],
    );
    let host = host();
    host.send("events", &events("a@1=1"));
    let text = "from: events\nsteps:\n- window: {tumbling: 1m, select: {r: rate(k), n: 'rate(v, 2)'}}\nto: [stdout]\n";
    expect![[r#"
        line 3: steps[0].window.select.r: rate needs int64 or float64: `k` is string (convert the argument, `cast(x as double)`, or use another aggregate)
        line 3: steps[0].window.select.n: `rate` takes one argument, and has 2 (write one: `sum(amount)`)"#]].assert_eq(&host.faults("p", text));
}

#[test]
fn what_is_wrong_with_them_is_said_at_once() {
    let host = host();
    host.send("events", &events("a@1=1"));
    let text = "from: events\nsteps:\n- dedupe: {within: 0s}\n- rate: {by: [k], limit: 0, per: 1m, burst: 3}\n- sample: {rate: 2}\n- window: {calendar: fortnight, select: {n: count(*)}}\nto: [stdout]\n";
    expect![[r#"
        line 3: steps[0].dedupe.by: `by` is missing (add `by: [id]`)
        line 3: steps[0].dedupe.within: no time at all holds no row back (write how long: `within: 1h`)
        line 4: steps[1].rate.limit: 0 rows are no limit here (write a number from 1 to 10000, and a `per` that fits it)
        line 4: steps[1].rate.burst: there is no `burst` (here it can be `by`, `limit`, `per`, `lateness` or `as`)
        line 5: steps[2].sample.rate: `2` is no share (write a number above 0 and at most 1: `rate: 0.1`)
        line 6: steps[3].window.calendar: `fortnight` is none of the values there are (use `day`, `week`, `month`, `quarter` or `year`)"#]]
    .assert_eq(&host.faults("p", text));
    let text = "from: events\nsteps:\n- dedupe: {by: [kk], within: 1h}\n- rate: {limit: 1, per: 1m, as: _x}\n- sample: {rate: 0.5, by: [w]}\n- window: {calendar: day, zone: Europe/Berlim, select: {q: 'quantile_cont(v, 2)', m: 'median(v, 2)', r: ratio(v)}}\nto: [stdout]\n";
    expect![[r#"
        line 3: steps[0].dedupe.by: there is no column `kk` (did you mean `k`?)
        line 6: steps[3].window.zone: there is no time zone `Europe/Berlim` in the IANA database 2025b (did you mean `Europe/Berlin`?)"#]]
    .assert_eq(&host.faults("p", text));
    let text = text.replace("by: [kk]", "by: [k]").replace("as: _x", "as: x").replace("[w]", "[v]").replace("Berlim", "Berlin");
    expect![[r#"
        line 6: steps[3].window.select.q: a quantile is a number from 0 to 1, and not `2` (write `quantile_cont(x, 0.95)`)
        line 6: steps[3].window.select.m: `median` takes one argument, and has 2 (write one: `sum(amount)`)
        line 6: steps[3].window.select.r: ratio needs a condition: `v` is int64 (convert the argument, `cast(x as double)`, or use another aggregate)"#]].assert_eq(&host.faults("p", &text));
}

#[test]
fn their_state_stays_with_what_it_means() {
    let host = host();
    let text = |steps: &str| format!("from: events\nsteps:\n{steps}\nto: [stdout]\n");
    let dry = |steps: &str| host.engine.pipelines().apply(&tenant(), &pipeline("p"), &text(steps), true).expect("a plan");
    let rate = "- rate: {by: [k], limit: 2, per: 10s}";
    let planned = dry(rate).plan;
    let step = &planned["steps"][0];
    assert_eq!(
        [&step["rows"], &step["within"], &step["lateness"], &step["state"]],
        [&json!(2), &json!("10s"), &json!("10s"), &json!("new")]
    );
    host.apply("p", &text(rate));
    let state = |steps: &str| dry(steps).plan["steps"][0]["state"].clone();
    assert_eq!(state(&rate.replace("10s}", "10s, as: beyond}")), json!("kept"), "what is kept is the same");
    assert_eq!(state(&rate.replace("limit: 2", "limit: 3")), json!("new"));
}

#[test]
fn metrics_of_rows_are_served_and_the_rows_go_on() {
    let host = run(
        "events",
        "- metrics: {rows_seen: {counter: 1, by: [k]}, newest: {gauge: v * 2}, spread: {histogram: v}, middle: {percentiles: v, at: [0.5, 1]}}\n- where: v > 2",
        "a@1=1 b@2=4 a@3=- a@4=3",
    );
    assert_eq!(host.rows("out").len(), 2);
    let mut registry = prometheus_client::registry::Registry::default();
    host.engine.register(&mut registry);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
    let of = r#"pipeline="p",step="steps[0].metrics""#;
    for line in [
        format!(r#"tidemill_user_counter_total{{tenant="default",{of},name="rows_seen",k="a"}} 3"#),
        format!(r#"tidemill_user_counter_total{{tenant="default",{of},name="rows_seen",k="b"}} 1"#),
        format!(r#"tidemill_user_gauge{{tenant="default",{of},name="newest"}} 6"#),
        format!(r#"tidemill_user_histogram_sum{{tenant="default",{of},name="spread"}} 8"#),
    ] {
        assert!(page.lines().any(|found| found.starts_with(&line)), "no `{line}` in\n{page}");
    }
    for (rank, expected) in [("0.5", 3.0), ("1", 4.0)] {
        let line = format!(r#"tidemill_user_percentile{{tenant="default",{of},name="middle",quantile="{rank}"}} "#);
        let told = page.lines().find_map(|found| found.strip_prefix(&line)?.parse::<f64>().ok());
        assert!(
            told.is_some_and(|told| (told - expected).abs() <= expected / 100.0),
            "{line}{told:?}, not about {expected}:\n{page}"
        );
    }
    let text = "from: events\nsteps:\n- metrics: {Rows: {counter: 1}, a: {counter: 1, gauge: v}, b: {gauge: k}, c: {counter: 1, by: [name]}, d: {percentiles: v, at: [2]}, e: {gauge: v, over: 5m}}\nto: [stdout]\n";
    expect![[r#"
        line 3: steps[0].metrics.Rows: `Rows` is no name of a metric (write small letters, digits and `_`, a letter first: `orders`)
        line 3: steps[0].metrics.a: 2 values of one metric (write one of `counter`, `gauge`, `histogram` and `percentiles`: `counter: 1`)
        line 3: steps[0].metrics.c.by: `name` cannot be a label (give the column another name in a step before: `extend: {label: "name"}`)
        line 3: steps[0].metrics.d.at: `2` is no rank (write numbers from 0 to 1: `at: [0.5, 0.99]`)
        line 3: steps[0].metrics.e.over: `over` cannot stand here (remove it)"#]]
    .assert_eq(&host.faults("q", text));
    expect![[r#"
        line 3: steps[0].metrics.b: the value is string, not a number (write a number: `1` counts rows)"#]]
    .assert_eq(&host.faults("q", "from: events\nsteps:\n- metrics: {b: {gauge: k}}\nto: [stdout]\n"));
}
