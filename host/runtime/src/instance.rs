//! One sandbox of a component: owned by one task, entered by one call at a time, thrown away after any call that did not return.
//!
//! ```text
//! Open => (Open | Dead)      a call that returned, or returned an error of its own, leaves it open; every other ending kills it
//! Dead =>                    answers every call with a trap; make a new one
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tidemill_event::{CallFailure, Ending, RuleAnswer, RuleCall, TransformAnswer, TransformCall, Usage};
use wasmtime::Store;
use wasmtime::component::{self, ComponentType, Lift, TypedFunc};

use crate::component::{Component, Exports, Kind, grant, store, typed, usage};
use crate::decode::{self, Invalid};
use crate::encode::{self, Scratch};
use crate::failure::{failure, guest_error, invalid};
use crate::grant::Grants;
use crate::limits::Limits;
use crate::logging::GuestLog;
use crate::metrics::GuestMetrics;
use crate::refused::Refused;
use crate::sandbox::Sandbox;
use crate::wire::{WireBatch, WireRuleAnswer, WireTransformAnswer};

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

type Call<A> = TypedFunc<(WireBatch<'static>,), (Result<A, String>,)>;

/// The export that takes batches.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Rule(Call<WireRuleAnswer>),
    Transform(Call<WireTransformAnswer>),
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
        })
    }
}

/// A sandbox of one component.
pub struct Instance {
    component: Arc<Component>,
    store: Store<Sandbox>,
    entry: Entry,
    limits: Limits,
    scratch: Scratch,
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
                store.data_mut().hand_over();
                Ok(Self { component: Arc::clone(component), store, entry, limits, scratch: Scratch::default(), alive: true })
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
        let (answer, mut usage) = self.enter(evaluate, call)?;
        usage.output_bytes = (answer.verdicts.0.len() + answer.data.0.len()) as u64;
        let component = &self.component;
        let read = || {
            let data = &answer.data.0;
            Ok(RuleAnswer {
                verdicts: decode::verdicts(answer.verdicts.0, rows)?,
                columns: decode::columns("output", &component.description().outputs, &answer.columns, rows, data)?,
                state: read_state(component, call, &answer.state, data)?,
                notes: decode::notes(answer.notes, rows)?,
                usage,
            })
        };
        let read = read();
        match read {
            Ok(answer) => {
                self.store.data_mut().hand_over();
                Ok(answer)
            }
            Err(Invalid(message)) => Err(self.die(invalid(&message, usage))),
        }
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
        let (answer, mut usage) = self.enter(apply, call)?;
        usage.output_bytes = answer.data.0.len() as u64;
        let component = &self.component;
        let read = || {
            let (data, made) = (&answer.data.0, answer.rows as usize);
            Ok(TransformAnswer {
                source_rows: decode::source_rows(answer.source_rows, made, rows, data)?,
                columns: decode::columns("output", &component.description().outputs, &answer.columns, made, data)?,
                state: read_state(component, call, &answer.state, data)?,
                notes: decode::notes(answer.notes, rows)?,
                usage,
            })
        };
        let read = read();
        match read {
            Ok(answer) => {
                self.store.data_mut().hand_over();
                Ok(answer)
            }
            Err(Invalid(message)) => Err(self.die(invalid(&message, usage))),
        }
    }

    fn enter<A: Lift + ComponentType + 'static>(
        &mut self,
        function: Call<A>,
        call: &RuleCall,
    ) -> Result<(A, Usage), CallFailure> {
        if !self.alive {
            let message = "the instance ended with an earlier call; make a new one".to_owned();
            return Err(CallFailure { ending: Ending::Trap, message, backtrace: String::new(), usage: Usage::default() });
        }
        assert_eq!(
            call.state.is_some(),
            !self.component.state_fields().is_empty(),
            "a call has state if, and only if, the component declares some"
        );
        let rows = call.columns.num_rows();
        let Self { store, limits, scratch, component, .. } = self;
        let declared = (component.description().columns.as_slice(), component.state_fields());
        // Lent for the call, not for ever: the type of a function allows for arguments that live shorter.
        let ended = encode::batch(scratch, declared, &call.columns, call.state.as_ref(), |batch| {
            let function: TypedFunc<(WireBatch<'_>,), (Result<A, String>,)> = function;
            let fuel = limits.fuel(rows, batch.data.bytes);
            grant(store, limits, fuel, limits.output_bytes(rows));
            let started = Instant::now();
            let returned = function.call(&mut *store, (batch,));
            let usage = usage(store, fuel, started);
            match returned {
                Ok((Ok(answer),)) => Ok((answer, usage)),
                Ok((Err(message),)) => Err(guest_error(&message, usage)),
                Err(error) => Err(failure(&error, store.data(), limits, usage)),
            }
        });
        let ended = ended.unwrap_or_else(|too_large| {
            let message = format!("the batch takes {} bytes, more than any component can hold", too_large.bytes);
            Err(CallFailure { ending: Ending::OutOfMemory, message, backtrace: String::new(), usage: Usage::default() })
        });
        ended.map_err(|failure| if failure.ending == Ending::GuestError { failure } else { self.die(failure) })
    }

    fn die(&mut self, failure: CallFailure) -> CallFailure {
        self.alive = false;
        failure
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("component", &self.component).field("alive", &self.alive).finish_non_exhaustive()
    }
}

fn read_state(
    component: &Component,
    call: &RuleCall,
    layouts: &[crate::wire::WireColumn],
    data: &arrow_buffer::Buffer,
) -> Result<Option<arrow_array::RecordBatch>, Invalid> {
    let keys = match &call.state {
        Some(state) => state.rows.num_rows(),
        None if layouts.is_empty() => return Ok(None),
        None => return Err(Invalid("new state from a component that declares none".to_owned())),
    };
    let description = component.description();
    decode::state(description.state_schema(), component.state_fields(), layouts, keys, data).map(Some)
}
