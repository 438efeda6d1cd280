//! Names, schemas, time, record batches and verdicts: the nouns every other crate speaks.
//!
//! This crate does no I/O, reads no clock and knows no async runtime. Bytes become these types at the rim ([`json`], [`csv`], [`cloudevents`], [`arrow`]), travel as
//! Arrow record batches ([`batch`] says which columns an event batch has), and become bytes again at the rim.

pub mod arrow;
pub mod arrow_stream;
mod backoff;
pub mod batch;
mod breaker;
pub mod cloudevents;
pub mod csv;
pub mod definition_json;
pub mod json;
mod name;
mod partition;
mod placement;
mod process;
mod rejection;
mod schema;
mod text;
mod time;
pub mod units;
mod verdict;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings, BreakerState};
pub use name::{
    ComponentName, ConsumerName, NAME_BYTES_MAX, NameError, PipelineName, StreamId, StreamName, TableName, TenantName,
};
pub use partition::{Offset, OffsetRange, PartitionId, PartitionKey, murmur2, partition_of};
pub use placement::Placement;
pub use process::{
    MadeRows, ProcessAnswer, ProcessGuest, Subject, TableEntries, TableKeys, TableWrite, TableWrites, TimerChange, Wanted,
};
pub use rejection::{Reason, Rejection, rejection_definition};
pub use schema::{
    CompatibilityMode, Field, FieldType, MissingTime, Retention, SchemaVersion, StreamDefinition, StreamSchema, TYPE_METADATA,
    TimeField, TimeUnit, UnknownFields, dictionary_type, timestamp_type,
};
pub use time::{Clock, EventTime};
pub use verdict::{
    Accumulated, CallFailure, Ending, KeyedState, NoteKind, RowNote, RuleAnswer, RuleCall, TransformAnswer, TransformCall, Usage,
    Values,
};
