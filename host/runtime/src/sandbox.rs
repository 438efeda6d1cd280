//! What the store of one instance owns, and what keeps its growth in bounds.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, StoreContextMut, Trap};

use crate::limits::{Limits, MEMORY_BYTES_MAX};
use crate::logging::{GuestLog, LineGate};
use crate::metrics::{GuestMetrics, Held};

/// A component called the host more often than one call may.
#[derive(Debug, thiserror::Error)]
#[error("more than {host_calls_max} calls of host functions in one call")]
pub(crate) struct TooManyHostCalls {
    pub(crate) host_calls_max: u32,
}

/// The data of a store.
pub(crate) struct Sandbox {
    pub(crate) growth: Growth,
    pub(crate) log: Arc<dyn GuestLog>,
    pub(crate) lines: LineGate,
    pub(crate) metrics: Arc<dyn GuestMetrics>,
    /// What this call measured so far.
    pub(crate) held: Held,
    /// The last line of level error of this call: what a panic hook says before it traps.
    pub(crate) last_error: Option<String>,
    host_calls: u32,
    host_calls_max: u32,
}

impl Sandbox {
    pub(crate) fn new(limits: &Limits, log: Arc<dyn GuestLog>, metrics: Arc<dyn GuestMetrics>) -> Self {
        Self {
            growth: Growth {
                memory_bytes: 0,
                memory_bytes_max: limits.memory_bytes.min(MEMORY_BYTES_MAX),
                table_elements: 0,
                table_elements_max: limits.table_elements,
                asked: 0,
                refused: None,
            },
            log,
            lines: LineGate::new(limits.log_lines_per_second),
            metrics,
            held: Held::default(),
            last_error: None,
            host_calls: 0,
            host_calls_max: limits.host_calls,
        }
    }

    /// Forgets what belongs to the call before.
    pub(crate) fn begin_call(&mut self) {
        self.host_calls = 0;
        self.last_error = None;
        self.growth.refused = None;
        self.held.forget();
    }

    /// The call returned: what it measured counts.
    pub(crate) fn hand_over(&mut self) {
        self.held.hand_over(&*self.metrics);
    }

    /// Counts a call of a host function.
    pub(crate) fn host_call(&mut self) -> Result<(), TooManyHostCalls> {
        self.host_calls += 1;
        if self.host_calls > self.host_calls_max {
            return Err(TooManyHostCalls { host_calls_max: self.host_calls_max });
        }
        Ok(())
    }
}

/// What a host function read of its guest is paid in fuel, a unit a byte, as a bulk copy is. Otherwise ten thousand calls of one batch could
/// have gigabytes read, and only the clock would end that.
pub(crate) fn pay(store: &mut StoreContextMut<'_, Sandbox>, bytes: usize) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.checked_sub(bytes as u64);
    store.set_fuel(left.unwrap_or(0))?;
    if left.is_some() { Ok(()) } else { Err(Trap::OutOfFuel.into()) }
}

/// Bounds the sum of all memories and the sum of all tables (wasmtime's own limiter bounds each), and remembers a refusal, so that the
/// trap a guest makes of it can be told from others.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    /// What was granted last, in case it fails after all.
    asked: usize,
    /// What was refused in this call.
    pub(crate) refused: Option<String>,
}

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused = Some(format!("{total} bytes of memory asked for, {} allowed", self.memory_bytes_max));
            return Ok(false);
        }
        // Beyond its own maximum a memory never grows: not a limit of ours, and nothing to count.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.asked = total - self.memory_bytes;
        self.memory_bytes = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_bytes -= std::mem::take(&mut self.asked);
        self.refused = Some(format!("the memory could not grow: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            self.refused = Some(format!("{total} table elements asked for, {} allowed", self.table_elements_max));
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl GuestLog for Nowhere {
        fn line(&self, _level: crate::LogLevel, _message: &str) {}
    }

    #[test]
    fn memories_and_tables_are_bounded_in_sum_and_a_refusal_is_remembered() {
        let limits = Limits { memory_bytes: 100, table_elements: 10, host_calls: 2, ..Limits::default() };
        let mut sandbox = Sandbox::new(&limits, Arc::new(Nowhere), Arc::new(crate::metrics::SilentMetrics));
        let growth = &mut sandbox.growth;
        assert!(growth.memory_growing(0, 60, None).expect("no error"));
        assert!(growth.memory_growing(0, 40, None).expect("no error"));
        assert!(!growth.memory_growing(40, 41, None).expect("no error"));
        assert_eq!(growth.refused.take().as_deref(), Some("101 bytes of memory asked for, 100 allowed"));
        assert!(growth.table_growing(0, 10, None).expect("no error"));
        assert!(!growth.table_growing(0, 1, None).expect("no error"));
        assert_eq!(growth.refused.as_deref(), Some("11 table elements asked for, 10 allowed"));
        assert_eq!(growth.memory_bytes, 100);
        growth.memory_grow_failed(wasmtime::Error::msg("no slot")).expect("no error");
        assert_eq!(growth.memory_bytes, 60);

        assert!(sandbox.host_call().is_ok() && sandbox.host_call().is_ok());
        assert!(sandbox.host_call().is_err());
        sandbox.begin_call();
        assert!(sandbox.growth.refused.is_none());
        assert!(sandbox.host_call().is_ok());
    }
}
