//! `origin` and `correlate` in a pipeline: where rows came from, what belongs together, what evidence says, what is refused.

use expect_test::expect;
use serde_json::{Value, json};
use tidemill_engine::{CorrelateStatus, PipelineState, StateChange};

use super::{EVENTS, check, events, host, run, shown};
use crate::support::Host;

#[test]
fn kinds_and_values_within_a_time_are_a_match_with_their_events() {
    check(
        "- correlate: {by: [k], within: 10s, kinds: {low: v < 3, high: v > 7}, distinct: {of: v, at_least: 3}, evidence: [v]}",
        "a@1=1 b@2=9 a@3=9 a@4=5 a@5=2 b@6=1 a@7=1 a@9=9 a@10=2 b@12=8 a@12=1 a@13=8 a@14=0 b@13=2",
        expect![[r#"
            {"_time":"00:05","distinct":3,"events":3,"evidence":[{"at":"00:01","kinds":["low"],"v":1},{"at":"00:03","kinds":["high"],"v":9},{"at":"00:05","kinds":["low"],"v":2}],"k":"a","kinds":["low","high"],"match_end":"00:05","match_id":"000000001388-4cb6d22213f16231","match_start":"00:01"}
            {"_time":"00:14","distinct":3,"events":3,"evidence":[{"at":"00:12","kinds":["low"],"v":1},{"at":"00:13","kinds":["high"],"v":8},{"at":"00:14","kinds":["low"],"v":0}],"k":"a","kinds":["low","high"],"match_end":"00:14","match_id":"0000000036b0-1e1ea2ba30cc2ffd","match_start":"00:12"}
        "#]],
    );
    check(
        "- correlate: {by: [], within: 5s, kinds: {a: k = 'a', b: k = 'b', c: k = 'c'}, in_order: true, evidence: [k]}",
        "c@1=1 a@2=1 b@3=1 a@5=1 b@6=1 c@6=1 a@7=1 b@8=1 c@9=1",
        expect![[r#"
            {"_time":"00:06","events":5,"evidence":[{"at":"00:02","k":"a","kinds":["a"]},{"at":"00:03","k":"b","kinds":["b"]},{"at":"00:05","k":"a","kinds":["a"]},{"at":"00:06","k":"b","kinds":["b"]},{"at":"00:06","k":"c","kinds":["c"]}],"kinds":["a","b","c"],"match_end":"00:06","match_id":"000000001770-5997b53c6cc7cc23","match_start":"00:02"}
            {"_time":"00:09","events":3,"evidence":[{"at":"00:07","k":"a","kinds":["a"]},{"at":"00:08","k":"b","kinds":["b"]},{"at":"00:09","k":"c","kinds":["c"]}],"kinds":["a","b","c"],"match_end":"00:09","match_id":"000000002328-1a41a9655759b227","match_start":"00:07"}
        "#]],
    );
    check(
        "- correlate: {by: [k], within: 5s, kinds: {one: v = 1, two: v = 2, three: v = 3}, at_least: 2}",
        "a@1=1 a@6=2 a@7=3 b@7=3 b@8=3 b@9=1",
        expect![[r#"
            {"_time":"00:07","events":2,"evidence":[{"at":"00:06","kinds":["two"]},{"at":"00:07","kinds":["three"]}],"k":"a","kinds":["two","three"],"match_end":"00:07","match_id":"000000001b58-4760bcabb6102658","match_start":"00:06"}
            {"_time":"00:09","events":3,"evidence":[{"at":"00:07","kinds":["three"]},{"at":"00:08","kinds":["three"]},{"at":"00:09","kinds":["one"]}],"k":"b","kinds":["one","three"],"match_end":"00:09","match_id":"000000002328-c1018ec192b5a266","match_start":"00:07"}
        "#]],
    );
}

/// Two streams as one: what each row came from is a column.
fn two() -> Host {
    let host = host();
    host.make_stream("others", EVENTS);
    host
}

const TWO: &str = "run: once\nfrom: [{stream: events, out_of_orderness: 2s}, others]\nsteps:\n- origin: {stream: source, partition: part, offset: at_offset}\n- where: v <> 5\n- correlate: {by: [k], within: 10s, streams: [events, others], evidence: [source, part, at_offset]}\nto: [{stream: out}]\n";

#[test]
fn events_of_several_streams_come_together_with_where_they_stand() {
    let host = two();
    host.send("events", &events("a@1=1 b@3=5 a@2=1 c@9=1"));
    host.send("others", &events("b@4=1 a@8=5 a@9=1 c@12=1"));
    host.apply("p", TWO);
    host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    let mut rows = host.rows("out");
    for row in &mut rows {
        let id: Option<tidemill_engine::MatchId> = row["match_id"].as_str().and_then(|id| id.parse().ok());
        assert!(id.is_some(), "{row}");
        row.as_object_mut().expect("a row").remove("match_id");
    }
    expect![[r#"
        {"_time":"00:09","events":3,"evidence":[{"at":"00:01","at_offset":0,"kinds":["events"],"part":0,"source":"events"},{"at":"00:02","at_offset":2,"kinds":["events"],"part":0,"source":"events"},{"at":"00:09","at_offset":2,"kinds":["others"],"part":0,"source":"others"}],"k":"a","kinds":["events","others"],"match_end":"00:09","match_start":"00:01"}
        {"_time":"00:12","events":2,"evidence":[{"at":"00:09","at_offset":3,"kinds":["events"],"part":0,"source":"events"},{"at":"00:12","at_offset":3,"kinds":["others"],"part":0,"source":"others"}],"k":"c","kinds":["events","others"],"match_end":"00:12","match_start":"00:09"}
    "#]].assert_eq(&shown(&rows));
}

#[test]
fn status_counts_and_a_change_of_what_is_needed_keeps_what_is_held() {
    let host = host();
    let text = |at_least: u32, within: &str| {
        format!(
            "from: {{stream: events, out_of_orderness: 1s}}\nsteps:\n- correlate: {{by: [k], within: {within}, distinct: {{of: v, at_least: {at_least}}}, events_max: 3}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text(3, "1h"));
    host.send("events", &events("a@1=1 a@2=1 a@3=1 a@4=2 b@5=1 a@5=1 x@9=1 a@2=9"));
    host.settle("p");
    let status = || host.status("p").steps[0].correlation.expect("a correlation");
    assert_eq!(status(), CorrelateStatus { open: 4, matches: 0, quiet: 0, dropped: 2 });
    assert_eq!(host.status("p").late, 1);
    let changed = |text: &str| -> Vec<StateChange> {
        host.apply("p", text).changes.into_iter().filter_map(|change| change.state).collect()
    };
    assert_eq!(changed(&text(2, "1h")), [StateChange::Kept]);
    host.send("events", &events("a@10=2 a@11=7 x@13=1"));
    host.settle("p");
    let now = status();
    assert_eq!((now.matches, now.quiet), (1, 1), "{now:?}");
    let kept: Value = host.rows("out").remove(0);
    assert_eq!((&kept["events"], &kept["distinct"]), (&json!(3), &json!(2)), "{kept}");
    let other = changed(&text(2, "2h"));
    assert!(matches!(&other[..], [StateChange::New(why)] if why.contains("within 1h")), "{other:?}");
}

#[test]
fn what_cannot_be_correlated_is_refused_where_it_stands() {
    let host = two();
    let faults = |steps: &str| host.faults("p", &format!("from: [events, others]\nsteps:\n{steps}\nto: [stdout]\n"));
    let refused = [
        faults("- correlate: {by: [k], within: 1m, streams: [events, others]}"),
        faults("- origin: {stream: source}\n- select: {k: k}\n- correlate: {by: [k], within: 1m, streams: [events, others]}"),
        faults("- origin: {stream: source}\n- correlate: {by: [k], within: 1m, streams: [events, elsewhere]}"),
        faults("- window: {tumbling: 1m, by: [k], select: {n: count(*)}}\n- origin: {stream: source}"),
        faults("- correlate: {by: [k], within: 1m, kinds: {a: v, b: u = 1}, evidence: [at, w]}"),
    ];
    expect![[r#"
        line 3: steps[0].correlate.streams: no column says which stream a row is of (put `- origin: {stream: source}` before this step, and keep its column)
        line 5: steps[2].correlate.streams: no column says which stream a row is of (put `- origin: {stream: source}` before this step, and keep its column)
        line 4: steps[1].correlate.streams: `elsewhere` is no stream that the pipeline reads (it reads events, others)
        line 4: steps[1].origin: rows stand for several events here, or have been placed anew (say it first: `origin` belongs before whatever brings rows together)
        line 3: steps[0].correlate.evidence: there is no column `at` (did you mean `t`?)
        line 3: steps[0].correlate.evidence: there is no column `w` (did you mean `k`?)
        line 3: steps[0].correlate.evidence: evidence says `at` of each event already (give the column another name in an `extend` step before)
        line 3: steps[0].correlate.kinds.a: the condition is int64, not true or false (compare it with something: `kind = 'failed'`)
        line 3: steps[0].correlate.kinds.b: there is no column `u` (did you mean `k`? columns are t, k, v, _time)"#]].assert_eq(&refused.join("\n"));
    let host = run("events", "- origin: {partition: part, offset: place}\n- where: place > 1", "a@1=1 b@2=2 c@3=3 d@4=4");
    expect![[r#"
        {"_time":"00:03","k":"c","part":0,"place":2,"t":3,"v":3}
        {"_time":"00:04","k":"d","part":0,"place":3,"t":4,"v":4}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
}
