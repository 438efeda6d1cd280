//! A function of one text: how hard its bytes are to guess. What tools for intrusion detection ask of names and payloads.

use tidemill_sdk::{Config, function};

#[derive(Config)]
struct Settings {
    /// Texts shorter than this have none.
    #[config(default = 1)]
    least_bytes: i64,
}

/// Shannon entropy of a text, in bits per byte. Null where the text is shorter than `least_bytes`.
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
    fn even_texts_have_most() {
        let report = testing::function::<entropy>().run("{\"text\": \"aaaa\"}\n{\"text\": \"abcd\"}\n{\"text\": \"\"}\n{}");
        assert_eq!(report.rows, ["0", "2", "null", "null"]);
    }
}
