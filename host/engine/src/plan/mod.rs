//! What a pipeline does, checked against the streams and components there are: ready to be run, or every fault at once.
//!
//! ```text
//! PipelineDefinition ─ check ─► Plan ─ chain ─► operators of one task
//!       catalog: streams, components, other pipelines       │
//!                                                           └─ describe ─► the JSON of `?dry_run=true`
//! ```

mod aggregates;
mod alert;
mod call;
mod chain;
mod check;
mod check_components;
mod check_steps;
mod check_targets;
mod columns;
mod component;
mod correlate;
mod describe;
mod difference;
pub(crate) mod explained;
mod functions;
mod join;
mod key;
mod lookup;
mod machine;
mod meters;
mod panes;
mod pattern;
mod process;
mod recognize;
mod recognize_names;
mod rule_component;
mod rules;
mod source;
mod stage;
mod state;
mod target;
mod thin;
mod trial;
mod window;

use std::sync::Arc;

use tidemill_event::{Field, StreamSchema, TenantName, UnknownFields};
use tidemill_expr::Expression;
use tidemill_flow::TimeSettings;
use tidemill_flow::pattern::PatternOrder;

use crate::pipeline::{KeepRows, PipelineDefinition, Route};
use crate::plan::aggregates::PlannedAggregates;
use crate::stored::Pin;

pub(crate) use alert::{PlannedAlert, alert_definition, alert_schema};
pub(crate) use call::{Answer, CallControl, CallMetricsFamilies, Voice};
pub(crate) use chain::chain;
pub(crate) use check::{Catalog, Graph, Pinning, check};
pub(crate) use check_targets::{owner, owner_key};
pub(crate) use component::PlannedComponent;
pub(crate) use correlate::{PlannedCorrelate, PlannedOrigin};
pub(crate) use describe::describe;
pub(crate) use difference::{Before, difference};
pub use difference::{Change, ChangeKind, PartialMatches, StateChange};
pub(crate) use functions::{PlannedCall, PlannedFunction};
pub(crate) use join::{Bounds, PlannedJoin, PlannedSide};
pub(crate) use lookup::PlannedLookup;
pub(crate) use machine::PlannedMachine;
pub(crate) use meters::PlannedMeter;
pub use pattern::PatternCall;
pub(crate) use pattern::{PlannedPattern, PlannedPatterns};
pub(crate) use recognize::{PlannedDefinition, PlannedMatch};
pub(crate) use rules::PlannedRules;
pub(crate) use source::{PlannedSource, Sources};
pub(crate) use stage::{Inner, Stage};
pub(crate) use state::KeptState;
pub(crate) use target::{PlannedTarget, made};
pub(crate) use thin::{PlannedLimit, PlannedSample};
pub use trial::pattern_step;
pub(crate) use window::{PlannedOver, PlannedWindow, Windows};

/// A pipeline that can run.
pub(crate) struct Plan {
    pub(crate) tenant: TenantName,
    pub(crate) definition: PipelineDefinition,
    /// How its time runs; what hangs on one source stands there.
    pub(crate) time: TimeSettings,
    /// What it reads.
    pub(crate) sources: Arc<Sources>,
    /// What expressions may call.
    pub(crate) functions: Vec<PlannedFunction>,
    pub(crate) steps: Vec<PlannedStep>,
    /// The steps as tasks run them; never empty.
    pub(crate) stages: Vec<Stage>,
    /// The columns that come out.
    pub(crate) output: StreamSchema,
    pub(crate) targets: Vec<PlannedTarget>,
    /// The next number for a step with state.
    pub(crate) next_operator: u32,
}

impl Plan {
    /// The steps that are a component or whose expressions call one, with their place and it; of several, the first. Not rule sets: of what their
    /// rules ask none is the step's.
    pub(crate) fn components(&self) -> impl Iterator<Item = (u32, &Arc<PlannedComponent>)> {
        (0u32..).zip(&self.steps).filter_map(|(at, step)| Some((at, step.component()?)))
    }

    /// One of a step's components by its place; `None`: that of the step.
    pub(crate) fn component_of(&self, step: u32, place: Option<u32>) -> Option<&Arc<PlannedComponent>> {
        let step = self.steps.get(step as usize)?;
        match place {
            Some(place) => step.components().nth(place as usize),
            None => step.component(),
        }
    }

    /// `high-value@1.0.0`; of a rule set, all that its rules ask, each once.
    pub(crate) fn components_shown(&self, step: u32) -> String {
        let Some(step) = self.steps.get(step as usize) else { return String::new() };
        let mut labels: Vec<String> = match step.component() {
            Some(component) => vec![component.label()],
            None => step.components().map(|component| component.label()).collect(),
        };
        labels.sort_unstable();
        labels.dedup();
        labels.join(", ")
    }

    /// What its component references mean: those of steps, then those that expressions call.
    pub(crate) fn pins(&self) -> impl Iterator<Item = &Pin> {
        let of_steps = self.steps.iter().flat_map(PlannedStep::pins);
        of_steps.chain(self.functions.iter().map(|function| &function.component.pin))
    }

    /// Whether rows can come too late for a step: then there is a stream for them.
    pub(crate) fn has_late_rows(&self) -> bool {
        self.steps.iter().any(|step| match &step.kind {
            PlannedKind::Where(_)
            | PlannedKind::Select(_)
            | PlannedKind::Extend(_)
            | PlannedKind::Lookup(_)
            | PlannedKind::Rule { .. }
            | PlannedKind::Transform { .. }
            | PlannedKind::Process { .. }
            | PlannedKind::Sample(_)
            | PlannedKind::Rules(_)
            | PlannedKind::Origin(_)
            | PlannedKind::Alert(_)
            | PlannedKind::Metrics(_) => false,
            PlannedKind::Window(window) => !matches!(window.windows, Windows::Count(_)),
            // Rows in order of arrival are never late.
            PlannedKind::Pattern(pattern) => pattern.order == PatternOrder::Time,
            PlannedKind::Patterns(patterns) => patterns.order == PatternOrder::Time,
            PlannedKind::Machine(machine) => machine.order == PatternOrder::Time,
            PlannedKind::Join(_)
            | PlannedKind::Over(_)
            | PlannedKind::Limit(_)
            | PlannedKind::Correlate(_)
            | PlannedKind::Match(_) => true,
        })
    }

    /// The lookups.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Arc<PlannedLookup>> {
        self.steps.iter().filter_map(|step| step.kind.lookup())
    }

    /// Sandboxes its tasks hold.
    pub(crate) fn instances(&self) -> usize {
        let of = |stage: &Stage| {
            let steps = &self.steps[stage.steps.start as usize..stage.steps.end as usize];
            steps.iter().map(PlannedStep::sandboxes).sum::<usize>() * stage.tasks as usize
        };
        self.stages.iter().map(of).sum()
    }

    /// `steps[2].rule`.
    pub(crate) fn step_name(&self, step: u32) -> String {
        self.definition.steps.get(step as usize).map_or_else(|| format!("steps[{step}]"), |step| step.name())
    }

    /// The columns that come to a step.
    pub(crate) fn step_input(&self, step: u32) -> StreamSchema {
        step_input(&self.sources, &self.steps, step)
    }

    /// The folders of its file targets.
    pub(crate) fn folders(&self) -> Vec<String> {
        let folder = |target: &'_ PlannedTarget| match target {
            PlannedTarget::File(file) => Some(file.path.clone()),
            PlannedTarget::Stream { .. } | PlannedTarget::Stdout | PlannedTarget::Webhook(_) => None,
        };
        self.targets.iter().filter_map(folder).collect()
    }

    /// Which rows each stream it writes takes, in the order of its targets; behind them what is read by those outside the log, which is all.
    pub(crate) fn routes(&self) -> impl Iterator<Item = Vec<Route>> {
        let streams = self.targets.iter().filter_map(|target| match target {
            PlannedTarget::Stream { routes, .. } => Some(routes.clone()),
            PlannedTarget::File(_) | PlannedTarget::Stdout | PlannedTarget::Webhook(_) => None,
        });
        streams.chain(std::iter::once(Vec::new()))
    }

    /// Its targets outside the log, each with its name: readers of `{pipeline}.output`.
    pub(crate) fn sinks(&self) -> impl Iterator<Item = (String, &PlannedTarget)> {
        // The targets of a plan are those of its definition, in their order.
        let targets = self.definition.targets.iter().zip(&self.targets);
        targets
            .filter(|(_, planned)| !matches!(planned, PlannedTarget::Stream { .. }))
            .map(|(target, planned)| (target.kind.to_string(), planned))
    }

    /// Whether there are any.
    pub(crate) fn has_sinks(&self) -> bool {
        self.sinks().next().is_some()
    }
}

/// The columns that come to a step.
fn step_input(sources: &Sources, steps: &[PlannedStep], step: u32) -> StreamSchema {
    match (step as usize).checked_sub(1).and_then(|before| steps.get(before)) {
        None => sources.schema.clone(),
        Some(before) => StreamSchema {
            fields: before.fields.clone(),
            unknown: if before.unknown { UnknownFields::Keep } else { UnknownFields::Drop },
            infer: false,
        },
    }
}

/// A step and the columns behind it.
pub(crate) struct PlannedStep {
    pub(crate) kind: PlannedKind,
    /// What its expressions call, in the order of the calls.
    pub(crate) calls: Vec<PlannedCall>,
    pub(crate) fields: Vec<Field>,
    /// Whether fields the source did not name are still there.
    pub(crate) unknown: bool,
}

impl PlannedStep {
    /// How many sandboxes it needs: a pattern has one for each of its calls.
    fn sandboxes(&self) -> usize {
        let detector = match &self.kind {
            PlannedKind::Pattern(pattern) => pattern.detector.as_ref(),
            _ => None,
        };
        self.components().count() + detector.map_or(0, |detector| detector.calls().count() - 1)
    }

    /// Every component it calls, in the order of their places: first what is called before the step.
    fn components(&self) -> impl Iterator<Item = &Arc<PlannedComponent>> {
        let called = self.calls.iter().map(|call| &call.component);
        let aggregates = self.kind.aggregates().into_iter().flat_map(|aggregates| &aggregates.components);
        called.chain(self.kind.component()).chain(aggregates.map(|call| &call.component)).chain(self.kind.asked())
    }

    /// The one that it is, else the first that its expressions call.
    fn component(&self) -> Option<&Arc<PlannedComponent>> {
        self.kind.component().or_else(|| match self.kind {
            PlannedKind::Rules(_) => None,
            _ => self.components().next(),
        })
    }

    /// What the references in its text mean, but for those that `functions` names.
    fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.kind.component().into_iter().chain(self.kind.asked()).map(|component| &component.pin)
    }
}

/// What a step does.
pub(crate) enum PlannedKind {
    Where(Expression),
    Select(Vec<(Field, Expression)>),
    Extend(Vec<(Field, Expression)>),
    Rule { component: Arc<PlannedComponent>, keep: KeepRows, answer: Option<Arc<str>> },
    Transform { component: Arc<PlannedComponent>, keep_input: bool },
    Process { component: Arc<PlannedComponent>, by: Vec<Field> },
    Join(Box<PlannedJoin>),
    Window(Box<PlannedWindow>),
    Over(Box<PlannedOver>),
    Limit(Box<PlannedLimit>),
    Pattern(Box<PlannedPattern>),
    Patterns(Box<PlannedPatterns>),
    Sample(PlannedSample),
    Match(Box<PlannedMatch>),
    Rules(Box<PlannedRules>),
    Machine(Box<PlannedMachine>),
    Correlate(Box<PlannedCorrelate>),
    Origin(PlannedOrigin),
    Lookup(Arc<PlannedLookup>),
    Metrics(Vec<PlannedMeter>),
    Alert(Box<PlannedAlert>),
}

impl PlannedKind {
    /// The patterns that begin nothing more, by their place in the step.
    pub(crate) fn draining(&self) -> Vec<usize> {
        match self {
            Self::Pattern(pattern) if pattern.draining => vec![0],
            Self::Patterns(list) => (0..).zip(&list.patterns).filter(|(_, (_, one))| one.draining).map(|(at, _)| at).collect(),
            _ => Vec::new(),
        }
    }

    /// The lookup, if it is one.
    pub(crate) fn lookup(&self) -> Option<&Arc<PlannedLookup>> {
        let Self::Lookup(lookup) = self else { return None };
        Some(lookup)
    }

    /// The component that the step is.
    pub(crate) fn component(&self) -> Option<&Arc<PlannedComponent>> {
        match self {
            Self::Rule { component, .. } | Self::Transform { component, .. } | Self::Process { component, .. } => Some(component),
            Self::Pattern(pattern) => pattern.detector.as_ref().map(|detector| &detector.component),
            Self::Where(_)
            | Self::Select(_)
            | Self::Extend(_)
            | Self::Lookup(_)
            | Self::Join(_)
            | Self::Window(_)
            | Self::Over(_)
            | Self::Limit(_)
            | Self::Patterns(_)
            | Self::Sample(_)
            | Self::Match(_)
            | Self::Rules(_)
            | Self::Machine(_)
            | Self::Correlate(_)
            | Self::Origin(_)
            | Self::Alert(_)
            | Self::Metrics(_) => None,
        }
    }

    /// What its rules ask.
    fn asked(&self) -> &[Arc<PlannedComponent>] {
        let Self::Rules(rules) = self else { return &[] };
        &rules.components
    }

    /// What it computes over many rows.
    fn aggregates(&self) -> Option<&PlannedAggregates> {
        match self {
            Self::Window(window) => Some(&window.aggregates),
            Self::Over(over) => Some(&over.aggregates),
            Self::Where(_)
            | Self::Select(_)
            | Self::Extend(_)
            | Self::Lookup(_)
            | Self::Join(_)
            | Self::Limit(_)
            | Self::Pattern(_)
            | Self::Patterns(_)
            | Self::Sample(_)
            | Self::Match(_)
            | Self::Rules(_)
            | Self::Machine(_)
            | Self::Correlate(_)
            | Self::Origin(_)
            | Self::Metrics(_)
            | Self::Alert(_)
            | Self::Rule { .. }
            | Self::Transform { .. }
            | Self::Process { .. } => None,
        }
    }
}
