//! Key bytes whose order is the order of the keys, column by column: nulls first, then values.
//!
//! ```text
//! per column:  00                              null
//!              01 value                        bool: one byte · int64, timestamp: 8 bytes, big-endian, sign turned · decimal: 16 bytes so
//!                                              float64: 8 bytes, big-endian; negative: all bits turned, else the sign; -0.0 is 0.0, every NaN one
//!              01 bytes.. 00 00                string, bytes, json: 00 is written as 00 ff
//! ```
//! Stored with checkpoints; a range of them is a range of keys, so that a scan of the state store meets keys in the order they leave in.

const SIGN: u64 = 1 << 63;

/// A number whose unsigned order is the signed one.
pub(crate) fn ordered_int(value: i64) -> u64 {
    value as u64 ^ SIGN
}

/// The number again.
pub(crate) fn plain_int(ordered: u64) -> i64 {
    (ordered ^ SIGN) as i64
}

/// Bits whose unsigned order is that of the numbers; NaN is the greatest.
pub(crate) fn ordered_float(value: f64) -> u64 {
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number again.
pub(crate) fn plain_float(ordered: u64) -> f64 {
    f64::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN })
}

pub(crate) fn put_null(out: &mut Vec<u8>) {
    out.push(0);
}

pub(crate) fn put_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&[1, u8::from(value)]);
}

pub(crate) fn put_int(value: i64, out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(&ordered_int(value).to_be_bytes());
}

pub(crate) fn put_float(value: f64, out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(&ordered_float(value).to_be_bytes());
}

/// A double bit by bit: for rows, not for keys.
pub(crate) fn put_exact_float(value: f64, out: &mut Vec<u8>) {
    let bits = value.to_bits();
    out.push(1);
    out.extend_from_slice(&(if bits & SIGN == 0 { bits | SIGN } else { !bits }).to_be_bytes());
}

pub(crate) fn put_decimal(value: i128, out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(&(value as u128 ^ 1 << 127).to_be_bytes());
}

pub(crate) fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    out.push(1);
    let mut rest = value;
    while let Some(at) = memchr_zero(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0, 0xff]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

fn memchr_zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

/// Whether a value follows; moves behind the byte that says so. `None`: these are no key bytes.
pub(crate) fn take_presence(bytes: &mut &[u8]) -> Option<bool> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    match first {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

pub(crate) fn take_bool(bytes: &mut &[u8]) -> Option<bool> {
    // The same two bytes as a presence.
    take_presence(bytes)
}

pub(crate) fn take_int(bytes: &mut &[u8]) -> Option<i64> {
    Some(plain_int(u64::from_be_bytes(*take_fixed(bytes)?)))
}

pub(crate) fn take_float(bytes: &mut &[u8]) -> Option<f64> {
    Some(plain_float(u64::from_be_bytes(*take_fixed(bytes)?)))
}

pub(crate) fn take_decimal(bytes: &mut &[u8]) -> Option<i128> {
    Some((u128::from_be_bytes(*take_fixed(bytes)?) ^ 1 << 127) as i128)
}

pub(crate) fn take_bytes(bytes: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    loop {
        let at = memchr_zero(bytes)?;
        out.extend_from_slice(&bytes[..at]);
        let follows = *bytes.get(at + 1)?;
        *bytes = &bytes[at + 2..];
        match follows {
            0 => return Some(()),
            0xff => out.push(0),
            _ => return None,
        }
    }
}

fn take_fixed<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(put: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    proptest! {
        #[test]
        fn the_order_of_bytes_is_the_order_of_values(a: i64, b: i64, c: i128, d: i128, x: f64, y: f64, s in "[\\x00\\x01a]{0,4}", t in "[\\x00\\x01a]{0,4}") {
            prop_assert_eq!(bytes_of(|out| put_int(a, out)).cmp(&bytes_of(|out| put_int(b, out))), a.cmp(&b));
            prop_assert_eq!(bytes_of(|out| put_decimal(c, out)).cmp(&bytes_of(|out| put_decimal(d, out))), c.cmp(&d));
            if let Some(order) = x.partial_cmp(&y) {
                prop_assert_eq!(bytes_of(|out| put_float(x, out)).cmp(&bytes_of(|out| put_float(y, out))), order);
            }
            // Two columns: the second counts only where the first is the same.
            let pair = |text: &str, number| bytes_of(|out| { put_bytes(text.as_bytes(), out); put_int(number, out); });
            prop_assert_eq!(pair(&s, a).cmp(&pair(&t, b)), (&s, a).cmp(&(&t, b)));
        }

        #[test]
        fn values_read_back(a: i64, c: i128, x: f64, flag: bool, text: Vec<u8>) {
            let all = bytes_of(|out| { put_null(out); put_int(a, out); put_decimal(c, out); put_float(x, out); put_bool(flag, out); put_bytes(&text, out); });
            let mut rest = &all[..];
            let mut read = Vec::new();
            prop_assert_eq!(take_presence(&mut rest), Some(false));
            prop_assert_eq!(take_presence(&mut rest).and_then(|_| take_int(&mut rest)), Some(a));
            prop_assert_eq!(take_presence(&mut rest).and_then(|_| take_decimal(&mut rest)), Some(c));
            let again = take_presence(&mut rest).and_then(|_| take_float(&mut rest)).expect("a number");
            prop_assert!(again == x || again.is_nan() && x.is_nan());
            prop_assert_eq!(take_presence(&mut rest).and_then(|_| take_bool(&mut rest)), Some(flag));
            prop_assert_eq!(take_presence(&mut rest).and_then(|_| take_bytes(&mut rest, &mut read)), Some(()));
            prop_assert_eq!((read, rest.len()), (text, 0));
        }
    }
}
