//! `correlate`: which events of a key belong together, and within what time; and `origin`, which says where a row came from.
//!
//! ```yaml
//! - origin: {stream: source, partition: partition, offset: offset}
//! - correlate:
//!     by: [user]
//!     within: 10m
//!     kinds: {failed: kind = 'failed', reset: kind = 'reset', export: source = 'exports'}
//!     in_order: true
//!     distinct: {of: ip, at_least: 2}
//!     evidence: [source, partition, offset, ip]
//! ```
//! `streams: [logins, exports]` are kinds too: each is the rows of the stream of its name, which `origin` must have said before.

use std::time::Duration;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;
use crate::pipeline::parse::{columns, names};
use crate::pipeline::window::by;

/// Where a row came from, as columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OriginStep {
    /// The column of the stream's name.
    pub(crate) stream: Option<Text>,
    pub(crate) partition: Option<Text>,
    pub(crate) offset: Option<Text>,
}

/// What kinds of events there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KindsText {
    /// Names and conditions; none: every row is an event.
    Said(Vec<(Text, Text)>),
    /// Rows of each of these streams.
    Streams(Vec<Text>),
}

/// A `correlate` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CorrelateText {
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) within: Duration,
    pub(crate) kinds: KindsText,
    /// So many of the kinds; all unless said.
    pub(crate) kinds_at_least: Option<u32>,
    pub(crate) in_order: bool,
    /// What counts as different, and how often.
    pub(crate) distinct: Option<(Text, u32)>,
    /// Columns of each event.
    pub(crate) evidence: Vec<Text>,
    pub(crate) events_max: u32,
    /// Whether somebody may ask later why a match was told.
    pub(crate) explain: bool,
}

/// More are refused: a kind is a bit of an event.
const KINDS_MAX: usize = 64;
/// Events that a key's group keeps.
const EVENTS_MAX: u32 = 1_000;
const EVENTS_MOST: u64 = 100_000;

/// Reads what stands behind `origin:`.
pub(super) fn origin(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<OriginStep> {
    let example = "{stream: source, partition: partition, offset: offset}";
    let mut object = Object::of(node, path, example, faults)?;
    let [stream, partition, offset] = ["stream", "partition", "offset"].map(|name| object.text(name, faults));
    object.finish(&["stream", "partition", "offset"], faults);
    if stream.is_none() && partition.is_none() && offset.is_none() {
        let remedy = format!("name at least one column: `{example}`");
        faults.push(Fault::new(path, node.line, "no column says where a row came from", remedy));
        return None;
    }
    Some(OriginStep { stream, partition, offset })
}

/// Reads what stands behind `correlate:`.
pub(super) fn correlate(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<CorrelateText> {
    let faults_before = faults.len();
    let example = "{by: [user], within: 10m, kinds: {failed: kind = 'failed', reset: kind = 'reset'}}";
    let mut object = Object::of(node, path, example, faults)?;
    for (name, example) in [("by", "by: [user]"), ("within", "within: 10m")] {
        if object.peek(name).is_none() {
            object.missing(name, example, faults);
        }
    }
    let by = by(&mut object, faults);
    let within = object.duration("within", faults);
    if within.is_some_and(|within| within.is_zero()) {
        let error = "no two events come together in no time";
        faults.push(Fault::new(object.member("within"), node.line, error, "write how long: `within: 10m`"));
    }
    let at = object.member("streams");
    let streams = object.take("streams").map(|node| names(node, &at, faults));
    let at = object.member("kinds");
    let said = object.take("kinds").map(|node| columns(node, &at, faults));
    if streams.is_some() && said.is_some() {
        let remedy = "write one of them: a kind may be `exports: source = 'exports'` too";
        faults.push(Fault::new(&at, node.line, "`kinds` and `streams` exclude each other", remedy));
    }
    let kinds = match (streams, said) {
        (Some(streams), _) => KindsText::Streams(streams.unwrap_or_default()),
        (None, said) => KindsText::Said(said.flatten().unwrap_or_default()),
    };
    let count = match &kinds {
        KindsText::Said(said) => said.len(),
        KindsText::Streams(streams) => streams.len(),
    };
    let kinds_at_least = at_least(&mut object, "at_least", count as u64, faults);
    let in_order = object.flag("in_order", faults).unwrap_or(false);
    let distinct = object.take("distinct").map(|node| distinct(node, format!("{path}.distinct"), faults));
    let at = object.member("evidence");
    let evidence = object.take("evidence").map_or(Some(Vec::new()), |node| names(node, &at, faults));
    let events_max = match object.number("events_max", faults) {
        None => EVENTS_MAX,
        Some(number @ 2..=EVENTS_MOST) => number as u32,
        Some(number) => {
            let remedy = format!("write a number from 2 to {EVENTS_MOST}");
            faults.push(Fault::new(object.member("events_max"), node.line, format!("{number} events are no bound"), remedy));
            EVENTS_MAX
        }
    };
    let explain = object.flag("explain", faults).unwrap_or(false);
    let known = ["by", "within", "kinds", "streams", "at_least", "in_order", "distinct", "evidence", "events_max", "explain"];
    object.finish(&known, faults);
    let wrong = if count > KINDS_MAX {
        Some((format!("{count} kinds of events"), format!("at most {KINDS_MAX} are possible")))
    } else if count == 0 && distinct.is_none() {
        let remedy = "say `kinds`, `streams`, or `distinct: {of: ip, at_least: 3}`".to_owned();
        Some(("nothing says which events make a match".to_owned(), remedy))
    } else if count == 1 && distinct.is_none() {
        let remedy = "name another kind, or say `distinct`; for several of one kind use a `pattern` or a `window`".to_owned();
        Some(("one event of one kind would be a match".to_owned(), remedy))
    } else if let Some(Some((_, values))) = &distinct
        && *values > events_max
    {
        let remedy = format!("make `events_max` {values} or more, or `at_least` smaller");
        Some((format!("no key holds {values} events: `events_max` is {events_max}"), remedy))
    } else if in_order && (count == 0 || kinds_at_least.is_some_and(|at_least| (at_least as usize) < count)) {
        Some(("`in_order` is the order of all kinds".to_owned(), "remove `in_order`, or `at_least`".to_owned()))
    } else {
        None
    };
    if let Some((error, remedy)) = wrong.filter(|_| faults.len() == faults_before) {
        faults.push(Fault::new(path, node.line, error, remedy));
    }
    if faults.len() > faults_before {
        return None;
    }
    let distinct = distinct.flatten();
    let (by, within, evidence) = (by?, within?, evidence?);
    Some(CorrelateText { by, within, kinds, kinds_at_least, in_order, distinct, evidence, events_max, explain })
}

fn distinct(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<(Text, u32)> {
    let mut object = Object::of(node, &path, "{of: ip, at_least: 3}", faults)?;
    for (name, example) in [("of", "of: ip"), ("at_least", "at_least: 3")] {
        if object.peek(name).is_none() {
            object.missing(name, example, faults);
        }
    }
    let of = object.text("of", faults);
    let values = at_least(&mut object, "at_least", EVENTS_MOST, faults);
    object.finish(&["of", "at_least"], faults);
    Some((of?, values?))
}

/// How many of so many.
fn at_least(object: &mut Object<'_>, name: &'static str, most: u64, faults: &mut Vec<Fault>) -> Option<u32> {
    let line = object.peek(name)?.line;
    let number = object.number(name, faults)?;
    if !(2..=most).contains(&number) {
        let remedy = match most {
            0 | 1 => "remove it".to_owned(),
            2 => "write 2, or remove it: all are needed unless said".to_owned(),
            most => format!("write a number from 2 to {most}"),
        };
        faults.push(Fault::new(object.member(name), line, format!("at least {number}, of {most}"), remedy));
        return None;
    }
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::pipeline::example::read_as;

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(step: &str, expected: Expect) {
        let text = format!("from: a\nsteps:\n- correlate: {step}\nto: [stdout]\n");
        expected.assert_eq(&read_as(&text, |definition| format!("{:?}\n", definition.steps[0].kind)));
    }

    #[test]
    fn a_correlation_is_read_or_refused_by_what_is_wrong_with_it() {
        check(
            "{by: [u], within: 10m, kinds: {a: x = 1, b: x = 2}, in_order: true, distinct: {of: ip, at_least: 2}, evidence: [ip], events_max: 50}",
            expect![[r#"
                Correlate(CorrelateText { by: [Text { text: "u", line: 3 }], within: 600s, kinds: Said([(Text { text: "a", line: 3 }, Text { text: "x = 1", line: 3 }), (Text { text: "b", line: 3 }, Text { text: "x = 2", line: 3 })]), kinds_at_least: None, in_order: true, distinct: Some((Text { text: "ip", line: 3 }, 2)), evidence: [Text { text: "ip", line: 3 }], events_max: 50, explain: false })
            "#]],
        );
        check(
            "{by: [u], within: 10m, streams: [a, b, c], at_least: 2}",
            expect![[r#"
            Correlate(CorrelateText { by: [Text { text: "u", line: 3 }], within: 600s, kinds: Streams([Text { text: "a", line: 3 }, Text { text: "b", line: 3 }, Text { text: "c", line: 3 }]), kinds_at_least: Some(2), in_order: false, distinct: None, evidence: [], events_max: 1000, explain: false })
        "#]],
        );
        check(
            "{}",
            expect![[r#"
            3: steps[0].correlate.by: `by` is missing -> add `by: [user]`
            3: steps[0].correlate.within: `within` is missing -> add `within: 10m`
        "#]],
        );
        check(
            "{by: [u], within: 0s}",
            expect![[r#"
            3: steps[0].correlate.within: no two events come together in no time -> write how long: `within: 10m`
        "#]],
        );
        check(
            "{by: [u], within: 1s}",
            expect![[r#"
            3: steps[0].correlate: nothing says which events make a match -> say `kinds`, `streams`, or `distinct: {of: ip, at_least: 3}`
        "#]],
        );
        check(
            "{by: [u], within: 1s, kinds: {a: x = 1}}",
            expect![[r#"
            3: steps[0].correlate: one event of one kind would be a match -> name another kind, or say `distinct`; for several of one kind use a `pattern` or a `window`
        "#]],
        );
        check(
            "{by: [u], within: 1s, kinds: {a: x = 1}, streams: [a, b]}",
            expect![[r#"
            3: steps[0].correlate.kinds: `kinds` and `streams` exclude each other -> write one of them: a kind may be `exports: source = 'exports'` too
        "#]],
        );
        check(
            "{by: [u], within: 1s, streams: [a, b, c], at_least: 2, in_order: true}",
            expect![[r#"
            3: steps[0].correlate: `in_order` is the order of all kinds -> remove `in_order`, or `at_least`
        "#]],
        );
        check(
            "{by: [u], within: 1s, distinct: {of: x, at_least: 20}, events_max: 10}",
            expect![[r#"
            3: steps[0].correlate: no key holds 20 events: `events_max` is 10 -> make `events_max` 20 or more, or `at_least` smaller
        "#]],
        );
        check(
            "{by: [u], within: 1s, streams: [a, b], at_least: 3, distinct: {of: x}, events_max: 1}",
            expect![[r#"
            3: steps[0].correlate.at_least: at least 3, of 2 -> write 2, or remove it: all are needed unless said
            3: steps[0].correlate.distinct.at_least: `at_least` is missing -> add `at_least: 3`
            3: steps[0].correlate.events_max: 1 events are no bound -> write a number from 2 to 100000
        "#]],
        );
    }
}
