//! What functions and aggregates answer, checked.

use arrow_array::{ArrayRef, RecordBatch};
use tidemill_event::{RowNote, Usage};

/// A value per row: what a function gives, or an aggregate of accumulators.
#[derive(Debug, Clone)]
pub struct Values {
    /// One value per row of the call; in rows with a note it means nothing.
    pub values: ArrayRef,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// Accumulators after a call of an aggregate.
#[derive(Debug, Clone)]
pub struct Accumulated {
    /// The new accumulators, one row per key of the call's state.
    pub state: RecordBatch,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}
