//! `pattern`: which rows of a key follow each other, as a list of stages.
//!
//! ```yaml
//! - pattern:
//!     by: [user]
//!     stages:
//!       - {begin: small, where: amount < 10, times: 2.., greedy: true}
//!       - {followed_by: large, where: amount > 100 * avg(small.amount)}
//!       - {not_followed_by: confirmed, where: kind = 'confirmed'}
//!     within: 10m
//!     skip: past_last
//!     select: {tries: count(small), amount: last(large.amount)}
//! ```
//! The stages themselves are read in `stages.rs`.

use std::time::Duration;

use tidemill_flow::OnFailing;
use tidemill_flow::pattern::{PatternOrder, RunLimits, TooManyRuns};

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue, read};
use crate::pipeline::object::Object;
use crate::pipeline::parse::{columns, component};
use crate::pipeline::stages::{Element, stages};
use crate::pipeline::window::by;
use crate::pipeline::{ComponentStep, LimitOverrides, Text};

/// More runs of a key are refused: each costs memory.
const RUNS_MAX: u64 = 10_000_000;

/// A `pattern` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternDefinition {
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) stages: Vec<Element>,
    /// From the first event to the last.
    pub(crate) within: Option<Duration>,
    /// From the event before the last stage to that.
    pub(crate) within_last: Option<Duration>,
    pub(crate) skip: SkipTo,
    pub(crate) order: PatternOrder,
    /// Empty: only the key, and when it was.
    pub(crate) select: Vec<(Text, Text)>,
    /// Whether runs whose time was over come out too.
    pub(crate) timeouts: bool,
    /// Whether somebody may ask later why a match was told.
    pub(crate) explain: bool,
    pub(crate) limits: RunLimits,
    /// Nothing begins any more: what is open is brought to its end.
    pub(crate) draining: bool,
    pub(crate) line: usize,
}

/// What a match discards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SkipTo {
    Nothing,
    Next,
    PastLast,
    /// The first event of a stage, or its last one.
    Stage {
        stage: Text,
        is_first: bool,
        must_exist: bool,
    },
}

/// A `pattern` step whose pattern a component has: `- pattern: brute-force@1`, with what is the user's to say beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternComponent {
    pub(crate) component: ComponentStep,
    pub(crate) beside: Beside,
}

/// What is the user's to say, whoever says the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) order: PatternOrder,
    pub(crate) explain: bool,
    pub(crate) limits: RunLimits,
    pub(crate) draining: bool,
}

const KEYS: [&str; 13] = [
    "by",
    "stages",
    "within",
    "within_last",
    "skip",
    "order",
    "select",
    "timeouts",
    "explain",
    "draining",
    "runs_max",
    "events_max",
    "too_many",
];
/// What a component says of its pattern; the rest is the pipeline's.
const KEYS_OF_COMPONENT: [&str; 6] = ["stages", "within", "within_last", "skip", "select", "timeouts"];
/// What may stand beside a component's name.
pub(super) const KEYS_BESIDE: [&str; 11] =
    ["pattern", "config", "by", "order", "explain", "draining", "runs_max", "events_max", "too_many", "limits", "on_failing"];
pub(super) const ORDERS: [(&str, PatternOrder); 2] = [("time", PatternOrder::Time), ("arrival", PatternOrder::Arrival)];

/// What a pattern is, whoever says it.
struct Said {
    stages: Vec<Element>,
    within: Option<Duration>,
    within_last: Option<Duration>,
    skip: SkipTo,
    select: Vec<(Text, Text)>,
    timeouts: bool,
}

/// Reads what stands behind `pattern:`.
pub(super) fn pattern(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<PatternDefinition> {
    let example = "{by: [user], stages: [{begin: a, where: amount < 1}, {followed_by: b, where: amount > 500}], within: 60s}";
    let mut object = Object::of(node, path, example, faults)?;
    let by = by(&mut object, faults);
    let said = said(&mut object, faults);
    let beside = beside(&mut object, None, faults);
    object.finish(&KEYS, faults);
    Some(of(said?, by?, beside, node.line))
}

/// What one of a list says: the key and the order are the list's.
const KEYS_IN_LIST: [&str; 12] = [
    "name",
    "stages",
    "within",
    "within_last",
    "skip",
    "select",
    "timeouts",
    "explain",
    "draining",
    "runs_max",
    "events_max",
    "too_many",
];

/// Reads one of a list.
pub(super) fn in_list(
    mut object: Object<'_>,
    by: &[Text],
    order: PatternOrder,
    line: usize,
    faults: &mut Vec<Fault>,
) -> Option<PatternDefinition> {
    let said = said(&mut object, faults);
    let beside = beside(&mut object, Some(order), faults);
    object.finish(&KEYS_IN_LIST, faults);
    Some(of(said?, by.to_vec(), beside, line))
}

/// Reads a step whose pattern a component has.
pub(super) fn of_component(
    value: &Node,
    path: &str,
    object: &mut Object<'_>,
    faults: &mut Vec<Fault>,
) -> Option<PatternComponent> {
    let component = component(value, path, object, faults);
    let beside = beside(object, None, faults);
    Some(PatternComponent { component: component?, beside })
}

/// `order`: where it is said once for a list.
fn beside(object: &mut Object<'_>, order: Option<PatternOrder>, faults: &mut Vec<Fault>) -> Beside {
    let order = order.unwrap_or_else(|| object.choice("order", &ORDERS, faults).unwrap_or(PatternOrder::Time));
    let explain = object.flag("explain", faults).unwrap_or(false);
    let draining = object.flag("draining", faults).unwrap_or(false);
    Beside { order, explain, limits: limits(object, faults), draining }
}

impl PatternComponent {
    /// Of a component that nobody has uploaded.
    pub(crate) fn on_trial(by: Vec<Text>) -> Self {
        let component = ComponentStep {
            reference: Text { text: "it".to_owned(), line: 1 },
            config: "{}".to_owned(),
            config_line: 1,
            by: Some(by),
            by_line: 1,
            ttl: None,
            limits: LimitOverrides::default(),
            on_failing: OnFailing::Hold,
        };
        let beside = Beside { order: PatternOrder::Time, explain: false, limits: RunLimits::default(), draining: false };
        Self { component, beside }
    }

    /// The pattern that the component says it is, as if it stood in the pipeline. Errors: every fault of form, with places within that text.
    pub(crate) fn definition(&self, text: &str) -> Result<PatternDefinition, Vec<Fault>> {
        let node = read(text).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let said = Object::of(&node, "pattern", "{\"stages\": [{\"begin\": \"a\"}]}", &mut faults).and_then(|mut object| {
            let said = said(&mut object, &mut faults);
            object.finish(&KEYS_OF_COMPONENT, &mut faults);
            said
        });
        let by = self.component.by.clone().unwrap_or_default();
        match said {
            Some(said) if faults.is_empty() => Ok(of(said, by, self.beside, self.component.reference.line)),
            Some(_) | None => Err(faults),
        }
    }
}

fn of(said: Said, by: Vec<Text>, beside: Beside, line: usize) -> PatternDefinition {
    let Said { stages, within, within_last, skip, select, timeouts } = said;
    let Beside { order, explain, limits, draining } = beside;
    PatternDefinition { by, stages, within, within_last, skip, order, select, timeouts, explain, limits, draining, line }
}

fn said(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<Said> {
    let stages_path = object.member("stages");
    let elements = match object.take("stages") {
        Some(node) => stages(node, &stages_path, true, faults),
        None => {
            object.missing("stages", "stages: [{begin: a, where: amount > 500}]", faults);
            None
        }
    };
    let within = object.duration("within", faults);
    let within_last = object.duration("within_last", faults);
    let skip_path = object.member("skip");
    let skip = object.take("skip").map_or(Some(SkipTo::Nothing), |node| skip(node, &skip_path, faults));
    let select_path = object.member("select");
    let select = object.take("select").map_or(Some(Vec::new()), |node| columns(node, &select_path, faults));
    let line = object.peek("timeouts").map_or(object.line, |node| node.line);
    let timeouts = object.flag("timeouts", faults).unwrap_or(false);
    let has_an_end = within.is_some() || within_last.is_some() || elements.as_ref().is_none_or(|all| Element::any_gap(all));
    if timeouts && !has_an_end {
        let error = "no partial match ever times out: nothing says how long it may take";
        faults.push(Fault::new(object.member("timeouts"), line, error, "add `within: 60s`, or remove `timeouts`"));
    }
    Some(Said { stages: elements?, within, within_last, skip: skip?, select: select?, timeouts })
}

fn limits(object: &mut Object<'_>, faults: &mut Vec<Fault>) -> RunLimits {
    let mut limits = RunLimits::default();
    let mut bound = |name: &'static str, faults: &mut Vec<Fault>| {
        let line = object.peek(name)?.line;
        let bound = object.number(name, faults)?;
        if !(1..=RUNS_MAX).contains(&bound) {
            let remedy = format!("write a number from 1 to {RUNS_MAX}");
            faults.push(Fault::new(object.member(name), line, format!("{bound} is no bound here"), remedy));
            return None;
        }
        Some(bound)
    };
    if let Some(runs) = bound("runs_max", faults) {
        limits.runs_max = runs as usize;
    }
    if let Some(events) = bound("events_max", faults) {
        limits.events_max = events as u32;
    }
    let policies = [
        ("end_oldest", TooManyRuns::EndOldest),
        ("refuse_new", TooManyRuns::RefuseNew),
        ("dead_letter", TooManyRuns::DeadLetter),
    ];
    limits.too_many = object.choice("too_many", &policies, faults).unwrap_or(limits.too_many);
    limits
}

/// `none`, `next`, `past_last`, `{first: b}`, `{last: b, must_exist: true}`.
fn skip(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<SkipTo> {
    let remedy = "use `none`, `next`, `past_last`, `{first: STAGE}` or `{last: STAGE}`";
    match &node.value {
        NodeValue::Scalar { text, .. } => match text.as_str() {
            "none" => Some(SkipTo::Nothing),
            "next" => Some(SkipTo::Next),
            "past_last" => Some(SkipTo::PastLast),
            other => {
                faults.push(Fault::new(path, node.line, format!("`{other}` is nothing to skip to"), remedy));
                None
            }
        },
        NodeValue::List(_) | NodeValue::Object(_) => {
            let mut object = Object::of(node, path, "{first: b}", faults)?;
            let (first, last) = (object.text("first", faults), object.text("last", faults));
            let must_exist = object.flag("must_exist", faults).unwrap_or(false);
            object.finish(&["first", "last", "must_exist"], faults);
            match (first, last) {
                (Some(stage), None) => Some(SkipTo::Stage { stage, is_first: true, must_exist }),
                (None, Some(stage)) => Some(SkipTo::Stage { stage, is_first: false, must_exist }),
                (None, None) | (Some(_), Some(_)) => {
                    faults.push(Fault::new(path, node.line, "this says nothing to skip to, or two things", remedy));
                    None
                }
            }
        }
    }
}
