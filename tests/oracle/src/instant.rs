//! RFC 3339 to microseconds since 1970 and nothing else of a calendar: results have times as text, expected rows as milliseconds.

/// Microseconds of `2001-02-03T04:05:06[.789][Z|+01:00]`; `None` if the text is no such thing. Digits beyond µs are cut.
pub(crate) fn micros(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (whole(parts.next()?, 4)?, whole(parts.next()?, 2)?, whole(parts.next()?, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) = (whole(parts.next()?, 2)?, whole(parts.next()?, 2)?, whole(parts.next()?, 2)?);
    let offset_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let offset = whole(hours, 2)? * 60 + whole(minutes, 2)?;
            if zone.starts_with('-') { -offset } else { offset }
        }
    };
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000_000 + whole(&digits, 6)?)
}

fn whole(text: &str, digits: usize) -> Option<i128> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01, by years that begin in March: leap days are the last of theirs.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[track_caller]
    fn check(text: &str, expected: Option<i128>) {
        assert_eq!(micros(text), expected, "{text}");
    }

    #[test]
    fn texts_and_instants() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1969-12-31T23:59:59.999999Z", Some(-1));
        check("2000-02-29T12:00:00Z", Some(951_825_600_000_000));
        check("2001-01-01T01:00:00.5+01:00", Some(978_307_200_500_000));
        check("2000-12-31T22:30:00.1234567-01:30", Some(978_307_200_123_456));
        check("2018-02-01 00:00:00Z", Some(1_517_443_200_000_000));
        check("2018-02-01", None);
        check("LAS", None);
        check("2018-13-01T00:00:00Z", None);
    }
}
