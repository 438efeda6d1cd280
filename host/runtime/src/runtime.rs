//! The runtime: one engine, one linker, one cache, one thread that drives deadlines.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_event::CallFailure;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::cache::Cache;
use crate::compile::Compiler;
use crate::component::Component;
use crate::engine::{self, Interruption};
use crate::grant::Grants;
use crate::instance::{Instance, InstanceSettings};
use crate::limits::{Limits, ShapeLimits};
use crate::logging;
use crate::metrics;
use crate::refused::Refused;
use crate::sandbox::Sandbox;
use crate::ticker::Ticker;

/// What a runtime is made with.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    /// Who compiles. A host that takes uploads of strangers needs [`Compiler::Process`].
    pub compiler: Compiler,
    /// Where compiled code is kept between two lives of the process; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// How many instances there may be at once. Costs address space, 8 GiB each, and no memory.
    pub instances_max: u32,
    /// What an upload may look like.
    pub shape: ShapeLimits,
    /// What start functions and `describe` may use at upload.
    pub describe: Limits,
    /// What components may import beyond logging.
    pub grants: Grants,
    /// What interrupts a guest.
    pub interruption: Interruption,
}

impl RuntimeSettings {
    /// Nothing kept, nothing granted, limits that fit a first program in every language.
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            cache_dir: None,
            instances_max: 1_000,
            shape: ShapeLimits::default(),
            describe: Limits::default(),
            grants: Grants::none(),
            interruption: Interruption::default(),
        }
    }
}

/// A runtime that could not be made. A retry helps only if what is named has changed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its settings, or the machine has not enough address space for its pool.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The folder of compiled code cannot be used.
    #[error("compiled code cannot be kept in `{}`", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No thread for deadlines.
    #[error("no thread for deadlines")]
    Thread(#[source] std::io::Error),
}

/// Checks, compiles and instantiates components. Cheap to clone; all clones share everything.
#[derive(Clone)]
pub struct Runtime {
    parts: Arc<Parts>,
}

/// What the clones share.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) compiler: Compiler,
    pub(crate) interruption: Interruption,
    pub(crate) linker: Linker<Sandbox>,
    pub(crate) cache: Option<Cache>,
    pub(crate) shape: ShapeLimits,
    pub(crate) describe: Limits,
    pub(crate) grants: Grants,
    pub(crate) ticker: Arc<Ticker>,
}

impl Runtime {
    /// Makes one. A process needs one; each has an address space and a thread of its own.
    pub fn new(settings: RuntimeSettings) -> Result<Self, RuntimeError> {
        let RuntimeSettings { compiler, cache_dir, instances_max, shape, describe, grants, interruption } = settings;
        let broken = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let engine = engine::engine(instances_max, interruption).map_err(broken)?;
        let mut linker = Linker::new(&engine);
        logging::link(&mut linker, &grants).map_err(broken)?;
        metrics::link(&mut linker).map_err(broken)?;
        let open = |folder: PathBuf| Cache::open(&folder, &engine).map_err(|source| RuntimeError::Cache { folder, source });
        let cache = cache_dir.map(open).transpose()?;
        let ticker = Arc::new(Ticker::start(engine.clone()).map_err(RuntimeError::Thread)?);
        Ok(Self { parts: Arc::new(Parts { engine, compiler, interruption, linker, cache, shape, describe, grants, ticker }) })
    }

    /// Takes an upload: shape and imports are checked before anything is compiled, then it is compiled or loaded from the cache,
    /// instantiated and described under limits. The same bytes give the same component, here and after a restart.
    ///
    /// Blocking, up to tens of seconds for an interpreter, and up to minutes on a busy host: not for a thread that serves others.
    pub fn prepare(&self, wasm: &[u8]) -> Result<Arc<Component>, Refused> {
        Component::prepare(&self.parts, wasm).map(Arc::new)
    }

    /// Makes a sandbox, runs its start functions and `open`. A guest error is what `open` said about the configuration.
    pub fn instantiate(&self, component: &Arc<Component>, settings: InstanceSettings) -> Result<Instance, CallFailure> {
        assert!(
            Engine::same(component.pre.engine(), &self.parts.engine),
            "a component is instantiated by the runtime that prepared it"
        );
        Instance::new(component, settings)
    }

    /// What components may import beyond logging.
    pub fn grants(&self) -> &Grants {
        &self.parts.grants
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}
