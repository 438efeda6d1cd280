//! The rule of `bench-rule`, written over columns.

use tidemill_sdk::column::Column;
use tidemill_sdk::{Batch, Config, Event, Mask, rule};

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
#[rule(batch)]
pub fn abroad(batch: &Batch<Payment>, config: &Home) -> Mask {
    let rows = batch.rows();
    batch.amount.test(rows, |amount| amount > 1000.0)
        & batch.country.test(rows, |country| country != config.home)
        & batch.status.test(rows, |status| status == "ok")
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
