//! The rule the benches measure: one number, two texts, nothing remembered. The host's benches compile the same function
//! natively, which is why this is a library too.

use tidemill_sdk::{Config, Event, rule};

/// A payment.
#[derive(Event)]
pub struct Payment<'a> {
    /// How much.
    pub amount: f64,
    /// Where it was made.
    pub country: &'a str,
    /// How it ended.
    pub status: &'a str,
}

/// Where home is.
#[derive(Config)]
pub struct Home {
    /// The country.
    #[config(default = "AT")]
    pub home: String,
}

/// Successful payments over a thousand from abroad.
#[rule]
pub fn abroad(payment: &Payment, config: &Home) -> bool {
    payment.amount > 1000.0 && payment.country != config.home && payment.status == "ok"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges() {
        let report = tidemill_sdk::testing::rule::<abroad>().config(r#"{"home": "US"}"#).run(
            r#"
            {"amount": 1000.5, "country": "AT", "status": "ok"}
            {"amount": 1000.0, "country": "AT", "status": "ok"}
            {"amount": 1000.5, "country": "US", "status": "ok"}
            {"amount": 1000.5, "country": "AT", "status": "declined"}
        "#,
        );
        assert_eq!(report.verdicts, [true, false, false, false]);
    }
}
