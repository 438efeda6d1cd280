//! Nodes to a [`PipelineDefinition`]: every fault of form is found in one pass.

use tidemill_event::PipelineName;
use tidemill_flow::OnFailing;

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue, read};
use crate::pipeline::functions::functions;
use crate::pipeline::lookup::lookup;
use crate::pipeline::object::{Object, is_later, listed, text_of};
use crate::pipeline::process::{outputs, with_sides};
use crate::pipeline::sources::sources;
use crate::pipeline::time::time;
use crate::pipeline::ttl::ttl;
use crate::pipeline::{
    ComponentStep, KeepRows, LimitOverrides, MatchRecognizeText, OnDivergence, PipelineDefinition, Run, Step, StepKind, Text,
    alert, correlate, join, machine, meters, pattern, patterns, rules, target, thin, window,
};

/// What a step may be.
pub(crate) const STEP_WORDS: [&str; 22] = [
    "alert",
    "where",
    "select",
    "extend",
    "rule",
    "transform",
    "window",
    "over",
    "join",
    "dedupe",
    "rate",
    "sample",
    "lookup",
    "machine",
    "correlate",
    "origin",
    "metrics",
    "pattern",
    "patterns",
    "process",
    "match_recognize",
    "rules",
];
/// More steps are refused.
const STEPS_MAX: usize = 256;

/// A text as far as it can be read, so that what is readable is checked beside what is not.
pub(crate) struct Reading {
    /// Without the steps and targets that have faults of form; `None` if there is no telling what it reads from.
    pub(crate) definition: Option<PipelineDefinition>,
    /// How many steps of the definition stand before the first one that is left out: what columns there are behind it is not known.
    pub(crate) gap: Option<usize>,
    /// Every fault of form.
    pub(crate) faults: Vec<Fault>,
}

/// Reads the text of the pipeline `name`. `Err` has every fault of form, by line.
pub(crate) fn parse(name: &PipelineName, text: &str) -> Result<PipelineDefinition, Vec<Fault>> {
    let Reading { definition, mut faults, .. } = read_pipeline(name, text);
    faults.sort_by_key(|fault| fault.line);
    match definition {
        Some(definition) if faults.is_empty() => Ok(definition),
        _ => Err(faults),
    }
}

/// Reads what can be read of the pipeline `name`.
pub(crate) fn read_pipeline(name: &PipelineName, text: &str) -> Reading {
    let (mut faults, mut gap) = (Vec::new(), None);
    let definition = match read(text) {
        Ok(root) => definition(name, &root, &mut gap, &mut faults),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    Reading { definition, gap, faults }
}

fn definition(name: &PipelineName, root: &Node, gap: &mut Option<usize>, faults: &mut Vec<Fault>) -> Option<PipelineDefinition> {
    let mut object = Object::of(root, "", "{from: clicks, steps: [], to: [{stream: results}]}", faults)?;
    if let Some(said) = object.text("pipeline", faults)
        && said.text != name.as_str()
    {
        faults.push(Fault::new(
            "pipeline",
            said.line,
            format!("the text says `{}`, the address says `{name}`", said.text),
            "make them the same, or leave `pipeline` out",
        ));
    }
    let run = object.choice("run", &[("live", Run::Live), ("once", Run::Once)], faults).unwrap_or(Run::Live);
    let on_divergence = object
        .choice("on_divergence", &[("continue", OnDivergence::Continue), ("stop", OnDivergence::Stop)], faults)
        .unwrap_or(OnDivergence::Continue);
    let time = time(object.take("time"), faults);
    let sources = match object.take("from") {
        Some(node) => sources(node, begins_with_join(object.peek("steps")), faults),
        None => {
            object.missing("from", "from: clicks", faults);
            None
        }
    };
    let functions = object.take("functions").map_or_else(Vec::new, |node| functions(node, faults));
    let tags = object.take("tags").and_then(|node| names(node, "tags", faults)).unwrap_or_default();
    let tags = tags.into_iter().map(|tag| tag.text).collect();
    let steps = object.take("steps").map_or_else(Vec::new, |node| steps(node, gap, faults));
    let targets = match object.take("to") {
        Some(node) => target::targets(node, faults),
        None => {
            object.missing("to", "to: [{stream: results}]", faults);
            Vec::new()
        }
    };
    let targets = with_sides(targets, &steps, faults);
    object.finish(&["pipeline", "run", "on_divergence", "time", "from", "functions", "tags", "steps", "to"], faults);
    Some(PipelineDefinition { name: name.clone(), run, on_divergence, time, sources: sources?, functions, tags, steps, targets })
}

/// Whether the first step says that sources are two sides of a join, well written or not.
fn begins_with_join(steps: Option<&Node>) -> bool {
    let Some(NodeValue::List(items)) = steps.map(|steps| &steps.value) else { return false };
    let has_join =
        |step: &Node| matches!(&step.value, NodeValue::Object(members) if members.iter().any(|(key, _)| key.name == "join"));
    items.first().is_some_and(has_join)
}

pub(super) fn list<'a>(node: &'a Node, path: &str, example: &str, faults: &mut Vec<Fault>) -> &'a [Node] {
    match &node.value {
        NodeValue::List(items) => items,
        NodeValue::Scalar { text, plain: true } if text.is_empty() => &[],
        NodeValue::Scalar { .. } | NodeValue::Object(_) => {
            let error = format!("{} where a list is needed", node.what());
            faults.push(Fault::new(path, node.line, error, format!("write `{example}`")));
            &[]
        }
    }
}

fn steps(node: &Node, gap: &mut Option<usize>, faults: &mut Vec<Fault>) -> Vec<Step> {
    let items = list(node, "steps", "steps: [{where: amount > 0}]", faults);
    if items.len() > STEPS_MAX {
        let error = format!("{} steps", items.len());
        faults.push(Fault::new("steps", node.line, error, "at most 256 are possible: continue in a second pipeline"));
        *gap = Some(0);
        return Vec::new();
    }
    let mut steps = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match step(item, format!("steps[{at}]"), faults) {
            Some(step) => steps.push(step),
            None => {
                gap.get_or_insert(steps.len());
            }
        }
    }
    steps
}

fn step(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<Step> {
    let mut object = Object::of(node, &path, "where: amount > 0", faults)?;
    let words: Vec<&str> = object.keys().map(|key| key.name.as_str()).filter(|word| STEP_WORDS.contains(word)).collect();
    let word = match words.as_slice() {
        [word] => *word,
        [] => {
            // A word of a later version, or a slip: said once, not for every other key beside it.
            if let Some(key) = object.keys().find(|key| is_later(&key.name)) {
                let error = format!("`{}` is not in this version", key.name);
                let remedy = format!("a step is one of {}", listed(&STEP_WORDS, "or"));
                faults.push(Fault::new(object.member(&key.name), key.line, error, remedy));
            } else if node_is_single(node) {
                object.finish(&STEP_WORDS, faults);
            } else {
                let remedy = format!("a step is one of {}", listed(&STEP_WORDS, "or"));
                faults.push(Fault::new(path, node.line, "this is no step", remedy));
            }
            return None;
        }
        [_, second, ..] => {
            let error = format!("{} in one step", listed(&words, "and"));
            faults.push(Fault::new(path, node.line, error, format!("begin a new step with `- {second}:`")));
            return None;
        }
    };
    let value = object.take(word)?;
    let kind = step_kind(word, value, &mut object, faults);
    let is_named = matches!(value.value, NodeValue::Scalar { .. });
    object.finish(known_keys(word, is_named), faults);
    Some(Step { kind: kind?, path, line: node.line })
}

fn node_is_single(node: &Node) -> bool {
    matches!(&node.value, NodeValue::Object(members) if members.len() == 1)
}

/// `is_named`: what stands behind the word is a name, of a component.
fn known_keys(word: &str, is_named: bool) -> &'static [&'static str] {
    match word {
        "rule" => &["rule", "config", "by", "ttl", "keep", "as", "limits", "on_failing"],
        "transform" => &["transform", "config", "by", "ttl", "keep_input", "limits", "on_failing"],
        "process" => &["process", "config", "by", "ttl", "outputs", "limits", "on_failing"],
        "pattern" if is_named => &pattern::KEYS_BESIDE,
        "patterns" => &patterns::KEYS_BESIDE,
        "match_recognize" => &["match_recognize", "explain"],
        "rules" => &["rules", "match", "emit", "keep", "as", "trace"],
        _ => &[],
    }
}

fn step_kind(word: &str, value: &Node, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<StepKind> {
    let path = object.member(word);
    match word {
        "where" => text_of(value, &path, faults).map(StepKind::Where),
        "select" => columns(value, &path, faults).map(StepKind::Select),
        "extend" => columns(value, &path, faults).map(StepKind::Extend),
        "join" => join::join(value, &path, faults).map(StepKind::Join),
        "window" => window::window(value, &path, faults).map(StepKind::Window),
        "over" => window::over(value, &path, faults).map(StepKind::Over),
        "pattern" => match &value.value {
            NodeValue::Scalar { .. } => pattern::of_component(value, &path, object, faults).map(StepKind::PatternComponent),
            NodeValue::List(_) | NodeValue::Object(_) => pattern::pattern(value, &path, faults).map(StepKind::Pattern),
        },
        "dedupe" => thin::dedupe(value, &path, faults).map(StepKind::Dedupe),
        "rate" => thin::rate(value, &path, faults).map(StepKind::Rate),
        "alert" => alert::alert(value, &path, faults).map(|alert| StepKind::Alert(Box::new(alert))),
        "metrics" => meters::meters(value, &path, faults).map(StepKind::Metrics),
        "match_recognize" => {
            let explain = object.flag("explain", faults).unwrap_or(false);
            text_of(value, &path, faults).map(|text| StepKind::MatchRecognize(MatchRecognizeText { text, explain }))
        }
        "sample" => thin::sample(value, &path, faults).map(StepKind::Sample),
        "lookup" => lookup(value, &path, faults).map(StepKind::Lookup),
        "correlate" => correlate::correlate(value, &path, faults).map(|correlate| StepKind::Correlate(Box::new(correlate))),
        "origin" => correlate::origin(value, &path, faults).map(StepKind::Origin),
        "machine" => machine::machine(value, &path, faults).map(|machine| StepKind::Machine(Box::new(machine))),
        "patterns" => patterns::patterns(value, &path, object, faults).map(StepKind::Patterns),
        "rules" => rules::rules(value, &path, object, faults).map(StepKind::Rules),
        "rule" => {
            let component = component(value, &path, object, faults);
            let keeps = [("matching", KeepRows::Matching), ("failing", KeepRows::Failing), ("all", KeepRows::All)];
            let keep = object.choice("keep", &keeps, faults).unwrap_or(KeepRows::Matching);
            let answer = object.text("as", faults);
            if let Some(answer) = &answer
                && keep != KeepRows::All
            {
                let error = "`as` without `keep: all`: every row left would have the same answer";
                faults.push(Fault::new(object.member("as"), answer.line, error, "add `keep: all`, or remove `as`"));
            }
            Some(StepKind::Rule { component: component?, keep, answer })
        }
        "process" => {
            let component = component(value, &path, object, faults);
            let place = object.member("outputs");
            let outputs = object.take("outputs").map_or_else(Vec::new, |node| outputs(node, &place, faults));
            Some(StepKind::Process { component: component?, outputs })
        }
        _ => {
            let component = component(value, &path, object, faults);
            let keep_input = object.flag("keep_input", faults).unwrap_or(false);
            Some(StepKind::Transform { component: component?, keep_input })
        }
    }
}

/// Names, and the expressions that make them.
pub(super) fn columns(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<(Text, Text)>> {
    let object = Object::of(node, path, "{o: origin, km: distance * 1.609}", faults)?;
    let NodeValue::Object(members) = &node.value else { return None };
    if members.is_empty() {
        faults.push(Fault::new(path, node.line, "no column is named", "write `{o: origin}`"));
    }
    let columns = members
        .iter()
        .filter_map(|(key, value)| {
            let path = object.member(&key.name);
            let reserved = key.name.is_empty() || key.name.starts_with('_');
            if reserved {
                faults.push(Fault::new(
                    &path,
                    key.line,
                    format!("`{}` cannot be a column: names with `_` in front are the host's", key.name),
                    "choose another name",
                ));
            }
            if value.json().is_null() {
                let remedy = "write an expression; a null of its own says its type: `cast(null as double)`";
                faults.push(Fault::new(&path, key.line, "nothing where an expression is needed", remedy));
                return None;
            }
            let expression = text_of(value, &path, faults)?;
            Some((Text { text: key.name.clone(), line: key.line }, expression))
        })
        .collect();
    Some(columns)
}

/// A list of names, or one alone.
pub(super) fn names(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<Text>> {
    if let NodeValue::Scalar { .. } = node.value {
        return text_of(node, path, faults).map(|one| vec![one]);
    }
    let items = list(node, path, "[origin]", faults);
    let texts: Vec<Option<Text>> =
        items.iter().enumerate().map(|(at, item)| text_of(item, &format!("{path}[{at}]"), faults)).collect();
    texts.into_iter().collect()
}

pub(super) fn component(value: &Node, path: &str, object: &mut Object<'_>, faults: &mut Vec<Fault>) -> Option<ComponentStep> {
    let reference = text_of(value, path, faults);
    let (config, config_line) = match object.take("config") {
        Some(node) => (node.json().to_string(), node.line),
        None => ("{}".to_owned(), value.line),
    };
    let (by, by_line) = match object.take("by") {
        Some(node) => {
            let path = object.member("by");
            let items = list(node, &path, "by: [user]", faults);
            let texts = items.iter().enumerate().filter_map(|(at, item)| text_of(item, &format!("{path}[{at}]"), faults));
            (Some(texts.collect()), node.line)
        }
        None => (None, value.line),
    };
    let ttl = object.take("ttl").and_then(|node| ttl(node, &object.member("ttl"), faults));
    let limits =
        object.take("limits").map_or_else(LimitOverrides::default, |node| limits(node, &object.member("limits"), faults));
    let policies = [("pass", OnFailing::Pass), ("hold", OnFailing::Hold), ("stop", OnFailing::Stop)];
    let on_failing = object.choice("on_failing", &policies, faults).unwrap_or(OnFailing::Hold);
    Some(ComponentStep { reference: reference?, config, config_line, by, by_line, ttl, limits, on_failing })
}

fn limits(node: &Node, path: &str, faults: &mut Vec<Fault>) -> LimitOverrides {
    let Some(mut object) = Object::of(node, path, "{memory: 16MiB}", faults) else { return LimitOverrides::default() };
    let limits = LimitOverrides {
        fuel_per_row: object.number("fuel_per_row", faults),
        memory_bytes: object.size("memory", faults),
        output_bytes: object.size("output", faults),
        deadline: object.duration("deadline", faults),
    };
    object.finish(&["fuel_per_row", "memory", "output", "deadline"], faults);
    limits
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::pipeline::example::read_as;

    fn shown(text: &str) -> String {
        read_as(text, |definition| format!("{definition:?}"))
    }

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&shown(text));
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "time: {bound: off, max_drift: 10m}\nfrom: {stream: a, as: x, start: [7, 9], on_trim: skip, out_of_orderness: 5s, idle: off}\nsteps:\n- where: n > 1\n- rule: r@1\n  config: {t: 1, s: '2', l: [true, ~]}\n  by: [u]\n  keep: all\n  as: hit\n  limits: {fuel_per_row: 7, memory: 2MiB, output: 1KiB, deadline: 50ms}\n- select: {o: n * 2, one: 1}\n- transform: t@2\n  keep_input: true\n- window: {hopping: {size: 1h, every: 15m}, by: [o], select: {n: count(*), s: sum(one) filter (where one > 0)}, lateness: 5s, top: {n: 3, order: [n desc, o]}}\n- over: {rows: 5, select: {m: avg(n)}}\nto:\n- stream: b\n- file: {path: f/g}\n- stdout\n";
        let json = r#"{"time": {"bound": "off", "max_drift": "10m"}, "from": {"stream": "a", "as": "x", "start": [7, 9], "on_trim": "skip", "out_of_orderness": "5s", "idle": "off"}, "steps": [{"where": "n > 1"},
            {"rule": "r@1", "config": {"t": 1, "s": "2", "l": [true, null]}, "by": ["u"], "keep": "all", "as": "hit",
             "limits": {"fuel_per_row": 7, "memory": "2MiB", "output": "1KiB", "deadline": "50ms"}},
            {"select": {"o": "n * 2", "one": 1}}, {"transform": "t@2", "keep_input": true},
            {"window": {"hopping": {"size": "1h", "every": "15m"}, "by": ["o"], "select": {"n": "count(*)", "s": "sum(one) filter (where one > 0)"},
             "lateness": "5s", "top": {"n": 3, "order": ["n desc", "o"]}}}, {"over": {"rows": 5, "select": {"m": "avg(n)"}}}],
            "to": [{"stream": "b"}, {"file": {"path": "f/g"}}, "stdout"]}"#;
        let name = "p".parse().expect("a name");
        let without_lines = |text: &str| {
            let shown = format!("{:?}", parse(&name, text).expect("is a pipeline"));
            let mut out = String::new();
            let mut rest = shown.as_str();
            while let Some(at) = rest.find("line: ") {
                out.push_str(&rest[..at]);
                rest = rest[at + 6..].trim_start_matches(|any: char| any.is_ascii_digit());
            }
            out + rest
        };
        assert_eq!(without_lines(yaml), without_lines(json));
    }

    #[test]
    fn every_fault_is_found_at_once_with_its_line() {
        check(
            "pipeline: q\nrun: sometimes\nfrom:\n  stream: Clicks\n  idle: never\nsteps:\n- were: a > 1\n- canary: {define: a}\n- rule: r@1\n  kep: all\n  as: hit\n- where: a\n  select: {b: a}\n- rule: r@1\n  limits: {memory: 5MB}\n  on_failing: wait\n- where: a\n  by: [a]\n- select: {_time: a}\nto:\n- results\n- file: {path: ../x}\n- stream: a.rejected\n- stdout\n- stdout\nextra: 1\n",
            expect![[r#"
                1: pipeline: the text says `q`, the address says `p` -> make them the same, or leave `pipeline` out
                2: run: `sometimes` is none of the values there are -> use `live` or `once`
                4: from.stream: `Clicks` has 'C' at position 0: a name is a letter a-z, then letters a-z, digits, `_` or `-` (at most 63) -> name a stream: `clicks`
                5: from.idle: `never` is no such value -> write an integer and ms, s, m, h or d, `30s`, or `off`
                7: steps[0].were: there is no `were` -> did you mean `where`?
                8: steps[1].canary: `canary` is not in this version -> a step is one of `alert`, `where`, `select`, `extend`, `rule`, `transform`, `window`, `over`, `join`, `dedupe`, `rate`, `sample`, `lookup`, `machine`, `correlate`, `origin`, `metrics`, `pattern`, `patterns`, `process`, `match_recognize` or `rules`
                10: steps[2].kep: there is no `kep` -> did you mean `keep`?
                11: steps[2].as: `as` without `keep: all`: every row left would have the same answer -> add `keep: all`, or remove `as`
                12: steps[3]: `where` and `select` in one step -> begin a new step with `- select:`
                15: steps[4].limits.memory: `5MB` is no such value -> write an integer and KiB, MiB or GiB: `16MiB`
                16: steps[4].on_failing: `wait` is none of the values there are -> use `pass`, `hold` or `stop`
                18: steps[5].by: there is no `by` -> remove it: nothing can stand beside this step
                19: steps[6].select._time: `_time` cannot be a column: names with `_` in front are the host's -> choose another name
                21: to[0]: `results` is no target -> write `- stream: results`, `- file: {path: results}` or `- stdout`
                22: to[1].file.path: `../x` is no folder inside `files/` -> write names of letters, digits, `.`, `_`, `-` with `/` between them: `reports/daily`
                23: to[2].stream: `a.rejected` has a dot, and dotted names are the host's: choose a name without one -> name a stream of your own: `results`
                25: to[4]: this target is named twice -> remove one of the two
                26: extra: there is no `extra` -> here it can be `pipeline`, `run`, `on_divergence`, `time`, `from`, `functions`, `tags`, `steps` or `to`
            "#]],
        );
    }

    #[test]
    fn what_is_wrong_with_panes_is_found_at_once() {
        check(
            "from: a\nsteps:\n- window: {tumbling: 1h, select: {n: count(*)}, late: each}\n- window: {tumbling: 1h, select: {n: count(*)}, early: often}\n- window: {tumbling: 1h, select: {n: count(*)}, early: {rows: 0}, panes: both}\n- window: {count: 5, select: {n: count(*)}, early: each}\n- window: {tumbling: 1h, select: {n: count(*)}, early: {event_time: 5s, rows: 3}, lateness: 1m, late: {event_time: 5s}}\n- window: {tumbling: 1h, select: {n: count(*)}, early: each, panes: discarding, top: {n: 3, order: n}}\n- window: {tumbling: 1h, time: processing, select: {n: count(*)}, early: {event_time: 5s}, lateness: 1m}\n- window: {global: {}, time: processing, select: {n: count(*)}, early: 0s}\n- window: {session: {gap: 5m, gap_ms: x}, select: {n: count(*)}}\n- window: {session: {max_length: 1h}, time: wall, select: {n: count(*)}}\nto:\n- stdout\n",
            expect![[r#"
                3: steps[0].window.late: no late row is taken -> say how long they are taken: `lateness: 1m`
                4: steps[1].window.early: `often` says nothing of when -> write `each`, `10s`, `{rows: 100}` or `{event_time: 10s}`
                5: steps[2].window.panes: `both` is none of the values there are -> use `accumulating`, `discarding` or `retracting`
                5: steps[2].window.early: no row at all is none to wait for -> write a number of rows: `{rows: 100}`
                6: steps[3].window.early: a window that counts rows speaks when it is full -> a smaller `count`, or `over`, speaks more often
                7: steps[4].window.early: it takes one word that says when -> write `each`, `10s`, `{rows: 100}` or `{event_time: 10s}`
                8: steps[5].window.top: a ranking of what is new only ranks nothing that a window has -> write `panes: accumulating` or `panes: retracting`
                9: steps[6].window.early: the time of this window is the clock's -> write the time alone: `early: 10s`
                9: steps[6].window.time: no row is late by the clock that takes it -> remove `lateness`, or `time`
                10: steps[7].window.early: `0s` says nothing of when -> write `each`, `10s`, `{rows: 100}` or `{event_time: 10s}`
                10: steps[7].window.time: a window without an end has no time -> remove `time`; `early: 10s` speaks by the clock
                11: steps[8].window.session: `gap` and `gap_ms` in one session -> keep one of them: `gap_ms` is an expression
                12: steps[9].window.session.gap: `gap` is missing -> add `gap: 30m`
                12: steps[9].window.time: `wall` is none of the values there are -> use `event` or `processing`
            "#]],
        );
    }

    #[test]
    fn what_is_wrong_with_windows_is_found_at_once() {
        check(
            "from: a\nsteps:\n- window: {tumbling: 1h, hopping: {size: 1h, every: 5m}, select: {n: count(*)}}\n- window: {by: [a], lateness: 5}\n- window: {tumblin: 1h, select: {n: count(*)}}\n- window: {session: 30m, offset: 5m, lateness: 1m, select: {n: count(*)}, top: {n: 3, order: n desc}}\n- window: {hopping: {size: 1h, evry: 5m}, select: {}}\n- window: {count: 0, select: {n: count(*)}}\n- window: {global: 1h, select: {n: count(*)}, lateness: 1s}\n- window: {cumulating: {size: 1d}, select: {n: count(*)}, top: {order: [n down]}}\n- window: {session: {gap: 3}, select: {n: count(*)}}\n- window: 1h\n- over: {rows: 0, select: {m: avg(x)}}\n- over: {by: a, select: {m: avg(x)}, top: {n: 3}}\nto:\n- stdout\n",
            expect![[r#"
                3: steps[0].window: `tumbling` and `hopping` in one window -> keep one of them; a second `window` step can follow
                4: steps[1].window: nothing says which rows a window has -> add `tumbling`, `hopping`, `session`, `cumulating`, `calendar`, `count` or `global`: `tumbling: 1h`
                4: steps[1].window.select: `select` is missing -> add `select: {n: count(*)}`
                4: steps[1].window.lateness: `5` is no such value -> write an integer and ms, s, m, h or d: `50ms`
                5: steps[2].window: nothing says which rows a window has -> add `tumbling`, `hopping`, `session`, `cumulating`, `calendar`, `count` or `global`: `tumbling: 1h`
                5: steps[2].window.tumblin: there is no `tumblin` -> did you mean `tumbling`?
                6: steps[3].window.top: keys are ranked within a window that all of them have, and these windows are of one key each -> rank in a `window: {tumbling: …, top: …}` behind this one
                6: steps[3].window.offset: `offset` cannot stand here -> remove it
                7: steps[4].window.hopping.every: `every` is missing -> add `every: 1h`
                7: steps[4].window.hopping.evry: there is no `evry` -> did you mean `every`?
                7: steps[4].window.select: no column is named -> write `{o: origin}`
                8: steps[5].window.count: 0 rows are no window -> write a number of rows: `count: 100`
                9: steps[6].window.global: a text where an object is needed -> write `global: {}`
                10: steps[7].window.cumulating.step: `step` is missing -> add `step: 1h`
                10: steps[7].window.top.n: `n` is missing -> add `n: 3`
                10: steps[7].window.top.order: `n down` is no order -> write a column, `desc` for the greatest first, and where nulls stand: `n desc`, `n desc nulls last`
                11: steps[8].window.session.gap: `3` is no such value -> write an integer and ms, s, m, h or d: `50ms`
                12: steps[9].window: a text where an object is needed -> write `{tumbling: 1h, by: [origin], select: {n: count(*)}}`
                13: steps[10].over.rows: 0 rows cannot be looked back at -> write a number from 1 to 10000; for longer stretches there are windows
                14: steps[11].over.rows: `rows` is missing -> add `rows: 5`
                14: steps[11].over.top: there is no `top` -> here it can be `by`, `rows` or `select`
            "#]],
        );
    }

    #[test]
    fn what_is_wrong_with_joins_is_found_at_once() {
        check(
            "from: [a, {stream: b, as: x-y}]\nsteps:\n- join: {kind: outer, on: a.x = b.y, window: {session: 5m}}\n- join: {within: [0s, 5m], window: {tumbling: 1h}}\n- join: {on: a.x = b.y}\n- join: {within: [5m, -5m]}\n- join: {within: 5m}\n- join: {within: [0, 5m], by: x}\nto:\n- stdout\n",
            expect![[r#"
                1: from[0].as: the columns of `a` have no name in front -> name it: `{stream: a, as: a}`
                1: from[1].as: `x-y` cannot stand in front of a column -> write a letter, then letters, digits or `_`: `as: a`
                3: steps[0].join.kind: `outer` is none of the values there are -> use `inner`, `left`, `right`, `full`, `semi` or `anti`
                3: steps[0].join.window: nothing says how long a window is -> write one of `tumbling`, `hopping`, `cumulating` and `calendar`: `tumbling: 1h`
                3: steps[0].join.window.session: there is no `session` -> here it can be `tumbling`, `hopping`, `cumulating`, `calendar`, `offset` or `zone`
                4: steps[1].join.window: `within` and `window` in one join -> keep one of them: how far apart, in the same window, or the one row that was there
                5: steps[2].join: nothing says how long a row waits for others -> add `within: [0s, 30m]`, `window: {tumbling: 1h}`, `as_of: backward`, or `within: off` to keep every row for ever
                6: steps[3].join.within: the first bound is greater than the second: no pair lies between -> write the least and the greatest time of the right row less that of the left: `[0s, 30m]`, `[-5m, off]`
                7: steps[4].join.within: these are not two bounds -> write the least and the greatest time of the right row less that of the left: `[0s, 30m]`, `[-5m, off]`
                8: steps[5].join.within: `0` and `5m` are no bounds -> write the least and the greatest time of the right row less that of the left: `[0s, 30m]`, `[-5m, off]`
                8: steps[5].join.by: there is no `by` -> here it can be `kind`, `on`, `within`, `window`, `as_of` or `tolerance`
            "#]],
        );
        check(
            "from: [{stream: a, as: x}, {stream: a, as: x}, b]\nsteps:\n- join: {within: off}\nto:\n- stdout\n",
            expect![[r#"
            1: from[1].as: `x` names two of them -> give each a name of its own
            1: from[2].as: the columns of `b` have no name in front -> name it: `{stream: b, as: a}`
        "#]],
        );
    }

    #[test]
    fn what_is_wrong_with_a_time_to_live_is_found_at_once() {
        check(
            "from: a\nfunctions: {f: {component: g@1, ttl: 1h}}\nsteps:\n- rule: r@1\n  ttl: soon\n- rule: r@1\n  ttl: 0s\n- rule: r@1\n  ttl: {}\n- transform: t@1\n  ttl: {wall_clock: 1h, event_time: 1h}\n- transform: t@1\n  ttl: {wall: 1h}\n- rule: r@1\n  ttl: {wall_clock: 5}\n- where: a\n  ttl: 1h\nto: [stdout]\n",
            expect![[r#"
                2: functions.f.ttl: `ttl` is for steps that keep state -> remove it
                5: steps[0].ttl: `soon` is no such value -> write an integer and ms, s, m, h or d: `1h`, or `{wall_clock: 1h}`
                7: steps[1].ttl: state that lives no time is none -> write a longer time: `1h`
                9: steps[2].ttl: nothing says by which time -> write one of `event_time` and `wall_clock`: `{wall_clock: 1h}`
                11: steps[3].ttl: by two clocks at once -> write one of `event_time` and `wall_clock`: `{wall_clock: 1h}`
                13: steps[4].ttl.wall: there is no `wall` -> here it can be `event_time` or `wall_clock`
                13: steps[4].ttl: nothing says by which time -> write one of `event_time` and `wall_clock`: `{wall_clock: 1h}`
                15: steps[5].ttl.wall_clock: `5` is no such value -> write an integer and ms, s, m, h or d: `50ms`
                17: steps[6].ttl: there is no `ttl` -> remove it: nothing can stand beside this step
            "#]],
        );
    }

    #[test]
    fn syntax_is_reported_where_it_breaks() {
        check(
            "",
            expect![[r#"
            1: : the text is empty -> write a pipeline: `from: …`, `steps: […]`, `to: […]`
        "#]],
        );
        check(
            "from: a\nsteps: [\n",
            expect![[r#"
            3: : not YAML or JSON: while parsing a node, did not find expected node content -> check indentation, brackets and quotes
        "#]],
        );
        check(
            "from: &x a\nto: *x\n",
            expect![[r#"
            1: : an anchor (`&name`) is not taken here -> write the value out
        "#]],
        );
        check(
            "[1, 2]",
            expect![[r#"
            1: : a list where an object is needed -> write `{from: clicks, steps: [], to: [{stream: results}]}`
        "#]],
        );
        check(
            "from: a\nfrom: b\nto: [stdout]\n",
            expect![[r#"
            2: from: `from` stands here twice -> remove one of the two
        "#]],
        );
        check(
            "from: [a, {stream: b, as: x, start: [1, b]}, {stream: a, start: soon}]\nto: [stdout]\n",
            expect![[r#"
                1: from[1].start: a list with something else than offsets -> write one offset for each partition: `[1200, 990]`
                1: from[2].start: `soon` is no place in a stream -> write `earliest`, `latest`, an offset (`1200`, or `[1200, 990]` for several partitions), or a time: `2026-01-31T12:00:00Z`
                1: from[1].as: `as: x` among several streams: without a join they are one -> remove `as`, and write columns without a name in front
                1: from[2]: `a` is named twice -> remove one of the two
            "#]],
        );
        check(
            "from: a\nto: [stdout]\n---\nfrom: b\n",
            expect![[r#"
            3: : a second document begins -> one text is one pipeline: send the other by itself
        "#]],
        );
        check(
            &"[".repeat(100),
            expect![[r#"
            1: : nested too deep -> at most 64 levels are possible
        "#]],
        );
    }
}
