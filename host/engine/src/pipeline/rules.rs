//! `rules`: a list of rules, and beside it how they are asked and what comes out.
//!
//! ```yaml
//! - rules:
//!     - {name: known, when: "merchant in ('m1', 'm2')", priority: 10, drop: true}
//!     - {name: large, when: amount > 1000 and country = 'DE', set: {risk: 0.9}, tag: [money], route: review}
//!     - {name: odd, when: amount > 100, rule: unusual@1, config: {share: 0.01}, set: {risk: score}}
//!     - {name: sale, when: amount > 200, enabled: {from: 2026-11-27T00:00:00Z, until: 2026-12-01T00:00:00Z, tags: [strict]}}
//!   match: all
//!   keep: all
//!   trace: true
//! ```

use tidemill_event::EventTime;
use tidemill_flow::rule_set::{Emit, MatchRules};

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::parse::{columns, component, list, names};
use crate::pipeline::{ComponentStep, Text};

/// A `rules` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RulesStep {
    /// The most important first; at least one.
    pub(crate) rules: Vec<RuleText>,
    pub(crate) matches: MatchRules,
    pub(crate) emit: Emit,
    /// Rows that no rule says yes to go on too.
    pub(crate) keeps_all: bool,
    /// The column of the rule's name; `rule` unless said.
    pub(crate) named: Option<Text>,
    pub(crate) traces: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleText {
    pub(crate) name: Text,
    /// `None`: it says yes to every row.
    pub(crate) when: Option<Text>,
    /// The component that is asked about rows that `when` says yes to.
    pub(crate) component: Option<ComponentStep>,
    pub(crate) enabled: Enabled,
    pub(crate) set: Vec<(Text, Text)>,
    pub(crate) tag: Vec<Text>,
    pub(crate) route: Option<Text>,
    pub(crate) drops: bool,
    /// `steps[2].rules[7]`.
    pub(crate) path: String,
}

/// When a rule is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enabled {
    /// `false`: never.
    pub(crate) is_on: bool,
    /// Event times.
    pub(crate) from: Option<EventTime>,
    pub(crate) until: Option<EventTime>,
    /// Only while the pipeline has one of these tags; none: always.
    pub(crate) tags: Vec<Text>,
}

/// What to write instead of a component with state in a rule set.
pub(crate) const KEEPS_NONE: &str =
    "ask it in a step before, `- rule: …` with `by`, `keep: all` and `as: hit`, and write `when: hit` here";
const KEYS: [&str; 12] =
    ["name", "when", "rule", "config", "limits", "on_failing", "priority", "enabled", "set", "tag", "route", "drop"];

/// More are refused.
const RULES_MAX: usize = 10_000;

/// Reads a `rules` step; `beside` is the step.
pub(super) fn rules(node: &Node, path: &str, beside: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<RulesStep> {
    let faults_before = faults.len();
    let items = list(node, path, "rules: [{name: large, when: amount > 1000}]", faults);
    if items.is_empty() && faults.len() == faults_before {
        faults.push(Fault::new(path, node.line, "there is no rule", "write `- {name: large, when: amount > 1000}`"));
    }
    if items.len() > RULES_MAX {
        let remedy =
            format!("at most {RULES_MAX} are possible in a step: let another step, or a table and a `lookup`, have some of them");
        faults.push(Fault::new(path, node.line, format!("{} rules", items.len()), remedy));
        return None;
    }
    let read: Vec<Option<(RuleText, i64)>> =
        items.iter().enumerate().map(|(at, item)| rule(item, format!("{path}[{at}]"), faults)).collect();
    let matches = beside.choice("match", &[("first", MatchRules::First), ("all", MatchRules::All)], faults);
    let matches = matches.unwrap_or(MatchRules::First);
    let emit_line = beside.peek("emit").map(|node| node.line);
    let emit = beside.choice("emit", &[("rows", Emit::Rows), ("matches", Emit::Matches)], faults).unwrap_or(Emit::Rows);
    if let (Emit::Matches, MatchRules::First, Some(line)) = (emit, matches, emit_line) {
        let error = "`emit: matches` where only the first rule counts: it is one row all the same";
        faults.push(Fault::new(beside.member("emit"), line, error, "add `match: all`, or remove `emit`"));
    }
    let keeps_all = beside.choice("keep", &[("matching", false), ("all", true)], faults).unwrap_or(false);
    let named = beside.text("as", faults);
    let traces = beside.flag("trace", faults).unwrap_or(false);
    let mut read: Vec<(RuleText, i64)> = read.into_iter().collect::<Option<_>>()?;
    let mut known = std::collections::HashMap::new();
    for (rule, _) in &read {
        if let Some(line) = known.insert(rule.name.text.as_str(), rule.name.line) {
            let error = format!("two rules are called `{}`, the other one on line {line}", rule.name.text);
            faults.push(Fault::new(format!("{}.name", rule.path), rule.name.line, error, "give one of the two another name"));
        }
    }
    // Stable: of rules with one priority the one that stands first comes first.
    read.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
    let rules = read.into_iter().map(|(rule, _)| rule).collect();
    (faults.len() == faults_before).then_some(RulesStep { rules, matches, emit, keeps_all, named, traces })
}

/// A rule and its priority.
fn rule(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<(RuleText, i64)> {
    let faults_before = faults.len();
    let mut object = Object::of(node, &path, "{name: large, when: amount > 1000}", faults)?;
    if object.peek("name").is_none() {
        object.missing("name", "name: large", faults);
    }
    let name = object.text("name", faults);
    let when = object.text("when", faults);
    let priority = object.text("priority", faults).map_or(Some(0), |text| {
        let number = text.text.parse().ok();
        if number.is_none() {
            let error = format!("`{}` is no priority", text.text);
            faults.push(Fault::new(
                object.member("priority"),
                text.line,
                error,
                "write a whole number: `priority: 10`; the greatest comes first",
            ));
        }
        number
    });
    let enabled = object.take("enabled").map_or(Some(Enabled::always()), |node| enabled(node, &object.member("enabled"), faults));
    let set = object.take("set").map_or(Some(Vec::new()), |node| columns(node, &object.member("set"), faults));
    let tag = object.take("tag").map_or(Some(Vec::new()), |node| names(node, &object.member("tag"), faults));
    let route = object.text("route", faults);
    let drops = object.flag("drop", faults).unwrap_or(false);
    if drops
        && (route.is_some() || [&set.as_ref().map(Vec::len), &tag.as_ref().map(Vec::len)].iter().any(|count| **count != Some(0)))
    {
        let error = "a row that is dropped has no use for `set`, `tag` and `route`";
        faults.push(Fault::new(object.member("drop"), node.line, error, "remove them, or remove `drop`"));
    }
    if let Some(alert) = object.take("alert") {
        let error = "a rule raises no alert itself";
        let remedy = "write a step behind the rules: `- alert: {when: rule = 'large', severity: critical, summary: …}`";
        faults.push(Fault::new(object.member("alert"), alert.line, error, remedy));
    }
    let component = object.take("rule").and_then(|reference| asked(reference, &mut object, faults));
    object.finish(&KEYS, faults);
    if faults.len() > faults_before {
        return None;
    }
    Some((RuleText { name: name?, when, component, enabled: enabled?, set: set?, tag: tag?, route, drops, path }, priority?))
}

/// A component that a rule asks, which keeps nothing between rows.
fn asked(reference: &Node, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<ComponentStep> {
    let asked = component(reference, &object.member("rule"), object, faults)?;
    let keeps = [("by", asked.by.is_some()), ("ttl", asked.ttl.is_some())];
    for (key, _) in keeps.into_iter().filter(|(_, is_there)| *is_there) {
        let error = format!("`{key}` is for components that keep state, and a rule set keeps none");
        faults.push(Fault::new(object.member(key), asked.by_line, error, KEEPS_NONE));
    }
    Some(asked)
}

impl Enabled {
    fn always() -> Self {
        Self { is_on: true, from: None, until: None, tags: Vec::new() }
    }
}

fn enabled(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Enabled> {
    if let NodeValue::Scalar { .. } = node.value {
        let text = text_of(node, path, faults)?;
        return match text.text.as_str() {
            "true" => Some(Enabled::always()),
            "false" => Some(Enabled { is_on: false, ..Enabled::always() }),
            other => {
                let remedy =
                    "write `true`, `false`, or when: `{from: 2026-11-27T00:00:00Z, until: 2026-12-01T00:00:00Z, tags: [strict]}`";
                faults.push(Fault::new(path, node.line, format!("`{other}` does not say when a rule is on"), remedy));
                None
            }
        };
    }
    let mut object = Object::of(node, path, "{from: 2026-11-27T00:00:00Z}", faults)?;
    let mut time = |name: &'static str| {
        let text = object.text(name, faults)?;
        let time = EventTime::parse_rfc3339(&text.text);
        if time.is_none() {
            let error = format!("`{}` is no time", text.text);
            faults.push(Fault::new(object.member(name), text.line, error, "write an RFC 3339 time: `2026-11-27T00:00:00Z`"));
        }
        time
    };
    let (from, until) = (time("from"), time("until"));
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        let error = "the rule would never be on: `from` is not before `until`";
        faults.push(Fault::new(path, node.line, error, "swap the two, or write `enabled: false`"));
    }
    let tags = object.take("tags").map_or(Some(Vec::new()), |node| names(node, &object.member("tags"), faults));
    object.finish(&["from", "until", "tags"], faults);
    Some(Enabled { is_on: true, from, until, tags: tags? })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::pipeline::StepKind;
    use crate::pipeline::example::read_as;

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(step: &str, expected: Expect) {
        let text = format!("from: a\nsteps:\n{step}to: [stdout]\n");
        let said = read_as(&text, |definition| match &definition.steps[0].kind {
            StepKind::Rules(rules) => rules.rules.iter().map(|rule| format!("{} {}\n", rule.path, rule.name.text)).collect(),
            other => format!("{other:?}"),
        });
        expected.assert_eq(&said);
    }

    #[test]
    fn rules_stand_in_the_order_of_their_priority() {
        check(
            "- rules:\n  - {name: a}\n  - {name: b, when: n > 1, priority: 5, set: {x: n * 2}, tag: t, route: r}\n  - {name: c, enabled: {from: 2026-01-01T00:00:00Z, tags: [u]}}\n  - {name: d, priority: 5, enabled: false, drop: true}\n  match: all\n  keep: all\n  emit: matches\n  as: hit\n  trace: true\n",
            expect![[r#"
                steps[0].rules[1] b
                steps[0].rules[3] d
                steps[0].rules[0] a
                steps[0].rules[2] c
            "#]],
        );
    }

    #[test]
    fn what_a_rule_cannot_be_is_said_with_its_line() {
        check(
            "- rules:\n  - {nam: a}\n  - {name: b, alert: ops}\n  - {name: d, priority: high}\n  - {name: f, enabled: {from: 2026-01-02T00:00:00Z, until: 2026-01-01T00:00:00Z}}\n  - {name: h, drop: true, tag: t}\n  match: best\n",
            expect![[r#"
                4: steps[0].rules[0].name: `name` is missing -> add `name: large`
                4: steps[0].rules[0].nam: there is no `nam` -> did you mean `name`?
                5: steps[0].rules[1].alert: a rule raises no alert itself -> write a step behind the rules: `- alert: {when: rule = 'large', severity: critical, summary: …}`
                6: steps[0].rules[2].priority: `high` is no priority -> write a whole number: `priority: 10`; the greatest comes first
                7: steps[0].rules[3].enabled: the rule would never be on: `from` is not before `until` -> swap the two, or write `enabled: false`
                8: steps[0].rules[4].drop: a row that is dropped has no use for `set`, `tag` and `route` -> remove them, or remove `drop`
                9: steps[0].match: `best` is none of the values there are -> use `first` or `all`
            "#]],
        );
        check(
            "- rules: [{name: a}, {name: a}]\n",
            expect![[r#"
                3: steps[0].rules[1].name: two rules are called `a`, the other one on line 3 -> give one of the two another name
            "#]],
        );
        check(
            "- rules: []\n",
            expect![[r#"
                3: steps[0].rules: there is no rule -> write `- {name: large, when: amount > 1000}`
            "#]],
        );
    }
}
