//! What goes into a component call and every way it can end. Here and not in the runtime, so that operators can be written and
//! tested without a sandbox.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};

/// The keyed state a call is given: which key each row belongs to, and one state row per key.
#[derive(Debug, Clone)]
pub struct KeyedState {
    /// For each row of the call, the state row that belongs to it.
    pub row_to_key: Arc<[u32]>,
    /// One row per distinct key of the call, in order of first appearance; columns as the component declared them.
    pub rows: RecordBatch,
}

/// One call of a rule: the columns it declared, in its order.
#[derive(Debug, Clone)]
pub struct RuleCall {
    /// The declared columns; strings may be `Utf8` or `Dictionary(UInt32, Utf8)`.
    pub columns: RecordBatch,
    /// Keyed state, if the component declares any.
    pub state: Option<KeyedState>,
}

/// A rule's answer, checked: lengths, offsets, keys and UTF-8 hold.
#[derive(Debug, Clone)]
pub struct RuleAnswer {
    /// One verdict per row, no nulls.
    pub verdicts: BooleanArray,
    /// The declared output columns, one value per row.
    pub columns: Vec<ArrayRef>,
    /// The new state rows, aligned with [`KeyedState::rows`].
    pub state: Option<RecordBatch>,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// One call of a transform.
pub type TransformCall = RuleCall;

/// A transform's answer, checked.
#[derive(Debug, Clone)]
pub struct TransformAnswer {
    /// For each output row, the input row it came from; never descending.
    pub source_rows: Vec<u32>,
    /// The declared output columns, one value per output row.
    pub columns: Vec<ArrayRef>,
    /// The new state rows, aligned with [`KeyedState::rows`].
    pub state: Option<RecordBatch>,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// A value per row, checked: what a function gives, or an aggregate of accumulators.
#[derive(Debug, Clone)]
pub struct Values {
    /// One value per row of the call; in rows with a note it means nothing.
    pub values: ArrayRef,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// Accumulators after a call of an aggregate, checked.
#[derive(Debug, Clone)]
pub struct Accumulated {
    /// The new accumulators, one row per key of the call's state.
    pub state: RecordBatch,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// Trouble with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowNote {
    /// The row of the call.
    pub row: u32,
    /// What shall happen to it.
    pub kind: NoteKind,
    /// Why, in the component's words, capped.
    pub text: String,
}

/// What a component wants done with a row it could not judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// To the dead letters.
    Reject,
    /// Again, not before that long.
    RetryAfter(Duration),
}

/// Every way a call can end other than by returning. Each is a dead-letter reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The component returned an error of its own for the whole batch.
    GuestError,
    /// It trapped: unreachable, a bad access, a panic, stack overflow.
    Trap,
    /// Its fuel ran out.
    OutOfFuel,
    /// The backstop deadline passed.
    Deadline,
    /// It asked for more memory or table than it may have.
    OutOfMemory,
    /// What it returned is too large.
    TooMuchOutput,
    /// What it returned does not hold: wrong lengths, offsets, keys, UTF-8.
    InvalidOutput,
    /// It called the host too often.
    TooManyHostCalls,
}

impl Ending {
    /// Every ending, for tables and metrics.
    pub const ALL: [Self; 8] = [
        Self::GuestError,
        Self::Trap,
        Self::OutOfFuel,
        Self::Deadline,
        Self::OutOfMemory,
        Self::TooMuchOutput,
        Self::InvalidOutput,
        Self::TooManyHostCalls,
    ];

    /// The text in dead letters, metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GuestError => "guest_error",
            Self::Trap => "trap",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::OutOfMemory => "out_of_memory",
            Self::TooMuchOutput => "too_much_output",
            Self::InvalidOutput => "invalid_output",
            Self::TooManyHostCalls => "too_many_host_calls",
        }
    }
}

/// A call that did not return an answer. Its state is as before the call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", ending.as_str())]
pub struct CallFailure {
    /// How it ended.
    pub ending: Ending,
    /// The component's own words (guest error, panic message) or ours.
    pub message: String,
    /// Symbolised frames, innermost first, one a line; empty where there are none.
    pub backtrace: String,
    /// What the call took until then.
    pub usage: Usage,
}

/// What a call took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Fuel burnt.
    pub fuel: u64,
    /// Wall time inside the sandbox.
    pub time: Duration,
    /// Linear memory of the instance afterwards, all memories together.
    pub memory_bytes: u64,
    /// Bytes that crossed back.
    pub output_bytes: u64,
}
