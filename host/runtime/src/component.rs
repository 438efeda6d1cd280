//! A component: checked, compiled, described, and shared by all its instances.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_event::{Field, Usage};
use wasmtime::component::{self, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{Engine, Store};

use crate::artefact::Artefact;
use crate::check::{Checked, check};
use crate::description::Description;
use crate::digest::Digest;
use crate::failure::failure;
use crate::grant::Grants;
use crate::limits::Limits;
use crate::logging::SilentLog;
use crate::metrics::SilentMetrics;
use crate::refused::Refused;
use crate::runtime::Parts;
use crate::sandbox::Sandbox;
use crate::ticker::{Ticker, ticks};
use crate::wire::{WireAggregate, WireFunction, WirePattern, WireProcess, WireRule, WireTransform};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Answers yes or no per row, and may add columns.
    Rule,
    /// Makes 0..n rows of each row.
    Transform,
    /// Computes a value of each row's arguments, for expressions.
    Function,
    /// Sums up rows by group, for windows.
    Aggregate,
    /// Makes rows of rows with tables, timers and several outputs.
    Process,
    /// Finds rows that follow each other.
    Pattern,
}

impl Kind {
    /// Every kind, in the order they are told of.
    pub const ALL: [Self; 6] = [Self::Rule, Self::Transform, Self::Function, Self::Aggregate, Self::Process, Self::Pattern];

    /// `rule`, `transform`, `function`, `aggregate`, `process` or `pattern`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Transform => "transform",
            Self::Function => "function",
            Self::Aggregate => "aggregate",
            Self::Process => "process",
            Self::Pattern => "pattern",
        }
    }

    /// The world it is built for.
    pub fn world(self) -> &'static str {
        match self {
            Self::Rule => "tidemill:rule/rule@1.0.0",
            Self::Transform => "tidemill:transform/transform@1.0.0",
            Self::Function => "tidemill:function/function@1.0.0",
            Self::Aggregate => "tidemill:aggregate/aggregate@1.0.0",
            Self::Process => "tidemill:process/process@1.0.0",
            Self::Pattern => "tidemill:pattern/pattern@1.0.0",
        }
    }

    /// The export that takes batches of rows, and tells the kind from the others.
    pub(crate) fn call(self) -> &'static str {
        match self {
            Self::Rule => "evaluate",
            Self::Transform => "apply",
            Self::Function => "compute",
            Self::Aggregate => "update",
            Self::Process => "process",
            Self::Pattern => "judge",
        }
    }

    /// The other exports.
    pub(crate) fn further(self) -> &'static [&'static str] {
        match self {
            Self::Rule | Self::Transform | Self::Function => &[],
            Self::Aggregate => &["merge", "retract", "finish"],
            Self::Process => &["wants"],
            Self::Pattern => &["pattern", "ask", "shape"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A component ready to be instantiated. Shared; never changes.
pub struct Component {
    digest: Digest,
    kind: Kind,
    description: Description,
    state_fields: Vec<Field>,
    size_bytes: usize,
    compile_time: Duration,
    from_cache: bool,
    pub(crate) uses: Grants,
    /// Whether the arguments of a call may stay where they are for the next (`room.rs`).
    pub(crate) arguments_stay: bool,
    pub(crate) pre: InstancePre<Sandbox>,
    pub(crate) exports: Exports,
    /// Deadlines need the ticker for as long as there may be instances.
    _ticker: Arc<Ticker>,
}

/// Where the exports are, so that no instance looks them up by name.
#[derive(Clone, Copy)]
pub(crate) struct Exports {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) open: ComponentExportIndex,
    pub(crate) call: ComponentExportIndex,
    /// Of an aggregate: `merge`, `retract`, `finish`. Of a process: `wants`. Of a pattern: `pattern`, `ask`, `shape`.
    pub(crate) further: [Option<ComponentExportIndex>; 3],
}

impl Component {
    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it needs and makes.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The bytes of the upload.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// How long compiling it took, or loading what was compiled before.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Whether it was compiled before.
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    pub(crate) fn state_fields(&self) -> &[Field] {
        &self.state_fields
    }

    pub(crate) fn prepare(parts: &Parts, wasm: &[u8]) -> Result<Self, Refused> {
        let Checked { kind, uses, arguments_stay } = check(wasm, parts.engine.get_wasm_features(), &parts.shape, &parts.grants)?;
        let digest = Digest::of(wasm);
        let started = Instant::now();
        let cached = parts.cache.as_ref().and_then(|cache| cache.load(&parts.engine, &digest));
        let from_cache = cached.is_some();
        let compiled = match cached {
            Some(compiled) => compiled,
            None => {
                let code = parts.compiler.compile(&parts.engine, parts.interruption, wasm)?;
                let artefact = Artefact::compiled(&code);
                // The pool refuses what asks for more than a slot has.
                let compiled = crate::boundary::deserialize(&parts.engine, artefact);
                let compiled = compiled.map_err(|error| Refused::Compile(format!("{error:#}")))?;
                if let Some(cache) = &parts.cache {
                    cache.store(artefact, &digest);
                }
                compiled
            }
        };
        let compile_time = started.elapsed();
        let export = |name: &'static str| {
            let missing = || Refused::Exports(format!("its export `{name}` is no function: world `{}` has one", kind.world()));
            compiled.get_export_index(None, name).ok_or_else(missing)
        };
        let mut further = [None; 3];
        for (place, name) in further.iter_mut().zip(kind.further()) {
            *place = Some(export(name)?);
        }
        let exports = Exports { describe: export("describe")?, open: export("open")?, call: export(kind.call())?, further };
        let pre = parts.linker.instantiate_pre(&compiled).map_err(|error| Refused::Link(format!("{error:#}")))?;
        let described = describe(&parts.engine, &parts.describe, kind, &pre, exports)?;
        if described != describe(&parts.engine, &parts.describe, kind, &pre, exports)? {
            return Err(Refused::DescribeVaries);
        }
        Ok(Self {
            digest,
            kind,
            state_fields: described.state_fields(),
            description: described,
            size_bytes: wasm.len(),
            compile_time,
            from_cache,
            uses,
            arguments_stay,
            pre,
            exports,
            _ticker: Arc::clone(&parts.ticker),
        })
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A store for one instance, with the fuel, time and output of a start.
pub(crate) fn store(engine: &Engine, limits: &Limits, sandbox: Sandbox) -> Store<Sandbox> {
    let mut store = Store::new(engine, sandbox);
    store.limiter(|sandbox| &mut sandbox.growth);
    // Guests hold no resources of the host yet.
    store.set_max_component_handles(16);
    grant(&mut store, limits, limits.fuel_start, limits.output_bytes_base);
    store
}

/// Fuel, time and output for the next call.
pub(crate) fn grant(store: &mut Store<Sandbox>, limits: &Limits, fuel: u64, output_bytes: usize) {
    store.data_mut().begin_call();
    store.set_fuel(fuel).expect("the engine burns fuel");
    store.set_epoch_deadline(ticks(limits.deadline));
    store.set_hostcall_fuel(output_bytes);
}

/// What the calls since the last grant of so much fuel took.
pub(crate) fn usage(store: &Store<Sandbox>, granted: u64, since: Instant) -> Usage {
    Usage {
        fuel: granted - store.get_fuel().expect("the engine burns fuel"),
        time: since.elapsed(),
        memory_bytes: store.data().growth.memory_bytes as u64,
        output_bytes: 0,
    }
}

/// Instantiates it and asks, both under limits.
fn describe(
    engine: &Engine,
    limits: &Limits,
    kind: Kind,
    pre: &InstancePre<Sandbox>,
    exports: Exports,
) -> Result<Description, Refused> {
    let started = Instant::now();
    let mut store = store(engine, limits, Sandbox::new(limits, Arc::new(SilentLog), Arc::new(SilentMetrics)));
    let instance = pre.instantiate(&mut store).map_err(|error| {
        let usage = usage(&store, limits.fuel_start, started);
        Refused::Start(failure(&error, store.data(), limits, usage))
    })?;
    grant(&mut store, limits, limits.fuel_start, limits.output_bytes_base);
    let description = match kind {
        Kind::Rule => {
            let (rule,) = answer::<(WireRule,)>(&mut store, &instance, limits, kind, exports)?;
            Description::rule(rule)
        }
        Kind::Transform => {
            let (transform,) = answer::<(WireTransform,)>(&mut store, &instance, limits, kind, exports)?;
            Description::transform(transform)
        }
        Kind::Function => {
            let (function,) = answer::<(WireFunction,)>(&mut store, &instance, limits, kind, exports)?;
            Description::function(function)
        }
        Kind::Aggregate => {
            let (aggregate,) = answer::<(WireAggregate,)>(&mut store, &instance, limits, kind, exports)?;
            Description::aggregate(aggregate)
        }
        Kind::Process => {
            let (process,) = answer::<(WireProcess,)>(&mut store, &instance, limits, kind, exports)?;
            Description::process(process)
        }
        Kind::Pattern => {
            let (pattern,) = answer::<(WirePattern,)>(&mut store, &instance, limits, kind, exports)?;
            Description::pattern(pattern)
        }
    };
    // A wrong type would otherwise be found by the first pipeline.
    crate::instance::Entry::of(&mut store, &instance, kind, exports)?;
    description.map_err(Refused::Description)
}

fn answer<R: ComponentNamedList + Lift + 'static>(
    store: &mut Store<Sandbox>,
    instance: &component::Instance,
    limits: &Limits,
    kind: Kind,
    exports: Exports,
) -> Result<R, Refused> {
    let describe = typed::<(), R>(store, instance, kind, "describe", exports.describe)?;
    let started = Instant::now();
    describe.call(&mut *store, ()).map_err(|error| {
        let usage = usage(store, limits.fuel_start, started);
        Refused::Describe(failure(&error, store.data(), limits, usage))
    })
}

/// An export, if it has the type of the world.
pub(crate) fn typed<P, R>(
    store: &mut Store<Sandbox>,
    instance: &component::Instance,
    kind: Kind,
    export: &'static str,
    index: ComponentExportIndex,
) -> Result<TypedFunc<P, R>, Refused>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let wrong = |reason: String| Refused::ExportType { export, world: kind.world(), reason };
    let function = instance.get_func(&mut *store, index).ok_or_else(|| wrong("it is no function".to_owned()))?;
    function.typed::<P, R>(&*store).map_err(|error| wrong(format!("{error:#}")))
}
