//! A function for expressions: how hard is a text to guess?

use tidemill_sdk::{Config, function};

/// The function's `config`.
#[derive(Config)]
struct Settings {
    #[config(default = 1)]
    least_bytes: i64,
}

/// Bits per byte of a text; null where it is shorter than `least_bytes`. An argument that may be missing is an `Option`; where any other
/// is null, nobody asks, and the value is null.
#[function]
fn entropy(text: &str, config: &Settings) -> Option<f64> {
    if (text.len() as i64) < config.least_bytes {
        return None;
    }
    let mut counts = [0u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let share = |count: &u32| f64::from(*count) / text.len() as f64;
    Some(counts.iter().filter(|count| **count > 0).map(share).map(|share| share * (1.0 / share).log2()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn names_that_machines_make_are_harder_to_guess() {
        let report = testing::function::<entropy>().run(include_str!("../events.ndjson"));
        let bits: Vec<f64> = report.rows.iter().map(|value| value.parse().unwrap()).collect();
        assert!(bits[0] < 3.0 && bits[1] > 4.0, "{bits:?}");
    }
}
