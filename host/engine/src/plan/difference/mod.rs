//! What applying a text would change in what runs: streams, steps, components, state, targets, each told in a line.
//!
//! | file | tells |
//! |---|---|
//! | `steps` · `pairs` | steps, and which of the old ones is which of the new |
//! | `entries` | patterns and rules of a list, each by its name |
//! | `partial` | what becomes of partial matches that are open |

mod entries;
mod pairs;
mod partial;
mod steps;

use serde::Serialize;

use crate::open_patterns::OpenByStep;
use crate::pipeline::{OnDivergence, OnTrim, PipelineDefinition, Run, Target, parse};
use crate::plan::describe::length;
use crate::plan::difference::steps::{step_texts, steps};
use crate::plan::{Plan, PlannedTarget};
use crate::stored::StoredPipeline;

pub use partial::PartialMatches;

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
    /// Partial matches that are open and end with it, told by nobody. Not there: none, or nobody knows how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<PartialMatches>,
}

impl Change {
    fn new(change: ChangeKind, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { change, place: place.into(), text: text.into(), details: Vec::new(), state: None, dropped: None }
    }

    fn with(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }
}

/// What there was before.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) stored: &'a StoredPipeline,
    /// Its plan; `None`: it cannot be planned any more.
    pub(crate) plan: Option<&'a Plan>,
    /// Its partial matches that are open; `None`: nobody knows.
    pub(crate) open: Option<&'a OpenByStep>,
}

/// The difference between what is stored and a plan made of `text`. `new_run` says why the run begins anew, if it does.
pub(crate) fn difference(plan: &Plan, text: &str, what: Before<'_>, new_run: Option<&str>) -> Vec<Change> {
    let (mut changes, before) = (Vec::new(), what.stored);
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
    steps(plan, &step_texts(text), &step_texts(&before.text), what, new_run, &mut changes);
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
