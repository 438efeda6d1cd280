//! A fixed-point number wide enough for any sum of doubles: 2,176 bits, two's complement, the lowest bit worth 2^-1074.
//!
//! ```text
//! bit    0                  1074                2098           2175
//!        2^-1074 (smallest) 1                   2^1024         sign       64 bits and more of room above the greatest double
//! ```
//! Adding is exact, so the number is a function of what was added, in whatever order. It is rounded when it is read.

const WORDS: usize = 34;

/// The number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wide([u64; WORDS]);

impl Wide {
    pub(crate) const ZERO: Self = Self([0; WORDS]);

    /// Adds a finite double.
    pub(crate) fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        // A number of exponent 0 has no hidden bit and stands where one of exponent 1 does.
        let (mantissa, place) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let (word, shift) = (place / 64, place % 64);
        let spread = u128::from(mantissa) << shift;
        let (low, high) = (spread as u64, (spread >> 64) as u64);
        if bits >> 63 == 0 { self.carry(word, low, high) } else { self.borrow(word, low, high) }
    }

    fn carry(&mut self, word: usize, low: u64, high: u64) {
        let (sum, mut carried) = self.0[word].overflowing_add(low);
        self.0[word] = sum;
        let mut rest = high;
        for place in &mut self.0[word + 1..] {
            let (sum, first) = place.overflowing_add(rest);
            let (sum, second) = sum.overflowing_add(u64::from(carried));
            *place = sum;
            carried = first || second;
            rest = 0;
            if !carried {
                break;
            }
        }
    }

    fn borrow(&mut self, word: usize, low: u64, high: u64) {
        let (rest, mut borrowed) = self.0[word].overflowing_sub(low);
        self.0[word] = rest;
        let mut rest = high;
        for place in &mut self.0[word + 1..] {
            let (left, first) = place.overflowing_sub(rest);
            let (left, second) = left.overflowing_sub(u64::from(borrowed));
            *place = left;
            borrowed = first || second;
            rest = 0;
            if !borrowed {
                break;
            }
        }
    }

    /// Adds another.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut carried = false;
        for (place, word) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = place.overflowing_add(word);
            let (sum, second) = sum.overflowing_add(u64::from(carried));
            *place = sum;
            carried = first || second;
        }
    }

    /// The nearest double, ties to even; infinite where doubles end.
    pub(crate) fn value(&self) -> f64 {
        let is_negative = self.0[WORDS - 1] >> 63 == 1;
        let magnitude = if is_negative { self.negated() } else { self.clone() };
        let value = magnitude.magnitude();
        if is_negative { -value } else { value }
    }

    pub(crate) fn negated(&self) -> Self {
        let mut words = self.0.map(|word| !word);
        for word in &mut words {
            let (sum, carried) = word.overflowing_add(1);
            *word = sum;
            if !carried {
                break;
            }
        }
        Self(words)
    }

    fn magnitude(&self) -> f64 {
        let Some(top) = self.0.iter().rposition(|word| *word != 0) else { return 0.0 };
        let highest = top * 64 + 63 - self.0[top].leading_zeros() as usize;
        if highest < 53 {
            // What fits into the lowest doubles, which have these very bits.
            return f64::from_bits(self.0[0]);
        }
        let place = highest - 52;
        let (word, shift) = (place / 64, place % 64);
        let above = if word + 1 < WORDS { self.0[word + 1] } else { 0 };
        let mantissa = ((u128::from(above) << 64 | u128::from(self.0[word])) >> shift) as u64 & ((1 << 53) - 1);
        let half_at = place - 1;
        let half = self.0[half_at / 64] >> (half_at % 64) & 1 == 1;
        let below =
            self.0[..half_at / 64].iter().any(|word| *word != 0) || self.0[half_at / 64] & ((1 << (half_at % 64)) - 1) != 0;
        let up = half && (below || mantissa & 1 == 1);
        // The hidden bit adds one to the exponent, and so does a carry out of the mantissa.
        let bits = ((place as u64) << 52) + mantissa + u64::from(up);
        if bits >= 0x7ff << 52 { f64::INFINITY } else { f64::from_bits(bits) }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut words = [0; WORDS];
        for word in &mut words {
            let (head, rest) = bytes.split_first_chunk::<8>()?;
            *word = u64::from_le_bytes(*head);
            *bytes = rest;
        }
        Some(Self(words))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut wide = Wide::ZERO;
        values.iter().for_each(|value| wide.add(*value));
        wide.value()
    }

    #[test]
    fn sums_that_doubles_lose() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0]), 1.0);
        assert_eq!(sum(&[1.0, f64::EPSILON / 2.0, 5e-324]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[-1.0, -f64::EPSILON / 2.0, -5e-324]), -1.0 - f64::EPSILON);
        assert_eq!(sum(&[]), 0.0);
    }

    proptest! {
        #[test]
        fn one_double_is_itself(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            prop_assert_eq!(sum(&[value]), value);
        }

        /// Halves of integers are exact in i128: the same number, rounded the same way.
        #[test]
        fn sums_are_those_of_integers(values in proptest::collection::vec((any::<i32>(), 0u32..50), 0..40)) {
            let doubles: Vec<f64> = values.iter().map(|(value, power)| f64::from(*value) * 2f64.powi(*power as i32)).collect();
            let exact: i128 = values.iter().map(|(value, power)| i128::from(*value) << power).sum();
            prop_assert_eq!(sum(&doubles), exact as f64);
            let (mut first, mut second) = (Wide::ZERO, Wide::ZERO);
            doubles.iter().enumerate().for_each(|(at, value)| if at % 2 == 0 { first.add(*value) } else { second.add(*value) });
            first.merge(&second);
            prop_assert_eq!(first.value(), exact as f64);
            let mut bytes = Vec::new();
            first.encode(&mut bytes);
            prop_assert_eq!(Wide::decode(&mut &bytes[..]), Some(first.clone()));
            doubles.iter().for_each(|value| first.add(-value));
            prop_assert_eq!(first, Wide::ZERO);
        }
    }
}
