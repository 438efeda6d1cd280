//! The judge of the crash tests: it sends, remembers on its own disk what was acknowledged, and compares.
//!
//! It outlives the host it judges and shares no code with it. An event is `(producer, run, n)`; one request holds consecutive `n`
//! of one producer. What the host owes:
//!
//! - an acknowledged event is in the stream exactly once; one that was sent and not acknowledged at most once; no other is there
//! - so it is with requests that were sent again under their name, until they were answered, and once more after that
//! - offsets of a partition have no gap; a producer's events stand in a partition in the order they were sent
//! - `kept` has exactly the events with `n % 3 = 0`, in the order of the partition they came from
//! - `counted` has every event with its number among those of its key, and `recounted`, chained behind it, every second of those
//!   with its number; the files of `recounted` have the same rows, each once
//! - no pipeline has failed, and every replay agreed with what was committed

mod check;
mod files;
mod ledger;
mod load;

pub use check::{Verdict, check, prepare};
pub use ledger::Ledger;
pub use load::load;

/// The stream that producers write.
pub const STREAM: &str = "events";
/// What a stateless pipeline makes of it.
pub const KEPT: &str = "kept";
/// What a rule with state makes of it.
pub const COUNTED: &str = "counted";
/// What another one makes of that; a stream and files.
pub const RECOUNTED: &str = "recounted";
/// How many producers write at once.
pub const PRODUCERS: u32 = 8;

/// One event's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// Which of the producers.
    pub producer: u32,
    /// Which life of the load program.
    pub run: u32,
    /// Which of its events, from 0.
    pub n: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.producer, self.run, self.n)
    }
}
