//! `join`: which rows of two streams belong together. It is the first step.
//!
//! ```yaml
//! from: [{stream: flights, as: a}, {stream: flights, as: b}]
//! steps:
//! - join: {kind: inner, on: a.destination = b.origin and a.seq <> b.seq, within: [0s, 30m]}
//! - join: {kind: left, on: a.id = b.id, window: {tumbling: 1h}}          # instead of within
//! ```

use std::time::Duration;

use tidemill_event::units;
use tidemill_flow::JoinKind;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::window::{WindowKind, time_window};

/// How far rows that belong together may lie apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinBound {
    /// The least and the greatest time of the right row less that of the left, in µs; `None`: there is no bound.
    Within(Option<i64>, Option<i64>),
    /// In the same window.
    Window(WindowKind),
}

/// A `join` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinStep {
    pub(crate) kind: JoinKind,
    /// What must hold of a pair; `None`: nothing else.
    pub(crate) on: Option<Text>,
    pub(crate) bound: JoinBound,
    pub(crate) line: usize,
}

const KINDS: [(&str, JoinKind); 6] = [
    ("inner", JoinKind::Inner),
    ("left", JoinKind::Left),
    ("right", JoinKind::Right),
    ("full", JoinKind::Full),
    ("semi", JoinKind::Semi),
    ("anti", JoinKind::Anti),
];

/// Its word in the grammar.
pub(crate) fn kind_word(kind: JoinKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word)
}

/// Reads what stands behind `join:`.
pub(super) fn join(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<JoinStep> {
    let mut object = Object::of(node, path, "{on: a.id = b.id, within: [0s, 30m]}", faults)?;
    let kind = object.choice("kind", &KINDS, faults).unwrap_or(JoinKind::Inner);
    let on = object.text("on", faults);
    let (within_at, window_at) = (object.member("within"), object.member("window"));
    let bound = match (object.take("within"), object.take("window")) {
        (Some(node), None) => within(node, &within_at, faults),
        (None, Some(node)) => window(node, &window_at, faults),
        (Some(_), Some(node)) => {
            let error = "`within` and `window` in one join";
            faults.push(Fault::new(window_at, node.line, error, "keep one of them: how far apart, or in the same window"));
            None
        }
        (None, None) => {
            let error = "nothing says how long a row waits for others";
            let remedy = "add `within: [0s, 30m]`, `window: {tumbling: 1h}`, or `within: off` to keep every row for ever";
            faults.push(Fault::new(path, node.line, error, remedy));
            None
        }
    };
    object.finish(&["kind", "on", "within", "window"], faults);
    Some(JoinStep { kind, on, bound: bound?, line: node.line })
}

/// `[-5m, 30m]`; either may be `off`, and `off` alone is both.
fn within(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<JoinBound> {
    let form = "write the least and the greatest time of the right row less that of the left: `[0s, 30m]`, `[-5m, off]`";
    let items = match &node.value {
        NodeValue::Scalar { text, .. } if text == "off" => return Some(JoinBound::Within(None, None)),
        NodeValue::List(items) => items.as_slice(),
        NodeValue::Scalar { .. } | NodeValue::Object(_) => &[],
    };
    let [low, high] = items else {
        faults.push(Fault::new(path, node.line, "these are not two bounds", form));
        return None;
    };
    let (low, high) = (text_of(low, path, faults)?, text_of(high, path, faults)?);
    let (Some(low), Some(high)) = (bound(&low.text), bound(&high.text)) else {
        let error = format!("`{}` and `{}` are no bounds", low.text, high.text);
        faults.push(Fault::new(path, node.line, error, form));
        return None;
    };
    if let (Some(least), Some(greatest)) = (low, high)
        && least > greatest
    {
        faults.push(Fault::new(path, node.line, "the first bound is greater than the second: no pair lies between", form));
        return None;
    }
    Some(JoinBound::Within(low, high))
}

/// `30m`, `-5m`, `off`: µs, if there is a bound.
fn bound(text: &str) -> Option<Option<i64>> {
    if text == "off" {
        return Some(None);
    }
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let micros = units::duration(text).as_ref().map(Duration::as_micros)?;
    Some(Some(sign * i64::try_from(micros).ok()?))
}

fn window(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<JoinBound> {
    let mut object = Object::of(node, path, "{tumbling: 1h}", faults)?;
    let kind = time_window(&mut object, faults);
    object.finish(&["tumbling", "hopping", "cumulating", "offset"], faults);
    kind.map(JoinBound::Window)
}
