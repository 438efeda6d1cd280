//! `join`: which rows of two streams belong together. It is the first step.
//!
//! ```yaml
//! from: [{stream: flights, as: a}, {stream: flights, as: b}]
//! steps:
//! - join: {kind: inner, on: a.destination = b.origin and a.seq <> b.seq, within: [0s, 30m]}
//! - join: {kind: left, on: a.id = b.id, window: {tumbling: 1h}}          # instead of within
//! - join: {kind: left, on: t.symbol = q.symbol, as_of: backward, tolerance: 10s}
//! ```

use std::time::Duration;

use tidemill_event::units;
use tidemill_flow::{AsOf, JoinKind};

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, listed, text_of};
use crate::pipeline::window::{WindowKind, time_window};

/// How far rows that belong together may lie apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinBound {
    /// The least and the greatest time of the right row less that of the left, in µs; `None`: there is no bound.
    Within(Option<i64>, Option<i64>),
    /// In the same window.
    Window(WindowKind),
    /// Each left row with one right row, so far away at most.
    AsOf(AsOf, Option<Duration>),
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

/// What says which rows may belong together; exactly one stands in a `join`.
const BOUNDS: [&str; 3] = ["within", "window", "as_of"];
const DIRECTIONS: [(&str, AsOf); 3] = [("backward", AsOf::Backward), ("forward", AsOf::Forward), ("nearest", AsOf::Nearest)];

/// The word of a direction.
pub(crate) fn direction_word(direction: AsOf) -> &'static str {
    DIRECTIONS.iter().find(|(_, known)| *known == direction).map_or("", |(word, _)| word)
}

/// Its word in the grammar.
pub(crate) fn kind_word(kind: JoinKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word)
}

/// Reads what stands behind `join:`.
pub(super) fn join(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<JoinStep> {
    let mut object = Object::of(node, path, "{on: a.id = b.id, within: [0s, 30m]}", faults)?;
    let kind = object.choice("kind", &KINDS, faults).unwrap_or(JoinKind::Inner);
    let on = object.text("on", faults);
    let named: Vec<&str> = object.keys().map(|key| key.name.as_str()).filter(|word| BOUNDS.contains(word)).collect();
    let bound = match named.as_slice() {
        ["within"] => object.take("within").and_then(|node| within(node, &object.member("within"), faults)),
        ["window"] => object.take("window").and_then(|node| window(node, &object.member("window"), faults)),
        ["as_of"] => as_of(kind, &mut object, faults),
        [_, second, ..] => {
            let error = format!("{} in one join", listed(&named, "and"));
            let remedy = "keep one of them: how far apart, in the same window, or the one row that was there";
            faults.push(Fault::new(object.member(second), node.line, error, remedy));
            for word in named {
                object.take(word);
            }
            None
        }
        _ => {
            let error = "nothing says how long a row waits for others";
            let remedy = "add `within: [0s, 30m]`, `window: {tumbling: 1h}`, `as_of: backward`, or `within: off` to keep every row for ever";
            faults.push(Fault::new(path, node.line, error, remedy));
            None
        }
    };
    object.finish(&["kind", "on", "within", "window", "as_of", "tolerance"], faults);
    Some(JoinStep { kind, on, bound: bound?, line: node.line })
}

/// `as_of: backward, tolerance: 10s`.
fn as_of(kind: JoinKind, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<JoinBound> {
    let line = object.peek("as_of").map_or(object.line, |node| node.line);
    let direction = object.choice("as_of", &DIRECTIONS, faults);
    let tolerance = object.duration("tolerance", faults);
    if !matches!(kind, JoinKind::Inner | JoinKind::Left) {
        let error = format!(
            "a `{}` join `as_of`: each left row goes with one right row, and right rows do not come out alone",
            kind_word(kind)
        );
        faults.push(Fault::new(object.member("as_of"), line, error, "write `kind: inner` or `kind: left`"));
    }
    Some(JoinBound::AsOf(direction?, tolerance))
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
    object.finish(&["tumbling", "hopping", "cumulating", "calendar", "offset", "zone"], faults);
    kind.map(JoinBound::Window)
}
