//! How long kept entries live: until a time that each write puts off, and never takes nearer.
//!
//! ```text
//! ttl 60, written by a row at 0:   a row at 59.999999 sees the entry, one at 60 does not; it is freed when the watermark is at 60
//! ```
//! A row at u sees an entry if max(u, W) is before its expiry, W being the watermark before the row. So what a row sees follows from the
//! order of rows, and never from when an entry happened to be freed. By wall clock, "now" is the recorded time of the batch instead.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{Outcome, Watermark};

/// The expiry of an entry whose row was stored before its step had a time to live: it gets one with the next batch.
pub(crate) const UNKNOWN: i64 = i64::MAX;
/// The expiry of a slot whose call has not returned yet.
pub(crate) const FRESH: i64 = i64::MAX - 1;
/// No expiry of that slot is waited for.
const NOT_QUEUED: i64 = i64::MAX;

/// Which clock entries live by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlClock {
    /// The rows' times and the watermark.
    EventTime,
    /// The time of the host, as it is recorded with each batch.
    WallClock,
}

/// How long an entry lives after it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// In µs, at least 1.
    pub micros: i64,
    /// By which clock.
    pub clock: TtlClock,
}

impl Ttl {
    /// Of a duration; less than a microsecond is one.
    pub fn new(after: Duration, clock: TtlClock) -> Self {
        Self { micros: i64::try_from(after.as_micros()).unwrap_or(i64::MAX).max(1), clock }
    }

    /// When an entry that is written at `now` expires.
    pub(crate) fn expiry(self, now: Now) -> i64 {
        now.written.saturating_add(self.micros).min(FRESH - 1)
    }

    /// What a row of that time, met at that watermark, lives by.
    pub(crate) fn now(self, time: i64, watermark: Watermark, output: &Outcome) -> Now {
        match self.clock {
            TtlClock::EventTime => self.at(time, watermark, None),
            TtlClock::WallClock => self.at(time, watermark, Some(output.clock().0)),
        }
    }

    /// The same, where the clock was asked for already if anything lives by it.
    pub(crate) fn at(self, time: i64, watermark: Watermark, clock: Option<i64>) -> Now {
        match (self.clock, clock) {
            (TtlClock::EventTime, _) => Now { written: time, seen: time.max(watermark.0) },
            (TtlClock::WallClock, Some(clock)) => Now { written: clock, seen: clock },
            (TtlClock::WallClock, None) => panic!("what lives by the clock asks for it"),
        }
    }

    /// What is freed behind a batch: everything that expires by then.
    pub(crate) fn passed(self, output: &Outcome) -> i64 {
        match self.clock {
            TtlClock::EventTime => output.marks().end().0,
            TtlClock::WallClock => output.clock().0,
        }
    }
}

/// The time of a row, as entries live by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// What it writes is written then.
    pub(crate) written: i64,
    /// It sees what expires later than this.
    pub(crate) seen: i64,
}

/// When each slot of a table expires.
#[derive(Debug)]
pub(crate) struct Expiries {
    pub(crate) ttl: Ttl,
    of: Vec<i64>,
    /// Per slot, the nearest time in `queue` that stands for it.
    queued: Vec<i64>,
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    unknown: Vec<u32>,
}

impl Expiries {
    pub(crate) fn new(ttl: Ttl) -> Self {
        Self { ttl, of: Vec::new(), queued: Vec::new(), queue: BinaryHeap::new(), unknown: Vec::new() }
    }

    pub(crate) fn of(&self, slot: u32) -> i64 {
        self.of[slot as usize]
    }

    /// The same, of a slot that may be new.
    pub(crate) fn of_or_none(&self, slot: u32) -> Option<i64> {
        self.of.get(slot as usize).copied()
    }

    /// The slot expires then. Whether that is later than before, the caller sees to.
    pub(crate) fn set(&mut self, slot: u32, expiry: i64) {
        let at = slot as usize;
        if at >= self.of.len() {
            self.of.resize(at + 1, UNKNOWN);
            self.queued.resize(at + 1, NOT_QUEUED);
        }
        self.of[at] = expiry;
        if expiry == UNKNOWN {
            self.unknown.push(slot);
        } else if expiry < self.queued[at] && expiry != FRESH {
            // What was put off is put into the queue again when its old time comes: one place per slot, however often it is written.
            self.queued[at] = expiry;
            self.queue.push(Reverse((expiry, slot)));
        }
    }

    /// Slots whose expiry was not known since they were restored.
    pub(crate) fn take_unknown(&mut self) -> Vec<u32> {
        let mut slots = std::mem::take(&mut self.unknown);
        slots.retain(|slot| self.of[*slot as usize] == UNKNOWN);
        slots
    }

    /// A slot that expires by `now`; the caller frees it.
    pub(crate) fn pop(&mut self, now: i64, is_live: impl Fn(u32) -> bool) -> Option<u32> {
        while let Some(Reverse((at, slot))) = self.queue.peek().copied() {
            if at > now {
                return None;
            }
            self.queue.pop();
            let place = slot as usize;
            if self.queued[place] != at {
                continue;
            }
            self.queued[place] = NOT_QUEUED;
            if !is_live(slot) {
                continue;
            }
            if self.of[place] <= now {
                return Some(slot);
            }
            self.set(slot, self.of[place]);
        }
        None
    }

    /// Whether any is waited for.
    #[cfg(test)]
    pub(crate) fn queued_len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_written_often_stands_in_the_queue_once() {
        let mut expiries = Expiries::new(Ttl::new(Duration::from_micros(10), TtlClock::EventTime));
        for at in 0..1_000 {
            expiries.set(3, 10 + at);
        }
        assert_eq!(expiries.queued_len(), 1);
        assert_eq!(expiries.pop(1_008, |_| true), None);
        assert_eq!(expiries.queued_len(), 1);
        assert_eq!(expiries.pop(1_009, |_| true), Some(3));
        assert_eq!(expiries.pop(i64::MAX, |_| true), None);
    }

    #[test]
    fn a_slot_that_another_key_took_expires_with_that_key() {
        let mut expiries = Expiries::new(Ttl::new(Duration::from_micros(10), TtlClock::EventTime));
        expiries.set(0, 100);
        // Its key was deleted, and the next one expires earlier.
        expiries.set(0, 50);
        assert_eq!(expiries.pop(50, |_| true), Some(0));
        assert_eq!(expiries.pop(100, |_| false), None);
    }
}
