//! Durations and sizes as they are written (contract §1): an integer and `ms s m h d`, an integer and `KiB MiB GiB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `500ms`, `7d`; `None` if it is not written like that or too large.
pub fn duration(text: &str) -> Option<Duration> {
    read(text, &DURATIONS).map(Duration::from_millis)
}

/// Bytes: `10GiB`; `None` if it is not written like that or too large.
pub fn size(text: &str) -> Option<u64> {
    read(text, &SIZES)
}

/// In the largest unit that says it exactly; what is below a millisecond is cut.
pub fn write_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    write(millis, &DURATIONS).unwrap_or_else(|| format!("{millis}ms"))
}

/// In the largest unit that says it exactly, or as `123B`.
pub fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES).unwrap_or_else(|| format!("{bytes}B"))
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|any: char| !any.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn write(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let fits = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    units.iter().rev().find(fits).map(|(unit, factor)| format!("{}{unit}", value / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nothing_else() {
        assert_eq!(duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "5", "ms", "1.5s", "-1s", "5 s", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(size("3MiB"), Some(3 << 20));
        assert_eq!(size("3MB"), None);
    }

    #[test]
    fn the_largest_exact_unit_is_written() {
        let durations = [(0, "0ms"), (1_500, "1500ms"), (60_000, "1m"), (90_000, "90s"), (7 * 86_400_000, "7d")];
        for (millis, text) in durations {
            assert_eq!(write_duration(Duration::from_millis(millis)), text);
        }
        for (bytes, text) in [(0, "0B"), (1_025, "1025B"), (3 << 20, "3MiB"), (2_048 << 20, "2GiB")] {
            assert_eq!(write_size(bytes), text);
        }
    }
}
