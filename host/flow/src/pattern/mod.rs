//! Patterns: rows of events of one key that follow each other as described, found as they come.
//!
//! | file | holds |
//! |---|---|
//! | `shape` · `refused` | a pattern as it is written, and what is refused |
//! | `examined` | what is known of one before it meets a row |
//! | `compile` · `rounds` · `groups` · `reach` · `flatten` · `condition` · `automaton` | the automaton made of it |
//! | `matcher` · `run` · `leaving` · `buffer` | runs through the automaton, how matches leave, and what runs have taken |
//! | `single` | one key by itself |
//! | `step` · `settings` · `meet` | the step: rows of many keys in, matches and timeouts out |
//! | `found` · `tally` | what a batch finds, in order · what steps count |
//! | `order` · `conditions` · `output` · `kept` | rows in their order · what stages ask · rows of matches · state as entries |
//! | `round` · `asking` · `by_component` | how rows come to runs · conditions that a component answers · a step around a component |
//! | `list` | many patterns over the same rows as one step |
//! | `telling` | what a match is made of, for whoever asks why |
//! | `running` | what conditions ask of runs: counts, sums, first and last values |

mod asking;
mod automaton;
mod buffer;
mod by_component;
mod compile;
mod condition;
mod conditions;
mod examined;
mod flatten;
mod found;
mod groups;
mod kept;
#[cfg(test)]
mod leak_tests;
mod leaving;
mod list;
mod matcher;
#[cfg(test)]
mod matcher_tests;
mod meet;
#[cfg(test)]
mod model_tests;
pub(crate) mod order;
mod output;
mod reach;
mod refused;
mod round;
mod rounds;
mod run;
mod running;
mod settings;
mod shape;
mod single;
mod step;
#[cfg(test)]
mod step_tests;
mod tally;
mod telling;

pub use asking::{AskedCondition, ConditionGuest};
pub use automaton::StageId;
pub use buffer::Moment;
pub use by_component::{ByComponent, ComponentPattern};
pub use conditions::{RunCandidate, RunExpression, RunPredicate, StageCondition};
pub use examined::{Examined, PatternWarning};
pub use leaving::SkipFailed;
pub use list::{ListedPattern, PATTERN, PatternList, PatternListSettings, SharedConditions};
pub use order::PatternOrder;
pub(crate) use order::{Ordered, Waiting};
pub use output::{MATCH_END, MATCH_START, Measure, TIMED_OUT};
pub use refused::{ANY_ORDER_MAX, PREDICATES_MAX, PatternRefused, STATES_MAX};
pub use run::{Candidate, NoJudge, RunJudge, RunLimits, RunView, Tally, TooManyRuns, Trigger};
pub use running::RunValue;
pub use settings::{PatternSettings, PatternStepRefused};
pub use shape::{Body, Contiguity, Element, Greed, Inner, Pattern, PredicateId, Quantifier, Skip, SkipTarget, Stage};
pub use single::{Finding, PatternMatcher};
pub use step::PatternStep;
pub use tally::{PatternReport, PatternTally};
