//! Times from JSON: RFC 3339 texts by a short path, the rarer forms by chrono; numbers of a unit. Digits beyond µs are cut.

use super::number::{Unfit, fixed};
use crate::{EventTime, TimeUnit};

/// µs of an RFC 3339 text; `None` if it is none.
#[inline]
pub(crate) fn rfc3339(text: &[u8]) -> Option<i64> {
    short_form(text).or_else(|| Some(EventTime::parse_rfc3339(std::str::from_utf8(text).ok()?)?.0))
}

/// `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)` without leap seconds; `None` is "ask chrono".
fn short_form(text: &[u8]) -> Option<i64> {
    let two = |at: usize| -> Option<i64> {
        let (tens, ones) = (text.get(at)?.wrapping_sub(b'0'), text.get(at + 1)?.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut micros = 0;
    if text[at] == b'.' {
        let first = at + 1;
        let mut scale = 100_000;
        at = first;
        while let Some(byte @ b'0'..=b'9') = text.get(at) {
            micros += i64::from(byte - b'0') * scale;
            scale /= 10;
            at += 1;
        }
        if at == first {
            return None;
        }
    }
    let offset_minutes = match text.get(at)? {
        b'Z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && text[at + 3] == b':' => {
            let (hours, minutes) = (two(at + 1)?, two(at + 4)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// µs of a number of `unit`; `None` if `text` is no number.
pub(crate) fn number_of(text: &[u8], unit: TimeUnit) -> Option<Result<i64, Unfit>> {
    let scale = match unit {
        TimeUnit::Seconds => 6,
        TimeUnit::Millis => 3,
        TimeUnit::Micros => 0,
    };
    Some(fixed(text, scale, true)?.and_then(|micros| i64::try_from(micros).map_err(|_| Unfit::Range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_paths_agree_with_chrono() {
        for text in [
            "2017-12-10T06:55:46Z",
            "2000-02-29T23:59:59.9999999Z",
            "1900-02-28T00:00:00Z",
            "1969-12-31T23:59:59.000001+02:30",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999-23:59",
            "2017-12-10t06:55:46z",
            "2016-12-31T23:59:60Z",
            "1900-02-29T00:00:00Z",
            "2017-13-10T06:55:46Z",
            "2017-12-10T24:55:46Z",
            "2017-12-10T06:55:46",
            "2017-12-10T06:55:46.Z",
            "2017-12-10T06:55:46+0100",
            "2017-12-10T06:55:46+24:00",
            "2017-12-10",
            "",
        ] {
            assert_eq!(rfc3339(text.as_bytes()), EventTime::parse_rfc3339(text).map(|time| time.0), "{text}");
        }
    }

    #[test]
    fn digits_beyond_micros_are_cut() {
        assert_eq!(number_of(b"1.2345678", TimeUnit::Seconds), Some(Ok(1_234_567)));
        assert_eq!(number_of(b"-1.2345678", TimeUnit::Millis), Some(Ok(-1234)));
        assert_eq!(number_of(b"1.5e9", TimeUnit::Seconds), Some(Ok(1_500_000_000_000_000)));
        assert_eq!(number_of(b"1e15", TimeUnit::Seconds), Some(Err(Unfit::Range)));
        assert_eq!(number_of(b"9223372036854775808", TimeUnit::Micros), Some(Err(Unfit::Range)));
        assert_eq!(number_of(b"x", TimeUnit::Micros), None);
    }
}
