//! `machine` in a pipeline: what rows and time do to a key, what is illegal, what fails, who is stuck, what a change of plan keeps.

use std::time::Duration;

use expect_test::expect;
use serde_json::json;
use tidemill_engine::{MachineStatus, StateChange};

use super::{check, events, host, run, shown};
use crate::support::Host;

/// Values are what happens: 1 pays a part, 2 asks for the goods, 3 sends them, 9 pays nothing at all.
const ORDER: &str = "- machine: {by: [k], initial: placed, variables: {parts: 0}, states: {placed: {timeout: {after: 10s, to: abandoned, emit: {parts: parts}}}, paid: {timeout: {after: 20s, to: stuck}, entry: {parts: parts * 100}}, stuck: , sent: final, abandoned: final}, transitions: [{from: placed, to: paid, on: v = 1, when: parts = 2, set: {parts: parts + 1}}, {from: placed, on: v = 1, set: {parts: parts + v}, tell: false}, {from: [paid, stuck], to: sent, on: v = 3, emit: {wait: _time}}, {from: paid, on: v = 9, emit: {parts: 1 / (v - 9)}}], illegal: emit}";

#[test]
fn rows_and_time_move_the_machine_of_each_key() {
    check(
        ORDER,
        "a@1=1 b@2=1 a@3=1 a@4=1 b@5=7 a@6=1 a@9=3 c@10=1 c@11=1 c@12=1 c@50=3 d@51=3",
        expect![[r#"
        {"_time":"00:04","from_state":"placed","k":"a","moved_by":"event","parts":300,"to_state":"paid","wait":null}
        {"_time":"00:06","from_state":"paid","k":"a","moved_by":"illegal","parts":null,"to_state":"paid","wait":null}
        {"_time":"00:09","from_state":"paid","k":"a","moved_by":"event","parts":null,"to_state":"sent","wait":"00:09"}
        {"_time":"00:11.999999Z","from_state":"placed","k":"b","moved_by":"timeout","parts":1,"to_state":"abandoned","wait":null}
        {"_time":"00:12","from_state":"placed","k":"c","moved_by":"event","parts":300,"to_state":"paid","wait":null}
        {"_time":"00:31.999999Z","from_state":"paid","k":"c","moved_by":"timeout","parts":null,"to_state":"stuck","wait":null}
        {"_time":"00:50","from_state":"stuck","k":"c","moved_by":"event","parts":null,"to_state":"sent","wait":"00:50"}
        {"_time":"00:51","from_state":"placed","k":"d","moved_by":"illegal","parts":null,"to_state":"placed","wait":null}
    "#]],
    );
}

#[test]
fn a_row_that_a_machine_cannot_take_is_a_dead_letter_and_moves_nothing() {
    let host = run("{stream: events, out_of_orderness: 2s}", ORDER, "a@1=1 a@2=1 a@3=1 a@4=9 a@5=3 a@1=1");
    expect![[r#"
        {"_time":"00:03","from_state":"placed","k":"a","moved_by":"event","parts":300,"to_state":"paid","wait":null}
        {"_time":"00:05","from_state":"paid","k":"a","moved_by":"event","parts":null,"to_state":"sent","wait":"00:05"}
    "#]]
    .assert_eq(&shown(&host.rows("out")));
    let letters = host.rows("p.dead-letters");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["step"], &letters[0]["row"]["v"]), (&json!("steps[0].machine"), &json!(9)));
    let status = host.status("p");
    assert_eq!(status.late, 1, "the last came when time was at 3");
}

fn machine(host: &Host) -> MachineStatus {
    host.status("p").steps[0].machine.clone().expect("a machine")
}

fn states(machine: &MachineStatus) -> Vec<(&str, u64, Option<&str>)> {
    machine.states.iter().map(|state| (&*state.state, state.keys, state.oldest_since.as_deref())).collect()
}

#[test]
fn status_shows_who_is_where_and_who_is_stuck_and_the_clock_moves_who_waits() {
    let host = host();
    host.apply("p", &format!("from: events\ntime: {{bound: 30s}}\nsteps:\n{ORDER}\nto: [{{stream: out}}]\n"));
    host.send("events", &events("a@1=1 b@2=1 a@3=1 a@4=1 c@5=3 c@6=1"));
    host.settle("p");
    let now = machine(&host);
    let since = |second| Some(format!("1970-01-01T00:00:{second:02}.000000Z"));
    let (paid, placed) = (since(4), since(2));
    assert_eq!(states(&now), [("placed", 2, placed.as_deref()), ("paid", 1, paid.as_deref()), ("stuck", 0, None)]);
    assert_eq!((now.moved, now.timeouts, now.illegal, now.guarded), (5, 0, 1, 0), "{now:?}");
    // No row comes any more: time goes on by the clock, as far as somebody waits for it.
    host.wait("p", "everybody to be where time leads", |status| {
        host.advance(Duration::from_secs(5));
        status.steps[0].machine.as_ref().is_some_and(|machine| machine.timeouts == 3)
    });
    assert_eq!(
        states(&machine(&host)),
        [("placed", 0, None), ("paid", 0, None), ("stuck", 1, Some("1970-01-01T00:00:24.000000Z"))]
    );
}

#[test]
fn a_change_of_plan_keeps_machines_of_the_same_states() {
    let host = host();
    let text = |states: &str, emit: &str| {
        format!(
            "from: events\nsteps:\n- machine: {{by: [k], initial: a, variables: {{n: 0}}, states: {{{states}}}, transitions: [{{from: a, to: b, on: v = 1, set: {{n: v}}}}, {{from: b, to: c, on: v = 2, emit: {{n: {emit}}}}}]}}\nto: [{{stream: out}}]\n"
        )
    };
    host.apply("p", &text("a: , b: , c: final", "n"));
    host.send("events", &events("a@1=1"));
    host.settle("p");
    let changed = |text: &str| -> Vec<StateChange> {
        host.apply("p", text).changes.into_iter().filter_map(|change| change.state).collect()
    };
    assert_eq!(changed(&text("a: , b: {timeout: {after: 1h, to: c}}, c: final", "n + 5")), [StateChange::Kept]);
    assert_eq!(states(&machine(&host)), [("a", 0, None), ("b", 0, None)], "told anew with the next row");
    host.send("events", &events("a@2=2"));
    host.settle("p");
    assert_eq!(host.column("out", "n"), [json!(null), json!(6)], "it was in `b` under the plan before");
    let other = changed(&text("a: {timeout: {after: 1h, to: d}}, b: , c: final, d: ", "n + 5"));
    assert!(matches!(&other[..], [StateChange::New(why)] if why.contains("its state was states [a, b, c]")), "{other:?}");
}

#[test]
fn a_machine_that_cannot_be_is_refused_where_it_stands() {
    let host = host();
    let faults = |machine: &str| host.faults("p", &format!("from: events\nsteps:\n- machine: {machine}\nto: [stdout]\n"));
    let base = "by: [k], initial: a";
    let refused = [
        faults(&format!("{{{base}, states: {{a: , b: }}, transitions: [{{from: a, to: c, on: v = 1}}]}}")),
        faults(&format!("{{{base}, states: {{a: , b: , d: }}, transitions: [{{from: a, to: b, on: v + 1, when: n > 1}}]}}")),
        faults(&format!("{{{base}, variables: {{v: 1, n: k}}, states: {{a: }}, transitions: [{{on: v = 1}}]}}")),
        faults(&format!("{{{base}, variables: {{n: 0}}, states: {{a: }}, transitions: [{{on: v = 1, set: {{n: k, m: 1}}}}]}}")),
        faults(&format!(
            "{{{base}, states: {{a: {{timeout: {{after: 1s, to: b}}}}, b: {{timeout: {{after: 1s, to: a}}}}}}, transitions: [{{on: v = 1}}]}}"
        )),
        faults(&format!(
            "{{{base}, states: {{a: {{timeout: {{after: 1s, to: b, emit: {{x: v}}}}}}, b: final}}, transitions: [{{from: b, on: v = 1}}]}}"
        )),
        faults("{by: [k], initial: a, states: {a: final}, transitions: [{on: v = 1, emit: {k: v}}]}"),
    ];
    expect![[r#"
        line 3: steps[0].machine.transitions[0].to: there is no state `c` (did you mean `a`?)
        line 3: steps[0].machine.transitions[0].on: the condition is int64, not true or false (compare it with something: `amount > 0`)
        line 3: steps[0].machine.transitions[0].when: there is no column `n` (did you mean `k`? columns are t, k, v, _time)
        line 3: steps[0].machine.variables.v: `v` is a column of the rows: expressions would not know which one is meant (give the variable another name)
        line 3: steps[0].machine.variables.n: there is no column `k` (columns are _time; texts stand in single quotes)
        line 3: steps[0].machine.transitions[0].set.n: the variable `n` is int64, and this is string (write it as the same type: `1.0`, `cast(x as double)`, `cast(x as varchar)`)
        line 3: steps[0].machine.transitions[0].set.m: there is no variable `m` (declare it with what it begins with: `variables: {m: 0}`)
        line 3: steps[0].machine.states.a.timeout: time alone leads from `a` back to it, again and again (let the timeouts end in a state without one: what repeats by the clock is a `window`)
        line 3: steps[0].machine.states.b.timeout: time alone leads from `b` back to it, again and again (let the timeouts end in a state without one: what repeats by the clock is a `window`)
        line 3: steps[0].machine.transitions[0].from: `b` is final: a machine that reaches it is gone (leave it out, or let the state not be final)
        line 3: steps[0].machine.states.a.timeout.emit.x: there is no column `v` (columns are _time; texts stand in single quotes)
        line 3: steps[0].machine.initial: a machine that begins in `a` is over before it began (begin in a state that is not final)
        line 3: steps[0].machine: `k` is a column of the key, or of the step's own (emit it under another name)"#]].assert_eq(&refused.join("\n"));
}
