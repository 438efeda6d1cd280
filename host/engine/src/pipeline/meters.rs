//! `metrics`: what rows measure.
//!
//! ```yaml
//! - metrics:
//!     orders: {counter: 1, by: [shop]}
//!     temperature: {gauge: celsius, by: [sensor]}
//!     delay: {histogram: delay_ms / 1000.0}
//!     answer_ms: {percentiles: ms, at: [0.5, 0.99], over: 10m}
//! ```

use std::time::Duration;

use tidemill_runtime::MetricKind;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::Node;
use crate::pipeline::object::{Object, listed};
use crate::pipeline::parse::names;
use crate::pipeline::window::by;

/// One thing that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterStep {
    pub(crate) name: Text,
    pub(crate) kind: MeterKind,
    /// An expression.
    pub(crate) value: Text,
    pub(crate) by: Vec<Text>,
}

/// What is made of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MeterKind {
    /// As component metrics have it.
    Metric(MetricKind),
    /// The values at these ranks, of rows of the last while. Ranks are texts that read as numbers from 0 to 1.
    Percentiles { at: Vec<String>, over: Duration },
}

/// A word for each way to measure; `None`: percentiles.
const KINDS: [(&str, Option<MetricKind>); 4] = [
    ("counter", Some(MetricKind::Counter)),
    ("gauge", Some(MetricKind::Gauge)),
    ("histogram", Some(MetricKind::Histogram)),
    ("percentiles", None),
];
const RANKS: [&str; 3] = ["0.5", "0.9", "0.99"];
/// More are refused: each is a line of the host's page.
const RANKS_MAX: usize = 8;
const OVER: Duration = Duration::from_secs(600);
/// More in one step are refused.
const METERS_MAX: usize = 32;
/// As component metrics have it: more labels, or longer names, are refused.
const LABELS_MAX: usize = 4;
const NAME_BYTES_MAX: usize = 60;

/// Reads what stands behind `metrics:`.
pub(super) fn meters(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<MeterStep>> {
    let mut object = Object::of(node, path, "{orders: {counter: 1, by: [shop]}}", faults)?;
    let names: Vec<Text> = object.keys().map(|key| Text { text: key.name.clone(), line: key.line }).collect();
    if !(1..=METERS_MAX).contains(&names.len()) {
        let remedy = format!("write 1 to {METERS_MAX}: `{{orders: {{counter: 1, by: [shop]}}}}`");
        faults.push(Fault::new(path, node.line, format!("{} metrics in one step", names.len()), remedy));
    }
    let meters = names.into_iter().map(|name| {
        let at = object.member(&name.text);
        if !is_name(&name.text) {
            let error = format!("`{}` is no name of a metric", name.text);
            faults.push(Fault::new(&at, name.line, error, "write small letters, digits and `_`, a letter first: `orders`"));
        }
        meter(name.clone(), object.take(&name.text)?, &at, faults)
    });
    meters.collect::<Vec<_>>().into_iter().collect()
}

fn meter(name: Text, node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<MeterStep> {
    let mut object = Object::of(node, path, "{counter: 1, by: [shop]}", faults)?;
    let words: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
    let named: Vec<(&str, Option<MetricKind>)> = KINDS.into_iter().filter(|(word, _)| object.peek(word).is_some()).collect();
    let value = match named.as_slice() {
        [(word, Some(kind))] => object.text(word, faults).map(|value| (MeterKind::Metric(*kind), value)),
        [(word, None)] => {
            let value = object.text(word, faults);
            percentiles(&mut object, faults).zip(value)
        }
        _ => {
            let remedy = format!("write one of {}: `counter: 1`", listed(&words, "and"));
            faults.push(Fault::new(path, node.line, format!("{} values of one metric", named.len()), remedy));
            for (word, _) in &named {
                object.take(word);
            }
            None
        }
    };
    let by = by(&mut object, faults);
    for label in by.iter().flatten().filter(|label| !is_name(&label.text) || is_taken(&label.text)) {
        let error = format!("`{}` cannot be a label", label.text);
        let remedy = format!("give the column another name in a step before: `extend: {{label: \"{}\"}}`", label.text);
        faults.push(Fault::new(object.member("by"), label.line, error, remedy));
    }
    if by.as_ref().is_some_and(|by| by.len() > LABELS_MAX) {
        let remedy = format!("keep at most {LABELS_MAX}: each of their values together is a series");
        faults.push(Fault::new(object.member("by"), node.line, "too many labels", remedy));
    }
    object.finish(&["counter", "gauge", "histogram", "percentiles", "at", "over", "by"], faults);
    let (kind, value) = value?;
    Some(MeterStep { name, kind, value, by: by? })
}

/// Which ranks, and over what time.
fn percentiles(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<MeterKind> {
    let path = object.member("at");
    let at = match object.take("at") {
        None => RANKS.map(str::to_owned).to_vec(),
        Some(node) => {
            let ranks = names(node, &path, faults)?;
            let is_rank = |rank: &&Text| rank.text.parse::<f64>().is_ok_and(|rank| (0.0..=1.0).contains(&rank));
            if let Some(wrong) = ranks.iter().find(|rank| !is_rank(rank)) {
                let error = format!("`{}` is no rank", wrong.text);
                faults.push(Fault::new(&path, wrong.line, error, "write numbers from 0 to 1: `at: [0.5, 0.99]`"));
                return None;
            }
            if !(1..=RANKS_MAX).contains(&ranks.len()) {
                let error = format!("{} ranks", ranks.len());
                faults.push(Fault::new(&path, node.line, error, format!("write 1 to {RANKS_MAX} of them: `at: [0.5, 0.99]`")));
                return None;
            }
            ranks.into_iter().map(|rank| rank.text).collect()
        }
    };
    let line = object.peek("over").map(|node| node.line);
    let over = match line {
        None => OVER,
        Some(_) => object.duration("over", faults)?,
    };
    if over.is_zero() {
        let error = "percentiles over no time at all";
        faults.push(Fault::new(object.member("over"), line.unwrap_or_default(), error, "write how long: `over: 10m`"));
        return None;
    }
    Some(MeterKind::Percentiles { at, over })
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Labels that the host gives, and those of a histogram's buckets and of percentiles.
fn is_taken(name: &str) -> bool {
    ["tenant", "pipeline", "step", "component", "name", "le", "quantile"].contains(&name)
}
