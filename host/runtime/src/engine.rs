//! The one place where wasmtime is configured. Change nothing here without reading wasmtime's advisories, and change the test
//! below with it: it asserts what the engine says it is, not what was asked for.
//!
//! Why each group is as it is:
//! - **Fuel decides, the epoch is the backstop.** Fuel is the same on every machine and bounds every loop, bulk copies included (one
//!   unit a byte). The epoch interrupts what takes long without burning much: cache misses, page faults, a slow host call.
//! - **Pooled slots, copy-on-write images**: an instance costs microseconds. 4 GiB of address space a memory, so that no access needs a
//!   bounds check; only address space, not memory.
//! - **Deterministic**: NaNs are canonical, relaxed SIMD is off, no threads, no clock.
//! - **Small surface**: proposals no guest toolchain of ours emits are off; garbage collection, exceptions, threads, async components
//!   are not even compiled in.
//! - **No guest debug information** is parsed: backtraces take names from the name section only.

use std::num::NonZeroUsize;

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use crate::limits::{BACKTRACE_FRAMES_MAX, MEMORY_BYTES_MAX};

/// Stack of a guest. Worker threads must have more than this.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Elements of one table; the largest interpreter has 7,700.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// A Python component is 38 core modules.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const MEMORIES_PER_COMPONENT: u32 = 4;
const TABLES_PER_COMPONENT: u32 = 32;

/// What interrupts a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interruption {
    /// Fuel alone: deterministic, but what burns no fuel is not bounded. For measurements.
    Fuel,
    /// Fuel, and the deadline as backstop.
    #[default]
    FuelAndDeadline,
}

/// An engine that only compiles: nothing is reserved for instances, so that it fits into a small address space. Its code runs on the
/// other one, for which the test below stands.
pub(crate) fn compiling(interruption: Interruption) -> wasmtime::Result<Engine> {
    Engine::new(&config(interruption))
}

/// An engine with room for so many instances at once.
pub(crate) fn engine(instances_max: u32, interruption: Interruption) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max.saturating_mul(4))
        .total_memories(instances_max.saturating_mul(2))
        .total_tables(instances_max.saturating_mul(4))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_module(1)
        .max_tables_per_module(4)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        // A slot that had the same component before needs no mapping anew; what a guest wrote is given back to the kernel.
        .max_unused_warm_slots(instances_max.min(100))
        // A third of what making and dropping an instance takes is page faults. Pages that stay resident would save them, but: without
        // PAGEMAP_SCAN all bytes from 0 on are written over each time, 60 µs for a guest whose first MiB is stack; and with it wasmtime
        // 48 leaves written pages alone that are swapped out (bytecodealliance/wasmtime#14357), which the next tenant would read.
        .linear_memory_keep_resident(0)
        .table_keep_resident(0)
        .pagemap_scan(Enabled::No);
    let mut config = config(interruption);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// All that decides what code is made and how it behaves.
fn config(interruption: Interruption) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .memory_init_cow(true)
        .consume_fuel(true)
        .epoch_interruption(interruption == Interruption::FuelAndDeadline)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_component_model(true)
        .concurrency_support(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_gc(false)
        .wasm_stack_switching(false)
        .wasm_features(WasmFeatures::FUNCTION_REFERENCES, false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .debug_info(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_what_this_page_says() {
        let engine = engine(10, Interruption::FuelAndDeadline).expect("an engine");
        assert_eq!(engine.get_strategy(), Some(Strategy::Cranelift));
        assert_eq!(engine.get_cranelift_opt_level(), Some(OptLevel::Speed));
        assert_eq!(engine.get_cranelift_nan_canonicalization(), Some(true));
        assert!(engine.get_consume_fuel());
        assert!(engine.get_epoch_interruption());
        assert!(!engine.get_concurrency_support());
        assert!(!engine.get_shared_memory());
        assert!(!engine.get_debug_info());
        assert!(!engine.get_guest_debug());
        assert!(engine.get_memory_init_cow());
        assert!(engine.get_signals_based_traps());
        assert!(engine.get_relaxed_simd_deterministic());
        assert_eq!(engine.get_max_wasm_stack(), WASM_STACK_BYTES);
        assert_eq!(engine.get_wasm_backtrace_max_frames(), BACKTRACE_FRAMES_MAX);
        // Together these let every access of a 32-bit memory go unchecked.
        assert!(engine.get_memory_reservation() >= 4 << 30);
        assert!(engine.get_memory_guard_size() >= 32 << 20);
        assert!(engine.get_guard_before_linear_memory());

        let pool = engine.get_pooling_config().expect("a pool");
        assert_eq!(pool.get_total_component_instances(), 10);
        assert_eq!(pool.get_total_memories(), 20);
        assert_eq!(pool.get_max_memory_size(), MEMORY_BYTES_MAX);
        assert_eq!(pool.get_table_elements(), TABLE_ELEMENTS_MAX);
        assert_eq!(pool.get_max_core_instances_per_component(), CORE_INSTANCES_PER_COMPONENT);
        assert_eq!(pool.get_max_memories_per_component(), MEMORIES_PER_COMPONENT);
        assert_eq!(pool.get_memory_keep_resident(), 0);
        assert_eq!(pool.get_pagemap_scan(), Enabled::No);
        assert_eq!(pool.get_memory_protection_keys(), Enabled::No);

        let features = engine.get_wasm_features();
        for off in [
            WasmFeatures::THREADS,
            WasmFeatures::SHARED_EVERYTHING_THREADS,
            WasmFeatures::MEMORY64,
            WasmFeatures::MULTI_MEMORY,
            WasmFeatures::GC,
            WasmFeatures::EXCEPTIONS,
            WasmFeatures::FUNCTION_REFERENCES,
            WasmFeatures::STACK_SWITCHING,
            WasmFeatures::TAIL_CALL,
            WasmFeatures::RELAXED_SIMD,
            WasmFeatures::CUSTOM_PAGE_SIZES,
            WasmFeatures::WIDE_ARITHMETIC,
            WasmFeatures::CM_ASYNC,
        ] {
            assert!(!features.intersects(off), "{off:?} is on");
        }
        for on in [
            WasmFeatures::COMPONENT_MODEL,
            WasmFeatures::BULK_MEMORY,
            WasmFeatures::MULTI_VALUE,
            WasmFeatures::REFERENCE_TYPES,
            WasmFeatures::SIMD,
            WasmFeatures::EXTENDED_CONST,
        ] {
            assert!(features.contains(on), "{on:?} is off");
        }
    }

    #[test]
    fn without_a_deadline_there_is_no_epoch() {
        let engine = engine(1, Interruption::Fuel).expect("an engine");
        assert!(!engine.get_epoch_interruption());
        assert!(engine.get_consume_fuel());
    }

    #[test]
    fn what_the_compiler_makes_fits_the_engine_that_runs_it() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        for interruption in [Interruption::Fuel, Interruption::FuelAndDeadline] {
            let identity = |engine: Engine| {
                let mut hasher = DefaultHasher::new();
                engine.precompile_compatibility_hash().hash(&mut hasher);
                hasher.finish()
            };
            let running = engine(10, interruption).expect("an engine");
            let compiling = compiling(interruption).expect("an engine");
            assert!(compiling.get_pooling_config().is_none());
            assert_eq!(identity(compiling), identity(running), "{interruption:?}");
        }
    }
}
