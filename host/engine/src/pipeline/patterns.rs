//! `patterns`: many patterns over the same rows, and beside the list what they share.
//!
//! ```yaml
//! - patterns:
//!     - {name: declined, stages: [{begin: a, where: status = 'declined', times: 3}], within: 60s, select: {spent: sum(a.amount)}}
//!     - {name: testing, stages: [{begin: small, where: amount < 5}, {followed_by: large, where: amount > 500}], within: 10m, runs_max: 100}
//!   by: [user]
//!   order: time
//! ```
//! Each is written as behind `pattern:`, with a name and without what is said once for all.

use std::collections::BTreeSet;

use tidemill_flow::pattern::PatternOrder;

use crate::Fault;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;
use crate::pipeline::parse::list;
use crate::pipeline::pattern::{ORDERS, in_list};
use crate::pipeline::window::by;
use crate::pipeline::{PatternDefinition, Text};

/// A `patterns` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternsStep {
    /// At least one; each with its place, `steps[2].patterns[7]`.
    pub(crate) patterns: Vec<NamedPattern>,
    /// Empty: one key for all.
    pub(crate) by: Vec<Text>,
    pub(crate) order: PatternOrder,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPattern {
    pub(crate) name: Text,
    pub(crate) pattern: PatternDefinition,
    pub(crate) path: String,
}

/// What stands beside the list.
pub(super) const KEYS_BESIDE: [&str; 3] = ["patterns", "by", "order"];
/// More are refused.
const PATTERNS_MAX: usize = 10_000;

/// Reads a `patterns` step; `beside` is the step.
pub(super) fn patterns(node: &Node, path: &str, beside: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<PatternsStep> {
    let example = "patterns: [{name: twice, stages: [{begin: a, where: amount > 500, times: 2}], within: 60s}]";
    let faults_before = faults.len();
    let items = list(node, path, example, faults);
    if items.is_empty() && faults.len() == faults_before {
        faults.push(Fault::new(path, node.line, "there is no pattern", format!("write `{example}`")));
    }
    if items.len() > PATTERNS_MAX {
        let remedy = format!("at most {PATTERNS_MAX} are possible in a step: let another pipeline have some of them");
        faults.push(Fault::new(path, node.line, format!("{} patterns", items.len()), remedy));
        return None;
    }
    let by = by(beside, faults)?;
    let order = beside.choice("order", &ORDERS, faults).unwrap_or(PatternOrder::Time);
    let read = items.iter().enumerate().map(|(at, item)| named(item, format!("{path}[{at}]"), (&by, order), faults));
    let patterns: Vec<NamedPattern> = read.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
    let mut names = BTreeSet::new();
    // Beside the one that takes its place a pattern may be drained under the same name.
    for NamedPattern { name, path, .. } in patterns.iter().filter(|one| !one.pattern.draining) {
        if !names.insert(name.text.as_str()) {
            let error = format!("`{}` is another pattern of the list", name.text);
            let remedy = "give it a name of its own, its matches carry it; or let the other be `draining: true`";
            faults.push(Fault::new(format!("{path}.name"), name.line, error, remedy));
        }
    }
    (faults.len() == faults_before).then_some(PatternsStep { patterns, by, order })
}

fn named(node: &Node, path: String, (by, order): (&[Text], PatternOrder), faults: &mut Vec<Fault>) -> Option<NamedPattern> {
    let mut object =
        Object::of(node, &path, "{name: twice, stages: [{begin: a, where: amount > 500, times: 2}], within: 60s}", faults)?;
    let name = object.text("name", faults);
    if name.is_none() {
        object.missing("name", "name: twice", faults);
    }
    let pattern = in_list(object, by, order, node.line, faults);
    Some(NamedPattern { name: name?, pattern: pattern?, path })
}
