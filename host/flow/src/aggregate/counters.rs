//! `increase` and `rate` of a counter: how much it has grown between the first and the last row of a group, and how much by the second.
//!
//! ```text
//! x by (event time, arrival)     10   14   20    3    9          the counter began again between 20 and 3
//! increase                          4 +  6 +  3 +  6  = 19       last - first + what it had come to before it began again
//! rate                           19 / (time of the last row - time of the first), in seconds
//! ```
//! As in Prometheus a value below the one before means that the counter began again at 0. Unlike there nothing is extrapolated to the bounds of a
//! window: what rows do not say is not said. Null of fewer than two rows; a rate also if all rows are of one time. NaN and infinities do not count.
//!
//! Where a counter began again shows only with all rows in order, and rows come out of order: so each is kept, in 16 bytes.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::{take_i64, take_u32, take_u64};
use crate::aggregate::numbers::each;

/// What is said of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    Increase,
    Rate,
}

/// What its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Int64,
    Float64,
}

/// A row: its time, and the bits of its value.
type Sample = (i64, u64);

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Counters {
    growth: Growth,
    of: Counted,
    /// By time, those of one time as they came.
    groups: Vec<Vec<Sample>>,
}

/// Puts a sample behind all that are not later. Nearly always that is the end.
fn put(samples: &mut Vec<Sample>, sample: Sample) {
    match samples.last() {
        Some((newest, _)) if sample.0 < *newest => {
            let at = samples.partition_point(|(time, _)| *time <= sample.0);
            samples.insert(at, sample);
        }
        _ => samples.push(sample),
    }
}

/// The seconds from the first sample to the last. `None`: there are fewer than two.
fn seconds(samples: &[Sample]) -> Option<f64> {
    let [(first, _), .., (last, _)] = samples else { return None };
    Some((last - first) as f64 / 1e6)
}

/// Of whole numbers, exactly: two of 64 bits and a sum of fewer than 2^63 of them fit.
fn whole_increase(samples: &[Sample]) -> Option<i128> {
    (samples.len() > 1).then(|| {
        let value = |(_, bits): Sample| i128::from(bits as i64);
        samples
            .windows(2)
            .map(|pair| value(pair[1]) - if pair[1].1 as i64 >= pair[0].1 as i64 { value(pair[0]) } else { 0 })
            .sum()
    })
}

/// Of doubles: as few operations as there were beginnings, so that nothing is lost on the way between them.
fn double_increase(samples: &[Sample]) -> Option<f64> {
    (samples.len() > 1).then(|| {
        let value = |(_, bits): Sample| f64::from_bits(bits);
        let begun_again =
            samples.windows(2).map(|pair| (value(pair[0]), value(pair[1]))).filter(|(before, after)| after < before);
        let reached: f64 = begun_again.map(|(before, _)| before).sum();
        value(samples[samples.len() - 1]) - value(samples[0]) + reached
    })
}

impl Counters {
    pub(crate) fn new(growth: Growth, of: Counted) -> Self {
        Self { growth, of, groups: Vec::new() }
    }

    fn take<T: ArrowPrimitiveType>(
        &mut self,
        groups: &[u32],
        times: &[i64],
        column: &dyn Array,
        bits: impl Fn(T::Native) -> Option<u64>,
    ) {
        // The place of a row stands where its group would: the row has a time, too.
        let rows: Vec<u32> = (0..groups.len() as u32).collect();
        each::<T>(&rows, column, |row, value| {
            if let Some(bits) = bits(value) {
                put(&mut self.groups[groups[row as usize] as usize], (times[row as usize], bits));
            }
        });
    }

    fn rate(&self, group: u32) -> Option<f64> {
        let samples = &self.groups[group as usize];
        let seconds = seconds(samples).filter(|seconds| *seconds > 0.0)?;
        let increase = match self.of {
            Counted::Int64 => whole_increase(samples)? as f64,
            Counted::Float64 => double_increase(samples)?,
        };
        Some(increase / seconds)
    }
}

impl Accumulators for Counters {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, Vec::new());
    }

    fn clear(&mut self, group: u32) {
        self.groups[group as usize] = Vec::new();
    }

    fn update(&mut self, groups: &[u32], times: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("a counter is an argument").as_ref();
        match self.of {
            Counted::Int64 => self.take::<Int64Type>(groups, times, column, |value| Some(value as u64)),
            Counted::Float64 => {
                self.take::<Float64Type>(groups, times, column, |value| value.is_finite().then_some(value.to_bits()));
            }
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let from = self.groups[*from as usize].clone();
            let into = &mut self.groups[*into as usize];
            into.reserve(from.len());
            from.into_iter().for_each(|sample| put(into, sample));
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let mut failed = Vec::new();
        let values: ArrayRef = match (self.growth, self.of) {
            (Growth::Rate, _) => Arc::new(groups.iter().map(|group| self.rate(*group)).collect::<Float64Array>()),
            (Growth::Increase, Counted::Float64) => {
                let increase = |group: &u32| double_increase(&self.groups[*group as usize]);
                Arc::new(groups.iter().map(increase).collect::<Float64Array>())
            }
            (Growth::Increase, Counted::Int64) => {
                let mut increase = |(place, group): (usize, &u32)| {
                    let increase = whole_increase(&self.groups[*group as usize])?;
                    let told = i64::try_from(increase).ok();
                    if told.is_none() {
                        failed.push((place, format!("the increase {increase} is outside int64")));
                    }
                    told
                };
                Arc::new(groups.iter().enumerate().map(&mut increase).collect::<Int64Array>())
            }
        };
        Finished { values, failed }
    }

    /// How many rows, and of each its time and the bits of its value, in order.
    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let samples = &self.groups[group as usize];
        out.extend_from_slice(&(samples.len() as u32).to_le_bytes());
        for (time, bits) in samples {
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let samples = &mut self.groups[group as usize];
        samples.clear();
        for _ in 0..take_u32(bytes)? {
            let sample = (take_i64(bytes)?, take_u64(bytes)?);
            // What is kept is in order: anything else is not what `encode` wrote.
            if samples.last().is_some_and(|(newest, _)| sample.0 < *newest) {
                return None;
            }
            samples.push(sample);
        }
        Some(())
    }
}

impl Reversible for Counters {
    /// What is forgotten are all rows of a stretch of time, so both stand in one order.
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            let forgotten = self.groups[*from as usize].clone();
            let mut forgotten = forgotten.iter().peekable();
            self.groups[*of as usize].retain(|sample| forgotten.next_if(|next| *next == sample).is_none());
            assert!(forgotten.next().is_none(), "it has seen what it forgets");
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use proptest::prelude::*;

    use super::*;

    fn counters(growth: Growth, of: Counted, groups: usize) -> Counters {
        let mut counters = Counters::new(growth, of);
        counters.grow(groups);
        counters
    }

    fn told(rows: &[(i64, f64)]) -> (Option<f64>, Option<f64>) {
        let of = |growth| {
            let mut counters = counters(growth, Counted::Float64, 1);
            let (times, values): (Vec<i64>, Vec<f64>) = rows.iter().map(|(seconds, value)| (seconds * 1_000_000, *value)).unzip();
            counters.update(&vec![0; rows.len()], &times, Some(&(Arc::new(Float64Array::from(values)) as ArrayRef)));
            counters.finish(&[0]).values.as_primitive::<Float64Type>().iter().next().flatten()
        };
        (of(Growth::Increase), of(Growth::Rate))
    }

    #[test]
    fn a_counter_that_begins_again_goes_on_from_nothing() {
        assert_eq!(told(&[(0, 10.0), (10, 14.0), (20, 20.0), (30, 3.0), (40, 9.0)]), (Some(19.0), Some(0.475)));
        assert_eq!(told(&[(30, 3.0), (10, 14.0), (40, 9.0), (0, 10.0), (20, 20.0)]), (Some(19.0), Some(0.475)));
        assert_eq!(told(&[(0, 7.0), (5, 7.0)]), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn one_row_says_nothing_and_no_time_no_rate() {
        assert_eq!(told(&[]), (None, None));
        assert_eq!(told(&[(0, 1.0), (9, f64::NAN), (9, f64::INFINITY)]), (None, None));
        assert_eq!(told(&[(3, 1.0), (3, 4.0)]), (Some(3.0), None));
    }

    #[test]
    fn whole_numbers_are_exact_and_out_of_range_is_an_error() {
        let mut counters = counters(Growth::Increase, Counted::Int64, 2);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX - 1, i64::MAX, i64::MIN, i64::MAX]));
        counters.update(&[0, 0, 1, 1], &[0, 1, 0, 1], Some(&values));
        let Finished { values, failed } = counters.finish(&[0, 1]);
        assert_eq!(values.as_primitive::<Int64Type>().value(0), 1);
        assert_eq!(failed, [(1, "the increase 18446744073709551615 is outside int64".to_owned())]);
    }

    proptest! {
        /// Whatever stretches of time are merged in which order, and forgotten again, what is left is what its rows say.
        #[test]
        fn stretches_merge_and_are_forgotten(rows in proptest::collection::vec((0i64..40, -3i64..20), 0..40), turn in 0usize..4) {
            let mut counters = counters(Growth::Increase, Counted::Int64, 6);
            // Four stretches of ten, whose rows come as they come.
            let stretches: Vec<u32> = rows.iter().map(|(time, _)| (time / 10) as u32).collect();
            let times: Vec<i64> = rows.iter().map(|(time, _)| *time).collect();
            let values: ArrayRef = Arc::new(rows.iter().map(|(_, value)| Some(*value)).collect::<Int64Array>());
            counters.update(&stretches, &times, Some(&values));
            let order: Vec<u32> = (0..4).map(|at| ((at + turn) % 4) as u32).collect();
            order.iter().for_each(|stretch| counters.merge(&[(4, *stretch)]));
            let model = |of: &dyn Fn(i64) -> bool| {
                let mut there: Vec<(i64, i64)> = rows.iter().copied().filter(|(time, _)| of(time / 10)).collect();
                there.sort_by_key(|(time, _)| *time);
                let mut increase = 0;
                for at in 1..there.len() {
                    let (before, after) = (there[at - 1].1, there[at].1);
                    increase += if after < before { after } else { after - before };
                }
                (there.len() > 1).then_some(increase)
            };
            let told = |counters: &Counters, group| counters.finish(&[group]).values.as_primitive::<Int64Type>().iter().next().flatten();
            prop_assert_eq!(told(&counters, 4), model(&|_| true));
            let gone = order[0];
            counters.subtract(&[(4, gone)]);
            prop_assert_eq!(told(&counters, 4), model(&|stretch| stretch != i64::from(gone)));
            let mut bytes = Vec::new();
            counters.encode(4, &mut bytes);
            counters.decode(5, &mut &bytes[..]).expect("what was encoded");
            prop_assert_eq!(told(&counters, 5), told(&counters, 4));
        }
    }
}
