//! Aggregates: columns of accumulators, one place per group, whatever the window around them.
//!
//! ```text
//!              groups (one number a row)
//! rows ──► update ──► accumulators ──► merge (groups into groups) ──► finish ──► a column, one value per group
//!                          │  ▲
//!                       encode decode ──► checkpoints
//! ```
//! Every native accumulator but those of `first`, `last`, `increase`, `rate`, `array_agg` and `top_k` is a function of the set of rows it has seen: no order and no tree of merges shows.
//! Nulls are skipped except by `count(*)`; of no rows an aggregate is null, a count 0.

mod accumulators;
mod approximate;
mod average;
pub(crate) mod bytes;
pub(crate) mod calls;
mod component;
mod count;
mod counters;
mod deviation;
mod distinct;
mod edge;
mod exact;
mod extreme;
mod kind;
mod list;
mod numbers;
mod rank;
mod sum;
mod truth;
mod wide;

#[cfg(test)]
mod model_tests;

pub use accumulators::{Accumulators, Finished, Reversible};
pub use calls::{AggregateCall, Aggregates};
pub(crate) use component::Lost;
pub use component::{AggregateArgument, AggregateGuest, ComponentAggregate};
pub use kind::{Aggregate, AggregateRefused};
