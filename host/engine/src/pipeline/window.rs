//! `window` and `over`: which rows belong together, and what is said of them.
//!
//! ```yaml
//! - window: {tumbling: 1h, offset: 17m, by: [origin], select: {n: count(*)}, lateness: 0s, top: {n: 3, order: [n desc, origin], as: rank}}
//! - window: {calendar: day, zone: Europe/Berlin, offset: 6h, select: {n: count(*)}}
//! - over: {by: [origin], rows: 5, select: {m: avg(delay_min)}}
//! ```

use std::time::Duration;

use tidemill_flow::{CalendarUnit, PaneSettings, Said, Ties};

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, listed};
use crate::pipeline::parse::{columns, names};
use crate::pipeline::{Text, panes};

/// How rows are put into windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WindowKind {
    /// One behind the other.
    Tumbling { size: Duration, offset: Duration },
    /// One every so often; they overlap, or leave some time out.
    Hopping { size: Duration, every: Duration, offset: Duration },
    /// Growing by steps up to the whole size.
    Cumulating { size: Duration, step: Duration, offset: Duration },
    /// As the calendar of a time zone has them.
    Calendar { unit: CalendarUnit, zone: Text, offset: Duration },
    /// Rows that follow each other within a gap, from the first to the last no longer than that.
    Session(SessionGap, Option<Duration>),
    /// So many rows of a key.
    Count(u32),
    /// All rows there are.
    Global,
}

/// How far rows of a session may lie apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionGap {
    /// All the same.
    Fixed(Duration),
    /// Each row says it: an expression, in ms.
    Millis(Text),
}

/// Of each window only the first keys in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopStep {
    pub(crate) n: u64,
    /// Columns of `by`: keys that share them are ranked among themselves.
    pub(crate) per: Vec<Text>,
    pub(crate) order: Vec<TopOrder>,
    pub(crate) ties: Ties,
    /// The column of the rank.
    pub(crate) rank: Text,
}

/// One column to rank by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopOrder {
    pub(crate) column: Text,
    pub(crate) is_descending: bool,
    pub(crate) nulls_first: bool,
}

/// A `window` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WindowStep {
    pub(crate) kind: WindowKind,
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) select: Vec<(Text, Text)>,
    pub(crate) lateness: Duration,
    pub(crate) top: Option<TopStep>,
    /// When it speaks beside its end; `None`: it does not.
    pub(crate) panes: Option<PaneSettings>,
    /// A row's time is that of the clock when it is taken.
    pub(crate) by_clock: bool,
    pub(crate) line: usize,
}

/// An `over` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverStep {
    pub(crate) by: Vec<Text>,
    /// How many rows, the row itself included.
    pub(crate) rows: u32,
    pub(crate) select: Vec<(Text, Text)>,
    pub(crate) line: usize,
}

/// The word that says which windows; exactly one stands in a `window`.
const KINDS: [&str; 7] = ["tumbling", "hopping", "session", "cumulating", "calendar", "count", "global"];
/// Those whose windows are the same for all keys.
const TIMED: [&str; 4] = ["tumbling", "hopping", "cumulating", "calendar"];
/// Whose time it is.
const TIMES: [(&str, bool); 2] = [("event", false), ("processing", true)];
/// The units of a calendar.
const UNITS: [(&str, CalendarUnit); 5] = [
    ("day", CalendarUnit::Day),
    ("week", CalendarUnit::Week),
    ("month", CalendarUnit::Month),
    ("quarter", CalendarUnit::Quarter),
    ("year", CalendarUnit::Year),
];
/// The zone of a calendar that is not named.
const UTC: &str = "UTC";
/// More rows to look back at are refused: each of them is kept per key.
const OVER_ROWS_MAX: u64 = 10_000;
/// More keys of a window are refused.
const TOP_MAX: u64 = 100_000;
/// What becomes of keys that are equal in the order.
const TIES: [(&str, Ties); 2] = [("apart", Ties::Apart), ("all", Ties::All)];
/// The column of a rank that is not named.
const RANK: &str = "rank";

/// Reads what stands behind `window:`.
pub(super) fn window(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<WindowStep> {
    let mut object = Object::of(node, path, "{tumbling: 1h, by: [origin], select: {n: count(*)}}", faults)?;
    let words: Vec<&str> = object.keys().map(|key| key.name.as_str()).filter(|word| KINDS.contains(word)).collect();
    let word = match words.as_slice() {
        [word] => Some(*word),
        [] => {
            let is_sliding = object.keys().any(|key| matches!(key.name.as_str(), "sliding" | "slide"));
            let remedy = match is_sliding {
                true => {
                    "windows that overlap are `hopping: {size: 1h, every: 15m}`; a row and those before it are an `over` step"
                        .to_owned()
                }
                false => format!("add {}: `tumbling: 1h`", listed(&KINDS, "or")),
            };
            faults.push(Fault::new(path, node.line, "nothing says which rows a window has", remedy));
            None
        }
        several => {
            let error = format!("{} in one window", listed(several, "and"));
            faults.push(Fault::new(path, node.line, error, "keep one of them; a second `window` step can follow"));
            None
        }
    };
    let kind = word.and_then(|word| kind(word, &mut object, faults));
    // What is not known cannot be said to stand in a wrong place.
    if word.is_none() {
        for word in words.iter().chain(&["offset", "zone"]) {
            object.take(word);
        }
    }
    let by = by(&mut object, faults);
    let select = select(&mut object, "select: {n: count(*)}", faults);
    let lateness_line = object.keys().find(|key| key.name == "lateness").map(|key| key.line);
    let lateness = object.duration("lateness", faults).unwrap_or_default();
    let top_at = object.member("top");
    let top_node = object.take("top");
    let top = top_node.and_then(|node| top(node, &top_at, faults));
    if let (Some(line), false) = (lateness_line, lateness.is_zero())
        && let Some((error, remedy)) = kind.as_ref().and_then(without_lateness)
    {
        faults.push(Fault::new(object.member("lateness"), line, error, remedy));
    }
    let by_clock = object.choice("time", &TIMES, faults).unwrap_or(false);
    let panes = panes::panes(&mut object, lateness, faults);
    if let (Some(kind), Some(panes)) = (&kind, &panes) {
        panes::refuse(kind, panes, by_clock, &object, faults);
    }
    if let (Some(node), Some(PaneSettings { said: Said::Discarding, .. })) = (top_node, panes) {
        let error = "a ranking of what is new only ranks nothing that a window has";
        faults.push(Fault::new(&top_at, node.line, error, "write `panes: accumulating` or `panes: retracting`"));
    }
    if let Some((error, remedy)) = kind.as_ref().filter(|_| by_clock).and_then(|kind| without_clock(kind, lateness)) {
        let line = object.keys().find(|key| key.name == "time").map_or(node.line, |key| key.line);
        faults.push(Fault::new(object.member("time"), line, error, remedy));
    }
    if let (Some(node), Some("session" | "count")) = (top_node, word) {
        let error = "keys are ranked within a window that all of them have, and these windows are of one key each";
        let remedy = "rank in a `window: {tumbling: …, top: …}` behind this one";
        faults.push(Fault::new(&top_at, node.line, error, remedy));
    }
    let mut known: Vec<&str> = KINDS.to_vec();
    known.extend(["offset", "zone", "by", "select", "time", "early", "lateness", "late", "panes", "top"]);
    object.finish(&known, faults);
    Some(WindowStep { kind: kind?, by: by?, select: select?, lateness, top, panes, by_clock, line: node.line })
}

/// Why windows of this kind take no `lateness`, and what to write instead.
fn without_lateness(kind: &WindowKind) -> Option<(&'static str, &'static str)> {
    match kind {
        WindowKind::Tumbling { .. }
        | WindowKind::Hopping { .. }
        | WindowKind::Cumulating { .. }
        | WindowKind::Calendar { .. }
        | WindowKind::Session(..) => None,
        WindowKind::Count(_) => Some(("no row is late for a window that counts rows", "remove `lateness`")),
        WindowKind::Global => Some(("no row is late for a window without an end", "remove `lateness`")),
    }
}

/// Why the time of windows of this kind cannot be the clock's, and what to write instead.
fn without_clock(kind: &WindowKind, lateness: Duration) -> Option<(&'static str, &'static str)> {
    match kind {
        WindowKind::Count(_) => Some(("a window that counts rows has no time", "remove `time`")),
        WindowKind::Global => Some(("a window without an end has no time", "remove `time`; `early: 10s` speaks by the clock")),
        _ if !lateness.is_zero() => Some(("no row is late by the clock that takes it", "remove `lateness`, or `time`")),
        WindowKind::Tumbling { .. }
        | WindowKind::Hopping { .. }
        | WindowKind::Cumulating { .. }
        | WindowKind::Calendar { .. }
        | WindowKind::Session(..) => None,
    }
}

/// Windows of the same length for all keys: what a join may have too. `None`: with a fault, also where none is named.
pub(super) fn time_window(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<WindowKind> {
    let words: Vec<&str> = object.keys().map(|key| key.name.as_str()).filter(|word| TIMED.contains(word)).collect();
    let [word] = words.as_slice() else {
        let error = if words.is_empty() {
            "nothing says how long a window is".to_owned()
        } else {
            format!("{} in one window", listed(&words, "and"))
        };
        faults.push(Fault::new(
            &object.path,
            object.line,
            error,
            format!("write one of {}: `tumbling: 1h`", listed(&TIMED, "and")),
        ));
        for word in words.iter().chain(&["offset", "zone"]) {
            object.take(word);
        }
        return None;
    };
    timed(word, object, faults)
}

fn timed(word: &str, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<WindowKind> {
    let (path, offset) = (object.member(word), object.duration("offset", faults).unwrap_or_default());
    match word {
        "hopping" => {
            let [size, every] = durations(object.take(word)?, &path, ["size", "every"], "{size: 1h, every: 15m}", faults)?;
            Some(WindowKind::Hopping { size, every, offset })
        }
        "cumulating" => {
            let [size, step] = durations(object.take(word)?, &path, ["size", "step"], "{size: 1d, step: 1h}", faults)?;
            Some(WindowKind::Cumulating { size, step, offset })
        }
        "calendar" => {
            let line = object.peek(word).map_or(object.line, |node| node.line);
            let unit = object.choice(word, &UNITS, faults);
            let zone = object.text("zone", faults).unwrap_or(Text { text: UTC.to_owned(), line });
            Some(WindowKind::Calendar { unit: unit?, zone, offset })
        }
        _ => Some(WindowKind::Tumbling { size: object.duration(word, faults)?, offset }),
    }
}

fn kind(word: &str, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<WindowKind> {
    let path = object.member(word);
    match word {
        "tumbling" | "hopping" | "cumulating" | "calendar" => timed(word, object, faults),
        "session" => {
            let is_object = object.peek(word).is_some_and(|node| matches!(node.value, NodeValue::Object(_)));
            if !is_object {
                return Some(WindowKind::Session(SessionGap::Fixed(object.duration(word, faults)?), None));
            }
            let mut inner = Object::of(object.take(word)?, &path, "{gap: 30m, max_length: 4h}", faults)?;
            let longest = inner.peek("max_length").is_some().then(|| inner.duration("max_length", faults));
            let gap = match (inner.peek("gap"), inner.peek("gap_ms")) {
                (Some(_), None) => inner.duration("gap", faults).map(SessionGap::Fixed),
                (None, Some(_)) => inner.text("gap_ms", faults).map(SessionGap::Millis),
                (None, None) => {
                    inner.missing("gap", "gap: 30m", faults);
                    None
                }
                (Some(_), Some(_)) => {
                    let error = "`gap` and `gap_ms` in one session";
                    faults.push(Fault::new(&path, inner.line, error, "keep one of them: `gap_ms` is an expression"));
                    inner.take("gap");
                    inner.take("gap_ms");
                    None
                }
            };
            inner.finish(&["gap", "gap_ms", "max_length"], faults);
            let longest = longest.map_or(Some(None), |longest| longest.map(Some));
            Some(WindowKind::Session(gap?, longest?))
        }
        "count" => {
            let line = object.peek(word).map_or(object.line, |node| node.line);
            let rows = object.number(word, faults)?;
            match u32::try_from(rows) {
                Ok(rows @ 1..) => Some(WindowKind::Count(rows)),
                _ => {
                    faults.push(Fault::new(
                        path,
                        line,
                        format!("{rows} rows are no window"),
                        "write a number of rows: `count: 100`",
                    ));
                    None
                }
            }
        }
        _ => {
            let inner = Object::of(object.take(word)?, &path, "global: {}", faults)?;
            inner.finish(&[], faults);
            Some(WindowKind::Global)
        }
    }
}

/// An object of two durations.
fn durations(node: &Node, path: &str, names: [&'static str; 2], example: &str, faults: &mut Vec<Fault>) -> Option<[Duration; 2]> {
    let mut object = Object::of(node, path, example, faults)?;
    let values = names.map(|name| {
        if object.peek(name).is_none() {
            object.missing(name, &format!("{name}: 1h"), faults);
            return None;
        }
        object.duration(name, faults)
    });
    object.finish(&names, faults);
    let [first, second] = values;
    Some([first?, second?])
}

/// `by`; empty where it is not said.
pub(super) fn by(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<Vec<Text>> {
    let path = object.member("by");
    match object.take("by") {
        Some(node) => names(node, &path, faults),
        None => Some(Vec::new()),
    }
}

fn select(object: &mut Object<'_>, example: &str, faults: &mut Vec<Fault>) -> Option<Vec<(Text, Text)>> {
    let path = object.member("select");
    match object.take("select") {
        Some(node) => columns(node, &path, faults),
        None => {
            object.missing("select", example, faults);
            None
        }
    }
}

fn top(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<TopStep> {
    let mut object = Object::of(node, path, "{n: 3, order: [n desc, origin], as: rank}", faults)?;
    let n = match object.peek("n") {
        Some(_) => object.number("n", faults),
        None => {
            object.missing("n", "n: 3", faults);
            None
        }
    };
    if let Some(n) = n.filter(|n| !(1..=TOP_MAX).contains(n)) {
        let remedy = format!("write a number from 1 to {TOP_MAX}");
        faults.push(Fault::new(object.member("n"), object.line, format!("{n} keys cannot be kept of a window"), remedy));
    }
    let order_at = object.member("order");
    let order = match object.take("order") {
        Some(node) => {
            let texts = names(node, &order_at, faults)?;
            if texts.is_empty() {
                faults.push(Fault::new(&order_at, node.line, "keys are in no order", "write `order: [n desc]`"));
            }
            texts.into_iter().map(|text| direction(text, &order_at, faults)).collect::<Option<Vec<_>>>()
        }
        None => {
            object.missing("order", "order: [n desc]", faults);
            None
        }
    };
    let per_at = object.member("per");
    let per = object.take("per").map_or(Some(Vec::new()), |node| names(node, &per_at, faults));
    let ties = object.choice("ties", &TIES, faults).unwrap_or_default();
    let rank = object.text("as", faults).unwrap_or(Text { text: RANK.to_owned(), line: node.line });
    object.finish(&["n", "per", "order", "ties", "as"], faults);
    Some(TopStep { n: n?, per: per?, order: order?, ties, rank })
}

/// `n desc`, `n asc`, `n`; `nulls first` or `nulls last` behind. Unless said null is the greatest of all, as in SQL.
fn direction(text: Text, path: &str, faults: &mut Vec<Fault>) -> Option<TopOrder> {
    let lower = text.text.trim().to_ascii_lowercase();
    let nulls = [("first", true), ("last", false)].into_iter().find_map(|(word, is_first)| {
        let rest = lower.strip_suffix(word)?.trim_end().strip_suffix("nulls")?;
        (rest.trim_end() != rest).then_some((rest.trim_end().len(), is_first))
    });
    let said = nulls.map_or(text.text.trim(), |(end, _)| &text.text.trim()[..end]);
    let (column, word) = match said.rsplit_once(char::is_whitespace) {
        Some((column, word)) => (column.trim(), word),
        None => (said, "asc"),
    };
    let is_descending = match word.to_ascii_lowercase().as_str() {
        "desc" => true,
        "asc" => false,
        _ => {
            let error = format!("`{}` is no order", text.text);
            let remedy = "write a column, `desc` for the greatest first, and where nulls stand: `n desc`, `n desc nulls last`";
            faults.push(Fault::new(path, text.line, error, remedy));
            return None;
        }
    };
    let column = column.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(column);
    let nulls_first = nulls.map_or(is_descending, |(_, is_first)| is_first);
    Some(TopOrder { column: Text { text: column.to_owned(), line: text.line }, is_descending, nulls_first })
}

/// Reads what stands behind `over:`.
pub(super) fn over(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<OverStep> {
    let mut object = Object::of(node, path, "{by: [origin], rows: 5, select: {m: avg(delay_min)}}", faults)?;
    let by = by(&mut object, faults);
    let rows_node = object.peek("rows");
    let rows = match rows_node {
        Some(_) => object.number("rows", faults),
        None => {
            object.missing("rows", "rows: 5", faults);
            None
        }
    };
    if let Some(rows) = rows.filter(|rows| !(1..=OVER_ROWS_MAX).contains(rows)) {
        let remedy = format!("write a number from 1 to {OVER_ROWS_MAX}; for longer stretches there are windows");
        let line = rows_node.map_or(node.line, |node| node.line);
        faults.push(Fault::new(object.member("rows"), line, format!("{rows} rows cannot be looked back at"), remedy));
    }
    let select = select(&mut object, "select: {m: avg(delay_min)}", faults);
    object.finish(&["by", "rows", "select"], faults);
    let rows = rows.filter(|rows| (1..=OVER_ROWS_MAX).contains(rows))?;
    Some(OverStep { by: by?, rows: rows as u32, select: select?, line: node.line })
}
