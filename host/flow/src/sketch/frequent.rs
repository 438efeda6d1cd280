//! The most frequent values: Space-Saving with a bounded number of counters (Metwally, Agrawal, El Abbadi 2005; merged after Agarwal et al. 2012).
//!
//! Of n values and k counters each count is at most n / k too great, and says by how much at most; a value that came more often than n / k
//! is there for certain. Which of the rare ones is there hangs on the order they came in, and so on nothing but the rows.

use crate::aggregate::bytes::{take, take_u32, take_u64};

/// A value with how often it came: between `count - error` and `count` times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) value: Box<[u8]>,
    pub(crate) count: u64,
    pub(crate) error: u64,
}

/// The sketch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frequent {
    counters: Vec<Counter>,
}

impl Frequent {
    /// One more value, into at most `counters_max` counters.
    pub(crate) fn add(&mut self, value: &[u8], counters_max: usize) {
        if let Some(counter) = self.counters.iter_mut().find(|counter| *counter.value == *value) {
            counter.count += 1;
            return;
        }
        if self.counters.len() < counters_max {
            self.counters.push(Counter { value: value.into(), count: 1, error: 0 });
            return;
        }
        // The first of the least frequent gives way; its count is what the new one may have had before.
        if let Some(least) = self.counters.iter_mut().min_by_key(|counter| counter.count) {
            *least = Counter { value: value.into(), count: least.count + 1, error: least.count };
        }
    }

    /// What another has seen counts too.
    pub(crate) fn merge(&mut self, other: &Self, counters_max: usize) {
        // What a full sketch does not name may have come as often as its least.
        let least = |of: &Self| {
            if of.counters.len() < counters_max { 0 } else { of.counters.iter().map(|counter| counter.count).min().unwrap_or(0) }
        };
        let (own_least, other_least) = (least(self), least(other));
        let mut others: Vec<Counter> = other.counters.clone();
        for counter in &mut self.counters {
            match others.iter().position(|other| other.value == counter.value) {
                Some(at) => {
                    let other = others.remove(at);
                    counter.count += other.count;
                    counter.error += other.error;
                }
                None => {
                    counter.count += other_least;
                    counter.error += other_least;
                }
            }
        }
        self.counters.extend(others.into_iter().map(|other| Counter {
            count: other.count + own_least,
            error: other.error + own_least,
            ..other
        }));
        self.sort();
        self.counters.truncate(counters_max);
    }

    fn sort(&mut self) {
        self.counters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
    }

    /// The first `n`, the most frequent first, ties by value.
    pub(crate) fn top(&self, n: usize) -> Vec<Counter> {
        let mut sorted = self.clone();
        sorted.sort();
        sorted.counters.truncate(n);
        sorted.counters
    }

    /// Per counter its count, its error, the length of its value, its value; before them their number.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.counters.len() as u32).to_le_bytes());
        for Counter { value, count, error } in &self.counters {
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&error.to_le_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut sketch = Self::default();
        for _ in 0..take_u32(bytes)? {
            let (count, error, length) = (take_u64(bytes)?, take_u64(bytes)?, take_u32(bytes)? as usize);
            sketch.counters.push(Counter { value: take(bytes, length)?.into(), count, error });
        }
        Some(sketch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Bounds hold for every value, frequent ones are there, after any merge too.
        #[test]
        fn counts_keep_their_bounds(values in proptest::collection::vec(prop_oneof![3 => 0u8..4, 1 => 0u8..60], 0..200), cut in 0usize..200, counters in 1usize..12) {
            let of = |values: &[u8]| {
                let mut sketch = Frequent::default();
                values.iter().for_each(|value| sketch.add(&[*value], counters));
                sketch
            };
            let mut exact: BTreeMap<u8, u64> = BTreeMap::new();
            values.iter().for_each(|value| *exact.entry(*value).or_default() += 1);
            let (one, other) = values.split_at(cut.min(values.len()));
            let mut merged = of(one);
            merged.merge(&of(other), counters);
            for sketch in [of(&values), merged] {
                prop_assert!(sketch.counters.len() <= counters);
                let bound = values.len() as u64 / counters as u64;
                for Counter { value, count, error } in &sketch.counters {
                    let true_count = exact.get(&value[0]).copied().unwrap_or(0);
                    prop_assert!(*count >= true_count && count - error <= true_count && *error <= bound, "{value:?} {count} {error} {true_count}");
                }
                for (value, _) in exact.iter().filter(|(_, count)| **count > bound) {
                    prop_assert!(sketch.counters.iter().any(|counter| counter.value[0] == *value));
                }
                let mut bytes = Vec::new();
                sketch.encode(&mut bytes);
                prop_assert_eq!(Frequent::decode(&mut &bytes[..]), Some(sketch.clone()));
                prop_assert_eq!(Frequent::decode(&mut &bytes[..bytes.len() - 1]), None);
            }
        }
    }
}
