//! The host's own step around a component under trial, and its sandbox.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use tidemill_event::{
    Accumulated, CallFailure, Field, ProcessAnswer, ProcessGuest, RuleAnswer, RuleCall, Subject, TableEntries, TransformAnswer,
    Values, Wanted,
};
use tidemill_flow::{
    AggregateArgument, AggregateGuest, ComponentAggregate, Computed, Extend, FunctionCall, Guest, Isolation, Judged, Keep, Keyed,
    KeyedTable, NamedProjection, Operator, ProcessSettings, ProcessStep, ProcessTable, Projection, RuleSettings, RuleStep,
    SlicedWindow, Slicing, StepId, TransformSettings, TransformStep, Ttl, TtlClock, WindowSettings, WithFunctions,
    extended_fields,
};
use tidemill_runtime::{
    Component, Description, Grants, GuestLog, Instance, InstanceSettings, Kind, Lifetime, Limits, LogLevel, Runtime,
    SilentMetrics, TableDescription,
};

/// The column in which a rule's answer is kept for comparison; no stream can have a field of that name.
pub(crate) const VERDICT_COLUMN: &str = "_verdict";

/// The host's step over the component, and the fields of what comes out of it.
pub(crate) fn step(
    component: &Arc<Component>,
    fields: &[Field],
    by: &[String],
    sandbox: Sandbox,
) -> (Box<dyn Operator>, Vec<Field>) {
    let description = component.description();
    let (columns, outputs) = (description.columns.clone(), description.outputs.clone());
    let by: Vec<Arc<str>> = by.iter().map(|name| name.as_str().into()).collect();
    let keyed = (!description.state.is_empty()).then(|| Keyed { by: by.clone(), table: table(description) });
    let (step, isolation) = (StepId(0), Isolation::never_out());
    match component.kind() {
        Kind::Rule => {
            let flag: Arc<str> = VERDICT_COLUMN.into();
            let added = RuleStep::added_fields(&outputs, Some(&flag), isolation.on_failing);
            let settings = RuleSettings { step, columns, outputs, keep: Keep::All, flag: Some(flag), keyed, isolation };
            (Box::new(RuleStep::new(settings, Box::new(sandbox))), extended_fields(fields, &added))
        }
        Kind::Transform => {
            let time = description.time.as_deref().map(Arc::from);
            let settings =
                TransformSettings { step, columns, outputs: outputs.clone(), time, keep_input: false, keyed, isolation };
            (Box::new(TransformStep::new(settings, Box::new(sandbox))), outputs)
        }
        Kind::Function => {
            let value = Field { nullable: true, ..outputs[0].clone() };
            let hidden = Field::new("_called", value.ty, true);
            let argument =
                |field: &Field| NamedProjection { field: field.clone(), projection: Box::new(Column(field.name.clone())) };
            let arguments = columns.iter().map(argument).collect();
            let copied = NamedProjection { field: value.clone(), projection: Box::new(Column(hidden.name.clone())) };
            let function = FunctionCall { value: hidden, arguments, isolation, guest: Box::new(sandbox) };
            let extend = Extend::new(step, vec![copied]);
            (Box::new(WithFunctions::new(Box::new(extend), vec![function])), extended_fields(fields, &[value]))
        }
        Kind::Process => {
            let by: Vec<Field> = by.iter().filter_map(|name| fields.iter().find(|field| field.name == *name).cloned()).collect();
            let memory = &description.memory;
            let ttl = |lifetime: Lifetime| {
                let clock = if lifetime.by_wall_clock { TtlClock::WallClock } else { TtlClock::EventTime };
                Ttl::new(lifetime.after, clock)
            };
            let table = |table: &TableDescription| ProcessTable {
                name: table.name.as_str().into(),
                key: table.key.clone(),
                values: table.values.clone(),
                ttl: table.ttl.map(ttl),
                on_read: table.ttl.is_some_and(|lifetime| lifetime.on_read),
            };
            let settings = ProcessSettings {
                step,
                by: by.clone(),
                columns,
                outputs: outputs.clone(),
                state: self::table(description).living(memory.state_ttl.map(ttl)),
                keeps_state: !description.state.is_empty(),
                tables: memory.tables.iter().map(table).collect(),
                sides: memory.sides.iter().map(|side| side.columns.clone()).collect(),
                isolation,
            };
            (Box::new(ProcessStep::new(settings, Box::new(sandbox))), ProcessStep::made_fields(&by, &outputs))
        }
        Kind::Pattern => unreachable!("a pattern is read before it is a step (`trial_pattern.rs`)"),
        Kind::Aggregate => {
            let by: Vec<Field> = fields.iter().filter(|field| by.contains(&field.name)).cloned().collect();
            let argument = |field: &Field| AggregateArgument { column: field.name.clone(), declared: field.clone() };
            let value = Field { nullable: true, ..outputs[0].clone() };
            let aggregate = ComponentAggregate {
                place: 0,
                value: value.clone(),
                arguments: columns.iter().map(argument).collect(),
                filter: None,
                first: description.first_row().clone(),
                retracts: description.retracts,
                guest: Box::new(sandbox),
            };
            let settings = WindowSettings {
                step,
                by: by.clone(),
                aggregates: Vec::new(),
                components: vec![aggregate],
                lateness: Duration::ZERO,
                judged: Judged::ByTask,
                top: None,
            };
            let window = SlicedWindow::new(Slicing::global(), settings).expect("no native aggregate could be refused");
            (Box::new(window), by.into_iter().chain([value]).collect())
        }
    }
}

/// Its state, empty.
fn table(description: &Description) -> KeyedTable {
    KeyedTable::new(description.first_row().clone())
}

/// A column as it is.
struct Column(Arc<str>);

impl Projection for Column {
    fn compute(&self, rows: &RecordBatch) -> Computed {
        let values = rows.column_by_name(&self.0).expect("the file was read with the component's columns").clone();
        Computed { values, failed: Vec::new() }
    }
}

/// Instances of the component, one after another.
pub(crate) struct Sandbox {
    runtime: Runtime,
    component: Arc<Component>,
    config: String,
    fresh: bool,
    instance: Option<Instance>,
}

impl Sandbox {
    /// Without an instance yet; `fresh`: every call has one of its own.
    pub(crate) fn new(runtime: &Runtime, component: &Arc<Component>, config: &str, fresh: bool) -> Self {
        Self { runtime: runtime.clone(), component: component.clone(), config: config.to_owned(), fresh, instance: None }
    }

    /// Another one like it.
    pub(crate) fn another(&self) -> Self {
        Self::new(&self.runtime, &self.component, &self.config, self.fresh)
    }

    /// The instance for the next call.
    pub(crate) fn open(&mut self) -> Result<&mut Instance, CallFailure> {
        if self.fresh || self.instance.as_ref().is_some_and(|instance| !instance.alive()) {
            self.instance = None;
        }
        let instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                let settings = InstanceSettings {
                    config: self.config.clone(),
                    limits: Limits::default(),
                    // What is logged twice would only be read twice.
                    log: Arc::new(StandardError { quiet: self.fresh }),
                    metrics: Arc::new(SilentMetrics),
                    grants: Grants::none(),
                };
                self.runtime.instantiate(&self.component, settings)?
            }
        };
        Ok(self.instance.insert(instance))
    }
}

impl Guest<RuleAnswer> for Sandbox {
    fn call(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        self.open()?.judge(call)
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl Guest<TransformAnswer> for Sandbox {
    fn call(&mut self, call: &RuleCall) -> Result<TransformAnswer, CallFailure> {
        self.open()?.transform(call)
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl Guest<Values> for Sandbox {
    fn call(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        self.open()?.compute(call)
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl ProcessGuest for Sandbox {
    fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure> {
        self.open()?.wants(subject, call)
    }

    fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        self.open()?.process(subject, call, found)
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

impl AggregateGuest for Sandbox {
    fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.open()?.update(call)
    }

    fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.open()?.merge(call)
    }

    fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        self.open()?.retract(call)
    }

    fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        self.open()?.finish(call)
    }

    fn replace(&mut self) {
        self.instance = None;
    }
}

/// Log lines of a component, for its author.
struct StandardError {
    quiet: bool,
}

impl GuestLog for StandardError {
    fn line(&self, level: LogLevel, message: &str) {
        if !self.quiet {
            eprintln!("{:5} {message}", level.as_str());
        }
    }
}
