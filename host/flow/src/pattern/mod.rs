//! Patterns: rows of events of one key that follow each other as described, found as they come.
//!
//! | file | holds |
//! |---|---|
//! | `shape` · `refused` | a pattern as it is written, and what is refused |
//! | `compile` · `flatten` · `condition` · `automaton` | the automaton made of it |
//! | `matcher` · `buffer` | runs through the automaton, and what they have taken |
//! | `single` | one key by itself |

mod automaton;
mod buffer;
mod compile;
mod condition;
mod flatten;
mod matcher;
mod refused;
mod shape;
mod single;

pub use automaton::StageId;
pub use buffer::Moment;
pub use matcher::{Candidate, NoJudge, RunJudge, RunLimits, RunView, SkipFailed, Tally, TooManyRuns, Trigger};
pub use refused::{ANY_ORDER_MAX, PREDICATES_MAX, PatternRefused, STATES_MAX};
pub use shape::{
    Body, Contiguity, Element, Greed, Inner, Pattern, PredicateId, Quantifier, Skip, SkipTarget, Stage,
};
pub use single::{Finding, PatternMatcher};
