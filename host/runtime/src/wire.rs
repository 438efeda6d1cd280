//! The WIT types as they cross, and nothing else: host types begin right behind these. `wit/` says what each means.

#![allow(dead_code, reason = "cases that only guests make, and wasmtime reads by their number")]

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::boundary::{Layouts, Pieces};

/// The interface that describes columns; its version is the version of the packages built on it.
pub(crate) const COLUMNS_PACKAGE: &str = "tidemill:component";
/// The import every component may have.
pub(crate) const LOGGING_INTERFACE: &str = "tidemill:component/logging@1.0.0";

/// The other one.
pub(crate) const METRICS_INTERFACE: &str = "tidemill:metrics/metrics@1.0.0";

/// `validity` of a column without nulls.
pub(crate) const NO_NULLS: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireKind {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "integer")]
    Integer,
    #[component(name = "number")]
    Number,
    #[component(name = "decimal")]
    Decimal,
    #[component(name = "text")]
    Text,
    #[component(name = "binary")]
    Binary,
    #[component(name = "timestamp")]
    Timestamp,
    #[component(name = "json")]
    Json,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireField {
    pub(crate) name: String,
    pub(crate) kind: WireKind,
    pub(crate) precision: u8,
    pub(crate) scale: u8,
    pub(crate) nullable: bool,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireStateField {
    pub(crate) field: WireField,
    pub(crate) first: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Encoding {
    #[component(name = "bits")]
    Bits,
    #[component(name = "words")]
    Words,
    #[component(name = "wide")]
    Wide,
    #[component(name = "offsets")]
    Offsets,
    #[component(name = "dictionary")]
    Dictionary,
}

/// A column's place in the buffer. Lifted by wasmtime, lowered by [`WireColumn::store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireColumn {
    pub(crate) encoding: Encoding,
    pub(crate) validity: u32,
    pub(crate) values: u32,
    #[component(name = "entry-offsets")]
    pub(crate) entry_offsets: u32,
    pub(crate) entries: u32,
    pub(crate) bytes: u32,
    #[component(name = "bytes-length")]
    pub(crate) bytes_length: u32,
}

impl WireColumn {
    /// Appends it in the form it has in linear memory.
    pub(crate) fn store(&self, layouts: &mut Vec<u8>) {
        let words =
            [self.encoding as u32, self.validity, self.values, self.entry_offsets, self.entries, self.bytes, self.bytes_length];
        let mut column = [0; 28];
        for (target, word) in column.chunks_exact_mut(4).zip(words) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        layouts.extend_from_slice(&column);
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireBatch<'a> {
    pub(crate) rows: u32,
    pub(crate) columns: Layouts<'a>,
    pub(crate) keys: u32,
    #[component(name = "row-keys")]
    pub(crate) row_keys: u32,
    pub(crate) state: Layouts<'a>,
    pub(crate) data: Pieces<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireNoteKind {
    #[component(name = "reject")]
    Reject,
    #[component(name = "retry-after")]
    RetryAfter,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireNote {
    pub(crate) row: u32,
    pub(crate) kind: WireNoteKind,
    #[component(name = "after-ms")]
    pub(crate) after_ms: u32,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireRule {
    pub(crate) doc: String,
    pub(crate) columns: Vec<WireField>,
    pub(crate) outputs: Vec<WireField>,
    pub(crate) state: Vec<WireStateField>,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireTransform {
    pub(crate) doc: String,
    pub(crate) columns: Vec<WireField>,
    pub(crate) outputs: Vec<WireField>,
    pub(crate) state: Vec<WireStateField>,
    pub(crate) time: Option<String>,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireFunction {
    pub(crate) doc: String,
    pub(crate) arguments: Vec<WireField>,
    pub(crate) value: WireField,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireAggregate {
    pub(crate) doc: String,
    pub(crate) arguments: Vec<WireField>,
    pub(crate) value: WireField,
    pub(crate) state: Vec<WireStateField>,
    pub(crate) retracts: bool,
}

/// The type of a function's answer, and of an aggregate's to `finish`; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireValueAnswer {
    pub(crate) value: WireColumn,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}

/// The type of an aggregate's other answers; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireAccumulators {
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}

/// The type of a rule's answer; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireRuleAnswer {
    pub(crate) verdicts: Vec<u8>,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}

/// The type of a transform's answer; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireTransformAnswer {
    pub(crate) rows: u32,
    #[component(name = "source-rows")]
    pub(crate) source_rows: u32,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireMetricKind {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireLabel {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireMeasurement {
    pub(crate) kind: WireMetricKind,
    pub(crate) name: String,
    pub(crate) labels: Vec<WireLabel>,
    pub(crate) amounts: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireSubject {
    #[component(name = "rows")]
    Rows,
    #[component(name = "timers")]
    Timers,
}

/// The entries of a call, in the buffer of its batch.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireFound<'a> {
    pub(crate) entries: u32,
    pub(crate) columns: Layouts<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WireClock {
    #[component(name = "event-time")]
    EventTime,
    #[component(name = "wall-clock")]
    WallClock,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireTable {
    pub(crate) name: String,
    pub(crate) key: Vec<WireField>,
    pub(crate) values: Vec<WireField>,
    #[component(name = "ttl-us")]
    pub(crate) ttl_us: u64,
    #[component(name = "ttl-clock")]
    pub(crate) ttl_clock: WireClock,
    #[component(name = "ttl-on-read")]
    pub(crate) ttl_on_read: bool,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireSide {
    pub(crate) name: String,
    pub(crate) columns: Vec<WireField>,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireProcess {
    pub(crate) doc: String,
    pub(crate) columns: Vec<WireField>,
    pub(crate) outputs: Vec<WireField>,
    pub(crate) state: Vec<WireStateField>,
    #[component(name = "state-ttl-us")]
    pub(crate) state_ttl_us: u64,
    #[component(name = "state-ttl-clock")]
    pub(crate) state_ttl_clock: WireClock,
    pub(crate) tables: Vec<WireTable>,
    pub(crate) timers: bool,
    pub(crate) sides: Vec<WireSide>,
}

/// The type of what a process wants; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireWanted {
    pub(crate) entries: u32,
    pub(crate) keys: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
}

/// The type of a process's answer; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireProcessAnswer {
    pub(crate) rows: u32,
    #[component(name = "source-rows")]
    pub(crate) source_rows: u32,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) state: Vec<WireColumn>,
    pub(crate) entries: Vec<WireColumn>,
    #[component(name = "write-count")]
    pub(crate) write_count: u32,
    pub(crate) writes: u32,
    #[component(name = "timer-count")]
    pub(crate) timer_count: u32,
    #[component(name = "timer-rows")]
    pub(crate) timer_rows: u32,
    pub(crate) timers: Vec<WireColumn>,
    #[component(name = "side-rows")]
    pub(crate) side_rows: u32,
    pub(crate) sides: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WirePattern {
    pub(crate) doc: String,
    pub(crate) columns: Vec<WireField>,
    #[component(name = "so-far")]
    pub(crate) so_far: Vec<WireField>,
    pub(crate) found: Vec<WireField>,
    pub(crate) outputs: Vec<WireField>,
    pub(crate) shapes: bool,
}

#[derive(Debug, Clone, PartialEq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WireDefinition {
    pub(crate) pattern: String,
    pub(crate) predicates: u32,
    pub(crate) conditions: u32,
}

/// The type of a pattern's answer; `answer.rs` reads it.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WirePatternAnswer {
    pub(crate) bits: Vec<u8>,
    pub(crate) columns: Vec<WireColumn>,
    pub(crate) data: Vec<u8>,
    pub(crate) notes: Vec<WireNote>,
}
