//! A watermark: the promise that no event with an earlier time will come. Its own instant is still open.
//!
//! Everything that waits has a last instant `m` that can still matter to it, and acts when the watermark has passed that: `W > m`.
//!
//! ```text
//!  window [0s, 10s)     m = 9.999999s     W = 10s acts          session, last event 0s, gap 30s     m = 30s     W = 30s does not
//! ```

use std::fmt;

use tidemill_event::EventTime;

/// No event with a time before this one is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Promises nothing.
    pub const NONE: Self = Self(i64::MIN);
    /// No event follows at all.
    pub const END: Self = Self(i64::MAX);

    /// Whether nothing can come any more that is not later than `last`.
    pub fn has_passed(self, last: EventTime) -> bool {
        self.0 > last.0
    }

    /// Whether an event at `time` breaks the promise.
    pub fn is_late(self, time: EventTime) -> bool {
        time.0 < self.0
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::END => f.write_str("end"),
            Self(time) => EventTime(time).fmt(f),
        }
    }
}
