//! What a component says on the way: capped, cleaned, and handed to whoever made the instance.

use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use crate::grant::{Grant, Grants};
use crate::limits::LOG_LINE_BYTES_MAX;
use crate::sandbox::{Sandbox, pay};
use crate::text::{clean, cut};
use crate::wire::{LOGGING_INTERFACE, WireLevel};

/// How urgent a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// For the operator.
    Info,
    /// Something is off.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// `debug`, `info`, `warn` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Takes the lines of one instance, on the thread that calls it, while the call runs: it must not wait.
pub trait GuestLog: Send + Sync {
    /// One line of at most 1 KiB without control characters.
    fn line(&self, level: LogLevel, message: &str);
}

/// Takes lines and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentLog;

impl GuestLog for SilentLog {
    fn line(&self, _level: LogLevel, _message: &str) {}
}

/// Lets so many lines a second through, a second's worth at once, and counts the others.
#[derive(Debug)]
pub(crate) struct LineGate {
    per_second: u32,
    room: f64,
    filled: Instant,
    dropped: u64,
}

impl LineGate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, room: f64::from(per_second), filled: Instant::now(), dropped: 0 }
    }

    /// `Some` if a line may pass now, with how many were dropped since the last that did.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let per_second = f64::from(self.per_second);
        let since = now.saturating_duration_since(self.filled).min(Duration::from_secs(1));
        self.room = (self.room + since.as_secs_f64() * per_second).min(per_second);
        self.filled = now;
        if self.room < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.room -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// Puts logging and what is granted into a linker.
pub(crate) fn link(linker: &mut Linker<Sandbox>, grants: &Grants) -> wasmtime::Result<()> {
    linker.instance(LOGGING_INTERFACE)?.func_wrap("log", log)?;
    for grant in grants.iter() {
        match grant {
            Grant::TestRandom => linker.instance(grant.interface())?.func_wrap("random", random)?,
        }
    }
    Ok(())
}

fn log(mut store: StoreContextMut<'_, Sandbox>, (level, message): (WireLevel, WasmStr)) -> wasmtime::Result<()> {
    store.data_mut().host_call()?;
    let passed = store.data_mut().lines.pass(Instant::now());
    // The text of a panic is kept even when lines are dropped: it is why the call fails.
    if passed.is_none() && level != WireLevel::Error {
        return Ok(());
    }
    let (line, bytes) = {
        let message = message.to_str(&store)?;
        (clean(&cut(&message, LOG_LINE_BYTES_MAX), LOG_LINE_BYTES_MAX), message.len())
    };
    pay(&mut store, bytes)?;
    let sandbox = store.data_mut();
    if let Some(dropped) = passed {
        if dropped > 0 {
            sandbox
                .log
                .line(LogLevel::Warn, &format!("{dropped} lines dropped: more than {} a second", sandbox.lines.per_second));
        }
        let level = match level {
            WireLevel::Debug => LogLevel::Debug,
            WireLevel::Info => LogLevel::Info,
            WireLevel::Warn => LogLevel::Warn,
            WireLevel::Error => LogLevel::Error,
        };
        sandbox.log.line(level, &line);
    }
    if level == WireLevel::Error {
        sandbox.last_error = Some(line);
    }
    Ok(())
}

/// Planted: another number each time, and in each process.
fn random(mut store: StoreContextMut<'_, Sandbox>, (): ()) -> wasmtime::Result<(u64,)> {
    use std::hash::{BuildHasher, RandomState};
    store.data_mut().host_call()?;
    Ok((RandomState::new().hash_one(Instant::now()),))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_pass_at_their_rate_and_the_others_are_counted() {
        let start = Instant::now();
        let mut gate = LineGate::new(2);
        gate.filled = start;
        let mut at = |ms: u64| gate.pass(start + Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(2), at(3)], [Some(0), Some(0), None, None]);
        assert_eq!([at(600), at(700)], [Some(2), None]);
        assert_eq!([at(60_000), at(60_001), at(60_002)], [Some(1), Some(0), None]);
    }
}
