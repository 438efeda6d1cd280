//! Many patterns over the same rows, as one step.
//!
//! ```text
//! rows ──► order, once ──► conditions, each once for all patterns ──► (row, condition) ──► the patterns that have it ──► matches by what let them out
//!                          found by value where they compare constants (`rule_set`)       └── one that nobody's row is for, and without runs: nothing
//! ```
//! Rows that concern anybody are one small batch, which all share (`offers`). What a batch costs hangs on those rows and on who is given them.
//! Each pattern keeps its own runs as if it stood alone, and its own state: adding, changing or removing one leaves the others as they are. What
//! comes out is in the order of the input rows that let it out, and of the patterns in the text where one row let out several.

mod conditions;
mod holders;
mod kept;
mod offers;
mod rows;
mod step;

pub use conditions::SharedConditions;
pub use rows::PATTERN;
pub use step::{ListedPattern, PatternList, PatternListSettings};

#[cfg(test)]
mod step_tests;
