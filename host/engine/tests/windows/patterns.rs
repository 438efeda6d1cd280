//! `pattern` in a pipeline: what a match says, when it leaves, what is late, what a change of plan keeps.

use std::time::Duration;

use expect_test::expect;
use serde_json::json;
use tidemill_engine::StateChange;

use super::{check, events, host, run, shown};

#[test]
fn a_match_says_what_its_select_says() {
    check(
        "- pattern: {by: [k], stages: [{begin: low, where: v < 3, times: 1.., greedy: true}, {followed_by: high, where: v > 2 * max(low.v) + 1}], within: 20s, skip: past_last, select: {n: count(low), first: first(low.v), all: sum(v * 2), share: high.v / count(*), seen: 'array_agg(v, 9)'}}",
        "a@1=1 b@2=2 a@3=2 a@4=4 b@5=0 a@6=9 b@7=9 b@8=1 b@30=9",
        expect![[r#"
            {"_time":"00:06","all":24,"first":1,"k":"a","match_end":"00:06","match_start":"00:01","n":2,"seen":[1,2,9],"share":3}
            {"_time":"00:07","all":22,"first":2,"k":"b","match_end":"00:07","match_start":"00:02","n":2,"seen":[2,0,9],"share":3}
        "#]],
    );
    check(
        "- pattern: {stages: [{begin: x, where: k = 'a'}, {next: {any_order: [{next: y, where: k = 'b'}, {next: z, where: k = 'c'}]}}], select: {y: y.v, z: z.v}}",
        "a@1=1 c@2=2 b@3=3 a@4=4 b@5=5 a@6=6 b@7=7 c@8=8",
        expect![[r#"
            {"_time":"00:03","match_end":"00:03","match_start":"00:01","y":3,"z":2}
            {"_time":"00:08","match_end":"00:08","match_start":"00:06","y":7,"z":8}
        "#]],
    );
}

#[test]
fn what_was_taken_is_asked_for_by_later_conditions() {
    check(
        "- pattern: {stages: [{begin: a, where: k = 'a'}, {followed_by: b, where: \"k = 'b' and coalesce(sum(b.v), 0) + v <= 6\", times: 2.., greedy: true}, {next: c, where: k <> b.k and avg(b.v) = 2.5 and _time > a._time}], select: {s: sum(b.v)}}",
        "a@1=1 b@2=4 b@3=9 b@4=1 c@5=0",
        expect![[r#"
            {"_time":"00:05","match_end":"00:05","match_start":"00:01","s":5}
        "#]],
    );
}

#[test]
fn partial_matches_whose_time_is_over_come_out_if_asked_for_and_late_rows_are_late() {
    let host = run(
        "{stream: events, out_of_orderness: 2s}",
        "- pattern: {by: [k], stages: [{begin: a, where: v = 1}, {followed_by: b, where: v = 2}], within: 5s, timeouts: true, select: {n: count(*)}}",
        "a@1=1 b@2=1 a@3=2 b@9=2 a@4=1 a@20=1 a@17=7",
    );
    expect![[r#"
        {"_time":"00:03","k":"a","match_end":"00:03","match_start":"00:01","n":2,"timed_out":false}
        {"_time":"00:06.999999Z","k":"b","match_end":"00:02","match_start":"00:02","n":1,"timed_out":true}
        {"_time":"00:24.999999Z","k":"a","match_end":"00:20","match_start":"00:20","n":1,"timed_out":true}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    let status = host.status("p");
    let pattern = status.steps[0].pattern.expect("a pattern");
    assert_eq!((pattern.matches, pattern.timeouts, pattern.runs), (1, 2, 0), "{pattern:?}");
    assert_eq!(status.late, 2, "those at 4 and 17 came when time was at 7 and 18");
}

#[test]
fn a_match_leaves_at_once_and_an_absence_by_the_clock_on_a_quiet_stream() {
    let host = host();
    let text = "from: events\ntime: {bound: 30s}\nsteps:\n- pattern: {by: [k], stages: [{begin: a, where: v = 1}, {next: b, where: v = 2}], within: 1h, select: {n: count(*)}}\nto: [{stream: found}]\n";
    host.apply("found", text);
    let text = "from: events\ntime: {bound: 30s}\nsteps:\n- pattern: {by: [k], stages: [{begin: a, where: v = 2}, {not_followed_by: b}], within: 10s, select: {n: count(*)}}\nto: [{stream: absent}]\n";
    host.apply("absent", text);
    host.send("events", &events("a@1=1 a@2=2"));
    host.settle("found");
    host.settle("absent");
    // No clock has moved, and no other row has come.
    assert_eq!(host.column("found", "n"), [json!(2)]);
    assert_eq!(host.rows("absent"), [] as [serde_json::Value; 0]);
    host.wait("absent", "the clock to say that nothing came", |status| {
        host.advance(Duration::from_secs(5));
        status.steps.iter().any(|step| step.pattern.is_some_and(|pattern| pattern.matches == 1))
    });
    host.sync();
    assert_eq!(host.column("absent", "n"), [json!(1)]);
}

#[test]
fn a_change_of_plan_keeps_partial_matches_of_the_same_stages() {
    let host = host();
    let text = |first: &str, select: &str| {
        format!(
            "from: events\nsteps:\n- pattern: {{by: [k], stages: [{{begin: a, where: {first}}}, {{next: b, where: v = 2}}], within: 1h, select: {{{select}}}}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("v = 1", "n: count(*)"));
    host.send("events", &events("a@1=1"));
    host.settle("p");
    let states = |text: &str| -> Vec<StateChange> {
        let applied = host.apply("p", text);
        applied.changes.into_iter().filter_map(|change| change.state).collect()
    };
    assert_eq!(states(&text("v = 1", "n: count(*) + 1")), [StateChange::Kept]);
    host.send("events", &events("a@2=2"));
    host.settle("p");
    assert_eq!(host.column("out", "n"), [json!(3)], "it had begun under the plan before");
    let other = states(&text("v < 2", "n: count(*) + 1"));
    assert!(matches!(&other[..], [StateChange::New(why)] if why.contains("its state was begin a where v = 1")), "{other:?}");
}

#[test]
fn faults_of_conditions_and_measures_say_what_to_write() {
    let host = host();
    let check = |pattern: &str, expected: &[&str]| {
        let faults = host.faults("p", &format!("from: events\nsteps:\n- pattern: {pattern}\nto: [stdout]\n"));
        for part in expected {
            assert!(faults.contains(part), "no `{part}` in {faults}");
        }
    };
    check(
        "{by: [k], stages: [{begin: a, where: v > b.v}, {followed_by: b}]}",
        &["stages[0].where", "`b` can have no event yet when `a` is judged", "ask a stage that comes before `a`"],
    );
    check(
        "{by: [k], stages: [{begin: a}, {next: {one_of: [[{begin: b}], [{begin: c, where: count(b) = 0}]]}}]}",
        &["`b` can have no event yet when `c` is judged"],
    );
    check("{by: [k], stages: [{begin: a}, {next: b, where: c.v > 1}]}", &["there is no stage `c`", "the stages are `a` and `b`"]);
    check("{by: [k], stages: [{begin: a}, {next: b}], select: {n: sum(d.v)}}", &["there is no stage `d`"]);
    check(
        "{by: [k], stages: [{begin: a}, {next: b}], select: {x: v}}",
        &["outside of an aggregate", "`a.v` is that of the last one"],
    );
    let decimal = "{by: [k], stages: [{begin: a}, {next: b, where: 'sum(cast(a.v as decimal(10, 2))) > 1'}]}";
    check(decimal, &["stages[1].where", "convert the argument: `sum(cast(… as double))`"]);
    // In a loop what is behind may have come before, in any order each may be the last.
    for stages in [
        "[{begin: a}, {next: [{begin: b, where: count(c) < 3}, {next: c}], times: 2}]",
        "[{begin: a}, {next: {any_order: [{next: b, where: count(c) < 3}, {next: c}]}}]",
    ] {
        let text = format!("from: events\nsteps:\n- pattern: {{by: [k], stages: {stages}}}\nto:\n- stream: out\n");
        host.apply("rounds", &text);
    }
}
