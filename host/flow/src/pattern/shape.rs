//! A pattern as it is written: elements in a row, each with its contiguity and its quantifier. Nothing is checked here (`refused.rs`).
//!
//! ```text
//! start  ──followed_by──►  failed {3..}  ──not_followed_by──►  unlock  ──followed_by──►  ( a | b )
//! Stage                    Stage, quantifier                   a negation                 a choice of two
//! ```

use std::sync::Arc;
use std::time::Duration;

/// Which condition of a pattern, counted from 0. What it says is the caller's to know; the matcher sees one bit per event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PredicateId(pub u8);

/// How an element stands to what was taken before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contiguity {
    /// The very next event of the key must fit (strict).
    Next,
    /// Events that do not fit are passed over; the first that does is taken (relaxed).
    FollowedBy,
    /// Events that fit may be passed over too (non-deterministic relaxed).
    FollowedByAny,
    /// The very next event must not fit.
    NotNext,
    /// Until the next event is taken, none may fit.
    NotFollowedBy,
}

impl Contiguity {
    pub(crate) fn is_negation(self) -> bool {
        matches!(self, Self::NotNext | Self::NotFollowedBy)
    }
}

/// How the further rounds of a loop stand to those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inner {
    /// What does not fit is passed over.
    #[default]
    Relaxed,
    /// Strictly behind each other.
    Consecutive,
    /// What fits may be passed over too.
    Combinations,
}

/// Which lengths of a loop count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Greed {
    /// Every length that suffices.
    #[default]
    All,
    /// A run that left the loop ends when the loop could have gone on.
    Greedy,
    /// A loop that may end does not take what the next stage takes; at the end of a pattern it takes no more than it must.
    Reluctant,
}

/// How often an element is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantifier {
    /// At least so often.
    pub min: u32,
    /// At most so often; `None`: without end.
    pub max: Option<u32>,
    /// Between the rounds.
    pub inner: Inner,
    /// It may be left out altogether.
    pub is_optional: bool,
    /// Which lengths.
    pub greed: Greed,
    /// Between two events of the loop less than that may pass.
    pub gap: Option<Duration>,
}

impl Quantifier {
    /// Exactly once.
    pub const ONCE: Self = Self { min: 1, max: Some(1), inner: Inner::Relaxed, is_optional: false, greed: Greed::All, gap: None };

    /// So often at least, and at most.
    pub fn times(min: u32, max: Option<u32>) -> Self {
        Self { min, max, ..Self::ONCE }
    }

    /// Whether it says nothing but once, or once or never.
    pub(crate) fn is_single(&self) -> bool {
        self.min == 1 && self.max == Some(1)
    }

    /// Whether there may be none.
    pub(crate) fn may_be_left_out(&self) -> bool {
        self.is_optional || self.min == 0
    }
}

/// One event of a name that a condition holds for, or several by its quantifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name, once in a pattern.
    pub name: Arc<str>,
    /// What an event must fulfil.
    pub condition: PredicateId,
    /// What ends the loop; never taken by it.
    pub until: Option<PredicateId>,
}

/// What an element is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A stage.
    Stage(Stage),
    /// Elements in a row, used as one. The contiguity of the first one is the group's.
    Group(Vec<Element>),
    /// One of several rows of elements. The contiguity of each first one is the choice's; relaxed passes over what fits none of them.
    OneOf(Vec<Vec<Element>>),
    /// All of them, in any order. The one that comes first has the contiguity of the whole, the others have their own.
    AnyOrder(Vec<Element>),
}

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// To what was taken before it. Means nothing for the first element of all.
    pub contiguity: Contiguity,
    /// How often.
    pub quantifier: Quantifier,
    /// What.
    pub body: Body,
}

impl Element {
    /// A stage that is there once.
    pub fn stage(name: &str, contiguity: Contiguity, condition: PredicateId) -> Self {
        Self { contiguity, quantifier: Quantifier::ONCE, body: Body::Stage(Stage { name: name.into(), condition, until: None }) }
    }

    /// With a quantifier.
    pub fn quantified(mut self, quantifier: Quantifier) -> Self {
        self.quantifier = quantifier;
        self
    }
}

/// What a match discards: runs that have not ended and matches held back, by where they began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Skip {
    /// Nothing.
    #[default]
    None,
    /// Those begun at or before the match's first event.
    ToNext,
    /// Those begun at or before its last event.
    PastLast,
    /// Those begun before the first event it has in that stage.
    ToFirst(SkipTarget),
    /// Those begun before the last event it has in that stage.
    ToLast(SkipTarget),
}

/// Where to skip to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipTarget {
    /// The stage's name.
    pub stage: Arc<str>,
    /// A match without such an event is an error, as is one that begins with it; otherwise nothing is discarded.
    pub must_exist: bool,
}

/// A whole pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What it is made of, at least one element.
    pub elements: Vec<Element>,
    /// Between first and last event less than that passes.
    pub within: Option<Duration>,
    /// Between the last stage's first event and the one before it less than that passes.
    pub within_last: Option<Duration>,
    /// After a match.
    pub skip: Skip,
}

impl Pattern {
    /// Elements without a window, every match counting.
    pub fn new(elements: Vec<Element>) -> Self {
        Self { elements, within: None, within_last: None, skip: Skip::None }
    }
}
