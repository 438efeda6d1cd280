//! Sums of doubles that depend on what was added and on nothing else: exact, and rounded once, when read.
//!
//! ```text
//! two doubles, high + low      exact as long as the sum fits into them: nearly always
//! a wide fixed-point number    where it does not (`wide.rs`)
//! counts of NaN, +inf, -inf    beside either
//! ```
//! So neither the order of rows, nor where batches are cut, nor how partial sums are merged can change the last bit, and what was added
//! can be taken away again. Two sums after Knuth (*The Art of Computer Programming*, volume 2, 4.2.2, theorem B).

use hashbrown::HashMap;

use crate::aggregate::bytes::{take_f64, take_u64};
use crate::aggregate::wide::Wide;

/// What is added besides finite numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Special {
    nan: i64,
    positive: i64,
    negative: i64,
}

/// A sum per group.
#[derive(Debug, Default)]
pub(crate) struct ExactSums {
    /// NaN in a group whose sum is wide.
    high: Vec<f64>,
    low: Vec<f64>,
    wide: HashMap<u32, Box<Wide>>,
    special: HashMap<u32, Special>,
}

/// `a + b`, and what rounding lost.
#[inline]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

impl ExactSums {
    pub(crate) fn grow(&mut self, groups: usize) {
        self.high.resize(groups, 0.0);
        self.low.resize(groups, 0.0);
    }

    pub(crate) fn clear(&mut self, group: u32) {
        self.high[group as usize] = 0.0;
        self.low[group as usize] = 0.0;
        if !self.wide.is_empty() {
            self.wide.remove(&group);
        }
        if !self.special.is_empty() {
            self.special.remove(&group);
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, group: u32, value: f64) {
        let (high, low) = (&mut self.high[group as usize], &mut self.low[group as usize]);
        let (sum, lost) = two_sum(*high, value);
        let (below, left) = two_sum(*low, lost);
        // False too for whatever is not finite.
        if left == 0.0 && sum.abs() < f64::INFINITY {
            (*high, *low) = (sum, below);
        } else {
            self.add_slowly(group, value);
        }
    }

    #[cold]
    fn add_slowly(&mut self, group: u32, value: f64) {
        if !value.is_finite() {
            return self.count_special(group, value);
        }
        let (high, low) = (self.high[group as usize], self.low[group as usize]);
        if high.is_nan() {
            let wide = self.wide.get_mut(&group).expect("a group without high part is wide");
            return wide.add(value);
        }
        let (high, low) = two_sum(high, low);
        let (sum, lost) = two_sum(high, value);
        let (below, left) = two_sum(low, lost);
        if left == 0.0 && sum.is_finite() {
            (self.high[group as usize], self.low[group as usize]) = (sum, below);
            return;
        }
        let wide = self.widen(group);
        wide.add(value);
    }

    fn count_special(&mut self, group: u32, value: f64) {
        let special = self.special.entry(group).or_default();
        if value.is_nan() {
            special.nan += 1;
        } else if value > 0.0 {
            special.positive += 1;
        } else {
            special.negative += 1;
        }
    }

    fn widen(&mut self, group: u32) -> &mut Wide {
        let (high, low) = (&mut self.high[group as usize], &mut self.low[group as usize]);
        let wide = self.wide.entry(group).or_insert_with(|| {
            let mut wide = Box::new(Wide::ZERO);
            wide.add(*high);
            wide.add(*low);
            wide
        });
        (*high, *low) = (f64::NAN, 0.0);
        wide
    }

    pub(crate) fn merge(&mut self, into: u32, from: u32) {
        if let Some(special) = self.special.get(&from).copied() {
            let sum = self.special.entry(into).or_default();
            *sum = Special {
                nan: sum.nan + special.nan,
                positive: sum.positive + special.positive,
                negative: sum.negative + special.negative,
            };
        }
        if self.high[from as usize].is_nan() {
            let other = self.wide.get(&from).expect("a group without high part is wide").clone();
            self.widen(into).merge(&other);
        } else {
            let (high, low) = (self.high[from as usize], self.low[from as usize]);
            self.add(into, high);
            self.add(into, low);
        }
    }

    /// Takes away what was merged.
    pub(crate) fn unmerge(&mut self, of: u32, from: u32) {
        if let Some(special) = self.special.get(&from).copied() {
            let sum = self.special.entry(of).or_default();
            *sum = Special {
                nan: sum.nan - special.nan,
                positive: sum.positive - special.positive,
                negative: sum.negative - special.negative,
            };
            if *sum == Special::default() {
                self.special.remove(&of);
            }
        }
        if self.high[from as usize].is_nan() {
            let other = self.wide.get(&from).expect("a group without high part is wide").negated();
            self.widen(of).merge(&other);
        } else {
            let (high, low) = (self.high[from as usize], self.low[from as usize]);
            self.add(of, -high);
            self.add(of, -low);
        }
    }

    /// The sum, correctly rounded.
    pub(crate) fn value(&self, group: u32) -> f64 {
        if let Some(Special { nan, positive, negative }) = self.special.get(&group) {
            return match (*nan > 0, *positive > 0, *negative > 0) {
                (true, ..) | (_, true, true) => f64::NAN,
                (_, true, _) => f64::INFINITY,
                _ => f64::NEG_INFINITY,
            };
        }
        match self.wide(group) {
            Some(wide) => wide.value(),
            None => self.high[group as usize] + self.low[group as usize],
        }
    }

    /// Two doubles that are the sum, the first its rounding; of a sum that is wider the nearest two. Not for sums that are not finite.
    pub(crate) fn pair(&self, group: u32) -> (f64, f64) {
        match self.wide(group) {
            Some(wide) => {
                let first = wide.value();
                if !first.is_finite() {
                    return (first, 0.0);
                }
                let mut rest = wide.clone();
                rest.add(-first);
                (first, rest.value())
            }
            None => two_sum(self.high[group as usize], self.low[group as usize]),
        }
    }

    fn wide(&self, group: u32) -> Option<&Wide> {
        self.high[group as usize].is_nan().then(|| &**self.wide.get(&group).expect("a group without high part is wide"))
    }

    /// The bytes of a sum: the same for the same sum, however it came about.
    ///
    /// `00 high low`, or `01 wide` where two doubles do not hold it; with `02` added, three counts follow: NaN, inf, -inf.
    pub(crate) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let special = self.special.get(&group);
        let marked = if special.is_some() { 2 } else { 0 };
        let (high, low) = self.pair(group);
        let fits = match self.wide(group) {
            Some(wide) if high.is_finite() => {
                let mut rest = wide.clone();
                rest.add(-high);
                rest.add(-low);
                rest == Wide::ZERO
            }
            Some(_) => false,
            // Two parts beside the greatest double may round to more than there is.
            None => high.is_finite(),
        };
        if fits {
            out.push(marked);
            // A zero may have come about with either sign.
            out.extend_from_slice(&(high + 0.0).to_le_bytes());
            out.extend_from_slice(&(low + 0.0).to_le_bytes());
        } else {
            out.push(marked | 1);
            match self.wide(group) {
                Some(wide) => wide.encode(out),
                None => {
                    let mut wide = Wide::ZERO;
                    wide.add(self.high[group as usize]);
                    wide.add(self.low[group as usize]);
                    wide.encode(out);
                }
            }
        }
        if let Some(Special { nan, positive, negative }) = special {
            [nan, positive, negative].iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        }
    }

    pub(crate) fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.clear(group);
        let (form, rest) = bytes.split_first()?;
        *bytes = rest;
        match form & 1 {
            0 => {
                self.high[group as usize] = take_f64(bytes).filter(|high| high.is_finite())?;
                self.low[group as usize] = take_f64(bytes).filter(|low| low.is_finite())?;
            }
            _ => {
                self.high[group as usize] = f64::NAN;
                self.wide.insert(group, Box::new(Wide::decode(bytes)?));
            }
        }
        match form >> 1 {
            0 => {}
            1 => {
                let [nan, positive, negative] = [take_u64(bytes)?, take_u64(bytes)?, take_u64(bytes)?].map(|count| count as i64);
                self.special.insert(group, Special { nan, positive, negative });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(groups: usize) -> ExactSums {
        let mut sums = ExactSums::default();
        sums.grow(groups);
        sums
    }

    fn encoded(sums: &ExactSums, group: u32) -> Vec<u8> {
        let mut out = Vec::new();
        sums.encode(group, &mut out);
        out
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (-1_000_000i64..1_000_000).prop_map(|cents| cents as f64 / 100.0),
            3 => any::<f64>(),
            1 => Just(1e300),
            1 => Just(-1e300),
            1 => Just(5e-324),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NAN),
        ]
    }

    proptest! {
        /// Any order and any tree of merges give the same bytes, and the value is that of the wide sum.
        #[test]
        fn a_sum_depends_on_what_was_added_alone(values in proptest::collection::vec((any_value(), 0u32..3), 0..40), seed in any::<u64>()) {
            let mut sums = sums(5);
            let mut wide = Wide::ZERO;
            for (value, group) in &values {
                sums.add(*group, *value);
                if value.is_finite() {
                    wide.add(*value);
                }
            }
            let mut shuffled = values.clone();
            let length = shuffled.len();
            (0..length).for_each(|at| shuffled.swap(at, (seed.rotate_left(at as u32) % length as u64) as usize));
            shuffled.iter().for_each(|(value, _)| sums.add(3, *value));
            [2, 0, 1].iter().for_each(|group| sums.merge(4, *group));
            prop_assert_eq!(encoded(&sums, 3), encoded(&sums, 4));
            if values.iter().all(|(value, _)| value.is_finite()) {
                prop_assert_eq!(sums.value(3), wide.value());
            }
            let bytes = encoded(&sums, 3);
            sums.decode(0, &mut &bytes[..]).expect("what was encoded");
            prop_assert_eq!(encoded(&sums, 0), bytes.clone());
            prop_assert_eq!(sums.value(0).to_bits(), sums.value(4).to_bits());
            // Taken away again, nothing is left.
            sums.unmerge(4, 0);
            sums.unmerge(0, 3);
            sums.clear(1);
            prop_assert_eq!(encoded(&sums, 0), encoded(&sums, 1));
            prop_assert_eq!(encoded(&sums, 4), encoded(&sums, 1));
        }
    }

    #[test]
    fn ten_tenths_are_one() {
        let mut sums = sums(1);
        (0..10).for_each(|_| sums.add(0, 0.1));
        assert_eq!(sums.value(0), 1.0);
        (0..10).for_each(|_| sums.add(0, 1e17));
        (0..10).for_each(|_| sums.add(0, -1e17));
        assert_eq!(sums.value(0), 1.0);
    }
}
