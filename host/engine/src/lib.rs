//! Pipelines: from a text to tasks that turn rows into rows, exactly once.
//!
//! ```text
//!  text ─ parse ─► PipelineDefinition ─ plan (catalog, components) ─► Plan ─ deploy ─► tasks on workers ─► commits in the log
//!        every fault at once, with line and remedy                          one per partition      checkpoints in the state store
//! ```
//! What a task does is a function of its rows and of what was recorded in its commits, so after a crash the committed ranges are
//! taken again, the outputs thrown away and compared. This crate knows neither HTTP nor the formats of its edges: components are
//! `tidemill-runtime`'s, expressions `tidemill-expr`'s, operators `tidemill-flow`'s, bytes on disk `tidemill-log`'s and
//! `tidemill-state`'s.

mod adopted_letters;
mod apply;
mod backup;
mod checkpoints;
mod compared;
mod components;
mod correlate_status;
mod custom_metrics;
mod dead_letters;
mod deployed;
mod deployments;
mod engine;
mod explain_key;
mod fault;
mod following_metrics;
mod letter_replays;
mod logs;
mod machine_status;
mod matches;
mod metrics;
mod open_patterns;
mod own_streams;
mod pattern_status;
mod pipeline;
mod pipeline_metrics;
mod pipelines;
mod plan;
mod planted;
mod rates;
mod replays;
mod rules_status;
mod settings;
mod sinks;
mod state_of_key;
mod status;
mod stored;
mod stream_users;
mod tables;
mod task;
mod trials;
mod turns;
mod upkeep;

pub use backup::{ComponentFile, HostSnapshot, HostSnapshotError};
pub use checkpoints::{CheckpointName, NamedCheckpoint, Restored, SnapshotError, SnapshotFile};
pub use compared::{CompareReplay, ReplayCompared, StreamCompared};
pub use components::{ComponentEntry, Components, DeleteComponentError, PublishError, Published};
pub use correlate_status::CorrelateStatus;
pub use dead_letters::{DeadLetterChoice, DeadLetterId, DeadLetterIdError, DeadLetterQuery, RefusedLetter, ReplayedLetters};
pub use engine::{Drained, Engine, OpenError};
pub use explain_key::ExplainedKey;
pub use fault::Fault;
pub use logs::{FOLLOW_EVERY, LogLine, LogPage};
pub use machine_status::{MachineStateStatus, MachineStatus};
pub use matches::ExplainedMatch;
pub use pattern_status::{DrainingStatus, PatternStatus};
pub use pipeline::PIPELINE_SCHEMA;
pub use pipelines::{Applied, ApplyError, ControlError, DeleteStreamError, PipelineEntry, Pipelines};
pub use plan::{Change, ChangeKind, PartialMatches, PatternCall, StateChange, pattern_step};
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use rates::Rates;
pub use replays::{BeginReplay, MovedStream, Promoted, ReplayFrom};
pub use rules_status::RulesStatus;
pub use settings::EngineSettings;
pub use sinks::{ReaderBeyond, renew_batch_keys, sinks_beyond};
pub use state_of_key::{StateOfKey, StateOfKeyError};
pub use status::{
    BreakerStatus, DivergenceStatus, InputStatus, LookupStatus, PipelineState, ReplayStatus, SinkStatus, Status, StepStatus,
    TaskStatus,
};
pub use tables::{
    DeleteTableError, FromStream, KeptStatus, PutTable, PutTableError, TableContent, TableEntry, TableFormat, TablePut,
    TableRowFault, TableRows, Tables, TablesHold, fields_json, parse_fields,
};
pub use tidemill_flow::{MatchId, MatchIdError};
