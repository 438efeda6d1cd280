//! Names, schemas, time, record batches and verdicts: the nouns every other crate speaks.
//!
//! This crate does no I/O, reads no clock and knows no async runtime. Bytes become these types at the rim (`json`), travel as
//! Arrow record batches ([`batch`] says which columns an event batch has), and become bytes again at the rim.

pub mod batch;
mod name;
mod partition;
mod rejection;
mod schema;
mod time;
mod verdict;

pub use name::{ComponentName, NameError, PipelineName, StreamId, StreamName, TenantName};
pub use partition::{Offset, OffsetRange, PartitionId, PartitionKey, murmur2, partition_of};
pub use rejection::{Reason, Rejection, rejection_definition};
pub use schema::{
    Field, FieldType, MissingTime, Retention, SchemaVersion, StreamDefinition, StreamSchema, TimeField, TimeUnit, UnknownFields,
};
pub use time::{Clock, EventTime};
pub use verdict::{
    CallFailure, Ending, KeyedState, NoteKind, RowNote, RuleAnswer, RuleCall, TransformAnswer, TransformCall, Usage,
};
