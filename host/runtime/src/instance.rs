//! One sandbox of a component: owned by one task, entered by one call at a time, thrown away after any call that did not return.
//!
//! ```text
//! Open => (Open | Dead)      a call that returned, or returned an error of its own, leaves it open; every other ending kills it
//! Dead =>                    answers every call with a trap; make a new one
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use tidemill_event::{
    Accumulated, CallFailure, Ending, Field, ProcessAnswer, RuleAnswer, RuleCall, Subject, TableEntries, TransformAnswer,
    TransformCall, Usage, Values, Wanted,
};
use wasmtime::Store;
use wasmtime::component::{self, TypedFunc};

use crate::answer::{
    AccumulatorParts, AnswerRecord, GuestBytes, PatternParts, ProcessParts, RuleParts, TransformParts, ValueParts, WantedParts,
};
use crate::boundary::Answered;
use crate::component::{Component, Exports, Kind, grant, store, typed, usage};
use crate::decode::{self, Invalid};
use crate::encode::{self, Scratch, TooLarge};
use crate::failure::{failure, guest_error, invalid};
use crate::grant::Grants;
use crate::limits::Limits;
use crate::logging::GuestLog;
use crate::metrics::GuestMetrics;
use crate::pattern::{self, PatternText};
use crate::process::{self, Unfit};
use crate::refused::Refused;
use crate::sandbox::Sandbox;
use crate::wire::{WireBatch, WireColumn, WireDefinition, WireFound, WireSubject};

/// What an instance is given when it is made.
pub struct InstanceSettings {
    /// The step's `config` as JSON text; `{}` if it has none.
    pub config: String,
    /// What it may use.
    pub limits: Limits,
    /// Takes its log lines.
    pub log: Arc<dyn GuestLog>,
    /// Takes what it measures.
    pub metrics: Arc<dyn GuestMetrics>,
    /// What its pipeline grants.
    pub grants: Grants,
}

type Call<A> = TypedFunc<(WireBatch<'static>,), (Answered<A>,)>;

/// The export that takes batches.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Rule(Call<RuleParts>),
    Transform(Call<TransformParts>),
    Function(Call<ValueParts>),
    Aggregate(AggregateEntry),
    Process(ProcessEntry),
    Pattern(PatternEntry),
}

/// The exports of an aggregate.
#[derive(Clone, Copy)]
pub(crate) struct AggregateEntry {
    update: Call<AccumulatorParts>,
    merge: Call<AccumulatorParts>,
    retract: Call<AccumulatorParts>,
    finish: Call<ValueParts>,
}

/// The exports of a pattern that take batches.
#[derive(Clone, Copy)]
pub(crate) struct PatternEntry {
    judge: Call<PatternParts>,
    ask: Call<PatternParts>,
    shape: Call<PatternParts>,
}

/// The exports of a process.
#[derive(Clone, Copy)]
pub(crate) struct ProcessEntry {
    wants: TypedFunc<(WireSubject, WireBatch<'static>), (Answered<WantedParts>,)>,
    process: TypedFunc<(WireSubject, WireBatch<'static>, WireFound<'static>), (Answered<ProcessParts>,)>,
}

/// What the batch of a call is made of.
#[derive(Clone, Copy)]
enum Form {
    /// Rows, with the state of their keys.
    Rows,
    /// Accumulators, with those they count for.
    Accumulators,
    /// Accumulators alone.
    Groups,
    /// Timers, with the state of their keys.
    Timers,
    /// Rows with what runs have taken, and which condition each asks.
    Questions,
    /// Matches.
    Matches,
}

impl Form {
    /// The fields of columns and of state.
    fn fields(self, component: &Component) -> (&[Field], &[Field]) {
        let state = component.state_fields();
        match self {
            Self::Rows => (&component.description().columns, state),
            Self::Accumulators => (state, state),
            Self::Groups => (state, &[]),
            Self::Timers => (&component.description().memory.timer_fields, state),
            Self::Questions => (&component.description().matching.asked, &[]),
            Self::Matches => (&component.description().matching.found, &[]),
        }
    }
}

fn form_of(subject: Subject) -> Form {
    match subject {
        Subject::Rows => Form::Rows,
        Subject::Timers => Form::Timers,
    }
}

fn wire_subject(subject: Subject) -> WireSubject {
    match subject {
        Subject::Rows => WireSubject::Rows,
        Subject::Timers => WireSubject::Timers,
    }
}

impl Entry {
    pub(crate) fn of(
        store: &mut Store<Sandbox>,
        instance: &component::Instance,
        kind: Kind,
        exports: Exports,
    ) -> Result<Self, Refused> {
        Ok(match kind {
            Kind::Rule => Self::Rule(typed(store, instance, kind, kind.call(), exports.call)?),
            Kind::Transform => Self::Transform(typed(store, instance, kind, kind.call(), exports.call)?),
            Kind::Function => Self::Function(typed(store, instance, kind, kind.call(), exports.call)?),
            Kind::Aggregate => {
                let [Some(merge), Some(retract), Some(finish)] = exports.further else {
                    panic!("an aggregate's exports were found when it was prepared")
                };
                Self::Aggregate(AggregateEntry {
                    update: typed(store, instance, kind, kind.call(), exports.call)?,
                    merge: typed(store, instance, kind, "merge", merge)?,
                    retract: typed(store, instance, kind, "retract", retract)?,
                    finish: typed(store, instance, kind, "finish", finish)?,
                })
            }
            Kind::Process => {
                let [Some(wants), ..] = exports.further else { panic!("a process's exports were found when it was prepared") };
                Self::Process(ProcessEntry {
                    wants: typed(store, instance, kind, "wants", wants)?,
                    process: typed(store, instance, kind, kind.call(), exports.call)?,
                })
            }
            Kind::Pattern => {
                let [Some(_), Some(ask), Some(shape)] = exports.further else {
                    panic!("a pattern's exports were found when it was prepared")
                };
                Self::Pattern(PatternEntry {
                    judge: typed(store, instance, kind, kind.call(), exports.call)?,
                    ask: typed(store, instance, kind, "ask", ask)?,
                    shape: typed(store, instance, kind, "shape", shape)?,
                })
            }
        })
    }
}

/// A sandbox of one component.
pub struct Instance {
    component: Arc<Component>,
    store: Store<Sandbox>,
    entry: Entry,
    limits: Limits,
    /// Of a pattern: what it is.
    pattern: Option<PatternText>,
    scratch: Scratch,
    /// The buffer of answers without columns.
    no_data: Buffer,
    /// What the call in hand took.
    usage: Usage,
    alive: bool,
}

impl Instance {
    /// Makes the sandbox, runs start functions and `open`.
    pub(crate) fn new(component: &Arc<Component>, settings: InstanceSettings) -> Result<Self, CallFailure> {
        let InstanceSettings { config, limits, log, metrics, grants } = settings;
        if let Some(grant) = component.uses.iter().find(|grant| !grants.contains(*grant)) {
            let message = format!("the component imports `{}`, which this pipeline does not grant", grant.interface());
            return Err(guest_error(&message, Usage::default()));
        }
        let started = Instant::now();
        let mut store = store(component.pre.engine(), &limits, Sandbox::new(&limits, log, metrics));
        let instance = component.pre.instantiate(&mut store).map_err(|error| {
            let usage = usage(&store, limits.fuel_start, started);
            failure(&error, store.data(), &limits, usage)
        })?;
        // Both were found to have these types when the component was prepared.
        let unfit = |refused: Refused| invalid(&refused.to_string(), Usage::default());
        let entry = Entry::of(&mut store, &instance, component.kind(), component.exports).map_err(unfit)?;
        let open: TypedFunc<(&str,), (Result<(), String>,)> =
            typed(&mut store, &instance, component.kind(), "open", component.exports.open).map_err(unfit)?;
        grant(&mut store, &limits, limits.fuel_start, limits.output_bytes_base);
        let started = Instant::now();
        let opened = open.call(&mut store, (&config,));
        let usage = usage(&store, limits.fuel_start, started);
        match opened {
            Ok((Ok(()),)) => {
                let pattern = match component.kind() {
                    Kind::Pattern => Some(pattern_of(&mut store, &instance, component, &limits)?),
                    Kind::Rule | Kind::Transform | Kind::Function | Kind::Aggregate | Kind::Process => None,
                };
                store.data_mut().hand_over();
                let (scratch, no_data) = (Scratch::new(component.arguments_stay), Buffer::default());
                let component = Arc::clone(component);
                Ok(Self { component, store, entry, limits, pattern, scratch, no_data, usage, alive: true })
            }
            Ok((Err(message),)) => Err(guest_error(&message, usage)),
            Err(error) => Err(failure(&error, store.data(), &limits, usage)),
        }
    }

    /// The component it is a sandbox of.
    pub fn component(&self) -> &Arc<Component> {
        &self.component
    }

    /// Whether it can take another call.
    pub fn alive(&self) -> bool {
        self.alive
    }

    /// Linear memory it holds, all memories together.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().growth.memory_bytes
    }

    /// Judges a batch. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no rule, or the columns or state are not the declared ones.
    pub fn judge(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let Entry::Rule(evaluate) = self.entry else { panic!("a {} cannot judge", self.component.kind()) };
        let rows = call.columns.num_rows();
        let description = self.component.description();
        if rows == 0 {
            let columns = decode::empty_columns(&description.outputs);
            let state = call.state.as_ref().map(|state| state.rows.clone());
            return Ok(RuleAnswer {
                verdicts: decode::no_verdicts(),
                columns,
                state,
                notes: Vec::new(),
                usage: Usage::default(),
            });
        }
        let RuleParts { verdicts, columns, state, data, notes } = self.enter(evaluate, Form::Rows, call)?;
        self.usage.output_bytes = (verdicts.len() + data.len()) as u64;
        // Each part by itself: an answer is large, and would be moved about as a whole.
        let verdicts = self.valid(decode::verdicts(verdicts.into_buffer(), rows))?;
        let columns = self.columns(&columns, rows, &data)?;
        let state = self.state(call, &state, &data)?;
        let notes = self.valid(decode::notes(notes, rows))?;
        self.store.data_mut().hand_over();
        Ok(RuleAnswer { verdicts, columns, state, notes, usage: self.usage })
    }

    /// Transforms a batch. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no transform, or the columns or state are not the declared ones.
    pub fn transform(&mut self, call: &TransformCall) -> Result<TransformAnswer, CallFailure> {
        let Entry::Transform(apply) = self.entry else { panic!("a {} cannot transform", self.component.kind()) };
        let rows = call.columns.num_rows();
        let description = self.component.description();
        if rows == 0 {
            let columns = decode::empty_columns(&description.outputs);
            let state = call.state.as_ref().map(|state| state.rows.clone());
            return Ok(TransformAnswer { source_rows: Vec::new(), columns, state, notes: Vec::new(), usage: Usage::default() });
        }
        let TransformParts { rows: made, source_rows, columns, state, data, notes } = self.enter(apply, Form::Rows, call)?;
        self.usage.output_bytes = data.len() as u64;
        let made = made as usize;
        let source_rows = self.valid(decode::source_rows(source_rows, made, rows, data.shared(&self.no_data)))?;
        let columns = self.columns(&columns, made, &data)?;
        let state = self.state(call, &state, &data)?;
        let notes = self.valid(decode::notes(notes, rows))?;
        self.store.data_mut().hand_over();
        Ok(TransformAnswer { source_rows, columns, state, notes, usage: self.usage })
    }

    /// Computes a value for each row. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no function, the columns are not its arguments, or there is no row.
    pub fn compute(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let Entry::Function(compute) = self.entry else { panic!("a {} cannot compute", self.component.kind()) };
        self.values(compute, Form::Rows, call)
    }

    /// Lets rows count for the groups of an aggregate. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no aggregate, columns or state are not the declared ones, or there is no row.
    pub fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let update = self.aggregate().update;
        self.accumulators(update, Form::Rows, call)
    }

    /// Lets accumulators (the columns) count for others (the state). Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// As [`Self::update`].
    pub fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let merge = self.aggregate().merge;
        self.accumulators(merge, Form::Accumulators, call)
    }

    /// The opposite of [`Self::merge`]. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// As [`Self::update`].
    pub fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure> {
        let retract = self.aggregate().retract;
        self.accumulators(retract, Form::Accumulators, call)
    }

    /// The value of each accumulator (the columns). Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no aggregate, the columns are not its accumulators, or there is none.
    pub fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let finish = self.aggregate().finish;
        self.values(finish, Form::Groups, call)
    }

    /// Which entries of its tables rows or timers need. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no process, columns or state are not what it declared, or there is no row.
    pub fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure> {
        let Entry::Process(ProcessEntry { wants, .. }) = self.entry else { panic!("a {} wants nothing", self.component.kind()) };
        let asked = self.enter_with(form_of(subject), call, &[], |store, batch, _| {
            let function: TypedFunc<(WireSubject, WireBatch<'_>), (Answered<WantedParts>,)> = wants;
            function.call(store, (wire_subject(subject), batch))
        })?;
        self.usage.output_bytes = asked.data.len() as u64;
        let tables = process::wanted(&asked, call.columns.num_rows(), &self.component.description().memory, &self.no_data);
        let tables = self.held(tables)?;
        self.store.data_mut().hand_over();
        Ok(Wanted { tables, usage: self.usage })
    }

    /// Handles rows or timers, with the entries they want. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// As [`Self::wants`].
    pub fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure> {
        let Entry::Process(ProcessEntry { process, .. }) = self.entry else {
            panic!("a {} cannot process", self.component.kind())
        };
        let answered = self.enter_with(form_of(subject), call, found, |store, batch, found| {
            let function: TypedFunc<(WireSubject, WireBatch<'_>, WireFound<'_>), (Answered<ProcessParts>,)> = process;
            function.call(store, (wire_subject(subject), batch, found))
        })?;
        self.usage.output_bytes = answered.data.len() as u64;
        let rows = call.columns.num_rows();
        let state = self.state(call, &answered.state, &answered.data)?;
        let answer = process::answer(answered, rows, found, self.component.description(), &self.no_data);
        let answer = self.held(answer)?;
        self.store.data_mut().hand_over();
        Ok(ProcessAnswer { state, usage: self.usage, ..answer })
    }

    /// Of a pattern: what it is, with the instance's configuration.
    pub fn pattern(&self) -> Option<&PatternText> {
        self.pattern.as_ref()
    }

    /// Which rows fit which predicate: a column for each, beside a yes for every row. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// If the component is no pattern, the columns are not the declared ones, or there is no row.
    pub fn judge_stages(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let (predicates, rows) = (self.pattern.as_ref().map_or(0, |pattern| pattern.predicates), call.columns.num_rows());
        let parts = self.enter(self.pattern_entry().judge, Form::Rows, call)?;
        let answer = pattern::judged(parts, rows, predicates, self.usage);
        self.told(answer)
    }

    /// Whether rows fit what runs have taken. The columns are the declared ones and behind them those of a run; the state has no columns, and its
    /// keys are the conditions that are asked. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// As [`Self::judge_stages`].
    pub fn ask(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let parts = self.enter(self.pattern_entry().ask, Form::Questions, call)?;
        let answer = pattern::asked(parts, call.columns.num_rows(), self.usage);
        self.told(answer)
    }

    /// The rows that matches become. Blocking; bounded by the instance's limits.
    ///
    /// # Panics
    /// As [`Self::judge_stages`].
    pub fn shape(&mut self, call: &RuleCall) -> Result<RuleAnswer, CallFailure> {
        let parts = self.enter(self.pattern_entry().shape, Form::Matches, call)?;
        let outputs = &self.component.description().outputs;
        let answer = pattern::shaped(parts, call.columns.num_rows(), outputs, &self.no_data, self.usage);
        self.told(answer)
    }

    fn pattern_entry(&self) -> PatternEntry {
        let Entry::Pattern(entry) = self.entry else { panic!("a {} is no pattern", self.component.kind()) };
        entry
    }

    /// An answer of a pattern, if it holds.
    fn told(&mut self, answer: Result<RuleAnswer, Invalid>) -> Result<RuleAnswer, CallFailure> {
        let answer = self.valid(answer)?;
        self.store.data_mut().hand_over();
        Ok(answer)
    }

    fn aggregate(&self) -> AggregateEntry {
        let Entry::Aggregate(entry) = self.entry else { panic!("a {} is no aggregate", self.component.kind()) };
        entry
    }

    /// A call that gives a value per row.
    fn values(&mut self, function: Call<ValueParts>, form: Form, call: &RuleCall) -> Result<Values, CallFailure> {
        let rows = call.columns.num_rows();
        let ValueParts { value, data, notes } = self.enter(function, form, call)?;
        self.usage.output_bytes = data.len() as u64;
        let mut columns = self.columns(&[value], rows, &data)?;
        let notes = self.valid(decode::notes(notes, rows))?;
        self.store.data_mut().hand_over();
        let values = columns.pop().expect("a function and an aggregate declare one value");
        Ok(Values { values, notes, usage: self.usage })
    }

    /// A call that gives an accumulator per group.
    fn accumulators(
        &mut self,
        function: Call<AccumulatorParts>,
        form: Form,
        call: &RuleCall,
    ) -> Result<Accumulated, CallFailure> {
        let rows = call.columns.num_rows();
        let AccumulatorParts { state, data, notes } = self.enter(function, form, call)?;
        self.usage.output_bytes = data.len() as u64;
        let state = self.state(call, &state, &data)?.expect("an aggregate declares state, and its call has some");
        let notes = self.valid(decode::notes(notes, rows))?;
        self.store.data_mut().hand_over();
        Ok(Accumulated { state, notes, usage: self.usage })
    }

    /// The output columns of an answer of so many rows.
    fn columns(&mut self, layouts: &[WireColumn], rows: usize, data: &GuestBytes) -> Result<Vec<ArrayRef>, CallFailure> {
        let declared = &self.component.description().outputs;
        let columns = decode::columns("output", declared, layouts, rows, data.shared(&self.no_data));
        self.valid(columns)
    }

    /// The new state of an answer to a call.
    fn state(&mut self, call: &RuleCall, layouts: &[WireColumn], data: &GuestBytes) -> Result<Option<RecordBatch>, CallFailure> {
        // A process has keys also without state: its tables are theirs.
        let has_state = !self.component.state_fields().is_empty();
        let Some(keys) = call.state.as_ref().filter(|_| has_state).map(|state| state.rows.num_rows()) else {
            return match layouts {
                [] => Ok(None),
                [..] => self.valid(Err(Invalid("new state from a component that declares none".to_owned()))),
            };
        };
        let (schema, declared) = (self.component.description().state_schema(), self.component.state_fields());
        let state = decode::state(schema, declared, layouts, keys, data.shared(&self.no_data));
        self.valid(state.map(Some))
    }

    /// A part of the answer to the call in hand. One that does not hold is the end of the instance.
    fn valid<T>(&mut self, part: Result<T, Invalid>) -> Result<T, CallFailure> {
        part.map_err(|Invalid(message)| self.die(invalid(&message, self.usage)))
    }

    /// A part of a process's answer that does not hold, or is too much of it.
    fn held<T>(&mut self, part: Result<T, Unfit>) -> Result<T, CallFailure> {
        part.map_err(|unfit| {
            let failure = match unfit {
                Unfit::Invalid(Invalid(message)) => invalid(&message, self.usage),
                Unfit::TooMuch(message) => CallFailure { ending: Ending::TooMuchOutput, ..invalid(&message, self.usage) },
            };
            self.die(failure)
        })
    }

    /// Makes the call; what it took is in `self.usage`.
    fn enter<A: AnswerRecord + 'static>(&mut self, function: Call<A>, form: Form, call: &RuleCall) -> Result<A, CallFailure> {
        self.enter_with(form, call, &[], |store, batch, _| {
            // Lent for the call, not for ever: the type of a function allows for arguments that live shorter.
            let function: TypedFunc<(WireBatch<'_>,), (Answered<A>,)> = function;
            function.call(store, (batch,))
        })
    }

    /// Hands a batch over, and makes the call.
    fn enter_with<A: AnswerRecord>(
        &mut self,
        form: Form,
        call: &RuleCall,
        found: &[TableEntries],
        invoke: impl FnOnce(&mut Store<Sandbox>, WireBatch<'_>, WireFound<'_>) -> wasmtime::Result<(Answered<A>,)>,
    ) -> Result<A, CallFailure> {
        if !self.alive {
            let message = "the instance ended with an earlier call; make a new one".to_owned();
            return Err(CallFailure { ending: Ending::Trap, message, backtrace: String::new(), usage: Usage::default() });
        }
        let rows = call.columns.num_rows();
        let Self { store, limits, scratch, component, usage: took, .. } = self;
        let declared = form.fields(component);
        let has_keys = !declared.1.is_empty() || component.kind() == Kind::Process || matches!(form, Form::Questions);
        assert_eq!(call.state.is_some(), has_keys, "a call has state if, and only if, the component declares some");
        let ended = encode::batch(scratch, declared, &call.columns, call.state.as_ref(), found, |batch, found| {
            let fuel = limits.fuel(rows, batch.data.bytes);
            grant(store, limits, fuel, limits.output_bytes(rows));
            let started = Instant::now();
            let returned = invoke(&mut *store, batch, found);
            let usage = usage(store, fuel, started);
            *took = usage;
            match returned {
                Ok((Answered(Ok(answer)),)) => Ok(answer),
                Ok((Answered(Err(message)),)) => Err(guest_error(&message, usage)),
                Err(error) => Err(failure(&error, store.data(), limits, usage)),
            }
        });
        match ended {
            Ok(Ok(answer)) => Ok(answer),
            // The component's own error says nothing against the instance.
            Ok(Err(failure)) if failure.ending == Ending::GuestError => Err(failure),
            Ok(Err(failure)) => Err(self.die(failure)),
            Err(TooLarge { bytes }) => {
                let message = format!("the batch takes {bytes} bytes, more than any component can hold");
                let usage = Usage::default();
                Err(CallFailure { ending: Ending::OutOfMemory, message, backtrace: String::new(), usage })
            }
        }
    }

    fn die(&mut self, failure: CallFailure) -> CallFailure {
        self.alive = false;
        failure
    }
}

/// What a pattern is, asked of an instance that has just been opened.
fn pattern_of(
    store: &mut Store<Sandbox>,
    instance: &component::Instance,
    component: &Component,
    limits: &Limits,
) -> Result<PatternText, CallFailure> {
    let [Some(export), ..] = component.exports.further else { panic!("a pattern's exports were found when it was prepared") };
    let unfit = |refused: Refused| invalid(&refused.to_string(), Usage::default());
    let ask: TypedFunc<(), (WireDefinition,)> = typed(store, instance, component.kind(), "pattern", export).map_err(unfit)?;
    grant(store, limits, limits.fuel_start, limits.output_bytes_base);
    let started = Instant::now();
    let answered = ask.call(&mut *store, ());
    let usage = usage(store, limits.fuel_start, started);
    let (definition,) = answered.map_err(|error| failure(&error, store.data(), limits, usage))?;
    PatternText::new(definition).map_err(|Invalid(message)| invalid(&message, usage))
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("component", &self.component).field("alive", &self.alive).finish_non_exhaustive()
    }
}
