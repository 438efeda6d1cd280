//! Joins: rows of two inputs that belong together.

mod as_of;
mod asked;
mod interval;
mod joined;
mod output;
mod sided;
mod window;

#[cfg(test)]
mod as_of_tests;
#[cfg(test)]
mod example;
#[cfg(test)]
mod interval_tests;
#[cfg(test)]
mod window_tests;

pub use as_of::{AsOf, AsOfJoin, AsOfSettings};
pub use interval::{IntervalJoin, JoinSettings};
pub use output::{JoinKind, JoinSide};
pub use sided::SidedJoin;
pub use window::{WindowJoin, WindowJoinSettings};

/// Which input of a join a batch is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The one named first.
    Left,
    /// The other.
    Right,
}
