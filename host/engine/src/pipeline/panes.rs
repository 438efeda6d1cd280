//! When a window speaks before and after its end, and how what it says goes together.
//!
//! ```yaml
//! - window: {tumbling: 1h, by: [user], select: {n: count(*)}, early: 10s, lateness: 5m, late: each, panes: retracting}
//! ```
//! `early` and `late` are `each` (row), `{rows: 100}`, or a time by the clock, `10s`; `early` may be `{event_time: 10s}`, too.

use std::time::Duration;

use tidemill_event::units;
use tidemill_flow::{Early, Late, PaneSettings, Said};

use crate::Fault;
use crate::pipeline::WindowKind;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};

/// What a window says of its panes. `None` for all of it: it speaks once.
const SAID: [(&str, Said); 3] =
    [("accumulating", Said::Accumulating), ("discarding", Said::Discarding), ("retracting", Said::Retracting)];

/// When something is said.
enum Speaks {
    Rows(u64),
    Clock(Duration),
    EventTime(Duration),
}

/// Reads `early`, `late` and `panes` of a window. `None`: none of them stands there, or one cannot be read.
pub(super) fn panes(object: &mut Object<'_>, lateness: Duration, faults: &mut Vec<Fault>) -> Option<PaneSettings> {
    let (early_at, late_at) = (object.member("early"), object.member("late"));
    let (early_node, late_node) = (object.take("early"), object.take("late"));
    let has_said = object.peek("panes").is_some();
    let said = object.choice("panes", &SAID, faults);
    if early_node.is_none() && late_node.is_none() && !has_said {
        return None;
    }
    let mut settings = PaneSettings { said: said.unwrap_or_default(), shows: true, ..PaneSettings::default() };
    if let Some(node) = early_node {
        settings.early = Some(match speaks(node, &early_at, &["rows", "event_time"], faults)? {
            Speaks::Rows(rows) => Early::Rows(rows),
            Speaks::Clock(delay) => Early::Clock(delay),
            Speaks::EventTime(every) => Early::EventTime(every),
        });
    }
    if let Some(node) = late_node {
        if lateness.is_zero() {
            faults.push(Fault::new(&late_at, node.line, "no late row is taken", "say how long they are taken: `lateness: 1m`"));
        }
        settings.late = match speaks(node, &late_at, &["rows"], faults)? {
            Speaks::Rows(rows) => Late::Rows(rows),
            Speaks::Clock(delay) | Speaks::EventTime(delay) => Late::Clock(delay),
        };
    }
    Some(settings)
}

/// What windows of a kind cannot do.
pub(super) fn refuse(kind: &WindowKind, panes: &PaneSettings, by_clock: bool, object: &Object<'_>, faults: &mut Vec<Fault>) {
    let word = if panes.early.is_some() { "early" } else { "panes" };
    let line = object.keys().find(|key| key.name == word).map_or(object.line, |key| key.line);
    if let WindowKind::Count(_) = kind {
        let error = "a window that counts rows speaks when it is full";
        faults.push(Fault::new(object.member(word), line, error, "a smaller `count`, or `over`, speaks more often"));
    }
    if let (Some(Early::EventTime(_)), true) = (panes.early, by_clock) {
        let error = "the time of this window is the clock's";
        faults.push(Fault::new(object.member(word), line, error, "write the time alone: `early: 10s`"));
    }
}

fn speaks(node: &Node, path: &str, words: &[&'static str], faults: &mut Vec<Fault>) -> Option<Speaks> {
    let example =
        if words.len() > 1 { "`each`, `10s`, `{rows: 100}` or `{event_time: 10s}`" } else { "`each`, `10s` or `{rows: 100}`" };
    if !matches!(node.value, NodeValue::Object(_)) {
        let text = text_of(node, path, faults)?;
        let read = match (text.text.as_str(), units::duration(&text.text)) {
            ("each", _) => Some(Speaks::Rows(1)),
            (_, Some(delay)) if !delay.is_zero() => Some(Speaks::Clock(delay)),
            _ => None,
        };
        if read.is_none() {
            let error = format!("`{}` says nothing of when", text.text);
            faults.push(Fault::new(path, text.line, error, format!("write {example}")));
        }
        return read;
    }
    let mut object = Object::of(node, path, "{rows: 100}", faults)?;
    let rows = object.peek("rows").is_some().then(|| object.number("rows", faults));
    let has_event_time = words.contains(&"event_time") && object.peek("event_time").is_some();
    let event_time = has_event_time.then(|| object.duration("event_time", faults));
    object.finish(words, faults);
    match (rows, event_time) {
        (Some(rows), None) => match rows? {
            0 => {
                faults.push(Fault::new(
                    path,
                    node.line,
                    "no row at all is none to wait for",
                    "write a number of rows: `{rows: 100}`",
                ));
                None
            }
            rows => Some(Speaks::Rows(rows)),
        },
        (None, Some(every)) => match every? {
            Duration::ZERO => {
                faults.push(Fault::new(path, node.line, "no time at all is none to wait for", "write `{event_time: 10s}`"));
                None
            }
            every => Some(Speaks::EventTime(every)),
        },
        (None, None) | (Some(_), Some(_)) => {
            faults.push(Fault::new(path, node.line, "it takes one word that says when", format!("write {example}")));
            None
        }
    }
}
