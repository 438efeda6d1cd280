//! `stddev_pop`, `stddev_samp`, `var_pop`, `var_samp` of numbers, as doubles.
//!
//! Kept are the count, the exact sum and the exact sum of squares, so that accumulators merge without loss. Of those the sum of squared
//! distances, n Σx² − (Σx)², is computed without rounding in between: nothing cancels, however far from zero the numbers lie. Beyond 10^±150
//! squares are no doubles any more, and the answer is infinite.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::take_u64;
use crate::aggregate::exact::ExactSums;
use crate::aggregate::numbers::each_double;
use crate::aggregate::wide::Wide;

/// What is said of the distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    StddevPop,
    StddevSamp,
    VarPop,
    VarSamp,
}

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Deviations {
    spread: Spread,
    counts: Vec<u64>,
    sums: ExactSums,
    squares: ExactSums,
}

/// `a * b`, and what rounding lost (Dekker 1971, Veltkamp's splitting).
fn two_product(a: f64, b: f64) -> (f64, f64) {
    fn split(a: f64) -> (f64, f64) {
        let spread = 134_217_729.0 * a;
        let high = spread - (spread - a);
        (high, a - high)
    }
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    (product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low)
}

/// The square and what rounding lost; infinite where it is no double.
fn squared(value: f64) -> (f64, f64) {
    if value.abs() < 1e150 { two_product(value, value) } else { (if value.is_nan() { f64::NAN } else { f64::INFINITY }, 0.0) }
}

impl Deviations {
    pub(crate) fn new(spread: Spread) -> Self {
        Self { spread, counts: Vec::new(), sums: ExactSums::default(), squares: ExactSums::default() }
    }

    fn value(&self, group: u32) -> Option<f64> {
        let count = self.counts[group as usize];
        let of = match self.spread {
            Spread::StddevPop | Spread::VarPop => count,
            Spread::StddevSamp | Spread::VarSamp => count.checked_sub(1)?,
        };
        if of == 0 {
            return None;
        }
        let variance = self.distances(group) / (count as f64 * of as f64);
        Some(match self.spread {
            Spread::StddevPop | Spread::StddevSamp => variance.sqrt(),
            Spread::VarPop | Spread::VarSamp => variance,
        })
    }

    /// n Σx² − (Σx)², rounded once.
    fn distances(&self, group: u32) -> f64 {
        let (sum, rest) = self.sums.pair(group);
        let (square, square_rest) = self.squares.pair(group);
        let rough = self.sums.value(group) + self.squares.value(group);
        if !rough.is_finite() || sum.abs() > 1e150 {
            return if rough.is_nan() { f64::NAN } else { f64::INFINITY };
        }
        let count = self.counts[group as usize] as f64;
        let mut exact = Wide::ZERO;
        let mut add = |a: f64, b: f64| {
            let (product, lost) = two_product(a, b);
            exact.add(product);
            exact.add(lost);
        };
        add(count, square);
        add(count, square_rest);
        add(-sum, sum);
        add(-2.0 * sum, rest);
        add(-rest, rest);
        exact.value().max(0.0)
    }
}

impl Accumulators for Deviations {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        self.sums.grow(groups);
        self.squares.grow(groups);
    }

    fn clear(&mut self, group: u32) {
        self.counts[group as usize] = 0;
        self.sums.clear(group);
        self.squares.clear(group);
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let Self { counts, sums, squares, .. } = self;
        each_double(groups, argument.expect("a deviation has an argument"), |group, value| {
            counts[group as usize] += 1;
            sums.add(group, value);
            let (square, lost) = squared(value);
            squares.add(group, square);
            squares.add(group, lost);
        });
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            self.counts[*into as usize] += self.counts[*from as usize];
            self.sums.merge(*into, *from);
            self.squares.merge(*into, *from);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = groups.iter().map(|group| self.value(*group)).collect::<Float64Array>();
        Finished { values: Arc::new(values), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.counts[group as usize].to_le_bytes());
        self.sums.encode(group, out);
        self.squares.encode(group, out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group as usize] = take_u64(bytes)?;
        self.sums.decode(group, bytes)?;
        self.squares.decode(group, bytes)
    }
}

impl Reversible for Deviations {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            self.counts[*of as usize] -= self.counts[*from as usize];
            self.sums.unmerge(*of, *from);
            self.squares.unmerge(*of, *from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(spread: Spread, values: Vec<f64>) -> Option<f64> {
        let mut deviations = Deviations::new(spread);
        deviations.grow(1);
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        deviations.update(&vec![0; column.len()], &[], Some(&column));
        deviations.value(0)
    }

    #[test]
    fn distances_far_from_zero_do_not_cancel() {
        let near = vec![4.0, 7.0, 13.0, 16.0];
        let far: Vec<f64> = near.iter().map(|value| value + 1e15).collect();
        assert_eq!(spread(Spread::VarSamp, near.clone()), Some(30.0));
        assert_eq!(spread(Spread::VarSamp, far), Some(30.0));
        assert_eq!(spread(Spread::StddevPop, near), Some(22.5f64.sqrt()));
        assert_eq!(spread(Spread::StddevPop, vec![0.1; 7]), Some(0.0));
    }

    #[test]
    fn too_few_is_null_and_too_large_is_infinite() {
        assert_eq!(spread(Spread::StddevPop, vec![]), None);
        assert_eq!((spread(Spread::StddevPop, vec![3.0]), spread(Spread::StddevSamp, vec![3.0])), (Some(0.0), None));
        assert_eq!(spread(Spread::VarPop, vec![1e200, 1.0]), Some(f64::INFINITY));
    }
}
