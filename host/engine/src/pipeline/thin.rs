//! `dedupe`, `rate` and `sample`: which rows of a key go on.
//!
//! ```yaml
//! - dedupe: {by: [id], within: 1h}
//! - rate: {by: [user], limit: 100, per: 1m, as: beyond}
//! - sample: {rate: 0.1, by: [user]}
//! ```

use std::time::Duration;

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;
use crate::pipeline::window::by;

/// A `dedupe` or `rate` step: at most so many rows of a key within a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitStep {
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) rows: u32,
    pub(crate) per: Duration,
    /// How far behind the watermark a row is still judged; as long as `per` unless said.
    pub(crate) lateness: Duration,
    /// Rows beyond go on, and this column says which they are.
    pub(crate) flag: Option<Text>,
}

/// A `sample` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampleStep {
    /// Empty: the whole row decides.
    pub(crate) by: Vec<Text>,
    /// As it was written: above 0, at most 1.
    pub(crate) rate: Text,
}

/// The time of each row that passed is kept per key: more are refused.
const RATE_MAX: u64 = 10_000;

/// Reads what stands behind `dedupe:`.
pub(super) fn dedupe(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<LimitStep> {
    let mut object = Object::of(node, path, "{by: [id], within: 1h}", faults)?;
    if object.peek("by").is_none() {
        object.missing("by", "by: [id]", faults);
    }
    let by = by(&mut object, faults);
    let per = time(&mut object, "within", "1h", faults);
    let lateness = object.duration("lateness", faults);
    object.finish(&["by", "within", "lateness"], faults);
    let per = per?;
    Some(LimitStep { by: by?, rows: 1, per, lateness: lateness.unwrap_or(per), flag: None })
}

/// Reads what stands behind `rate:`.
pub(super) fn rate(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<LimitStep> {
    let mut object = Object::of(node, path, "{by: [user], limit: 100, per: 1m}", faults)?;
    let by = by(&mut object, faults);
    let line = object.peek("limit").map_or(node.line, |node| node.line);
    let rows = match object.peek("limit") {
        Some(_) => object.number("limit", faults),
        None => {
            object.missing("limit", "limit: 100", faults);
            None
        }
    };
    if let Some(rows) = rows.filter(|rows| !(1..=RATE_MAX).contains(rows)) {
        let remedy = format!("write a number from 1 to {RATE_MAX}, and a `per` that fits it");
        faults.push(Fault::new(object.member("limit"), line, format!("{rows} rows are no limit here"), remedy));
    }
    let per = time(&mut object, "per", "1m", faults);
    let lateness = object.duration("lateness", faults);
    let flag = object.text("as", faults);
    object.finish(&["by", "limit", "per", "lateness", "as"], faults);
    let (rows, per) = (rows.filter(|rows| (1..=RATE_MAX).contains(rows))?, per?);
    Some(LimitStep { by: by?, rows: rows as u32, per, lateness: lateness.unwrap_or(per), flag })
}

/// Reads what stands behind `sample:`.
pub(super) fn sample(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<SampleStep> {
    let mut object = Object::of(node, path, "{rate: 0.1, by: [user]}", faults)?;
    let by = by(&mut object, faults);
    if object.peek("rate").is_none() {
        object.missing("rate", "rate: 0.1", faults);
    }
    let rate = object.text("rate", faults);
    if let Some(text) = rate.as_ref().filter(|text| !text.text.parse::<f64>().is_ok_and(|rate| rate > 0.0 && rate <= 1.0)) {
        let error = format!("`{}` is no share", text.text);
        faults.push(Fault::new(object.member("rate"), text.line, error, "write a number above 0 and at most 1: `rate: 0.1`"));
        return None;
    }
    object.finish(&["rate", "by"], faults);
    Some(SampleStep { by: by?, rate: rate? })
}

/// A time that must be there, and be some.
fn time(object: &mut Object<'_>, name: &'static str, example: &str, faults: &mut Vec<Fault>) -> Option<Duration> {
    let line = match object.peek(name) {
        Some(node) => node.line,
        None => {
            object.missing(name, &format!("{name}: {example}"), faults);
            return None;
        }
    };
    let time = object.duration(name, faults)?;
    if time.is_zero() {
        let remedy = format!("write how long: `{name}: {example}`");
        faults.push(Fault::new(object.member(name), line, "no time at all holds no row back", remedy));
        return None;
    }
    Some(time)
}
