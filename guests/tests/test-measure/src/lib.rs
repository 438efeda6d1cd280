//! Counts rows by country, keeps the largest amount and the spread of amounts; says yes to all but negative amounts, at which it fails
//! after it has counted.

use tidemill_sdk::{Event, metrics, rule};

/// A payment.
#[derive(Event)]
struct Payment<'a> {
    amount: f64,
    country: &'a str,
}

/// Measures every row, and fails at a negative amount.
#[rule]
fn measure(payment: &Payment) -> bool {
    metrics::counter("payments").label("country", payment.country).add(1.0);
    metrics::gauge("last_amount").set(payment.amount);
    metrics::histogram("amount").record(payment.amount);
    // Never taken: the name is none.
    metrics::counter("Not-A-Name").add(1.0);
    assert!(payment.amount >= 0.0, "asked to fail");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_can_be_read_in_a_test() {
        let rows =
            "{\"amount\": 1, \"country\": \"AT\"}\n{\"amount\": 3, \"country\": \"IT\"}\n{\"amount\": 2, \"country\": \"AT\"}";
        tidemill_sdk::testing::rule::<measure>().run(rows);
        let measured = tidemill_sdk::testing::measured();
        assert_eq!(measured["counter payments country=AT"], [2.0]);
        assert_eq!(measured["gauge last_amount"], [2.0]);
        assert_eq!(measured["histogram amount"], [1.0, 3.0, 2.0]);
    }
}
