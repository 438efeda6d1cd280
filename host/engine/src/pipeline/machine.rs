//! `machine`: states, what moves a key from one to another, and what time does.
//!
//! ```yaml
//! - machine:
//!     by: [order]
//!     initial: placed
//!     variables: {paid: 0.0}
//!     states:
//!       placed: {timeout: {after: 30m, to: abandoned}}
//!       paid: {timeout: {after: 2d, to: stuck}, entry: {note: "'to be packed'"}}
//!       stuck: {}
//!       shipped: final
//!       abandoned: final
//!     transitions:
//!       - {from: placed, to: paid, on: type = 'pay', when: paid + amount >= 100, set: {paid: paid + amount}, emit: {amount: amount}}
//!       - {from: placed, on: type = 'pay', set: {paid: paid + amount}, tell: false}
//!       - {from: [paid, stuck], to: shipped, on: type = 'ship'}
//!     illegal: emit
//! ```

use std::time::Duration;

use tidemill_flow::pattern::PatternOrder;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::parse::{columns, list, names};
use crate::pipeline::window::by;

/// Names, and the expressions of what they become.
type Assignments = Vec<(Text, Text)>;

/// A `machine` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineText {
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) order: PatternOrder,
    pub(crate) initial: Text,
    /// What each begins with, which also says its type.
    pub(crate) variables: Assignments,
    /// At least one.
    pub(crate) states: Vec<StateText>,
    /// At least one.
    pub(crate) transitions: Vec<TransitionText>,
    /// Rows that are illegal are told.
    pub(crate) tells_illegal: bool,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateText {
    pub(crate) name: Text,
    pub(crate) is_final: bool,
    pub(crate) entry: Assignments,
    pub(crate) exit: Assignments,
    pub(crate) timeout: Option<TimeoutText>,
    pub(crate) path: String,
}

/// What time does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeoutText {
    pub(crate) after: Duration,
    pub(crate) to: Text,
    pub(crate) set: Assignments,
    pub(crate) emit: Assignments,
    pub(crate) path: String,
}

/// A transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransitionText {
    /// Empty: every state that is not final.
    pub(crate) from: Vec<Text>,
    /// `None`: the machine stays where it is.
    pub(crate) to: Option<Text>,
    pub(crate) on: Text,
    pub(crate) when: Option<Text>,
    pub(crate) set: Assignments,
    pub(crate) emit: Assignments,
    pub(crate) tells: bool,
    pub(crate) path: String,
}

/// More are refused.
const STATES_MAX: usize = 256;
const TRANSITIONS_MAX: usize = 1_024;
const VARIABLES_MAX: usize = 64;

/// Reads what stands behind `machine:`.
pub(super) fn machine(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<MachineText> {
    let faults_before = faults.len();
    let example = "{by: [order], initial: placed, states: {placed: {}, shipped: final}, transitions: [{from: placed, to: shipped, on: type = 'ship'}]}";
    let mut object = Object::of(node, path, example, faults)?;
    for (name, example) in [
        ("by", "by: [order]"),
        ("initial", "initial: placed"),
        ("states", "states: {placed: {}, shipped: final}"),
        ("transitions", "transitions: [{from: placed, to: shipped, on: type = 'ship'}]"),
    ] {
        if object.peek(name).is_none() {
            object.missing(name, example, faults);
        }
    }
    let by = by(&mut object, faults);
    let orders = [("time", PatternOrder::Time), ("arrival", PatternOrder::Arrival)];
    let order = object.choice("order", &orders, faults).unwrap_or(PatternOrder::Time);
    let initial = object.text("initial", faults);
    let variables = assigned(&mut object, "variables", faults);
    let states = object.take("states").map_or_else(Vec::new, |node| states(node, &object.member("states"), faults));
    let at = object.member("transitions");
    let transitions: Vec<Option<TransitionText>> = object.take("transitions").map_or_else(Vec::new, |node| {
        let items = list(node, &at, "[{from: placed, to: shipped, on: type = 'ship'}]", faults);
        items.iter().enumerate().map(|(n, item)| transition(item, format!("{at}[{n}]"), faults)).collect()
    });
    let illegal = object.choice("illegal", &[("count", false), ("emit", true)], faults).unwrap_or(false);
    for (name, count, most) in [
        ("states", states.len(), STATES_MAX),
        ("transitions", transitions.len(), TRANSITIONS_MAX),
        ("variables", variables.as_ref().map_or(0, Vec::len), VARIABLES_MAX),
    ] {
        if count > most {
            let error = format!("{count} {name}");
            faults.push(Fault::new(
                object.member(name),
                node.line,
                error,
                format!("at most {most} are possible: split the machine in two"),
            ));
        }
    }
    object.finish(&["by", "order", "initial", "variables", "states", "transitions", "illegal"], faults);
    let transitions = transitions.into_iter().collect::<Option<Vec<_>>>()?;
    if faults.len() == faults_before && (states.is_empty() || transitions.is_empty()) {
        faults.push(Fault::new(
            path,
            node.line,
            "a machine without states or transitions does nothing",
            format!("write `{example}`"),
        ));
    }
    if faults.len() > faults_before {
        return None;
    }
    Some(MachineText { by: by?, order, initial: initial?, variables: variables?, states, transitions, tells_illegal: illegal })
}

fn assigned(object: &mut Object<'_>, name: &str, faults: &mut Vec<Fault>) -> Option<Assignments> {
    let path = object.member(name);
    object.take(name).map_or(Some(Vec::new()), |node| columns(node, &path, faults))
}

fn states(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Vec<StateText> {
    let Some(mut object) = Object::of(node, path, "{placed: {timeout: {after: 30m, to: abandoned}}, shipped: final}", faults)
    else {
        return Vec::new();
    };
    let names: Vec<Text> = object.keys().map(|key| Text { text: key.name.clone(), line: key.line }).collect();
    let read = names.into_iter().filter_map(|name| {
        let path = object.member(&name.text);
        state(name.clone(), object.take(&name.text)?, path, faults)
    });
    read.collect()
}

fn state(name: Text, node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<StateText> {
    let plain = |is_final| StateText {
        name: name.clone(),
        is_final,
        entry: Vec::new(),
        exit: Vec::new(),
        timeout: None,
        path: path.clone(),
    };
    if let NodeValue::Scalar { text, plain: is_plain } = &node.value {
        if *is_plain && node.json().is_null() {
            return Some(plain(false));
        }
        if text == "final" {
            return Some(plain(true));
        }
        let error = format!("`{text}` does not say what state this is");
        faults.push(Fault::new(path, node.line, error, "write `final`, `{}`, or `{timeout: {after: 30m, to: abandoned}}`"));
        return None;
    }
    let mut object = Object::of(node, &path, "{timeout: {after: 30m, to: abandoned}}", faults)?;
    let is_final = object.flag("final", faults).unwrap_or(false);
    let entry = assigned(&mut object, "entry", faults);
    let exit = assigned(&mut object, "exit", faults);
    let at = object.member("timeout");
    let timeout = object.take("timeout").map_or(Some(None), |node| timeout(node, at, faults).map(Some));
    object.finish(&["final", "entry", "exit", "timeout"], faults);
    let (entry, exit, timeout) = (entry?, exit?, timeout?);
    if is_final && (timeout.is_some() || !exit.is_empty()) {
        let error = "nothing leaves a final state: a machine that reaches it is gone";
        faults.push(Fault::new(&path, node.line, error, "remove `timeout` and `exit`, or `final`"));
    }
    Some(StateText { name, is_final, entry, exit, timeout, path })
}

fn timeout(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<TimeoutText> {
    let mut object = Object::of(node, &path, "{after: 30m, to: abandoned}", faults)?;
    for (name, example) in [("after", "after: 30m"), ("to", "to: abandoned")] {
        if object.peek(name).is_none() {
            object.missing(name, example, faults);
        }
    }
    let after = object.duration("after", faults);
    if after.is_some_and(|after| after.is_zero()) {
        faults.push(Fault::new(
            object.member("after"),
            node.line,
            "nobody would be in the state",
            "write how long: `after: 30m`",
        ));
        return None;
    }
    let to = object.text("to", faults);
    let set = assigned(&mut object, "set", faults);
    let emit = assigned(&mut object, "emit", faults);
    object.finish(&["after", "to", "set", "emit"], faults);
    Some(TimeoutText { after: after?, to: to?, set: set?, emit: emit?, path })
}

fn transition(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<TransitionText> {
    let mut object = Object::of(node, &path, "{from: placed, to: shipped, on: type = 'ship'}", faults)?;
    let at = object.member("from");
    let from = object.take("from").map_or(Some(Vec::new()), |node| names(node, &at, faults));
    let to = object.take("to").map(|node| text_of(node, &object.member("to"), faults));
    if object.peek("on").is_none() {
        object.missing("on", "on: type = 'ship'", faults);
    }
    let on = object.text("on", faults);
    let when = object.text("when", faults);
    let set = assigned(&mut object, "set", faults);
    let emit = assigned(&mut object, "emit", faults);
    let tells = object.flag("tell", faults).unwrap_or(true);
    if !tells && emit.as_ref().is_some_and(|emit| !emit.is_empty()) {
        let error = "`emit` without a row that has it";
        faults.push(Fault::new(object.member("tell"), node.line, error, "remove `tell: false`, or `emit`"));
    }
    object.finish(&["from", "to", "on", "when", "set", "emit", "tell"], faults);
    let to = match to {
        Some(text) => Some(text?),
        None => None,
    };
    Some(TransitionText { from: from?, to, on: on?, when, set: set?, emit: emit?, tells, path })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::pipeline::example::read_as;

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(step: &str, expected: Expect) {
        let text = format!("from: a\nsteps:\n- machine:\n{step}to: [stdout]\n");
        expected.assert_eq(&read_as(&text, |definition| format!("{:?}\n", definition.steps[0].kind)));
    }

    #[test]
    fn a_machine_is_read_with_all_it_has() {
        check(
            "    by: [o]\n    order: arrival\n    initial: a\n    variables: {n: 0}\n    states: {a: {timeout: {after: 1m, to: b, set: {n: 1}, emit: {x: n}}, exit: {x: n}}, b: , c: final, d: {final: true, entry: {x: n}}}\n    transitions:\n    - {from: a, to: c, on: t = 1, when: n > 1, set: {n: n + 1}, emit: {x: n}}\n    - {on: t = 2, tell: false}\n    illegal: emit\n",
            expect![[r#"
                Machine(MachineText { by: [Text { text: "o", line: 4 }], order: Arrival, initial: Text { text: "a", line: 6 }, variables: [(Text { text: "n", line: 7 }, Text { text: "0", line: 7 })], states: [StateText { name: Text { text: "a", line: 8 }, is_final: false, entry: [], exit: [(Text { text: "x", line: 8 }, Text { text: "n", line: 8 })], timeout: Some(TimeoutText { after: 60s, to: Text { text: "b", line: 8 }, set: [(Text { text: "n", line: 8 }, Text { text: "1", line: 8 })], emit: [(Text { text: "x", line: 8 }, Text { text: "n", line: 8 })], path: "steps[0].machine.states.a.timeout" }), path: "steps[0].machine.states.a" }, StateText { name: Text { text: "b", line: 8 }, is_final: false, entry: [], exit: [], timeout: None, path: "steps[0].machine.states.b" }, StateText { name: Text { text: "c", line: 8 }, is_final: true, entry: [], exit: [], timeout: None, path: "steps[0].machine.states.c" }, StateText { name: Text { text: "d", line: 8 }, is_final: true, entry: [(Text { text: "x", line: 8 }, Text { text: "n", line: 8 })], exit: [], timeout: None, path: "steps[0].machine.states.d" }], transitions: [TransitionText { from: [Text { text: "a", line: 10 }], to: Some(Text { text: "c", line: 10 }), on: Text { text: "t = 1", line: 10 }, when: Some(Text { text: "n > 1", line: 10 }), set: [(Text { text: "n", line: 10 }, Text { text: "n + 1", line: 10 })], emit: [(Text { text: "x", line: 10 }, Text { text: "n", line: 10 })], tells: true, path: "steps[0].machine.transitions[0]" }, TransitionText { from: [], to: None, on: Text { text: "t = 2", line: 11 }, when: None, set: [], emit: [], tells: false, path: "steps[0].machine.transitions[1]" }], tells_illegal: true })
            "#]],
        );
    }

    #[test]
    fn what_a_machine_cannot_be_is_said_with_its_line() {
        check(
            "    state: a\n",
            expect![[r#"
            4: steps[0].machine.by: `by` is missing -> add `by: [order]`
            4: steps[0].machine.initial: `initial` is missing -> add `initial: placed`
            4: steps[0].machine.states: `states` is missing -> add `states: {placed: {}, shipped: final}`
            4: steps[0].machine.transitions: `transitions` is missing -> add `transitions: [{from: placed, to: shipped, on: type = 'ship'}]`
            4: steps[0].machine.state: there is no `state` -> did you mean `states`?
        "#]],
        );
        check(
            "    by: []\n    initial: a\n    states: {a: last, b: {final: true, timeout: {after: 1m, to: a}}, c: {timeout: {after: 0s}}}\n    transitions:\n    - {from: a}\n    - {on: x, tell: false, emit: {y: 1}}\n",
            expect![[r#"
                6: steps[0].machine.states.a: `last` does not say what state this is -> write `final`, `{}`, or `{timeout: {after: 30m, to: abandoned}}`
                6: steps[0].machine.states.b: nothing leaves a final state: a machine that reaches it is gone -> remove `timeout` and `exit`, or `final`
                6: steps[0].machine.states.c.timeout.to: `to` is missing -> add `to: abandoned`
                6: steps[0].machine.states.c.timeout.after: nobody would be in the state -> write how long: `after: 30m`
                8: steps[0].machine.transitions[0].on: `on` is missing -> add `on: type = 'ship'`
                9: steps[0].machine.transitions[1].tell: `emit` without a row that has it -> remove `tell: false`, or `emit`
            "#]],
        );
    }
}
