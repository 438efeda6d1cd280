//! Durations and sizes as the contract writes them: an integer and `ms s m h d`, an integer and `KiB MiB GiB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn write(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor) && (value > 0 || *factor == 1);
    let (unit, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

/// `7d`, `500ms`; more than nothing.
pub(super) fn read_duration(text: &str) -> Option<Duration> {
    read(text, &DURATIONS).filter(|millis| *millis > 0).map(Duration::from_millis)
}

pub(super) fn write_duration(duration: Duration) -> String {
    write(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
}

/// `10GiB`; bytes without a larger unit as `123B`.
pub(super) fn read_size(text: &str) -> Option<u64> {
    read(text, &SIZES).filter(|bytes| *bytes > 0)
}

pub(super) fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES)
}
