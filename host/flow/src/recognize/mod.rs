//! `MATCH_RECOGNIZE`: rows of one key that stand directly behind each other as a row pattern says, found as the SQL standard says.
//!
//! Unlike `pattern` this is strict (no row is passed over inside a match) and finds one match per start: the first by preference.
//!
//! | file | holds |
//! |---|---|
//! | `shape` | a row pattern as it is written, and how matches leave |
//! | `program` · `refused` | the instructions made of it, and why there are none |
//! | `attempt` | all readings of the rows behind one start, best first |
//! | `key_rows` · `search` · `skip` | the rows of one key, one start after the other, and where the next one is |
//! | `terms` · `columns` | what expressions look at in a match, and columns of that |
//! | `judge` | the conditions of `DEFINE`, for whole batches or row by row |
//! | `explaining` | what a match is made of, for whoever asks why |
//! | `step` · `output` · `kept` | the step: rows of many keys in, matches out · their rows · state as entries |

mod attempt;
mod columns;
mod explaining;
mod judge;
mod kept;
mod key_rows;
#[cfg(test)]
mod model_tests;
mod output;
#[cfg(test)]
mod pattern_text;
mod program;
mod refused;
mod search;
#[cfg(test)]
mod search_tests;
mod shape;
mod skip;
mod step;
#[cfg(test)]
mod step_tests;
mod terms;

pub use judge::{Definition, TermPredicate};
pub use output::{NamedTerm, RowsPerMatch};
pub use refused::{INSTRUCTIONS_MAX, RowPatternRefused, VARIABLES_MAX};
pub use search::{MatchLimits, MatchTally};
pub use shape::{AfterMatch, RowPattern, VariableId, VariableSet};
pub use step::{MatchRefused, MatchSettings, MatchStep};
pub use terms::{End, Place, Term};
