//! Aggregates that are components: accumulators are state rows, one per group, and a call is about many groups at once.
//!
//! ```text
//! rows ──► update ──► rows that count ──► native aggregates
//!             └── a call that failed: halved until the failing rows are alone; they count for no aggregate of the step
//! groups ──► merge, retract, finish ── failed: halved until the failing group is alone; its result cannot be said
//! ```
//! Endings of `update` are recorded by number like a rule's, since they decide which rows count. The others are not: how often panes are put
//! together anew depends on when the process was started, so their calls have no number that a replay could find again.

mod accumulators;
mod arguments;
mod calls;
mod halving;
mod side_by_side;

pub use arguments::AggregateArgument;
pub(crate) use calls::{AggregateCalls, Failed};
pub(crate) use side_by_side::Components;

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::{Accumulated, CallFailure, Field, Reason, RuleCall, Values};

/// An aggregate of a step that is a component, as planned.
pub struct ComponentAggregate {
    /// Its place among the columns that the step's aggregates make.
    pub place: usize,
    /// The column it makes, of the declared type.
    pub value: Field,
    /// The columns it is of, in the component's order. A row with a null in one that is never null by its declaration does not count.
    pub arguments: Vec<AggregateArgument>,
    /// A bool column: only rows in which it is true count. `None`: all do.
    pub filter: Option<Arc<str>>,
    /// The accumulator of a group that has seen nothing: one row of the declared state fields.
    pub first: RecordBatch,
    /// Whether it can take accumulators away again, exactly.
    pub retracts: bool,
    /// The component.
    pub guest: Box<dyn AggregateGuest>,
}

/// An aggregate component in its sandbox. A call has at least one row; what comes back was checked (lengths, types, offsets).
pub trait AggregateGuest: Send {
    /// Rows count for the groups that are their keys.
    fn update(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure>;

    /// Accumulators (the columns) count for others (the state).
    fn merge(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure>;

    /// The opposite of `merge`.
    fn retract(&mut self, call: &RuleCall) -> Result<Accumulated, CallFailure>;

    /// The values of accumulators (the columns).
    fn finish(&mut self, call: &RuleCall) -> Result<Values, CallFailure>;

    /// The next call meets a new instance. Told after every call that did not return, also after one that is not made again because its
    /// ending was recorded.
    fn replace(&mut self);
}

/// A row that did not count for any aggregate.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) row: usize,
    pub(crate) reason: Reason,
    pub(crate) error: Arc<str>,
    pub(crate) backtrace: Arc<str>,
}

#[cfg(test)]
mod tests;
