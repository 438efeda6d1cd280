//! Quantiles of the numbers of the last while, by their own time.
//!
//! ```text
//! over 10 min:   |part 7|part 8|part 9|part 10|part 11|part 12|     each a sketch of 100 s; the newest number's part is the last one
//!                ▲ what is older than all of them is forgotten, and comes in no more
//! ```
//! What is said is a function of the numbers and their times alone, in whatever order they came within the while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sketch::Quantiles;

/// So many parts are one while: what is left out moves on by one of them.
const PARTS: i64 = 6;

/// Quantiles of the last while; each answer within 1 % of the value at its rank.
#[derive(Debug, Clone)]
pub struct RecentQuantiles {
    part_micros: i64,
    parts: BTreeMap<i64, Quantiles>,
}

impl RecentQuantiles {
    /// Of no number.
    pub fn new(over: Duration) -> Self {
        let over = i64::try_from(over.as_micros()).unwrap_or(i64::MAX);
        Self { part_micros: (over / PARTS).max(1), parts: BTreeMap::new() }
    }

    /// One more number of that time, µs. NaN must not come here.
    pub fn add(&mut self, number: f64, time: i64) {
        let part = time.div_euclid(self.part_micros);
        let newest = self.parts.last_key_value().map_or(part, |(newest, _)| (*newest).max(part));
        let oldest = newest.saturating_sub(PARTS - 1);
        if part < oldest {
            return;
        }
        self.parts.entry(part).or_default().add(number);
        self.parts.retain(|part, _| *part >= oldest);
    }

    /// Per rank `q` in 0 to 1 the number at it; empty if there are none.
    pub fn quantiles(&self, ranks: &[f64]) -> Vec<f64> {
        let mut whole = Quantiles::default();
        self.parts.values().for_each(|part| whole.merge(part));
        ranks.iter().filter_map(|rank| whole.quantile(*rank)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_last_while_count() {
        let mut recent = RecentQuantiles::new(Duration::from_secs(60));
        assert_eq!(recent.quantiles(&[0.5]), [0.0; 0]);
        let second = 1_000_000;
        let near = |recent: &RecentQuantiles, q: f64, expected: f64| {
            let told = recent.quantiles(&[q])[0];
            assert!((told - expected).abs() <= expected.abs() / 100.0, "{told} for {expected}");
        };
        for n in 1..=60 {
            recent.add(f64::from(n), -i64::from(n) * second);
        }
        near(&recent, 0.5, 30.0);
        near(&recent, 1.0, 60.0);
        // Half a while on, the older half is gone; what is older than the while comes in no more.
        recent.add(1.0, 29 * second);
        recent.add(1000.0, -61 * second);
        near(&recent, 1.0, 30.0);
        recent.add(-5.0, 1000 * second);
        near(&recent, 0.0, -5.0);
        near(&recent, 1.0, -5.0);
    }
}
