//! How long to wait before something that failed is tried again: exponential, with full jitter. A pure value; randomness is a seed.
//!
//! Full jitter (a uniform choice between nothing and the window) spreads clients that failed together better than a fixed share of
//! the window does: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// The waits between attempts at one thing. Same seed, same waits.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    /// The window is `first` after one failure, twice that after two, and so on, up to `longest`.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, failures: 0, random: seed }
    }

    /// An attempt failed: the wait before the next one. Never shorter than what the other side asked for, even beyond `longest`.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let window = self.first.saturating_mul(1_u32 << self.failures.min(30)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let wait = window.mul_f64(self.uniform());
        asked.map_or(wait, |asked| asked.saturating_add(wait))
    }

    /// An attempt succeeded: the next failure is the first one.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// splitmix64, as a number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn waits_fill_a_window_that_doubles_up_to_the_longest() {
        let mut longest_seen = [Duration::ZERO; 12];
        for seed in 0..200 {
            let mut backoff = Backoff::new(FIRST, LONGEST, seed);
            for (attempt, longest_seen) in longest_seen.iter_mut().enumerate() {
                let wait = backoff.failed(None);
                assert!(wait <= (FIRST * (1 << attempt)).min(LONGEST), "{seed} {attempt} {wait:?}");
                *longest_seen = (*longest_seen).max(wait);
            }
        }
        for (attempt, seen) in longest_seen.iter().enumerate() {
            let window = (FIRST * (1 << attempt)).min(LONGEST);
            assert!(*seen > window.mul_f64(0.9), "the window is used: {attempt} {seen:?}");
        }
    }

    #[test]
    fn a_seed_says_everything_and_success_begins_again() {
        let waits = |seed| {
            let mut backoff = Backoff::new(FIRST, LONGEST, seed);
            (0..5).map(|_| backoff.failed(None)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        let mut backoff = Backoff::new(FIRST, LONGEST, 7);
        for _ in 0..1000 {
            backoff.failed(None);
        }
        assert_eq!(backoff.failures(), 1000);
        backoff.succeeded();
        assert!(backoff.failed(None) <= FIRST);
    }

    #[test]
    fn what_the_other_side_asks_for_is_waited() {
        let mut backoff = Backoff::new(FIRST, LONGEST, 7);
        let asked = Duration::from_secs(60);
        let wait = backoff.failed(Some(asked));
        assert!(wait >= asked && wait <= asked + FIRST, "{wait:?}");
    }
}
