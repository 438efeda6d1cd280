//! What a pattern step is told when it is made, and why it may refuse.

use tidemill_event::Field;

use crate::aggregate::AggregateRefused;
use crate::pattern::asking::ConditionGuest;
use crate::pattern::conditions::StageCondition;
use crate::pattern::order::PatternOrder;
use crate::pattern::output::Measure;
use crate::pattern::refused::PatternRefused;
use crate::pattern::run::RunLimits;
use crate::pattern::running::RunValue;
use crate::pattern::shape::Pattern;
use crate::{Explained, Judged, StepId};

/// What the step does.
pub struct PatternSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// The columns of the rows, `_time` aside.
    pub fields: Vec<Field>,
    /// Those of them that measures and conditions over runs look at: what is kept of an event that was taken.
    pub kept: Vec<Field>,
    /// What is looked for.
    pub pattern: Pattern,
    /// What its predicates say, by number.
    pub conditions: Vec<StageCondition>,
    /// What conditions ask of runs, by number.
    pub values: Vec<RunValue>,
    /// Who answers those that are a component's.
    pub asked: Option<ConditionGuest>,
    /// The order of rows.
    pub order: PatternOrder,
    /// Bounds for each key.
    pub limits: RunLimits,
    /// What a match says of its events.
    pub measures: Vec<Measure>,
    /// Whether runs whose time was over are told too.
    pub timeouts: bool,
    /// Whether a match has an id, and what is shown of its events; they are among `kept`.
    pub explained: Explained,
    /// What decides that a row is late.
    pub judged: Judged,
    /// Nothing begins any more: only what is open is brought to its end.
    pub draining: bool,
}

/// Why a step cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PatternStepRefused {
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternRefused),
    /// A measure.
    #[error(transparent)]
    Measure(#[from] AggregateRefused),
}
