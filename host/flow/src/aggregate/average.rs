//! `avg`: float64 of numbers, a decimal of four more digits of decimals.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Float64Array};
use arrow_schema::DataType;

use crate::aggregate::accumulators::Finished;
use crate::aggregate::sum::{Whole, WholeSums};

/// Digits that an average of decimals has more than they have.
pub(crate) const MORE_DIGITS: u8 = 4;

/// `sum / count` with `more` digits behind the point, halves away from zero. `None`: it cannot be said in i128.
fn quotient(sum: i128, count: u64, more: u32) -> Option<i128> {
    let (sum, count) = (sum.checked_mul(10i128.pow(more))?, i128::from(count));
    let (whole, rest) = (sum / count, sum % count);
    let away = if rest.unsigned_abs() * 2 >= count.unsigned_abs() { rest.signum() } else { 0 };
    Some(whole + away)
}

/// `avg` of int64 or of a decimal, which has `precision` digits then.
pub(crate) fn of_whole(sums: &WholeSums, precision: u8, groups: &[u32]) -> Finished {
    let mut failed = Vec::new();
    let values: ArrayRef = match sums.of {
        Whole::Int64 => {
            let value = |group: &u32| {
                let (sum, count) = sums.get(*group);
                (count > 0).then(|| sum as f64 / count as f64)
            };
            Arc::new(groups.iter().map(value).collect::<Float64Array>())
        }
        Whole::Decimal(scale) => {
            let more = MORE_DIGITS.min(38 - scale as u8);
            let value = |(place, group): (usize, &u32)| {
                let (sum, count) = sums.get(*group);
                if count == 0 {
                    return None;
                }
                let value =
                    quotient(sum, count, u32::from(more)).filter(|value| value.unsigned_abs() < 10u128.pow(u32::from(precision)));
                if value.is_none() {
                    failed.push((
                        place,
                        format!("the average of a sum of {sum} is outside decimal({},{})", precision, scale + more as i8),
                    ));
                }
                value
            };
            let values = groups.iter().enumerate().map(value).collect::<Decimal128Array>();
            Arc::new(values.with_data_type(DataType::Decimal128(precision, scale + more as i8)))
        }
    };
    Finished { values, failed }
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
