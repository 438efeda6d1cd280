//! Exact decimal numbers: a 128-bit integer and a fixed number of digits behind the point.

use std::fmt;

/// A number of at most `PRECISION` digits, `SCALE` of them behind the point: `Decimal<12, 2>` holds 1234567890.12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal<const PRECISION: u8, const SCALE: u8>(i128);

impl<const PRECISION: u8, const SCALE: u8> Decimal<PRECISION, SCALE> {
    /// The number that is `units` of the last digit: 1 is 0.01 for a scale of 2.
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// How many units of the last digit it is.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// A whole number; `None` if it has too many digits.
    pub fn from_integer(number: i64) -> Option<Self> {
        let units = i128::from(number).checked_mul(10i128.pow(u32::from(SCALE)))?;
        (units.unsigned_abs() < 10u128.pow(u32::from(PRECISION))).then_some(Self(units))
    }

    /// Reads `-12.50`. `None` for anything but digits with at most one point, or more digits than fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || part.len() > usize::from(SCALE) || (part.is_empty() && digits.contains('.')) {
            return None;
        }
        let padding = usize::from(SCALE) - part.len();
        let mut units: i128 = 0;
        for digit in whole.bytes().chain(part.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
            units = units.checked_mul(10)?.checked_add(i128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))?;
        }
        (units.unsigned_abs() < 10u128.pow(u32::from(PRECISION))).then_some(Self(if negative { -units } else { units }))
    }
}

impl<const PRECISION: u8, const SCALE: u8> fmt::Display for Decimal<PRECISION, SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u128.pow(u32::from(SCALE));
        let units = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", units / unit)?;
        if SCALE > 0 {
            write!(f, ".{:0width$}", units % unit, width = usize::from(SCALE))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in ["0.00", "-12.50", "999.99"] {
            assert_eq!(Decimal::<5, 2>::parse(text).map(|d| d.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Decimal::<5, 2>::parse("7").map(Decimal::units), Some(700));
        for text in ["", "-", "1.", ".5", "1.234", "1000.00", "1e2", "+1"] {
            assert_eq!(Decimal::<5, 2>::parse(text), None, "{text}");
        }
        assert_eq!(Decimal::<5, 2>::from_integer(-3).map(Decimal::units), Some(-300));
        assert_eq!(Decimal::<5, 2>::from_integer(1000), None);
        assert_eq!(Decimal::<3, 0>::from_units(-42).to_string(), "-42");
    }
}
