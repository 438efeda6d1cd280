//! The host's side: starts the compiler, feeds it, waits for its answer or its end, and says which limit it met.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use super::frame;
use crate::engine::Interruption;
use crate::limits::{CompileLimits, MESSAGE_BYTES_MAX};
use crate::refused::Refused;
use crate::text::clean;

/// What the allocator reserves at a time.
const ALLOCATOR_RESERVE: &str = "32MiB";

/// How to start a compiler: a program that calls [`crate::compile_one`] with the two numbers it finds behind `arguments`: seconds of
/// CPU time, and bytes of address space.
#[derive(Debug, Clone)]
pub struct CompilerProcess {
    /// The program; on Linux `/proc/self/exe` is this one even after its file was replaced.
    pub program: PathBuf,
    /// What makes it compile.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub limits: CompileLimits,
}

/// What came back.
struct Ended {
    answer: std::io::Result<(u8, Vec<u8>)>,
    status: ExitStatus,
    last_words: String,
    /// The host ended it.
    overdue: bool,
}

impl CompilerProcess {
    /// Starts a compiler for one component and waits for it: at most [`CompileLimits::wall`].
    pub(super) fn compile(&self, interruption: Interruption, wasm: &[u8]) -> Result<Vec<u8>, Refused> {
        let child = self.start(wasm.len()).map_err(|error| Refused::NotNow(format!("its process does not start: {error}")))?;
        let ended = self.attend(child, interruption, wasm);
        let ended = ended.map_err(|error| Refused::NotNow(format!("its process cannot be waited for: {error}")))?;
        match ended.answer {
            Ok((1, code)) => Ok(code),
            Ok((_, reason)) => Err(Refused::Compile(clean(&String::from_utf8_lossy(&reason), MESSAGE_BYTES_MAX))),
            Err(ref error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(Refused::CodeTooLarge { bytes_max: self.limits.code_bytes(wasm.len()) })
            }
            Err(_) => Err(self.met(&ended, wasm.len())),
        }
    }

    fn start(&self, wasm_bytes: usize) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(self.limits.cpu(wasm_bytes).as_secs().to_string());
        command.arg(self.limits.memory_bytes.to_string());
        // No secret of the host's environment is within its reach; how it panics is part of what is read from it.
        command.env_clear().env("RUST_BACKTRACE", "0").current_dir("/");
        // The binary's allocator takes addresses ahead of need, a gibibyte at a time: all that this process may have.
        command.env("MIMALLOC_ARENA_RESERVE", ALLOCATOR_RESERVE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Writes, reads, and sees to its end. A second thread keeps the time, because pipes have none.
    fn attend(&self, mut child: Child, interruption: Interruption, wasm: &[u8]) -> std::io::Result<Ended> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) = pipes else { unreachable!("all three were asked for") };
        let code_bytes_max = self.limits.code_bytes(wasm.len());
        let child = Mutex::new(child);
        let end = &|| child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        let (done, waiting) = sync_channel::<()>(1);
        let wall = self.limits.wall(wasm.len());
        let (answer, overdue) = std::thread::scope(|scope| {
            let watch = std::thread::Builder::new().name("compile-watch".to_owned()).spawn_scoped(scope, move || {
                let overdue = waiting.recv_timeout(wall) == Err(RecvTimeoutError::Timeout);
                // Its pipes close with it, which ends the write or read below.
                overdue && end().is_ok()
            });
            let watch = match watch {
                Ok(watch) => watch,
                Err(error) => return (Err(error), false),
            };
            // A compiler that ended early says more by how it ended than by the pipe it broke.
            let answer = match frame::write(&mut stdin, frame::tag_of(interruption), wasm) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
                _ => frame::read(&mut stdout, code_bytes_max),
            };
            drop(done);
            (answer, watch.join().unwrap_or(false))
        });
        // There is nothing left for it to say: whole or not, the answer has ended. One that was killed by a limit stays so.
        end()?;
        let status = child.into_inner().unwrap_or_else(PoisonError::into_inner).wait()?;
        let mut last_words = Vec::new();
        // All that wrote to it are gone.
        let _ = stderr.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut last_words);
        Ok(Ended { answer, status, last_words: String::from_utf8_lossy(&last_words).into_owned(), overdue })
    }

    /// Which limit a compiler met that ended without an answer.
    fn met(&self, ended: &Ended, wasm_bytes: usize) -> Refused {
        let signal = ended.status.signal();
        let ended_by = |wanted: Signal| signal == Some(wanted.as_raw());
        if ended.overdue {
            return Refused::NotNow(format!("it was not done within {:?}, for this host is busy", self.limits.wall(wasm_bytes)));
        }
        if ended_by(Signal::XCPU) {
            return Refused::CompileTime { cpu: self.limits.cpu(wasm_bytes) };
        }
        // What Rust's allocator says before it aborts, and what a refused mapping is called elsewhere.
        let said = |words: &str| ended.last_words.contains(words);
        if said("memory allocation of") || said("Cannot allocate memory") {
            return Refused::CompileMemory { bytes_max: self.limits.memory_bytes };
        }
        let how = match signal {
            Some(number) => format!("the compiler was ended by signal {number}"),
            None => format!("the compiler ended without an answer ({})", ended.status),
        };
        let words = clean(ended.last_words.trim(), 200);
        Refused::Compile(if words.is_empty() { how } else { format!("{how}: {words}") })
    }
}
