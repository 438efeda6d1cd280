//! Numbers from JSON text: integers and floats by short paths, decimals and times exactly, digit by digit.

use super::syntax::{Checked, SyntaxKind, expected, fault, number_end};

/// Why a number does not fit where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A fraction or an exponent where an integer is declared.
    NotInteger,
    /// More digits behind the point than the scale has.
    Digits,
    /// Beyond what the type can hold.
    Range,
}

const INTEGER_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The digits that eight bytes begin with: their value, and how many they are. Without a branch on how many, which nobody could
/// predict.
#[inline(always)]
fn eight(bytes: [u8; 8]) -> (u64, usize) {
    let digits = u64::from_le_bytes(bytes).wrapping_sub(0x3030_3030_3030_3030);
    // A byte below `0` borrows, one above `9` overflows into its high bit: the lowest mark is the first byte that is no digit.
    let marks = (digits | digits.wrapping_add(0x7676_7676_7676_7676)) & 0x8080_8080_8080_8080;
    let count = marks.trailing_zeros() / 8;
    // The digits move to the high end, as if zeros stood before them; then pairs, fours and all eight are joined.
    let digits = digits.unbounded_shl(64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, count as usize)
}

/// The digits that 24 bytes have from `at` (0 or 1) on: their value, and how many they are; `None` if they are more than 16.
#[inline(always)]
fn sixteen(window: &[u8; WINDOW_BYTES], at: usize) -> Option<(u64, usize)> {
    let (value, count) = eight(*window[at..].first_chunk()?);
    if count < 8 {
        return Some((value, count));
    }
    let (more, more_count) = eight(*window[at + 8..].first_chunk()?);
    (more_count < 8).then_some((value * INTEGER_POWERS[more_count] + more, 8 + more_count))
}

/// What a short number is read from: a sign, 16 digits, a point in between, and what follows.
const WINDOW_BYTES: usize = 24;

/// Whether a number that begins there and has so many digits before its point is one: no zero leads, and it has a digit at all.
#[inline(always)]
fn is_whole(first: u8, count: usize) -> bool {
    (count > 0) & ((first != b'0') | (count == 1))
}

/// Whether the number ends before this byte: no point, exponent or digit. What else may not stand there is found next.
#[inline(always)]
fn may_follow(byte: u8) -> bool {
    byte <= b',' || byte == b'}'
}

/// An integer of at most 15 digits that `rest` begins with, and what is behind it. `None` says only that it is written otherwise, or
/// too near to the end of the text.
#[inline(always)]
pub(crate) fn short_integer(rest: &[u8]) -> Option<(i64, &[u8])> {
    let window = rest.first_chunk::<WINDOW_BYTES>()?;
    let first = usize::from(window[0] == b'-');
    let (value, count) = sixteen(window, first)?;
    if !is_whole(window[first], count) || !may_follow(window[first + count]) {
        return None;
    }
    let value = value as i64;
    Some((if first == 1 { -value } else { value }, &rest[first + count..]))
}

/// A number of at most 8 digits before its point and 7 behind it that `rest` begins with.
struct Short<'a> {
    is_negative: bool,
    /// All digits without the point.
    digits: u64,
    behind_point: usize,
    /// What is behind the number.
    rest: &'a [u8],
}

/// See [`Short`]. `None` says only that the number is written otherwise, or too near to the end of the text.
#[inline(always)]
fn short(rest: &[u8]) -> Option<Short<'_>> {
    let window = rest.first_chunk::<WINDOW_BYTES>()?;
    let first = usize::from(window[0] == b'-');
    let (whole, count) = eight(*window[first..].first_chunk()?);
    let mut end = first + count;
    let (mut digits, mut behind_point) = (whole, 0);
    if window[end] == b'.' {
        let (fraction, fraction_count) = eight(*window[end + 1..].first_chunk()?);
        if fraction_count == 0 || fraction_count == 8 {
            return None;
        }
        digits = whole * INTEGER_POWERS[fraction_count] + fraction;
        behind_point = fraction_count;
        end += 1 + fraction_count;
    }
    if !is_whole(window[first], count) || !may_follow(window[end]) {
        return None;
    }
    Some(Short { is_negative: first == 1, digits, behind_point, rest: &rest[end..] })
}

/// What is behind the number that `rest` begins with, if it is a [`Short`] one.
#[inline(always)]
pub(crate) fn short_end(rest: &[u8]) -> Option<&[u8]> {
    short(rest).map(|short| short.rest)
}

/// A float that most columns hold, nearest to the text, and what is behind it.
#[inline(always)]
pub(crate) fn short_float(rest: &[u8]) -> Option<(f64, &[u8])> {
    let short = short(rest)?;
    // At most 15 digits, and so both they and the power of ten are exact doubles: one division rounds correctly.
    let value = short.digits as i64 as f64 / POWERS[short.behind_point];
    Some((if short.is_negative { -value } else { value }, short.rest))
}

/// A number without an exponent times `10^scale`, if it has no more digits behind its point, and what is behind it.
#[inline(always)]
pub(crate) fn short_decimal(rest: &[u8], scale: u8) -> Option<(i128, &[u8])> {
    let short = short(rest)?;
    let exponent = usize::from(scale).checked_sub(short.behind_point)?;
    let power = match INTEGER_POWERS.get(exponent) {
        Some(power) => i128::from(*power),
        None => 10i128.checked_pow(exponent as u32)?,
    };
    let value = i128::from(short.digits).checked_mul(power)?;
    Some((if short.is_negative { -value } else { value }, short.rest))
}

/// Digits from `at` on, behind those of `value` (wrapping beyond 19 digits): the value, and the place behind them.
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    (value, at)
}

/// An int64 at `at` (a digit or a minus), and the place behind it.
pub(crate) fn int64(bytes: &[u8], at: usize) -> Checked<(Result<i64, Unfit>, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (value, end) = digits(bytes, first, 0);
    if end == first || (bytes[first] == b'0' && end > first + 1) {
        return expected(bytes, if end == first { end } else { first }, SyntaxKind::Number);
    }
    if matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return Ok((Err(Unfit::NotInteger), number_end(bytes, at)?));
    }
    if end - first <= 18 {
        return Ok((Ok(if negative { -(value as i64) } else { value as i64 }), end));
    }
    Ok((lexical_core::parse(&bytes[at..end]).map_err(|_| Unfit::Range), end))
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

/// A float64 at `at` (a digit or a minus), nearest to the text, and the place behind it.
pub(crate) fn float64(bytes: &[u8], at: usize) -> Checked<(Result<f64, Unfit>, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (mut value, mut end) = digits(bytes, first, 0);
    if end == first || (bytes[first] == b'0' && end > first + 1) {
        return expected(bytes, if end == first { end } else { first }, SyntaxKind::Number);
    }
    let mut count = end - first;
    let mut behind_point = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end;
        (value, end) = digits(bytes, point + 1, value);
        behind_point = end - point - 1;
        if behind_point == 0 {
            return expected(bytes, end, SyntaxKind::Number);
        }
        count += behind_point;
    }
    // Both the digits and the power of ten are exact doubles here, so that one division rounds correctly.
    if count <= 19 && value < 1 << 53 && behind_point <= 22 && !matches!(bytes.get(end), Some(b'e' | b'E')) {
        let value = value as f64 / POWERS[behind_point];
        return Ok((Ok(if negative { -value } else { value }), end));
    }
    slow_float64(bytes, at)
}

#[cold]
fn slow_float64(bytes: &[u8], at: usize) -> Checked<(Result<f64, Unfit>, usize)> {
    let end = number_end(bytes, at)?;
    match lexical_core::parse::<f64>(&bytes[at..end]) {
        Ok(value) if value.is_finite() => Ok((Ok(value), end)),
        Ok(_) => Ok((Err(Unfit::Range), end)),
        Err(_) => fault(at, SyntaxKind::Number),
    }
}

/// The number `text` times `10^scale`, exactly; digits further behind are cut if `cut`, else they do not fit.
///
/// `text` is a whole JSON number; `None` if it is none.
pub(crate) fn fixed(text: &[u8], scale: u8, cut: bool) -> Option<Result<i128, Unfit>> {
    if number_end(text, 0) != Ok(text.len()) {
        return None;
    }
    let negative = text[0] == b'-';
    // The value is `mantissa * 10^exponent`; zeros wait until a digit follows them, so that trailing ones never overflow.
    let (mut mantissa, mut exponent, mut zeros, mut significant) = (0i128, 0i64, 0u32, 0u32);
    let (mut behind_point, mut lost) = (false, false);
    let mut at = usize::from(negative);
    while let Some(byte) = text.get(at) {
        match byte {
            b'.' => behind_point = true,
            b'e' | b'E' => break,
            byte => {
                exponent -= i64::from(behind_point);
                match byte - b'0' {
                    0 => zeros += u32::from(mantissa != 0),
                    digit if significant + zeros < 38 => {
                        mantissa = mantissa * 10i128.pow(zeros + 1) + i128::from(digit);
                        significant += zeros + 1;
                        zeros = 0;
                    }
                    _ => {
                        zeros += 1;
                        lost = true;
                    }
                }
            }
        }
        at += 1;
    }
    exponent += i64::from(zeros);
    if at < text.len() {
        let sign = if text[at + 1] == b'-' { -1 } else { 1 };
        let digits = text[at + 1..].iter().filter(|byte| byte.is_ascii_digit());
        let written = digits.fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000_000));
        exponent += sign * written;
    }
    let shift = exponent + i64::from(scale);
    let value = if mantissa == 0 {
        0
    } else if shift >= 0 {
        let power = u32::try_from(shift).ok().and_then(|shift| 10i128.checked_pow(shift));
        match power.and_then(|power| mantissa.checked_mul(power)) {
            Some(value) => value,
            None => return Some(Err(Unfit::Range)),
        }
    } else {
        let power = u32::try_from(-shift).ok().and_then(|shift| 10i128.checked_pow(shift));
        let (whole, rest) = power.map_or((0, mantissa), |power| (mantissa / power, mantissa % power));
        if rest != 0 && !cut {
            return Some(Err(Unfit::Digits));
        }
        whole
    };
    if lost && !cut {
        return Some(Err(Unfit::Digits));
    }
    Some(Ok(if negative { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length() {
        for text in
            ["0", "-0", "7", "12345678", "1512888946000", "999999999999999999", "9223372036854775807", "-9223372036854775808"]
        {
            let (value, end) = int64(text.as_bytes(), 0).expect("a number");
            let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            assert_eq!((value, end), (Ok(number.parse().expect("an int64")), number.len()), "{text}");
        }
        assert_eq!(int64(b"9223372036854775808", 0).expect("a number").0, Err(Unfit::Range));
        assert_eq!(int64(b"18446744073709551617", 0).expect("a number").0, Err(Unfit::Range));
        assert_eq!(int64(b"1.0", 0), Ok((Err(Unfit::NotInteger), 3)));
        assert!(int64(b"01", 0).is_err());
        assert!(int64(b"-", 0).is_err());
    }

    #[test]
    fn fixed_point_is_exact() {
        let fits = |text: &str, scale, cut| fixed(text.as_bytes(), scale, cut).expect("a number");
        assert_eq!(fits("12.5", 2, false), Ok(1250));
        assert_eq!(fits("12.500", 2, false), Ok(1250));
        assert_eq!(fits("12.501", 2, false), Err(Unfit::Digits));
        assert_eq!(fits("12.509", 2, true), Ok(1250));
        assert_eq!(fits("-1e3", 2, false), Ok(-100_000));
        assert_eq!(fits("1e-2", 2, false), Ok(1));
        assert_eq!(fits("0e999999999999", 2, false), Ok(0));
        assert_eq!(fits("1e99", 2, false), Err(Unfit::Range));
        assert_eq!(fits("1.5e-99", 2, true), Ok(0));
        assert_eq!(fits("100000000000000000000000000000000000000000000000000e-40", 0, false), Ok(10_000_000_000));
        assert_eq!(fits("0.00000000000000000000000000000000000000000000000009", 0, true), Ok(0));
        assert_eq!(fits("1.0000000000000000000000000000000000000000000000009", 6, true), Ok(1_000_000));
        assert_eq!(fixed(b"abc", 2, false), None);
        assert_eq!(fixed(b"+1", 2, false), None);
    }
}
