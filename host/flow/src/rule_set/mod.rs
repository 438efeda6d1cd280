//! `rules`: many rules over one stream, in order of priority; each says of a row yes or no, and what a yes does to it.
//!
//! ```text
//!            country = 'DE' ┐ index: which rules does this row's value name?
//! rows ──────────────────────► candidates ──► other tests, shared ──► (row, rule) ──► set · tags · route · drop ──► rows
//!            index.rs                         answers.rs              matching.rs     actions.rs
//! ```
//! A rule is tests joined by `and`, and perhaps a component behind them (`component.rs`). Those that compare a column with constants come first: they cannot fail, and a rule is looked at only for
//! rows that have one of its constants, so that a rule nobody needs costs nothing. The others are asked in the order of the text, each of them
//! once for a batch, however many rules have it. A test that is false or null ends its rule; one that fails ends the row.
//!
//! What a row gets depends on that row alone: there is no state.

mod actions;
mod answers;
mod component;
mod definition;
mod index;
mod matching;
mod row_set;
mod step;
mod trace;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod step_tests;

pub use actions::{ROUTE, TAGS};
pub use component::RuleComponent;
pub use definition::{
    AskedComponent, Constant, Emit, MatchRules, RuleSetSettings, RuleTest, RulesReport, SetRule, SharedPredicate, SharedValue,
    TestKind,
};
pub(crate) use matching::{Batch, FailedTest, Matcher};
pub use step::RuleSet;
