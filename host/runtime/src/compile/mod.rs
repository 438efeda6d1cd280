//! Turning a stranger's component into machine code: hostile input to a compiler that promises nothing about its own time and memory.
//!
//! ```text
//! host                                              compiler (same program, hidden command, one component, then it ends)
//!   │  start: no environment, three pipes             │ limits on itself: CPU, address space, files, processes, core
//!   │  Interruption · component  ───────stdin───────► │ reads, compiles on a thread with a large stack
//!   │  machine code, or why not  ◄──────stdout─────── │
//!   │  its last words            ◄──────stderr─────── │ killed by a limit: which one is told from how it ended
//! ```
//! The host never compiles; it loads what came back. What the limits do not bound is what Cranelift makes of the input: a miscompiled
//! component runs in the sandbox of whoever uploaded it.

mod child;
mod frame;
mod process;

use wasmtime::Engine;

pub use child::compile_one;
pub use process::CompilerProcess;

use crate::engine::Interruption;
use crate::limits::COMPILE_STACK_BYTES;
use crate::refused::Refused;

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This process, without limits: for tests and benches, whose components are their own.
    InProcess,
    /// A process for each component, with limits on everything it may use.
    Process(CompilerProcess),
}

impl Compiler {
    /// Machine code for this engine. Blocking.
    pub(crate) fn compile(&self, engine: &Engine, interruption: Interruption, wasm: &[u8]) -> Result<Vec<u8>, Refused> {
        match self {
            Self::InProcess => on_large_stack(|| precompile(engine, wasm)).map_err(Refused::Compile),
            Self::Process(process) => process.compile(interruption, wasm),
        }
    }
}

fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(wasm).map_err(|error| format!("{error:#}"))
}

/// On a thread with a stack for what a stranger nested, so that none of ours overflows; a panic is a refusal.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("compile".to_owned()).stack_size(COMPILE_STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(running) => running.join().unwrap_or_else(|_| Err("the compiler gave up on it".to_owned())),
            Err(error) => Err(format!("no thread to compile on: {error}")),
        }
    })
}
