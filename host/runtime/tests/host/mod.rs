//! What the tests of this crate share: one runtime, and a log that remembers.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, LazyLock, Mutex};

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use arrow_schema::{Field as ArrowField, Schema};
use tidemill_event::{CallFailure, Field, FieldType, RuleCall};
use tidemill_runtime::{
    Compiler, Grant, Grants, GuestLog, Instance, InstanceSettings, Limits, LogLevel, Refused, Runtime, RuntimeSettings,
    SilentLog, SilentMetrics,
};

/// One runtime for all tests of a file: small budgets for describe, and the planted import granted.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let describe = Limits { fuel_start: 1_000_000, ..Limits::default() };
    let grants = [Grant::TestRandom].into_iter().collect();
    let settings = RuntimeSettings { instances_max: 16, describe, grants, ..RuntimeSettings::new(Compiler::InProcess) };
    Runtime::new(settings).expect("a runtime")
});

/// Lines as they came.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic while a line is added").clone()
    }
}

impl GuestLog for Lines {
    fn line(&self, level: LogLevel, message: &str) {
        self.0.lock().expect("no panic while a line is added").push(format!("{} {message}", level.as_str()));
    }
}

/// Limits small enough that hitting them takes no time.
pub(crate) fn limits() -> Limits {
    Limits {
        fuel_base: 1_000_000,
        fuel_start: 1_000_000,
        memory_bytes: 1 << 20,
        output_bytes_base: 4_096,
        output_bytes_per_row: 64,
        host_calls: 50,
        log_lines_per_second: 10,
        ..Limits::default()
    }
}

pub(crate) fn settings(limits: Limits) -> InstanceSettings {
    InstanceSettings {
        config: "{}".to_owned(),
        limits,
        log: Arc::new(SilentLog),
        metrics: Arc::new(SilentMetrics),
        grants: Grants::none(),
    }
}

/// An instance of it.
pub(crate) fn instance(wasm: &[u8]) -> Result<Instance, CallFailure> {
    instance_with(wasm, settings(limits()))
}

pub(crate) fn instance_with(wasm: &[u8], settings: InstanceSettings) -> Result<Instance, CallFailure> {
    let component = RUNTIME.prepare(wasm).unwrap_or_else(|refused| panic!("refused: {refused}"));
    RUNTIME.instantiate(&component, settings)
}

/// Why it is not taken.
pub(crate) fn refused(wasm: &[u8]) -> Refused {
    match RUNTIME.prepare(wasm) {
        Ok(component) => panic!("taken: {component:?}"),
        Err(refused) => refused,
    }
}

pub(crate) fn amount() -> Field {
    Field::new("amount", FieldType::Float64, true)
}

/// A call of so many rows of one column of numbers.
pub(crate) fn call(rows: usize) -> RuleCall {
    let amounts: Float64Array = (0..rows).map(|row| Some(row as f64)).collect();
    RuleCall { columns: batch("amount", Arc::new(amounts)), state: None }
}

pub(crate) fn batch(name: &str, column: ArrayRef) -> RecordBatch {
    let field = ArrowField::new(name, column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("a batch")
}
