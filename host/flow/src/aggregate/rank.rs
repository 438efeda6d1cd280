//! `median`, `quantile_cont`, `quantile_disc`: exact, by keeping how often each number came.
//!
//! ```text
//! quantile_disc(x, q)     the ⌈q n⌉-th smallest, q = 0 the smallest: a number that is there
//! quantile_cont(x, q)     at place q (n − 1), counted from 0, on the straight line between the two numbers around it; median: q = 0.5
//! ```
//! A group costs an entry per different number: `approx_quantile` has a bound. NaN is no number and does not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::{take_u32, take_u64};
use crate::aggregate::numbers::each;
use crate::group::ordered::{ordered_float, ordered_int, plain_float, plain_int};

/// What the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranked {
    Int64,
    Float64,
    Timestamp,
}

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Ranks {
    of: Ranked,
    q: f64,
    is_continuous: bool,
    /// Numbers as bits whose order is theirs, and how often each came.
    groups: Vec<BTreeMap<u64, u64>>,
}

impl Ranks {
    /// `q` from 0 to 1. A continuous quantile is a double; timestamps have none.
    pub(crate) fn new(of: Ranked, q: f64, is_continuous: bool) -> Self {
        Self { of, q, is_continuous, groups: Vec::new() }
    }

    /// The number at a place, counted from 0, in order.
    fn at(counts: &BTreeMap<u64, u64>, place: u64) -> u64 {
        let mut seen = 0;
        let found = counts.iter().find(|(_, count)| {
            seen += **count;
            seen > place
        });
        *found.expect("a place below the count").0
    }

    fn double(&self, bits: u64) -> f64 {
        match self.of {
            Ranked::Float64 => plain_float(bits),
            Ranked::Int64 | Ranked::Timestamp => plain_int(bits) as f64,
        }
    }

    fn discrete(&self, group: u32) -> Option<u64> {
        let counts = &self.groups[group as usize];
        let count: u64 = counts.values().sum();
        let rank = ((self.q * count as f64).ceil() as u64).clamp(1, count.max(1));
        (count > 0).then(|| Self::at(counts, rank - 1))
    }

    fn continuous(&self, group: u32) -> Option<f64> {
        let counts = &self.groups[group as usize];
        let last = counts.values().sum::<u64>().checked_sub(1)?;
        let place = self.q * last as f64;
        let below = (place.floor() as u64).min(last);
        let (low, high) = (self.double(Self::at(counts, below)), self.double(Self::at(counts, (below + 1).min(last))));
        let share = place - below as f64;
        // Between infinities there is no line.
        Some(if share == 0.0 || low == high { low } else { low * (1.0 - share) + high * share })
    }
}

impl Accumulators for Ranks {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, BTreeMap::new());
    }

    fn clear(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("a quantile has an argument").as_ref();
        let mut add = |group: u32, bits: u64| *self.groups[group as usize].entry(bits).or_default() += 1;
        match self.of {
            Ranked::Int64 => each::<Int64Type>(groups, column, |group, value| add(group, ordered_int(value))),
            Ranked::Timestamp => each::<TimestampMicrosecondType>(groups, column, |group, value| add(group, ordered_int(value))),
            Ranked::Float64 => each::<Float64Type>(groups, column, |group, value| {
                if !value.is_nan() {
                    add(group, ordered_float(value));
                }
            }),
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let from = self.groups[*from as usize].clone();
            let into = &mut self.groups[*into as usize];
            from.into_iter().for_each(|(bits, count)| *into.entry(bits).or_default() += count);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values: ArrayRef = if self.is_continuous {
            Arc::new(groups.iter().map(|group| self.continuous(*group)).collect::<Float64Array>())
        } else {
            let bits = groups.iter().map(|group| self.discrete(*group));
            match self.of {
                Ranked::Int64 => Arc::new(bits.map(|bits| bits.map(plain_int)).collect::<Int64Array>()),
                Ranked::Float64 => Arc::new(bits.map(|bits| bits.map(plain_float)).collect::<Float64Array>()),
                Ranked::Timestamp => {
                    Arc::new(bits.map(|bits| bits.map(plain_int)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
                }
            }
        };
        Finished { values, failed: Vec::new() }
    }

    /// How many numbers, and for each its bits and its count.
    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let counts = &self.groups[group as usize];
        out.extend_from_slice(&(counts.len() as u32).to_le_bytes());
        for (bits, count) in counts {
            out.extend_from_slice(&bits.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let counts = &mut self.groups[group as usize];
        counts.clear();
        for _ in 0..take_u32(bytes)? {
            counts.insert(take_u64(bytes)?, take_u64(bytes)?);
        }
        Some(())
    }
}

impl Reversible for Ranks {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            let from = self.groups[*from as usize].clone();
            let of = &mut self.groups[*of as usize];
            for (bits, count) in from {
                let left = of.get_mut(&bits).expect("it has seen what it forgets");
                *left -= count;
                if *left == 0 {
                    of.remove(&bits);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    use super::*;

    fn quantiles(values: Vec<f64>, q: f64) -> (Option<f64>, Option<f64>) {
        let of = |is_continuous| {
            let mut ranks = Ranks::new(Ranked::Float64, q, is_continuous);
            ranks.grow(1);
            let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            ranks.update(&vec![0; column.len()], &[], Some(&column));
            ranks.finish(&[0]).values.as_primitive::<Float64Type>().iter().next().flatten()
        };
        (of(true), of(false))
    }

    #[test]
    fn continuous_ones_lie_between_and_discrete_ones_are_there() {
        assert_eq!(quantiles(vec![4.0, 1.0, 2.0, 3.0], 0.5), (Some(2.5), Some(2.0)));
        assert_eq!(quantiles(vec![4.0, 1.0, 2.0, 3.0, f64::NAN], 0.25), (Some(1.75), Some(1.0)));
        assert_eq!(quantiles(vec![4.0, 1.0, 2.0], 0.0), (Some(1.0), Some(1.0)));
        assert_eq!(quantiles(vec![4.0, 1.0, 2.0], 1.0), (Some(4.0), Some(4.0)));
        assert_eq!(quantiles(vec![f64::INFINITY, 1.0, f64::INFINITY], 0.75), (Some(f64::INFINITY), Some(f64::INFINITY)));
        assert_eq!(quantiles(vec![f64::NAN], 0.5), (None, None));
    }
}
