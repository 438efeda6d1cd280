//! Every bound of this crate in one place, and what happens when it is met.
//!
//! | bound | when it is met |
//! |---|---|
//! | [`ShapeLimits`] | the upload is refused, before anything is compiled |
//! | [`Limits`] | the call ends with its [`tidemill_event::Ending`] and its instance is thrown away |
//! | `log_lines_per_second`, [`LOG_LINE_BYTES_MAX`] | the line is dropped and counted, or cut |
//! | `METRIC…_MAX` | the measurement is dropped and counted |
//! | `WANTED_MAX`, `TIMERS_MAX` | the call ends with too much output |
//! | `TABLES_MAX`, `…_NAME_BYTES_MAX`, `TABLE_KEY_BYTES_MAX` | the upload is refused; the answer is invalid |
//! | [`CompileLimits`] | the compiler is killed and the upload refused, naming the limit |
//! | [`crate::RuntimeSettings::instances_max`] | no further instance is made until one is dropped |

use std::time::Duration;

/// Longest log line, row note or panic text kept of a component.
pub const LOG_LINE_BYTES_MAX: usize = 1024;
/// Longest error message kept of a component, and longest part of a backtrace.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;
/// Frames of a backtrace that are kept.
pub(crate) const BACKTRACE_FRAMES_MAX: usize = 32;
/// Columns a component may read, make or keep, each.
pub(crate) const FIELDS_MAX: usize = 1_000;
/// Longest field name.
pub(crate) const FIELD_NAME_BYTES_MAX: usize = 255;
/// Predicates of a pattern, and conditions, each.
pub(crate) const PREDICATES_MAX: usize = 64;
/// Bytes of the text that says what a pattern is.
pub(crate) const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Tables, and outputs beside the main one, that a process may have, each.
pub(crate) const TABLES_MAX: usize = 16;
/// Entries that one call may want, whatever its rows, and for each row.
pub(crate) const WANTED_MAX: (usize, usize) = (65_536, 64);
/// Timers that one call may set or take back, whatever its rows, and for each row.
pub(crate) const TIMERS_MAX: (usize, usize) = (1_024, 16);
/// Longest name of a timer.
pub(crate) const TIMER_NAME_BYTES_MAX: usize = 255;
/// Bytes of one key of a table, all its fields together.
pub(crate) const TABLE_KEY_BYTES_MAX: usize = 1_024;
/// Longest description for people.
pub(crate) const DOC_BYTES_MAX: usize = 64 << 10;
/// The largest linear memory any instance may have, whatever a pipeline asks for: the pool's slots have this size.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;
/// Longest name of a metric.
pub(crate) const METRIC_NAME_BYTES_MAX: usize = 60;
/// Labels of a series that a component gives.
pub(crate) const METRIC_LABELS_MAX: usize = 4;
/// Longest name of a label.
pub(crate) const METRIC_LABEL_NAME_BYTES_MAX: usize = 40;
/// Longest value of a label.
pub(crate) const METRIC_LABEL_VALUE_BYTES_MAX: usize = 64;
/// Series that one call may hand over.
pub(crate) const METRICS_PER_CALL_MAX: usize = 500;
/// Amounts that one call may hand over, all series together.
pub(crate) const METRIC_AMOUNTS_MAX: usize = 50_000;
/// Stack of the thread that compiles: Cranelift recurses over what a stranger wrote.
pub(crate) const COMPILE_STACK_BYTES: usize = 64 << 20;

/// What one call, and one instance, may use. What grows with the work grows with the rows and bytes of the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Fuel of a call, whatever its size. A unit is about one WebAssembly instruction, or one byte of a bulk copy.
    pub fuel_base: u64,
    /// Fuel for each row of a call.
    pub fuel_per_row: u64,
    /// Fuel for each byte handed to a call.
    pub fuel_per_byte: u64,
    /// Fuel for the start functions, for `describe` and for `open`, each.
    pub fuel_start: u64,
    /// Wall-clock backstop of a call, for what burns time but no fuel. Verdicts that matter are fuel's.
    pub deadline: Duration,
    /// Linear memory, all memories of the instance together. At most [`MEMORY_BYTES_MAX`].
    pub memory_bytes: usize,
    /// Table elements, all tables of the instance together.
    pub table_elements: usize,
    /// Bytes a call may return, whatever its size.
    pub output_bytes_base: usize,
    /// Bytes a call may return for each row.
    pub output_bytes_per_row: usize,
    /// Calls of host functions in one call.
    pub host_calls: u32,
    /// Log lines a second of one instance; a second's worth may come at once.
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    /// Fits a first program in every language there is an SDK for: an interpreter needs tens of thousands of instructions a row,
    /// and 9 to 16 MiB of memory before it has read its first event.
    fn default() -> Self {
        Self {
            fuel_base: 20_000_000,
            fuel_per_row: 50_000,
            fuel_per_byte: 100,
            fuel_start: 200_000_000,
            deadline: Duration::from_secs(1),
            memory_bytes: 32 << 20,
            table_elements: 60_000,
            output_bytes_base: 1 << 20,
            output_bytes_per_row: 1 << 10,
            host_calls: 10_000,
            log_lines_per_second: 100,
        }
    }
}

impl Limits {
    /// The fuel of a call of so many rows and bytes.
    pub fn fuel(&self, rows: usize, bytes: usize) -> u64 {
        let rows = self.fuel_per_row.saturating_mul(rows as u64);
        let bytes = self.fuel_per_byte.saturating_mul(bytes as u64);
        self.fuel_base.saturating_add(rows).saturating_add(bytes)
    }

    /// What a call of so many rows may return.
    pub fn output_bytes(&self, rows: usize) -> usize {
        self.output_bytes_base.saturating_add(self.output_bytes_per_row.saturating_mul(rows))
    }
}

/// What an upload may look like. All of it is counted in one pass over the bytes, before validation and compilation, because what
/// makes a compiler slow (deep loops, huge functions) is far cheaper to count than to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeLimits {
    /// The whole file.
    pub component_bytes: usize,
    /// Core modules in it.
    pub modules: usize,
    /// Functions of all modules together.
    pub functions: usize,
    /// Types, imports, exports, instances and aliases of all sections together.
    pub items: usize,
    /// The largest function body.
    pub body_bytes: usize,
    /// Locals of a function.
    pub locals: u64,
    /// Blocks inside blocks of a function. A `switch` of an interpreter is one block a case.
    pub block_depth: usize,
    /// Loops inside loops of a function: compile time grows with the square.
    pub loop_depth: usize,
    /// Blocks, loops and ifs of a function.
    pub blocks: usize,
    /// Targets of one `br_table`.
    pub branch_targets: u32,
}

impl Default for ShapeLimits {
    fn default() -> Self {
        Self {
            component_bytes: 40 << 20,
            modules: 64,
            functions: 60_000,
            items: 100_000,
            body_bytes: 512 << 10,
            locals: 4_000,
            block_depth: 1_024,
            loop_depth: 64,
            blocks: 20_000,
            branch_targets: 4_096,
        }
    }
}

/// What the compiler of one component may use. A bound that is met refuses the upload, and names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time, whatever the size. Whole seconds count.
    pub cpu_base: Duration,
    /// CPU time for each MiB of the component: an interpreter of 18 MiB is no bomb, and takes 25 seconds.
    pub cpu_per_mib: Duration,
    /// Address space, with the program itself and a stack of 64 MiB.
    pub memory_bytes: u64,
    /// How much longer than its CPU time it may take by the clock, on a host that has other things to do.
    pub wall_factor: u32,
    /// Machine code, whatever the size.
    pub code_bytes_base: usize,
    /// Machine code for each byte of the component.
    pub code_per_byte: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            cpu_base: Duration::from_secs(10),
            cpu_per_mib: Duration::from_millis(1_500),
            memory_bytes: 1 << 30,
            wall_factor: 20,
            code_bytes_base: 16 << 20,
            code_per_byte: 8,
        }
    }
}

impl CompileLimits {
    /// CPU time for a component of so many bytes, in whole seconds.
    pub fn cpu(&self, wasm_bytes: usize) -> Duration {
        let mib = u32::try_from(wasm_bytes >> 20).unwrap_or(u32::MAX);
        let cpu = self.cpu_base.saturating_add(self.cpu_per_mib.saturating_mul(mib));
        Duration::from_secs(cpu.as_secs().max(1))
    }

    /// Time by the clock for a component of so many bytes.
    pub fn wall(&self, wasm_bytes: usize) -> Duration {
        self.cpu(wasm_bytes).saturating_mul(self.wall_factor)
    }

    /// The most machine code that is taken for a component of so many bytes.
    pub fn code_bytes(&self, wasm_bytes: usize) -> usize {
        self.code_bytes_base.saturating_add(self.code_per_byte.saturating_mul(wasm_bytes))
    }
}
