//! What goes into a call of a process and what comes out, beside rows and state: entries of its tables, timers, rows of several outputs.
//! Here and not in the runtime for the reason that verdicts are: operators are written and tested without a sandbox.

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};

use crate::{CallFailure, EventTime, RowNote, RuleCall, Usage};

/// What a call of a process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Rows, with the columns it declared.
    Rows,
    /// Timers that fire, at most one of a key: `at` and `name`.
    Timers,
}

/// The entries of one table that rows want.
#[derive(Debug, Clone)]
pub struct TableKeys {
    /// For each, the row that wants it; never descending.
    pub rows: Vec<u32>,
    /// Their keys, the columns as declared.
    pub keys: RecordBatch,
}

/// Which entries a batch needs, for each table.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// In the order the tables were declared in.
    pub tables: Vec<TableKeys>,
    /// What the call took.
    pub usage: Usage,
}

/// The entries of one table that a batch is given.
#[derive(Debug, Clone)]
pub struct TableEntries {
    /// For each wanted one, its number among the different ones; by first appearance.
    pub numbers: Vec<u32>,
    /// Whether each of the different ones is there.
    pub there: BooleanArray,
    /// What each holds; nulls where it is not there.
    pub values: RecordBatch,
}

/// A write of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableWrite {
    /// The row that writes.
    pub row: u32,
    /// The entry's number.
    pub entry: u32,
    /// Put, or deleted.
    pub is_put: bool,
}

/// What a batch made of a table's entries.
#[derive(Debug, Clone)]
pub struct TableWrites {
    /// Rows never descend; of several writes of an entry the last one counts.
    pub writes: Vec<TableWrite>,
    /// The values of each entry; what is not put means nothing.
    pub values: RecordBatch,
}

/// A timer that is set or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerChange {
    /// The row that does it.
    pub row: u32,
    /// Its name within the row's key.
    pub name: String,
    /// When it fires; `None`: not any more.
    pub at: Option<EventTime>,
}

/// Rows of one output.
#[derive(Debug, Clone)]
pub struct MadeRows {
    /// The row of the call that each came from; never descending.
    pub source_rows: Vec<u32>,
    /// Its columns.
    pub columns: Vec<ArrayRef>,
}

/// A process's answer, checked: lengths, numbers, offsets and UTF-8 hold.
#[derive(Debug, Clone)]
pub struct ProcessAnswer {
    /// The main output.
    pub made: MadeRows,
    /// The new state rows, if it declares state.
    pub state: Option<RecordBatch>,
    /// What became of the entries, for each table.
    pub tables: Vec<TableWrites>,
    /// Timers, by row.
    pub timers: Vec<TimerChange>,
    /// Its other outputs, in the order declared.
    pub sides: Vec<MadeRows>,
    /// Rows with trouble, ascending, at most one note a row.
    pub notes: Vec<RowNote>,
    /// What the call took.
    pub usage: Usage,
}

/// A process in its sandbox. The implementor checks what a component returns; the operator relies on it.
pub trait ProcessGuest: Send {
    /// Which entries at least one row needs.
    fn wants(&mut self, subject: Subject, call: &RuleCall) -> Result<Wanted, CallFailure>;

    /// One call, with the entries that were wanted, for each table.
    fn process(&mut self, subject: Subject, call: &RuleCall, found: &[TableEntries]) -> Result<ProcessAnswer, CallFailure>;

    /// The next call meets a new instance.
    fn replace(&mut self);
}
