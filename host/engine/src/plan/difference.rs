//! What applying a text would change in what runs: streams, steps, components, state, targets, each told in a line.
//!
//! Steps are matched by what they say: the longest common run of equal steps stays, what is left between two of them is paired by its
//! word and component, and the rest is added or removed.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::pipeline::{OnDivergence, OnTrim, PipelineDefinition, Run, STEP_WORDS, Target, document, parse};
use crate::plan::describe::length;
use crate::plan::{KeptState, Plan, PlannedKind, PlannedTarget};
use crate::stored::{Pin, StoredPipeline};

/// What becomes of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It says something else.
    Changed,
}

/// What becomes of a step's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "is", content = "why")]
pub enum StateChange {
    /// It goes on with what it has.
    Kept,
    /// It begins empty.
    New(String),
    /// What it had is not used any more.
    Lost(String),
}

/// One piece of the difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happens to it.
    pub change: ChangeKind,
    /// Where it stands: `from.clicks`, `steps[2].rule`, `to`, `run`.
    pub place: String,
    /// What it says, in one line.
    pub text: String,
    /// What is different or follows, a line each.
    pub details: Vec<String>,
    /// For steps with state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateChange>,
}

impl Change {
    fn new(change: ChangeKind, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { change, place: place.into(), text: text.into(), details: Vec::new(), state: None }
    }

    fn with(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }
}

/// The difference between what is stored and a plan made of `text`. `new_run` says why the run begins anew, if it does.
pub(crate) fn difference(plan: &Plan, text: &str, before: &StoredPipeline, new_run: Option<&str>) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(why) = new_run {
        let line = "a new run: it begins where `start` says, with empty state".to_owned();
        changes.push(Change::new(ChangeKind::Changed, "run", format!("run {} ends", before.run)).with([why.to_owned(), line]));
    }
    let old = parse(&plan.definition.name, &before.text).ok();
    if let Some(old) = &old {
        settings(old, &plan.definition, &mut changes);
        sources(plan, old, before, new_run.is_some(), &mut changes);
        functions(plan, old, before, &mut changes);
    }
    steps(plan, &step_texts(text), &step_texts(&before.text), before, new_run, &mut changes);
    if let Some(old) = &old {
        targets(plan, old, &mut changes);
    }
    changes
}

fn settings(old: &PipelineDefinition, new: &PipelineDefinition, changes: &mut Vec<Change>) {
    let run = |run| match run {
        Run::Live => "live",
        Run::Once => "once",
    };
    let on_divergence = |policy| match policy {
        OnDivergence::Continue => "continue",
        OnDivergence::Stop => "stop",
    };
    let mut setting = |name: &str, old: &str, new: &str| {
        if old != new {
            changes.push(Change::new(ChangeKind::Changed, name, format!("{old} → {new}")));
        }
    };
    setting("run", run(old.run), run(new.run));
    setting("on_divergence", on_divergence(old.on_divergence), on_divergence(new.on_divergence));
    setting("time.bound", &length(old.time.bound), &length(new.time.bound));
    setting("tags", &format!("[{}]", old.tags.join(", ")), &format!("[{}]", new.tags.join(", ")));
    setting("time.max_drift", &length(old.time.drift_max), &length(new.time.drift_max));
}

fn sources(plan: &Plan, old: &PipelineDefinition, before: &StoredPipeline, new_run: bool, changes: &mut Vec<Change>) {
    let place = |name: &str| format!("from.{name}");
    let on_trim = |policy| match policy {
        OnTrim::Stop => "stop",
        OnTrim::Skip => "skip",
    };
    let old_names = old.input_names();
    for (source, text) in plan.sources.list.iter().zip(&plan.definition.sources) {
        let name = &*source.input;
        let before_it = old.sources.iter().zip(&old_names).find(|(_, was)| *was == name).map(|(was, _)| was);
        let Some(was) = before_it else {
            let columns = source.definition.schema.fields.len();
            let detail =
                format!("{} partitions, {columns} columns, read from where `start` says", source.stream.partitions().len());
            changes.push(Change::new(ChangeKind::Added, place(name), name).with([detail]));
            continue;
        };
        let mut details = Vec::new();
        if let Some(stored) = before.source(name).filter(|stored| stored.version != source.version.0) {
            details.push(format!("schema version {} → {}", stored.version, source.version.0));
        }
        if was.on_trim != text.on_trim {
            details.push(format!("on_trim: {} → {}", on_trim(was.on_trim), on_trim(text.on_trim)));
        }
        if was.out_of_orderness != text.out_of_orderness {
            let (before, now) = (length(Some(was.out_of_orderness)), length(Some(text.out_of_orderness)));
            details.push(format!("out_of_orderness: {before} → {now}; the watermark goes on from where it is"));
        }
        if was.idle != text.idle {
            details.push(format!("idle: {} → {}", length(was.idle), length(text.idle)));
        }
        if was.alias != text.alias {
            details.push("`as` is another".to_owned());
        }
        if was.start != text.start && !new_run {
            details
                .push("`start` is another and moves nothing: the run goes on where it is; a replay begins elsewhere".to_owned());
        }
        if !details.is_empty() {
            changes.push(Change::new(ChangeKind::Changed, place(name), name).with(details));
        }
    }
    for was in old_names.iter().filter(|was| plan.sources.list.iter().all(|source| *source.input != ***was)) {
        let detail = "nothing more of it is taken; what came of it stays".to_owned();
        changes.push(Change::new(ChangeKind::Removed, place(was), was).with([detail]));
    }
}

/// Components that expressions call.
fn functions(plan: &Plan, old: &PipelineDefinition, before: &StoredPipeline, changes: &mut Vec<Change>) {
    let place = |name: &str| format!("functions.{name}");
    for (function, text) in plan.functions.iter().zip(&plan.definition.functions) {
        let (name, now) = (function.name.as_str(), function.component.label());
        let Some(was) = old.functions.iter().find(|was| was.name.text == name) else {
            changes.push(Change::new(ChangeKind::Added, place(name), now));
            continue;
        };
        let mut details = Vec::new();
        let pinned = before.pinned.iter().find(|pin| pin.function.as_deref() == Some(name));
        if let Some(pin) = pinned.filter(|pin| pin.digest != function.component.pin.digest) {
            details.push(format!("{}@{} → {now}", pin.name, pin.version));
        }
        if was.component.config != text.component.config {
            details.push(format!("config: {} → {}", was.component.config, text.component.config));
        }
        if (was.component.limits, was.component.on_failing) != (text.component.limits, text.component.on_failing) {
            details.push("`limits` or `on_failing` is another".to_owned());
        }
        if !details.is_empty() {
            changes.push(Change::new(ChangeKind::Changed, place(name), now).with(details));
        }
    }
    for was in old.functions.iter().filter(|was| plan.functions.iter().all(|function| function.name != was.name.text)) {
        changes.push(Change::new(ChangeKind::Removed, place(&was.name.text), was.component.reference.text.as_str()));
    }
}

/// The steps of a text as JSON, in order.
fn step_texts(text: &str) -> Vec<Map<String, Value>> {
    let steps = document::read(text).ok().and_then(|node| node.json().get("steps")?.as_array().cloned()).unwrap_or_default();
    steps.into_iter().filter_map(|step| if let Value::Object(members) = step { Some(members) } else { None }).collect()
}

/// `rule: high-value@1`.
fn shown(step: &Map<String, Value>) -> String {
    let word = STEP_WORDS.into_iter().find(|word| step.contains_key(*word)).unwrap_or("step");
    format!("{word}: {}", step.get(word).map_or_else(String::new, plain))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a step is, whatever it is told: its word, and its component's name.
fn identity(step: &Map<String, Value>) -> String {
    let shown = shown(step);
    let (word, rest) = shown.split_once(": ").unwrap_or((&shown, ""));
    match word {
        "rule" | "transform" => format!("{word} {}", rest.split('@').next().unwrap_or_default()),
        other => other.to_owned(),
    }
}

fn steps(
    plan: &Plan,
    new: &[Map<String, Value>],
    old: &[Map<String, Value>],
    before: &StoredPipeline,
    new_run: Option<&str>,
    changes: &mut Vec<Change>,
) {
    let kept: BTreeSet<u32> = if new_run.is_some() {
        BTreeSet::new()
    } else {
        (0..plan.steps.len() as u32).filter_map(|step| plan.state_of(step)).map(|state| state.operator).collect()
    };
    for (was, is) in paired(old, new) {
        let old_pin = was.and_then(|was| before.pinned.iter().find(|pin| pin.step == was as u32));
        let planned = is.and_then(|is| plan.components().find(|(at, _)| *at == is as u32)).map(|(_, planned)| planned);
        let place = match (was, is) {
            (_, Some(is)) => plan.step_name(is as u32),
            (Some(was), None) => format!("steps[{was}].{}", shown(&old[was]).split(':').next().unwrap_or_default()),
            (None, None) => continue,
        };
        let mut change = match (was, is) {
            (Some(was), None) => Change::new(ChangeKind::Removed, place, shown(&old[was])),
            (None, Some(is)) => Change::new(ChangeKind::Added, place, shown(&new[is])),
            (Some(was), Some(is)) => {
                let mut details = members_changed(&old[was], &new[is]);
                if let (Some(pin), Some(planned)) = (old_pin, planned)
                    && pin.digest != planned.pin.digest
                {
                    details.insert(0, format!("{}@{} → {}", pin.name, pin.version, planned.label()));
                }
                details.splice(0..0, asked_changed(plan, before, was, is));
                Change::new(ChangeKind::Changed, place, shown(&new[is])).with(details)
            }
            (None, None) => continue,
        };
        let old_state = was.and_then(|was| before.state_of(was as u32));
        change.state = match is.and_then(|is| plan.state_of(is as u32)) {
            Some(state) if kept.contains(&state.operator) && before.has_state(state.operator) => Some(StateChange::Kept),
            Some(KeptState { shape, .. }) => Some(StateChange::New(match (new_run, old_state) {
                (Some(_), _) => "the run is new".to_owned(),
                (None, Some((_, old))) => format!("its state was {old} and is {shape}"),
                (None, None) => format!("no such step before kept {shape}"),
            })),
            None => old_state
                .filter(|(operator, _)| !kept.contains(operator))
                .map(|_| StateChange::Lost("no step of the new plan goes on with it".to_owned())),
        };
        let says_something = change.change != ChangeKind::Changed
            || !change.details.is_empty()
            || change.state.as_ref().is_some_and(|state| *state != StateChange::Kept);
        if says_something {
            changes.push(change);
        }
    }
}

/// Versions that the rules of a set ask now instead of others.
fn asked_changed(plan: &Plan, before: &StoredPipeline, was: usize, is: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let Some(PlannedKind::Rules(rules)) = plan.steps.get(is).map(|step| &step.kind) else { return lines };
    for planned in &rules.components {
        let is_it =
            |pin: &&Pin| pin.step == was as u32 && pin.reference == planned.pin.reference && pin.digest != planned.pin.digest;
        let Some(pin) = before.pinned.iter().find(is_it) else { continue };
        let line = format!("{}@{} → {}", pin.name, pin.version, planned.label());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Members that differ, `by: ["user"] → ["card"]`; of a step that is one object, that object's.
fn members_changed(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    if let ([(word, Value::Object(old))], [(same, Value::Object(new))]) =
        (&*old.iter().collect::<Vec<_>>(), &*new.iter().collect::<Vec<_>>())
        && word == same
    {
        return members_changed(old, new);
    }
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |step: &Map<String, Value>, name: &str| step.get(name).map_or_else(|| "(not said)".to_owned(), plain);
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    names.into_iter().filter(differs).map(|name| format!("{name}: {} → {}", value(old, name), value(new, name))).collect()
}

/// Places of old and new steps side by side, in the order of the new ones with removed ones before what came in their place.
fn paired(old: &[Map<String, Value>], new: &[Map<String, Value>]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut pairs = Vec::new();
    let (mut from, mut to) = (0, 0);
    for (was, is) in common(old, new).into_iter().chain([(old.len(), new.len())]) {
        let mut removed: Vec<usize> = (from..was).collect();
        for (place, step) in new.iter().enumerate().take(is).skip(to) {
            let before = removed.iter().position(|was| identity(&old[*was]) == identity(step));
            pairs.push((before.map(|at| removed.remove(at)), Some(place)));
        }
        pairs.extend(removed.into_iter().map(|was| (Some(was), None)));
        if was < old.len() && is < new.len() {
            pairs.push((Some(was), Some(is)));
        }
        (from, to) = (was + 1, is + 1);
    }
    pairs
}

/// The longest common subsequence of equal steps. Texts have at most 256 steps.
fn common(old: &[Map<String, Value>], new: &[Map<String, Value>]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for was in (0..old.len()).rev() {
        for is in (0..new.len()).rev() {
            longest[was][is] =
                if old[was] == new[is] { longest[was + 1][is + 1] + 1 } else { longest[was + 1][is].max(longest[was][is + 1]) };
        }
    }
    let (mut was, mut is, mut pairs) = (0, 0, Vec::new());
    while was < old.len() && is < new.len() {
        if old[was] == new[is] {
            pairs.push((was, is));
            (was, is) = (was + 1, is + 1);
        } else if longest[was + 1][is] >= longest[was][is + 1] {
            was += 1;
        } else {
            is += 1;
        }
    }
    pairs
}

fn targets(plan: &Plan, old: &PipelineDefinition, changes: &mut Vec<Change>) {
    let shown = |target: &Target| target.kind.to_string();
    let new = &plan.definition;
    for (target, planned) in new.targets.iter().zip(&plan.targets) {
        if old.targets.iter().any(|was| (&was.kind, &was.routes) == (&target.kind, &target.routes)) {
            continue;
        }
        let text = shown(target);
        if old.targets.iter().any(|was| shown(was) == text) {
            let detail = "it has other settings, and goes on where it stands".to_owned();
            changes.push(Change::new(ChangeKind::Changed, "to", text).with([detail]));
            continue;
        }
        let detail = match planned {
            PlannedTarget::Stream { there: Some(_), .. } => "the stream is there, and takes these rows".to_owned(),
            PlannedTarget::Stream { there: None, definition, .. } => {
                let key = if definition.key.is_empty() {
                    "no key".to_owned()
                } else {
                    format!("the key [{}]", definition.key.join(", "))
                };
                format!("the stream is made, with {} partitions and {key}", definition.partitions)
            }
            PlannedTarget::File(_) => "rows from here on go there, exactly once".to_owned(),
            PlannedTarget::Webhook(_) => "rows from here on are sent there, once per key".to_owned(),
            PlannedTarget::Stdout => "rows from here on are printed, at least once".to_owned(),
        };
        changes.push(Change::new(ChangeKind::Added, "to", shown(target)).with([detail]));
    }
    for was in old.targets.iter().filter(|was| new.targets.iter().all(|target| shown(target) != shown(was))) {
        let detail = "no more rows go there; those that went stay".to_owned();
        changes.push(Change::new(ChangeKind::Removed, "to", shown(was)).with([detail]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expected: &[(Option<usize>, Option<usize>)]) {
        let steps = |words: &str| step_texts(&format!("steps: [{words}]"));
        assert_eq!(paired(&steps(old), &steps(new)), expected, "{old} → {new}");
    }

    #[test]
    fn steps_are_matched_by_what_they_say() {
        check("{where: a}, {rule: r@1}", "{where: a}, {rule: r@1}", &[(Some(0), Some(0)), (Some(1), Some(1))]);
        check("{rule: r@1}", "{where: a}, {rule: r@1}", &[(None, Some(0)), (Some(0), Some(1))]);
        check("{where: a}, {rule: r@1}", "{where: b}, {rule: r@1}", &[(Some(0), Some(0)), (Some(1), Some(1))]);
        check("{rule: r@1, keep: all}", "{rule: r@2}", &[(Some(0), Some(0))]);
        check("{rule: r@1}", "{rule: s@1}", &[(None, Some(0)), (Some(0), None)]);
        check("{where: a}, {where: b}, {rule: r@1}", "{rule: r@1}", &[(Some(0), None), (Some(1), None), (Some(2), Some(0))]);
        check("", "", &[]);
    }
}
