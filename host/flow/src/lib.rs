//! Operators as pure synchronous values: a batch goes in, a batch and an [`Outcome`] come out.
//!
//! ```text
//!            FlowBatch                    FlowBatch                    FlowBatch
//! task ──► Where / Select / Extend ──► RuleStep ◄─┐ ──► TransformStep ──► … ──► output rows
//!                │                       │  state rows per key                    │
//!                └── dead rows ──────────┴── dead rows, recorded endings ─────────┴──► Outcome
//! ```
//! A component's call that fails costs the failing rows and nobody else (`calls.rs`); rows that shall come again wait in [`Waiting`].
//!
//! This crate does no I/O, reads no clock and knows neither DataFusion nor wasmtime: expressions and components come in as
//! values of its own traits ([`Predicate`], [`Projection`], [`Guest`]). What an operator answers is a function of its
//! rows, of its state, and of what the task recorded ([`RecordedEnding`]); never of hash order, of time, or of where a batch was cut.

mod aggregate;
mod alert;
mod aside;
mod batch;
mod calls;
mod chain;
mod checksum;
mod cold;
mod columns;
mod composed;
pub mod correlate;
mod deadlines;
mod entries;
mod evidence;
mod functions;
mod gathered;
mod group;
mod join;
mod key_state;
mod keyed;
mod keys;
mod lookup;
pub mod machine;
mod meter;
mod operator;
mod origin;
mod outcome;
mod over;
pub mod pattern;
mod process;
pub mod recognize;
mod rows;
mod rule;
pub mod rule_set;
mod select;
mod sketch;
mod state;
mod state_column;
mod thin;
mod time;
mod transform;
mod ttl;
mod waiting;
mod where_step;
mod window;

#[cfg(test)]
mod example;
#[cfg(test)]
mod poison_tests;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod ttl_tests;
#[cfg(test)]
mod waiting_tests;

pub use aggregate::{
    Accumulators, Aggregate, AggregateArgument, AggregateCall, AggregateGuest, AggregateRefused, Aggregates, ComponentAggregate,
    Finished, Reversible,
};
pub use alert::{ALERTS, AlertSettings, AlertStep};
pub use aside::{ATTEMPTS_MAX, WAIT_MAX, WAIT_MIN};
pub use batch::{FlowBatch, extended_fields};
pub use calls::{BREAKER, FAILED_CALLS_MAX, Isolation, OnFailing, PROBE_ROWS_MAX};
pub use chain::{Chain, StepBreaker};
pub use cold::{ColdEntries, EachStored, Spills};
pub use composed::Composed;
pub use evidence::{Evidence, Explained, MATCH_ID, MatchId, MatchIdError};
pub use functions::{FunctionCall, WithFunctions};
pub use join::{
    AsOf, AsOfJoin, AsOfSettings, IntervalJoin, JoinKind, JoinSettings, JoinSide, Side, SidedJoin, WindowJoin, WindowJoinSettings,
};
pub use key_state::{KeyState, OpenRuns};
pub use keyed::{Keyed, KeyedTable, StateCorrupt};
pub use lookup::{
    BadKey, Found, GONE_KEPT_MICROS, IndexedTable, KeyFault, LatestLookup, LatestRows, Lookup, LookupReport, LookupSettings,
    LookupTable, Missing, NewRows, Passed, TableIndex, check_key,
};
pub use meter::{Meter, Metering, Meters};
pub use operator::{Apply, Computed, Guest, Judge, Operator, Predicate, Projection, Tested};
pub use origin::Origin;
pub use outcome::{CallReport, DeadRow, Outcome, PutBack, RecordedEnding, RowOf, SideRows, StepId, Tables, Wait};
pub use over::{Over, OverSettings};
pub use process::{ProcessSettings, ProcessStep, ProcessTable};
pub use rule::{Keep, RuleSettings, RuleStep};
pub use select::{Extend, NamedProjection, Select};
pub use sketch::RecentQuantiles;
pub use state::{InStore, KeyChange, Save, StepState};
pub use thin::{Limit, LimitSettings, Sample, SampleRefused};
pub use time::{ClockStep, LANE_BYTES, LaneId, LaneView, Lanes, Marks, TimeSettings, Watermark};
pub use transform::{TransformSettings, TransformStep};
pub use ttl::{Ttl, TtlClock};
pub use waiting::{Group, GroupChange, Place, Sources, WAITING_BYTES_MAX, WAITING_ROWS_MAX, Waiting};
pub use where_step::Where;
pub use window::{
    ByClock, Calendar, CalendarUnit, CountWindow, Early, Gap, Judged, Late, LateRows, Missed, Order, PANE, PANE_NO, PaneSettings,
    PanedWindow, PanedWindows, RETRACTED, Said, SessionRefused, SessionWindow, SlicedWindow, Slicing, SlicingRefused, Ties, Top,
    UnknownZone, WINDOW_END, WINDOW_NO, WINDOW_START, WindowSettings, ZONES_VERSION,
};
