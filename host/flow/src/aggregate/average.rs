//! `avg`: float64 of numbers, a decimal of four more digits of decimals.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Float64Array};
use arrow_schema::DataType;

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::sum::{DoubleSums, Whole, WholeSums};

/// Digits that an average of decimals has more than they have.
pub(crate) const MORE_DIGITS: u8 = 4;

/// `avg` of int64 or of a decimal.
#[derive(Debug)]
pub(crate) struct AverageOfWhole {
    sums: WholeSums,
    of: Whole,
    /// Digits of a decimal average.
    precision: u8,
}

impl AverageOfWhole {
    pub(crate) fn new(of: Whole, precision: u8) -> Self {
        Self { sums: WholeSums::new(of), of, precision }
    }
}

/// `sum / count` with `more` digits behind the point, halves away from zero. `None`: it cannot be said in i128.
fn quotient(sum: i128, count: u64, more: u32) -> Option<i128> {
    let (sum, count) = (sum.checked_mul(10i128.pow(more))?, i128::from(count));
    let (whole, rest) = (sum / count, sum % count);
    let away = if rest.unsigned_abs() * 2 >= count.unsigned_abs() { rest.signum() } else { 0 };
    Some(whole + away)
}

impl Accumulators for AverageOfWhole {
    fn grow(&mut self, groups: usize) {
        self.sums.grow(groups);
    }

    fn clear(&mut self, group: u32) {
        self.sums.clear(group);
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        self.sums.update(groups, argument.expect("avg has an argument"));
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        self.sums.merge(pairs);
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let mut failed = Vec::new();
        let values: ArrayRef = match self.of {
            Whole::Int64 => {
                let value = |group: &u32| {
                    let (sum, count) = self.sums.get(*group);
                    (count > 0).then(|| sum as f64 / count as f64)
                };
                Arc::new(groups.iter().map(value).collect::<Float64Array>())
            }
            Whole::Decimal(scale) => {
                let more = MORE_DIGITS.min(38 - scale as u8);
                let value = |(place, group): (usize, &u32)| {
                    let (sum, count) = self.sums.get(*group);
                    if count == 0 {
                        return None;
                    }
                    let value = quotient(sum, count, u32::from(more))
                        .filter(|value| value.unsigned_abs() < 10u128.pow(u32::from(self.precision)));
                    if value.is_none() {
                        failed.push((
                            place,
                            format!(
                                "the average of a sum of {sum} is outside decimal({},{})",
                                self.precision,
                                scale + more as i8
                            ),
                        ));
                    }
                    value
                };
                let values = groups.iter().enumerate().map(value).collect::<Decimal128Array>();
                Arc::new(values.with_data_type(DataType::Decimal128(self.precision, scale + more as i8)))
            }
        };
        Finished { values, failed }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.sums.encode(group, out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sums.decode(group, bytes)
    }
}

impl Reversible for AverageOfWhole {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        self.sums.subtract(pairs);
    }
}

/// `avg` of float64: the exact sum, rounded, by the count.
#[derive(Debug, Default)]
pub(crate) struct AverageOfDoubles(DoubleSums);

impl Accumulators for AverageOfDoubles {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn clear(&mut self, group: u32) {
        self.0.clear(group);
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        self.0.update(groups, argument.expect("avg has an argument"));
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        self.0.merge(pairs);
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let DoubleSums { sums, counts } = &self.0;
        let value = |group: &u32| {
            let count = counts[*group as usize];
            (count > 0).then(|| sums.value(*group) / count as f64)
        };
        Finished { values: Arc::new(groups.iter().map(value).collect::<Float64Array>()), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.0.encode(group, out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.0.decode(group, bytes)
    }
}

impl Reversible for AverageOfDoubles {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        self.0.subtract(pairs);
    }
}

#[cfg(test)]
mod tests {
    use super::quotient;

    #[test]
    fn halves_go_away_from_zero() {
        let four = |sum, count| quotient(sum, count, 4).expect("in range");
        assert_eq!(
            [four(1, 3), four(2, 3), four(-2, 3), four(1, 20_000), four(-1, 20_000), four(-1, 20_001)],
            [3333, 6667, -6667, 1, -1, 0]
        );
        assert_eq!(quotient(i128::MAX, 1, 4), None);
    }
}
