//! Rows that could not go on: why, and the streams `{stream}.rejected` and `{pipeline}.dead-letters` that keep them.

use std::sync::Arc;

use crate::schema::{CompatibilityMode, Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};

/// Why a row is in a `.rejected` or `.dead-letters` stream: a closed set that clients may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not JSON, not UTF-8, too long or too deep to be read.
    Malformed,
    /// Read, but not what the stream's schema says.
    Schema,
    /// An expression failed on it: division by zero, overflow.
    Expression,
    /// A component said so.
    RejectedByComponent,
    /// Its key has as many partial matches as it may.
    TooManyPartialMatches,
    /// A receiver said that it will never take it.
    RefusedByTarget,
    /// A call ended so with this row in it.
    Ending(crate::Ending),
}

impl Reason {
    /// The text in the `reason` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Schema => "schema",
            Self::Expression => "expression",
            Self::RejectedByComponent => "rejected_by_component",
            Self::TooManyPartialMatches => "too_many_partial_matches",
            Self::RefusedByTarget => "refused_by_target",
            Self::Ending(ending) => ending.as_str(),
        }
    }
}

/// A row that was not taken at a door, with what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which row of the request, counted from 0.
    pub index: u64,
    /// [`Reason::Malformed`] or [`Reason::Schema`].
    pub reason: Reason,
    /// The field at fault, where there is one.
    pub field: Option<Arc<str>>,
    /// What is wrong and what to change.
    pub error: String,
}

/// The definition of every `.rejected` and `.dead-letters` stream (contract §4). Columns that a row does not have are null;
/// `event` holds a readable row as JSON, `bytes` what could not be read.
pub fn rejection_definition(partitions: u32) -> StreamDefinition {
    let text = |name: &str| Field::new(name, FieldType::String, true);
    let fields = vec![
        Field::new("time", FieldType::Timestamp(None), false),
        Field::new("reason", FieldType::String, false),
        text("error"),
        text("stream"),
        Field::new("partition", FieldType::Int64, true),
        Field::new("offset", FieldType::Int64, true),
        text("pipeline"),
        text("step"),
        text("component"),
        text("version"),
        text("digest"),
        text("backtrace"),
        Field::new("event", FieldType::Json, true),
        Field::new("bytes", FieldType::Bytes, true),
    ];
    StreamDefinition {
        schema: StreamSchema { fields, unknown: UnknownFields::Drop, infer: false },
        time: None,
        key: Vec::new(),
        partitions,
        retention: Retention::default(),
        compatibility: CompatibilityMode::default(),
    }
}
