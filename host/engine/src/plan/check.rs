//! A definition against the catalog: every fault at once, or a plan.
//!
//! A step whose columns cannot be known (its expression is wrong, its component is missing) ends the columns for the steps behind
//! it: those are checked only for what does not need columns, so that one fault is not reported ten times.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::{Field, FieldType, PipelineName, StreamName, StreamSchema, TenantName, UnknownFields};
use tidemill_expr::Expression;
use tidemill_flow::{Judged, OnFailing, RuleStep};
use tidemill_log::Log;
use tidemill_runtime::{Component, Description, Grants, Instance, InstanceSettings, Kind, MEMORY_BYTES_MAX, Runtime, SilentLog};

use crate::pipeline::{ComponentStep, KeepRows, PipelineDefinition, Step, StepKind, Text, nearest};
use crate::plan::columns::Columns;
use crate::plan::component::{a, column_fits, limits, state_shape, ttl};
use crate::plan::functions::{PlannedCall, PlannedFunction};
use crate::plan::join::asked_for;
use crate::plan::source::{Sources, sources_of};
use crate::plan::stage::{StageStart, stages};
use crate::plan::{Plan, PlannedComponent, PlannedKind, PlannedStep, step_input};
use crate::sinks::SinkParts;
use crate::stored::{Pin, StoredPipeline};
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

    fn step(&mut self, at: u32, step: &Step, columns: Option<&Columns>) -> Option<(PlannedKind, Columns)> {
        match &step.kind {
            StepKind::Where(condition) => {
                let columns = columns?;
                let expression = self.expression(condition, &step.name(), columns)?;
                if expression.field_type() != FieldType::Bool {
                    let error = format!(
                        "the condition is {}, not true or false",
                        crate::plan::component::type_name(expression.field_type())
                    );
                    self.fault(step.name(), condition.line, error, "compare it with something: `amount > 0`");
                    return None;
                }
                Some((PlannedKind::Where(expression), columns.clone()))
            }
            StepKind::Select(wanted) => {
                let made = self.expressions(wanted, &step.name(), columns?)?;
                let columns = columns?.replaced(&passed(&made, wanted));
                Some((PlannedKind::Select(made), columns))
            }
            StepKind::Extend(wanted) => {
                let made = self.expressions(wanted, &step.name(), columns?)?;
                let columns = columns?.extended(&passed(&made, wanted));
                Some((PlannedKind::Extend(made), columns))
            }
            StepKind::Lookup(lookup) => self.lookup(step, lookup, columns),
            StepKind::Rule { component, keep, answer } => {
                let planned = self.component(at, step, component, Kind::Rule, columns)?;
                let columns = columns?;
                let answer: Option<Arc<str>> = answer.as_ref().map(|answer| self.column_name(step, answer)).transpose().ok()?;
                let added =
                    RuleStep::added_fields(&planned.component.description().outputs, answer.as_deref(), planned.on_failing);
                let added: Vec<_> = added.into_iter().map(|field| (field, None)).collect();
                let columns = columns.extended(&added);
                Some((PlannedKind::Rule { component: planned, keep: *keep, answer }, columns))
            }
            StepKind::Join(wanted) => {
                let (planned, columns) = self.join(at, step, wanted)?;
                Some((PlannedKind::Join(Box::new(planned)), columns))
            }
            StepKind::Window(wanted) => {
                let (planned, columns) = self.window(at, step, wanted, columns)?;
                Some((PlannedKind::Window(Box::new(planned)), columns))
            }
            StepKind::Over(wanted) => {
                let (planned, columns) = self.over(at, step, wanted, columns)?;
                Some((PlannedKind::Over(Box::new(planned)), columns))
            }
            StepKind::Pattern(wanted) => {
                let (planned, columns) = self.pattern(at, step, wanted, columns)?;
                Some((PlannedKind::Pattern(Box::new(planned)), columns))
            }
            StepKind::Patterns(wanted) => {
                let (planned, columns) = self.pattern_list(at, step, wanted, columns)?;
                Some((PlannedKind::Patterns(Box::new(planned)), columns))
            }
            StepKind::PatternComponent(wanted) => {
                let (planned, columns) = self.pattern_component(at, step, wanted, columns)?;
                Some((PlannedKind::Pattern(Box::new(planned)), columns))
            }
            StepKind::Dedupe(wanted) | StepKind::Rate(wanted) => {
                let (planned, columns) = self.limit(at, step, wanted, columns)?;
                Some((PlannedKind::Limit(Box::new(planned)), columns))
            }
            StepKind::Correlate(wanted) => {
                let (planned, columns) = self.correlate(at, step, wanted, columns)?;
                Some((PlannedKind::Correlate(Box::new(planned)), columns))
            }
            StepKind::Origin(wanted) => {
                let (planned, columns) = self.origin(step, wanted, columns)?;
                Some((PlannedKind::Origin(planned), columns))
            }
            StepKind::Machine(wanted) => {
                let (planned, columns) = self.machine(at, step, wanted, columns)?;
                Some((PlannedKind::Machine(Box::new(planned)), columns))
            }
            StepKind::Rules(wanted) => {
                let (planned, columns) = self.rules(at, step, wanted, columns)?;
                Some((PlannedKind::Rules(Box::new(planned)), columns))
            }
            StepKind::Alert(wanted) => {
                let planned = self.alert(step, wanted, columns)?;
                Some((PlannedKind::Alert(Box::new(planned)), columns?.clone()))
            }
            StepKind::Metrics(wanted) => {
                let planned = self.meters(step, wanted, columns)?;
                Some((PlannedKind::Metrics(planned), columns?.clone()))
            }
            StepKind::MatchRecognize(wanted) => {
                let (planned, columns) = self.match_recognize(at, step, wanted, columns)?;
                Some((PlannedKind::Match(Box::new(planned)), columns))
            }
            StepKind::Sample(wanted) => {
                let (planned, columns) = self.sample(step, wanted, columns)?;
                Some((PlannedKind::Sample(planned), columns))
            }
            StepKind::Process { component, outputs } => self.process(at, step, component, outputs, columns),
            StepKind::Transform { component, keep_input } => {
                let planned = self.component(at, step, component, Kind::Transform, columns)?;
                if planned.on_failing == OnFailing::Pass && !keep_input {
                    let error = "rows that skip a transform without `keep_input` would be empty";
                    let remedy = "add `keep_input: true`, or write `on_failing: hold`";
                    self.fault(format!("{}.on_failing", step.path), component.reference.line, error, remedy);
                    return None;
                }
                self.has_changed_times |= planned.component.description().time.is_some();
                let made = RuleStep::added_fields(&planned.component.description().outputs, None, planned.on_failing);
                let made: Vec<_> = made.into_iter().map(|field| (field, None)).collect();
                let columns = if *keep_input { columns?.extended(&made) } else { columns?.replaced(&made) };
                Some((PlannedKind::Transform { component: planned, keep_input: *keep_input }, columns))
            }
        }
    }

    pub(super) fn column_name(&mut self, step: &Step, name: &Text) -> Result<Arc<str>, ()> {
        if name.text.starts_with('_') {
            let error = format!("`{}` cannot be a column: names with `_` in front are the host's", name.text);
            self.fault(format!("{}.as", step.path), name.line, error, "choose another name");
            return Err(());
        }
        Ok(name.text.as_str().into())
    }

    fn expressions(&mut self, wanted: &[(Text, Text)], path: &str, columns: &Columns) -> Option<Vec<(Field, Expression)>> {
        let made: Vec<Option<(Field, Expression)>> = wanted
            .iter()
            .map(|(name, text)| {
                let expression = self.expression(text, &format!("{path}.{}", name.text), columns)?;
                let field = Field::new(&name.text, expression.field_type(), expression.nullable());
                Some((field, expression))
            })
            .collect();
        made.into_iter().collect()
    }

    pub(super) fn component(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &ComponentStep,
        kind: Kind,
        columns: Option<&Columns>,
    ) -> Option<Arc<PlannedComponent>> {
        let path = step.name();
        let (mut pin, component) = self.of_kind(at, &path, wanted, kind)?;
        let description = component.description();
        let faults_before = self.faults.len();
        if let Some(columns) = columns {
            self.columns_there(&path, wanted, description, columns);
        }
        let is_stateful = !description.state.is_empty() || kind == Kind::Process;
        // What is kept of a pattern is the host's own: its state has another name.
        let by = self.by(step, wanted, is_stateful || kind == Kind::Pattern, columns);
        if wanted.ttl.is_some() && description.state.is_empty() {
            let error = format!("`{}` keeps no state", wanted.reference.text);
            self.fault(format!("{}.ttl", step.path), wanted.by_line, error, "remove `ttl`");
        }
        let limits = self.limits(&step.path, wanted);
        if is_stateful {
            let shape = state_shape(description, &by);
            pin.operator = Some(self.operator(&pin, &shape));
            pin.state_shape = Some(shape);
            self.last_by = Some(by.clone());
        }
        if self.faults.len() > faults_before {
            return None;
        }
        let ttl = wanted.ttl.or(description.memory.state_ttl.map(ttl));
        let (config, on_failing) = (wanted.config.clone(), wanted.on_failing);
        let planned = PlannedComponent { step_name: path, pin, component, config, limits, by, ttl, on_failing };
        self.open(&step.path, wanted, &planned)?;
        Some(Arc::new(planned))
    }

    /// What a reference means where a component of one kind has to stand.
    pub(super) fn of_kind(&mut self, at: u32, path: &str, wanted: &ComponentStep, kind: Kind) -> Option<(Pin, Arc<Component>)> {
        let (pin, component) = self.resolve(at, None, path, wanted)?;
        if component.kind() != kind {
            let there = component.kind().as_str();
            self.fault(
                path,
                wanted.reference.line,
                format!("`{}` is {}", wanted.reference.text, a(component.kind())),
                match component.kind() {
                    Kind::Rule | Kind::Transform | Kind::Process | Kind::Pattern => format!("write `- {there}: …`"),
                    Kind::Function | Kind::Aggregate => {
                        format!(
                            "give it a name beside `from`, `functions: {{name: {}}}`, and call that in expressions",
                            wanted.reference.text
                        )
                    }
                },
            );
            return None;
        }
        Some((pin, component))
    }

    /// Whether the columns that a component reads are there.
    pub(super) fn columns_there(&mut self, path: &str, wanted: &ComponentStep, description: &Description, columns: &Columns) {
        for needed in &description.columns {
            match columns.field(&needed.name) {
                None => {
                    let remedy = match nearest(&needed.name, columns.names()) {
                        Some(near) => format!("make it in a step before: `extend: {{{}: {near}}}`", needed.name),
                        None => format!("make it in a step before: `extend: {{{}: …}}`", needed.name),
                    };
                    let error = format!("`{}` needs a column `{}`, and there is none", wanted.reference.text, needed.name);
                    self.fault(path, wanted.reference.line, error, remedy);
                }
                Some(there) => {
                    if let Err(error) = column_fits(needed, there) {
                        let remedy = format!("make it fit in a step before: `extend: {{{}: …}}`", needed.name);
                        self.fault(path, wanted.reference.line, error, remedy);
                    }
                }
            }
        }
    }

    /// What a reference means, of a step or of a name that expressions call.
    pub(super) fn resolve(
        &mut self,
        at: u32,
        function: Option<&str>,
        path: &str,
        wanted: &ComponentStep,
    ) -> Option<(Pin, Arc<Component>)> {
        let reference = &wanted.reference;
        let pinned = match self.pinning {
            Pinning::As(stored) => {
                let is_it = |pin: &&Pin| pin.step == at && pin.function.as_deref() == function && pin.reference == reference.text;
                stored.pinned.iter().find(is_it).cloned()
            }
            Pinning::Newest(_) => None,
        };
        let pin = match pinned {
            Some(pin) => pin,
            None => match self.catalog().components.resolve(self.catalog().tenant, &reference.text) {
                Ok(entry) => Pin {
                    step: at,
                    reference: reference.text.clone(),
                    name: entry.name.to_string(),
                    version: entry.version.to_string(),
                    digest: entry.digest.to_string(),
                    operator: None,
                    state_shape: None,
                    function: function.map(str::to_owned),
                },
                Err(error) => {
                    self.fault(path, reference.line, error, "`GET /v1/components` lists what there is");
                    return None;
                }
            },
        };
        let loaded =
            pin.digest.parse().map_err(|error| format!("{error}")).and_then(|digest| self.catalog().components.load(digest));
        match loaded {
            Ok(component) => Some((pin, component)),
            Err(error) => {
                self.fault(path, reference.line, error, "publish the component again");
                None
            }
        }
    }

    /// The key of a step's state. A step without state needs none.
    fn by(&mut self, step: &Step, wanted: &ComponentStep, stateful: bool, columns: Option<&Columns>) -> Vec<Arc<str>> {
        let path = format!("{}.by", step.path);
        let Some(by) = &wanted.by else {
            if stateful {
                let error = format!("`{}` keeps state, and `by` does not say for which key", wanted.reference.text);
                self.fault(path, wanted.by_line, error, "add `by: [user]`, or `by: []` for one key for all rows");
            }
            return Vec::new();
        };
        let names: Vec<Arc<str>> = by.iter().map(|name| name.text.as_str().into()).collect();
        if !stateful {
            let error = format!("`{}` keeps no state", wanted.reference.text);
            self.fault(path, wanted.by_line, error, "remove `by`");
            return names;
        }
        if let Some(columns) = columns {
            self.key_fields(by, &path, columns);
        }
        names
    }

    pub(super) fn limits(&mut self, path: &str, wanted: &ComponentStep) -> tidemill_runtime::Limits {
        if wanted.limits.memory_bytes.is_some_and(|bytes| bytes > MEMORY_BYTES_MAX as u64) {
            let error = format!("more memory than an instance may have ({} MiB)", MEMORY_BYTES_MAX >> 20);
            self.fault(
                format!("{path}.limits.memory"),
                wanted.reference.line,
                error,
                format!("at most `{}MiB`", MEMORY_BYTES_MAX >> 20),
            );
        }
        limits(&wanted.limits)
    }

    /// The number of a step's state: that of the same component with the same shape before, or a new one.
    fn operator(&mut self, pin: &Pin, shape: &str) -> u32 {
        if let Pinning::As(_) = self.pinning
            && let Some(operator) = pin.operator
        {
            return operator;
        }
        let previous = match self.pinning {
            Pinning::Newest(previous) => previous,
            Pinning::As(stored) => Some(stored),
        };
        let kept = previous.and_then(|previous| {
            previous.pinned.iter().find_map(|old| {
                let operator = old.operator?;
                let same = old.name == pin.name && old.state_shape.as_deref() == Some(shape);
                (same && !self.used.contains(&operator)).then_some(operator)
            })
        });
        let operator = kept.unwrap_or_else(|| {
            self.next_operator += 1;
            self.next_operator - 1
        });
        self.used.push(operator);
        operator
    }

    /// A configuration the component does not take is a fault of the text, so one instance is opened right here.
    pub(super) fn open(&mut self, path: &str, wanted: &ComponentStep, planned: &PlannedComponent) -> Option<Instance> {
        let settings = InstanceSettings {
            config: planned.config.clone(),
            limits: planned.limits.clone(),
            log: Arc::new(SilentLog),
            metrics: Arc::new(tidemill_runtime::SilentMetrics),
            grants: self.catalog().grants.clone(),
        };
        match self.catalog().runtime.instantiate(&planned.component, settings) {
            Ok(instance) => Some(instance),
            Err(failure) => {
                let error = format!("`{}` does not open: {failure}", wanted.reference.text);
                self.fault(format!("{path}.config"), wanted.config_line, error, "change `config` as the component says");
                None
            }
        }
    }
}

/// Which of the made columns are plain copies, and of what.
fn passed(made: &[(Field, Expression)], wanted: &[(Text, Text)]) -> Vec<(Field, Option<Arc<str>>)> {
    made.iter()
        .zip(wanted)
        .map(|((field, expression), (_, text))| {
            let copied = match expression.columns() {
                [only] if is_reference(&text.text, only) => Some(only.clone()),
                _ => None,
            };
            (field.clone(), copied)
        })
        .collect()
}

/// Whether an expression is nothing but the name of that column, qualified and quoted or not.
fn is_reference(text: &str, column: &str) -> bool {
    let bare = text.trim().replace('"', "");
    bare == column
        || bare.strip_suffix(column).is_some_and(|rest| {
            rest.strip_suffix('.')
                .is_some_and(|alias| !alias.is_empty() && alias.chars().all(|any| any.is_alphanumeric() || any == '_'))
        })
}

/// Keeps the grammar's word and the operator's apart.
pub(crate) fn keep(keep: KeepRows) -> tidemill_flow::Keep {
    match keep {
        KeepRows::Matching => tidemill_flow::Keep::Matching,
        KeepRows::Failing => tidemill_flow::Keep::Failing,
        KeepRows::All => tidemill_flow::Keep::All,
    }
}
