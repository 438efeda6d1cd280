//! A rule that works some 15 ns a row for its answer: a sample of payments by a hash of the amount, in eight rounds. The host's benches
//! have the same function natively.

use tidemill_sdk::{Event, rule};

/// A payment.
#[derive(Event)]
struct Payment {
    amount: f64,
}

/// One payment in sixteen.
#[rule]
fn sampled(payment: &Payment) -> bool {
    mixed(payment.amount.to_bits()) % 16 == 0
}

/// Eight rounds of a mixer of 64 bits.
fn mixed(mut bits: u64) -> u64 {
    for _ in 0..8 {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_about_one_in_sixteen() {
        let rows: String = (0..1_000).map(|n| format!("{{\"amount\": {n}}}\n")).collect();
        let report = tidemill_sdk::testing::rule::<sampled>().run(&rows);
        let taken = report.verdicts.iter().filter(|yes| **yes).count();
        assert!((30..100).contains(&taken), "{taken} of 1,000");
    }
}
