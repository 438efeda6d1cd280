//! Sums by group, for `sum` and `avg`: of integers and decimals in 128 bits, of doubles exactly.
//!
//! A sum that its type cannot hold is the error of the pane that asks for it; the accumulator goes on, and later rows may bring it back.

use std::sync::Arc;

use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int64Array};
use arrow_schema::DataType;

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::average;
use crate::aggregate::bytes::{take_i128, take_u64};
use crate::aggregate::exact::ExactSums;
use crate::aggregate::numbers::each;

/// What integers a sum is of, and so what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whole {
    Int64,
    /// Of this scale; the sum has 38 digits.
    Decimal(i8),
}

/// 2^63 rows of any int64 fit into i128. Decimals may not: from there on the sum is lost for good.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: i128,
    count: u64,
}

/// What is said of sums in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    Sum,
    /// By the count. Of decimals it has so many digits.
    Average {
        precision: u8,
    },
}

/// `sum` or `avg` of integers or decimals: sums with the counts of what they are of.
#[derive(Debug)]
pub(crate) struct WholeSums {
    pub(crate) of: Whole,
    said: Said,
    sums: Vec<Sum>,
}

impl WholeSums {
    pub(crate) fn new(of: Whole, said: Said) -> Self {
        Self { of, said, sums: Vec::new() }
    }

    #[inline]
    fn each(&mut self, groups: &[u32], column: &ArrayRef, change: impl Fn(&mut Sum, i128)) {
        let sums = &mut self.sums;
        let mut change = |group: u32, value: i128| change(&mut sums[group as usize], value);
        match self.of {
            Whole::Int64 => each::<Int64Type>(groups, column.as_ref(), |group, value| change(group, i128::from(value))),
            Whole::Decimal(_) => each::<Decimal128Type>(groups, column.as_ref(), change),
        }
    }

    /// The sum and of how many.
    pub(crate) fn get(&self, group: u32) -> (i128, u64) {
        let Sum { sum, count } = self.sums[group as usize];
        (sum, count)
    }

    fn values(&self, groups: &[u32]) -> Finished {
        let mut failed = Vec::new();
        let mut value = |(place, group): (usize, &u32), is_in_range: &dyn Fn(i128) -> bool, ty: &str| {
            let (sum, count) = self.get(*group);
            if count == 0 {
                return None;
            }
            if !is_in_range(sum) {
                failed.push((place, format!("the sum {sum} is outside {ty}")));
                return None;
            }
            Some(sum)
        };
        let groups = groups.iter().enumerate();
        let values: ArrayRef = match self.of {
            Whole::Int64 => {
                let fits = |sum| i64::try_from(sum).is_ok();
                Arc::new(groups.map(|group| value(group, &fits, "int64").map(|sum| sum as i64)).collect::<Int64Array>())
            }
            Whole::Decimal(scale) => {
                let ty = format!("decimal(38,{scale})");
                let fits = |sum: i128| sum.unsigned_abs() < 10u128.pow(38);
                let values = groups.map(|group| value(group, &fits, &ty)).collect::<Decimal128Array>();
                Arc::new(values.with_data_type(DataType::Decimal128(38, scale)))
            }
        };
        Finished { values, failed }
    }
}

impl Accumulators for WholeSums {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, Sum::default());
    }

    fn clear(&mut self, group: u32) {
        self.sums[group as usize] = Sum::default();
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        self.each(groups, argument.expect("a sum has an argument"), |sum, value| {
            // Modulo 2^128: whether it is in range is asked of the end, and what goes out may come back.
            sum.sum = sum.sum.wrapping_add(value);
            sum.count += 1;
        });
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let Sum { sum, count } = self.sums[*from as usize];
            let into = &mut self.sums[*into as usize];
            into.sum = into.sum.wrapping_add(sum);
            into.count += count;
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        match self.said {
            Said::Sum => self.values(groups),
            Said::Average { precision } => average::of_whole(self, precision, groups),
        }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let Sum { sum, count } = self.sums[group as usize];
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sums[group as usize] = Sum { sum: take_i128(bytes)?, count: take_u64(bytes)? };
        Some(())
    }
}

impl Reversible for WholeSums {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            let Sum { sum, count } = self.sums[*from as usize];
            let of = &mut self.sums[*of as usize];
            of.sum = of.sum.wrapping_sub(sum);
            of.count -= count;
        }
    }
}

/// `sum` or `avg` of float64: exact sums with the counts of what they are of.
#[derive(Debug)]
pub(crate) struct DoubleSums {
    said: Said,
    sums: ExactSums,
    counts: Vec<u64>,
}

impl DoubleSums {
    pub(crate) fn new(said: Said) -> Self {
        Self { said, sums: ExactSums::default(), counts: Vec::new() }
    }
}

impl Accumulators for DoubleSums {
    fn grow(&mut self, groups: usize) {
        self.sums.grow(groups);
        self.counts.resize(groups, 0);
    }

    fn clear(&mut self, group: u32) {
        self.sums.clear(group);
        self.counts[group as usize] = 0;
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let Self { sums, counts, .. } = self;
        each::<Float64Type>(groups, argument.expect("a sum has an argument").as_ref(), |group, value| {
            sums.add(group, value);
            counts[group as usize] += 1;
        });
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            self.sums.merge(*into, *from);
            self.counts[*into as usize] += self.counts[*from as usize];
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let value = |group: &u32| {
            let count = self.counts[*group as usize];
            (count > 0).then(|| match self.said {
                Said::Sum => self.sums.value(*group),
                // The exact sum, rounded, by the count.
                Said::Average { .. } => self.sums.value(*group) / count as f64,
            })
        };
        Finished { values: Arc::new(groups.iter().map(value).collect::<Float64Array>()), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.sums.encode(group, out);
        out.extend_from_slice(&self.counts[group as usize].to_le_bytes());
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sums.decode(group, bytes)?;
        self.counts[group as usize] = take_u64(bytes)?;
        Some(())
    }
}

impl Reversible for DoubleSums {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            self.sums.unmerge(*of, *from);
            self.counts[*of as usize] -= self.counts[*from as usize];
        }
    }
}
