//! The text of `MATCH_RECOGNIZE`, read: its clauses, its pattern, and what its expressions look at.
//!
//! ```text
//! text ──clause──► PARTITION BY, … , PATTERN ──pattern──► a tree
//!                  MEASURES, DEFINE: expressions ──terms──► what they look at in a match · what is computed of that
//! ```
//! Tokens and expressions are the parser's; the clauses are read here, because the parser knows no `SUBSET`, no `WITHIN`, no `FINAL`, no empty pattern
//! and only single names in `{- -}` and `PERMUTE`.

mod clause;
mod pattern;
mod terms;
#[cfg(test)]
mod tests;

pub use clause::{Defined, MatchText, Measured, NameText, RowsText, SkipText};
pub use pattern::{PatternKind, PatternText};
pub use terms::{NavigationText, Owner, TermKind, TermText, TermsOf};
