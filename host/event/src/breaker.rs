//! A circuit breaker as a pure value: it counts what worked and what did not, and says when to leave off and when to try again.
//!
//! ```text
//! Closed   => (Closed | Open)       enough of the last attempts failed
//! Open     => (Open | HalfOpen)     its wait has passed
//! HalfOpen => (Closed | Open)       the attempt made meanwhile worked, or it did not: then it waits twice as long
//! ```
//! Time is handed in, so the same attempts at the same times give the same answers, also when they are taken again after a crash. What
//! an attempt is, its owner says: a row of a component step, a request of a sink.

use std::time::Duration;

use crate::EventTime;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// It opens when at least so many of the attempts it remembers failed, ...
    pub failed_min: u32,
    /// ... and at least so many of a hundred.
    pub failed_percent: u32,
    /// How many attempts it remembers: at twice as many all counts are halved, so that what is long ago weighs less and less.
    pub window: u32,
    /// How long it stays open the first time; doubled each time it opens again before it was closed.
    pub wait: Duration,
    /// The longest it stays open.
    pub wait_max: Duration,
}

/// Whether to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Try.
    Closed,
    /// Do not try before then.
    Open {
        /// When a probe is due.
        until: EventTime,
    },
    /// Try a little, and record how that went.
    HalfOpen,
}

/// The breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
    succeeded: u32,
    failed: u32,
    /// How often it opened since it was last closed.
    openings: u32,
}

/// Length of [`Breaker::to_bytes`].
const BYTES: usize = 21;

impl Breaker {
    /// A closed one that remembers nothing.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: BreakerState::Closed, succeeded: 0, failed: 0, openings: 0 }
    }

    /// Where it stands, without looking at the time.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Where it stands at `now`: an open one whose wait has passed is half open from here on.
    pub fn poll(&mut self, now: EventTime) -> BreakerState {
        if let BreakerState::Open { until } = self.state
            && until <= now
        {
            self.state = BreakerState::HalfOpen;
        }
        self.state
    }

    /// Somebody wants it tried now, whatever its wait.
    pub fn probe(&mut self) {
        if let BreakerState::Open { .. } = self.state {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// Attempts were made. Half open, these are the probe, and decide.
    pub fn record(&mut self, succeeded: u32, failed: u32, now: EventTime) {
        match self.state {
            // => (Closed | Open)
            BreakerState::HalfOpen => {
                if self.is_too_much(succeeded, failed) {
                    self.open(now);
                } else {
                    *self = Self::new(self.settings);
                }
            }
            // => (Closed | Open)
            BreakerState::Closed => {
                self.succeeded = self.succeeded.saturating_add(succeeded);
                self.failed = self.failed.saturating_add(failed);
                while self.succeeded.saturating_add(self.failed) >= self.settings.window.saturating_mul(2).max(2) {
                    self.succeeded /= 2;
                    self.failed /= 2;
                }
                if self.failed >= self.settings.failed_min && self.is_too_much(self.succeeded, self.failed) {
                    self.open(now);
                }
            }
            // => Open: an attempt that was under way when it opened says nothing new.
            BreakerState::Open { .. } => {}
        }
    }

    fn is_too_much(&self, succeeded: u32, failed: u32) -> bool {
        let all = u64::from(succeeded) + u64::from(failed);
        failed > 0 && u64::from(failed) * 100 >= all * u64::from(self.settings.failed_percent)
    }

    fn open(&mut self, now: EventTime) {
        let times = 1u32.checked_shl(self.openings).unwrap_or(u32::MAX);
        let wait = self.settings.wait.saturating_mul(times).min(self.settings.wait_max);
        self.openings = self.openings.saturating_add(1);
        (self.succeeded, self.failed) = (0, 0);
        let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.state = BreakerState::Open { until: EventTime(now.0.saturating_add(micros)) };
    }

    /// What must be kept to go on after a crash: state, counts and openings, little-endian.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let (kind, until) = match self.state {
            BreakerState::Closed => (0, 0),
            BreakerState::Open { until } => (1, until.0),
            BreakerState::HalfOpen => (2, 0),
        };
        let mut bytes = [0; BYTES];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&until.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.succeeded.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.failed.to_le_bytes());
        bytes[17..21].copy_from_slice(&self.openings.to_le_bytes());
        bytes
    }

    /// From [`Self::to_bytes`]; `None` if they are something else.
    pub fn from_bytes(settings: BreakerSettings, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut until = [0; 8];
        until.copy_from_slice(&bytes[1..9]);
        let state = match bytes[0] {
            0 => BreakerState::Closed,
            1 => BreakerState::Open { until: EventTime(i64::from_le_bytes(until)) },
            2 => BreakerState::HalfOpen,
            _ => return None,
        };
        Some(Self { settings, state, succeeded: number(9), failed: number(13), openings: number(17) })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failed_min: 4,
        failed_percent: 50,
        window: 16,
        wait: Duration::from_secs(1),
        wait_max: Duration::from_secs(3),
    };

    /// `+3` worked, `-2` failed, `@5` the time is 5 s (and the breaker is asked). One word of outcome a word.
    fn check(words: &str, expected: Expect) {
        let (mut breaker, mut now) = (Breaker::new(SETTINGS), EventTime(0));
        let mut said = Vec::new();
        for word in words.split_whitespace() {
            let number: u32 = word[1..].parse().expect("a number");
            match &word[..1] {
                "+" => breaker.record(number, 0, now),
                "-" => breaker.record(0, number, now),
                _ => {
                    now = EventTime(i64::from(number) * 1_000_000);
                    breaker.poll(now);
                }
            }
            said.push(match breaker.state() {
                BreakerState::Closed => "closed".to_owned(),
                BreakerState::Open { until } => format!("open-{}", until.0 / 1_000_000),
                BreakerState::HalfOpen => "half".to_owned(),
            });
            assert_eq!(Breaker::from_bytes(SETTINGS, &breaker.to_bytes()).as_ref(), Some(&breaker));
        }
        expected.assert_eq(&said.join(" "));
    }

    #[test]
    fn it_opens_at_a_number_and_a_share() {
        check("-1 -2 -1", expect!["closed closed open-1"]);
        check("+5 -4 -1", expect!["closed closed open-1"]);
        check("+900 -4 -4 -4 -4", expect!["closed closed closed closed open-1"]);
    }

    #[test]
    fn a_probe_closes_it_or_doubles_its_wait() {
        check("-4 @1 +1 -1", expect!["open-1 half closed closed"]);
        check("-4 -4 @1 -1 @2 @3 -1 @6 -1", expect!["open-1 open-1 half open-3 open-3 half open-6 half open-9"]);
    }

    #[test]
    fn bytes_of_something_else_are_none() {
        assert_eq!(Breaker::from_bytes(SETTINGS, &[7; 21]), None);
        assert_eq!(Breaker::from_bytes(SETTINGS, b""), None);
    }
}
