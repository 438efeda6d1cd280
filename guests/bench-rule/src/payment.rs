//! What `bench-rule` and `bench-batch` judge, and what both must answer: the same rule in two forms.

use tidemill_sdk::{Config, Event};

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

/// Whether a rule judges as it should.
#[cfg(test)]
pub fn check<R: tidemill_sdk::rule::Rule>() {
    let report = tidemill_sdk::testing::rule::<R>().config(r#"{"home": "US"}"#).run(
        r#"
        {"amount": 1000.5, "country": "AT", "status": "ok"}
        {"amount": 1000.0, "country": "AT", "status": "ok"}
        {"amount": 1000.5, "country": "US", "status": "ok"}
        {"amount": 1000.5, "country": "AT", "status": "declined"}
    "#,
    );
    assert_eq!(report.verdicts, [true, false, false, false]);
}
