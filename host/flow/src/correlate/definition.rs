//! A correlation as it was planned, and what it says of a batch.

use tidemill_event::Field;

use crate::{Explained, Judged, Predicate, Projection, StepId};

/// A kind of event.
pub struct EventKind {
    /// Its name.
    pub name: Box<str>,
    /// Whether a row is of it. A row may be of several.
    pub condition: Box<dyn Predicate>,
}

/// What a group needs to be a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// So many kinds; 0 where there are none.
    pub kinds: u32,
    /// All kinds, in their order, each by an event of its own.
    pub in_order: bool,
    /// So many different values; 0: values do not count.
    pub values: u32,
}

/// A correlation.
pub struct CorrelateSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// The columns of rows that anything looks at: what a row has while it waits for its time.
    pub fields: Vec<Field>,
    /// Those of them that are kept of an event.
    pub kept: Vec<Field>,
    /// Those of these that evidence shows.
    pub shown: Vec<Field>,
    /// What is shown of events to whoever asks why; of `kept`.
    pub explained: Explained,
    /// What decides that a row is late.
    pub judged: Judged,
    /// At most 64; none: every row is an event.
    pub kinds: Vec<EventKind>,
    /// The value that counts as different, if any does; a null counts for nothing.
    pub value: Option<Box<dyn Projection>>,
    /// What makes a match.
    pub needed: Needed,
    /// From the first event of a match to its last, less than this passes, µs; above 0.
    pub within_micros: i64,
    /// Events that a key's group keeps; with more, the first one goes.
    pub events_max: u32,
}

/// More kinds than an event has bits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} kinds of events: at most 64 are possible")]
pub struct TooManyKinds(pub usize);

/// What a correlation did in a batch, and what it holds behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorrelateReport {
    /// The step.
    pub step: StepId,
    /// Matches told.
    pub matches: u64,
    /// Events that came while their key was quiet.
    pub quiet: u64,
    /// Events that went because their group had too many.
    pub dropped: u64,
    /// Events that are held.
    pub open: u64,
}
