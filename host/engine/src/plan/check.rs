//! A definition against the catalog: every fault at once, or a plan.
//!
//! A step whose columns cannot be known (its expression is wrong, its component is missing) ends the columns for the steps behind
//! it: those are checked only for what does not need columns, so that one fault is not reported ten times. What each kind of step means is in
//! `check_steps.rs`, what a component reference does in `check_components.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::{PipelineName, StreamName, StreamSchema, TenantName, UnknownFields};
use tidemill_flow::Judged;
use tidemill_log::Log;
use tidemill_runtime::{Grants, Runtime};

use crate::pipeline::{PipelineDefinition, StepKind};
use crate::plan::columns::Columns;
use crate::plan::functions::{PlannedCall, PlannedFunction};
use crate::plan::join::asked_for;
use crate::plan::source::{Sources, sources_of};
use crate::plan::stage::{StageStart, stages};
use crate::plan::{Plan, PlannedStep, step_input};
use crate::sinks::SinkParts;
use crate::stored::StoredPipeline;
use crate::{Components, Fault, Tables};

/// What a definition is checked against.
pub(crate) struct Catalog<'a> {
    pub(crate) tenant: &'a TenantName,
    pub(crate) log: &'a Log,
    pub(crate) runtime: &'a Runtime,
    pub(crate) components: &'a Components,
    pub(crate) tables: &'a Tables,
    pub(crate) grants: &'a Grants,
    /// What targets are opened with.
    pub(crate) targets: &'a SinkParts,
    /// The other pipelines of the tenant.
    pub(crate) graph: &'a Graph,
}

/// Which streams each pipeline of a tenant reads and writes.
pub(crate) type Graph = BTreeMap<PipelineName, (Vec<StreamName>, Vec<StreamName>)>;

/// What references mean.
#[derive(Clone, Copy)]
pub(crate) enum Pinning<'a> {
    /// The newest that fits; state is kept from this one where it can be.
    Newest(Option<&'a StoredPipeline>),
    /// What they meant when this was applied.
    As(&'a StoredPipeline),
}

/// Checks a definition. `Err` is never empty.
///
/// `gap` says how many steps stand before the first one that could not be read, if there is one: behind it no column is known.
pub(crate) fn check(
    definition: PipelineDefinition,
    gap: Option<usize>,
    catalog: &Catalog<'_>,
    pinning: Pinning<'_>,
) -> Result<Plan, Vec<Fault>> {
    let mut placing = Placing::default();
    let (mut plan, mut scattered) = check_with(definition, gap, catalog, pinning, None, &placing)?;
    while let Some(start) = scattered {
        placing.add(start, &plan);
        (plan, scattered) = check_with(plan.definition, gap, catalog, pinning, None, &placing)?;
    }
    if !plan.definition.is_join() {
        return Ok(plan);
    }
    // What is right with all columns is right with those that are asked for.
    let Some(asked_for) = asked_for(&plan.definition.steps) else { return Ok(plan) };
    let narrow = check_with(plan.definition.clone(), gap, catalog, pinning, Some(asked_for), &placing);
    Ok(narrow.map_or(plan, |(narrow, _)| narrow))
}

/// How rows that lie apart come together.
#[derive(Default)]
struct Placing {
    /// One task takes all partitions, and why.
    gathered: Option<String>,
    /// Else they are placed anew where these stages begin.
    stages: Vec<StageStart>,
}

impl Placing {
    /// A step was found whose rows lie apart.
    fn add(&mut self, start: StageStart, plan: &Plan) {
        let why = if plan.time.drift_max.is_some() {
            // Who is too far ahead is not read: that takes one who sees all partitions.
            format!("{}, and `max_drift` holds those together", start.why)
        } else if start.is_keyless() && self.stages.is_empty() {
            start.why
        } else if self.stages.iter().any(|stage| stage.at == start.at) {
            // One step that wants rows together by two keys, neither of which is in the other.
            self.stages.clear();
            start.why
        } else {
            return self.stages.push(start);
        };
        self.gathered = Some(why);
    }
}

/// `asked_for`: what a join keeps of its columns; `None`: all of them. Answers the plan, and where rows lie apart that have to come together: such
/// a plan is not to be run.
fn check_with(
    definition: PipelineDefinition,
    gap: Option<usize>,
    catalog: &Catalog<'_>,
    pinning: Pinning<'_>,
    asked_for: Option<Vec<String>>,
    placing: &Placing,
) -> Result<(Plan, Option<StageStart>), Vec<Fault>> {
    let mut faults = Vec::new();
    let sources = sources_of(&definition, catalog, pinning, placing.gathered.clone(), &mut faults).map(Arc::new);
    let mut checker = Checker {
        catalog: Some(catalog),
        sources: sources.clone(),
        next_operator: match pinning {
            Pinning::Newest(previous) => previous.map_or(0, |previous| previous.next_operator),
            Pinning::As(stored) => stored.next_operator,
        },
        stages: placing.stages.clone(),
        asked_for,
        tags: definition.tags.clone(),
        faults,
        ..Checker::of_nothing(pinning)
    };
    checker.name_functions(&definition.functions);
    let alias = definition.sources.first().and_then(|source| source.alias.clone());
    let mut columns = sources.as_ref().map(|sources| Columns::of_source(&sources.schema, alias));
    let mut steps = Vec::new();
    for (at, step) in definition.steps.iter().enumerate() {
        if gap == Some(at) {
            columns = None;
        }
        columns = checker.enter_step(at as u32, columns);
        let planned = checker.step(at as u32, step, columns.as_ref());
        let calls = std::mem::take(&mut checker.calls);
        columns = match planned {
            Some((kind, columns)) => {
                steps.push(PlannedStep { kind, calls, fields: columns.fields.clone(), unknown: columns.unknown });
                Some(columns)
            }
            // A condition changes no column: what stands behind a wrong one is checked all the same.
            None if matches!(step.kind, StepKind::Where(_)) => columns,
            None => None,
        };
    }
    if gap == Some(definition.steps.len()) {
        columns = None;
    }
    let output = columns.map(|columns| StreamSchema {
        fields: columns.fields,
        unknown: if columns.unknown { UnknownFields::Keep } else { UnknownFields::Drop },
        infer: false,
    });
    let targets = checker.targets(&definition, output.as_ref());
    let Checker { mut faults, next_operator, scattered, functions, left_by, .. } = checker;
    match (output, sources) {
        (Some(output), Some(sources)) if faults.is_empty() => {
            let step_input = |step: u32| step_input(&sources, &steps, step);
            let stages = stages(&placing.stages, &sources, steps.len() as u32, step_input, &left_by);
            let plan = Plan {
                stages,
                tenant: catalog.tenant.clone(),
                time: definition.time,
                definition,
                sources,
                functions,
                steps,
                output,
                targets,
                next_operator,
            };
            Ok((plan, scattered))
        }
        _ => {
            faults.sort_by_key(|fault| fault.line);
            Err(faults)
        }
    }
}

pub(super) struct Checker<'a> {
    /// `None`: a step is on trial by itself, and has named nothing of it.
    pub(super) catalog: Option<&'a Catalog<'a>>,
    pub(super) pinning: Pinning<'a>,
    /// `None` if one of them is not there: then no column is known either.
    pub(super) sources: Option<Arc<Sources>>,
    /// Numbers of kept state that a step has taken.
    pub(super) used: Vec<u32>,
    pub(super) next_operator: u32,
    pub(super) last_by: Option<Vec<Arc<str>>>,
    /// A step before gave rows other times, or held them back: their lanes' watermarks say nothing of them any more.
    pub(super) has_changed_times: bool,
    /// The step in hand.
    pub(super) at: u32,
    /// Where stages begin, as far as that is known.
    pub(super) stages: Vec<StageStart>,
    /// How rows are placed there, behind the first stage.
    pub(super) placed_by: Option<StageStart>,
    /// What rows are judged by at the end of each stage but the last.
    pub(super) left_by: Vec<Judged>,
    /// The first step whose rows lie apart, where no stage begins yet.
    pub(super) scattered: Option<StageStart>,
    /// Rows have the clock's times: the watermark says nothing of them any more.
    pub(super) has_clock_times: bool,
    /// Texts that name all columns that are asked for behind a join; `None`: any may be.
    pub(super) asked_for: Option<Vec<String>>,
    /// What comes out of steps beside their main output: the step, the output's name, its columns.
    pub(super) sides: Vec<(u32, String, StreamSchema)>,
    /// What expressions may call.
    pub(super) functions: Vec<PlannedFunction>,
    /// What the expressions of the step in hand call.
    pub(super) calls: Vec<PlannedCall>,
    /// The column that an `origin` step made of the stream's name.
    pub(super) stream_column: Option<Arc<str>>,
    /// Rules that ask for one of these are on.
    pub(super) tags: Vec<String>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    /// Nothing is known, and nothing was found.
    pub(super) fn of_nothing(pinning: Pinning<'a>) -> Self {
        Self {
            catalog: None,
            pinning,
            sources: None,
            used: Vec::new(),
            next_operator: 0,
            last_by: None,
            has_changed_times: false,
            at: 0,
            stages: Vec::new(),
            placed_by: None,
            left_by: Vec::new(),
            has_clock_times: false,
            scattered: None,
            asked_for: None,
            sides: Vec::new(),
            functions: Vec::new(),
            calls: Vec::new(),
            stream_column: None,
            tags: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// What the definition is checked against.
    pub(super) fn catalog(&self) -> &'a Catalog<'a> {
        self.catalog.expect("a step on trial names nothing of it")
    }
}

impl Checker<'_> {
    pub(super) fn fault(&mut self, path: impl Into<String>, line: usize, error: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(Fault::new(path, line, error, remedy));
    }
}
