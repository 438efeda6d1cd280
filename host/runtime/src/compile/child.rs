//! The compiler's side: takes every right from itself, then reads one component, compiles it, answers, and ends.
//!
//! What it gives up before it reads the first byte: more CPU time and address space than allowed, opening or writing files, starting
//! threads or processes, core dumps, gaining privileges, being traced, outliving the host. What it keeps, for want of a filter on
//! system calls in safe Rust: the right to make those that need none of these.

use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use super::{frame, on_large_stack, precompile};
use crate::engine;

/// How much the compiler steps back behind whoever serves events: about a third of their share.
const NICENESS: i32 = 5;
/// An upload is never larger than this, whatever the host's shape limits say.
const COMPONENT_BYTES_MAX: usize = 256 << 20;

/// The whole life of a compiler process: one component from standard input, machine code or a reason to standard output. An error is
/// one of the process, not of the component: it could not limit itself, or the host is gone.
pub fn compile_one(cpu_seconds: u64, memory_bytes: u64) -> io::Result<()> {
    limit(cpu_seconds, memory_bytes)?;
    let answer = on_large_stack(|| {
        // The last thread there will be.
        set(Resource::Nproc, 0, 0).map_err(|error| error.to_string())?;
        read_and_compile(&mut io::stdin().lock())
    });
    let mut stdout = io::stdout().lock();
    match answer {
        Ok(code) => frame::write(&mut stdout, 1, &code),
        Err(reason) => frame::write(&mut stdout, 0, reason.as_bytes()),
    }
}

fn read_and_compile(from: &mut impl Read) -> Result<Vec<u8>, String> {
    let (tag, wasm) = frame::read(from, COMPONENT_BYTES_MAX).map_err(|error| format!("the component did not arrive: {error}"))?;
    let interruption = frame::interruption_of(tag).ok_or("the host speaks another language")?;
    let engine = engine::compiling(interruption).map_err(|error| format!("the compiler does not start: {error:#}"))?;
    precompile(&engine, &wasm)
}

/// All or nothing: a compiler that could not limit itself compiles nothing.
fn limit(cpu_seconds: u64, memory_bytes: u64) -> io::Result<()> {
    // A second signal, which cannot be caught, one second later.
    set(Resource::Cpu, cpu_seconds, cpu_seconds + 1)?;
    set(Resource::As, memory_bytes, memory_bytes)?;
    set(Resource::Core, 0, 0)?;
    set(Resource::Fsize, 0, 0)?;
    // Those open already stay open.
    set(Resource::Nofile, 0, 0)?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::nice(NICENESS) {
        // At the end of the scale already.
        Ok(_) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn set(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?)
}
