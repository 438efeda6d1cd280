//! SQL expressions over record batches: parsed against a [`Scope`], evaluated as whole columns.
//!
//! ```text
//! text ──syntax──► tree ──resolve──► names are columns ──plan──► typed, simplified ──checked──► [`Expression`]
//!                                                                                                  │ evaluate(batch)
//!                                                                              one value per row ◄─┴─► rows that failed, and why
//! ```
//! Rules that hold for every expression:
//! - A row's value, or failure, depends on that row alone: not on its neighbours, not on where a batch was cut, not on whether a string
//!   column is plain or a dictionary, and never on a clock or on chance.
//! - Names are case-sensitive and may be dotted paths (`user.country`), bare or behind the source's name (`a.user.country`). Names
//!   that SQL would read as something else stand in double quotes. `_time` is there always.
//! - `and` and `or` go from left to right: what the left side settles, the right side is not asked. `case` likewise.
//! - Arithmetic is checked. Overflow, division by zero, a number that is not finite, a cast that does not fit: that row fails.
//! - Integer division of integers gives an integer. A timestamp compares with RFC 3339 text; dates count as their midnight, UTC.
//!
//! This is the only crate of pipelines that knows DataFusion, and none of its types are in the API.

mod aggregates;
mod calls;
mod checked;
mod dictionary;
mod error;
mod expression;
mod forms;
mod functions;
mod membership;
mod output;
mod plan;
pub mod recognize;
mod resolve;
mod scope;
mod short_circuit;
mod stages;
mod syntax;

pub use aggregates::{AggregateText, Aggregated, Part};
pub use calls::CallText;
pub use error::ExpressionError;
pub use expression::{Evaluated, Expression};
pub use functions::is_function;
pub use membership::{Constant, Membership};
pub use scope::{Scope, ScopeColumn};
pub use stages::{StageCall, Staged};
