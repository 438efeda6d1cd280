//! Quantiles of numbers: DDSketch, every answer within 1 % of the value at its rank (Masson, Rim, Lee 2019).
//!
//! ```text
//! bin i      holds (γ^(i-1), γ^i], γ = (1 + α) / (1 − α), α = 0.01; said of it: 2 γ^i / (γ + 1)
//! negative numbers have bins of their own, zero a count
//! ```
//! Of 4,096 bins a sign, enough for values from 1 to 10^35 beside each other, the ones nearest to zero become one; then answers there are too far from zero. A
//! sketch is a function of the numbers it has seen, in whatever order: which bins become one hangs on the greatest alone.

use std::collections::BTreeMap;

use crate::aggregate::bytes::{take_u32, take_u64};

const ALPHA: f64 = 0.01;
/// Bins of a sign, from the one of the greatest down.
const BINS_MAX: i32 = 4096;

/// The sketch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
    zero: u64,
}

fn bin(magnitude: f64) -> i32 {
    let gamma: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
    (magnitude.ln() / gamma.ln()).ceil() as i32
}

fn value(bin: i32) -> f64 {
    let gamma: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);
    // In two steps, so that the greatest bins do not overflow on the way.
    (f64::from(bin) * gamma.ln()).exp() / (gamma + 1.0) * 2.0
}

impl Quantiles {
    /// One more number. Infinities count as the greatest there are; NaN is no number and must not come here.
    pub(crate) fn add(&mut self, number: f64) {
        let magnitude = number.abs().min(f64::MAX);
        if magnitude < f64::MIN_POSITIVE {
            self.zero += 1;
        } else {
            put(if number > 0.0 { &mut self.positive } else { &mut self.negative }, bin(magnitude), 1);
        }
    }

    /// What another has seen counts too.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        other.positive.iter().for_each(|(bin, count)| put(&mut self.positive, *bin, *count));
        other.negative.iter().for_each(|(bin, count)| put(&mut self.negative, *bin, *count));
    }

    /// How many numbers.
    pub(crate) fn count(&self) -> u64 {
        self.zero + self.positive.values().sum::<u64>() + self.negative.values().sum::<u64>()
    }

    /// The ⌈q n⌉-th smallest, q = 0 the smallest. `None`: there are none.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let negative = self.negative.iter().rev().map(|(bin, count)| (-value(*bin), *count));
        let positive = self.positive.iter().map(|(bin, count)| (value(*bin), *count));
        negative.chain([(0.0, self.zero)]).chain(positive).find_map(|(value, count)| {
            seen += count;
            (count > 0 && seen >= rank).then_some(value)
        })
    }

    /// `zero`, then per sign the number of bins and for each its number and its count.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.zero.to_le_bytes());
        for bins in [&self.positive, &self.negative] {
            out.extend_from_slice(&(bins.len() as u32).to_le_bytes());
            for (bin, count) in bins {
                out.extend_from_slice(&bin.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut sketch = Self { zero: take_u64(bytes)?, ..Self::default() };
        for bins in [&mut sketch.positive, &mut sketch.negative] {
            for _ in 0..take_u32(bytes)? {
                let bin = take_u32(bytes)? as i32;
                bins.insert(bin, take_u64(bytes)?);
            }
        }
        Some(sketch)
    }
}

fn put(bins: &mut BTreeMap<i32, u64>, bin: i32, count: u64) {
    let Some((greatest, _)) = bins.last_key_value() else {
        bins.insert(bin, count);
        return;
    };
    let lowest = (*greatest).max(bin).saturating_sub(BINS_MAX - 1);
    *bins.entry(bin.max(lowest)).or_default() += count;
    while let Some(first) = bins.first_entry().filter(|first| *first.key() < lowest) {
        let count = first.remove();
        *bins.entry(lowest).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[f64]) -> Quantiles {
        let mut sketch = Quantiles::default();
        numbers.iter().for_each(|number| sketch.add(*number));
        sketch
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => -1000.0f64..1000.0,
            1 => Just(0.0),
            2 => (-8i32..8, 1.0f64..10.0).prop_map(|(power, number)| number * 10f64.powi(power)),
            1 => prop_oneof![Just(f64::MAX), Just(f64::INFINITY), Just(f64::MIN_POSITIVE), Just(-1e300)],
        ]
    }

    proptest! {
        #[test]
        fn every_answer_is_within_a_hundredth(numbers in proptest::collection::vec(-1e6f64..1e6, 1..200), q in 0.0f64..=1.0) {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((q * sorted.len() as f64).ceil() as usize).max(1);
            let (exact, told) = (sorted[rank - 1], of(&numbers).quantile(q).expect("numbers"));
            prop_assert!((told - exact).abs() <= exact.abs() * 0.010_000_1, "{} for {}", told, exact);
        }

        #[test]
        fn a_sketch_is_a_function_of_its_numbers(numbers in proptest::collection::vec(number(), 0..60), cut in 0usize..60) {
            let whole = of(&numbers);
            let (one, other) = numbers.split_at(cut.min(numbers.len()));
            let mut merged = of(other);
            merged.merge(&of(one));
            prop_assert_eq!(&merged, &whole);
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            prop_assert_eq!(Quantiles::decode(&mut &bytes[..]), Some(whole.clone()));
            prop_assert_eq!(Quantiles::decode(&mut &bytes[..bytes.len() - 1]), None);
            prop_assert_eq!(whole.count(), numbers.len() as u64);
        }
    }

    #[test]
    fn far_apart_is_bounded() {
        let sketch = of(&[1e-300, 1.0, 1e300]);
        assert!(sketch.positive.len() <= 2 && sketch.count() == 3);
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[0.0, 0.0, 5.0]).quantile(0.5), Some(0.0));
    }
}
