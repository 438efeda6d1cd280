//! `correlate`: events of a key that come together within a time, whatever streams they are of.
//!
//! ```text
//! rows ──► order of time ──► kinds, a bit each; the value that counts ──► the key's events of the last `within` ──► enough? ──► a row with them
//! ```
//! Enough is: events of so many kinds (or of all, one behind the other), and so many different values. The event that makes it enough ends the
//! group: it is told once, with every event it holds as evidence, and forgotten. The key is *quiet* then, until `within` is over since the
//! first of them: what comes in that time is counted and belongs to no group.
//!
//! Kinds and values hang on the row alone, so they are asked once for a batch. What is left for each row is a few counts.

mod definition;
mod group;
mod groups;
mod output;
mod step;

#[cfg(test)]
mod model_tests;

pub use definition::{CorrelateReport, CorrelateSettings, EventKind, Needed, TooManyKinds};
pub use output::{DISTINCT, EVENTS, EVIDENCE, KINDS};
pub use step::CorrelateStep;
