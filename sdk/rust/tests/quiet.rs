//! What the macros make never warns, whoever denies warnings: events with private fields, read row by row, as questions to columns or as
//! whole columns.

#![deny(warnings)]

use tidemill_sdk::column::Column;
use tidemill_sdk::{Batch, Config, Event, Mask, rule, testing};

#[derive(Event)]
struct Payment<'a> {
    amount: f64,
    country: &'a str,
    status: Option<&'a str>,
}

#[derive(Config)]
struct Settings {
    #[config(default = "AT")]
    home: String,
}

mod whole {
    use super::*;

    /// Nobody but the rule over columns has a use for it.
    #[derive(Event)]
    struct Amount {
        amount: f64,
    }

    #[rule(batch)]
    fn columns(batch: &Batch<Amount>) -> Mask {
        batch.amount.test(batch.rows(), |amount| amount > 10.0)
    }

    #[test]
    fn judges() {
        assert_eq!(testing::rule::<columns>().run(ROWS).verdicts, [true, true, false]);
    }
}

mod asked {
    use super::*;

    #[rule]
    pub(crate) fn questions(payment: &Payment, settings: &Settings) -> bool {
        payment.amount > 10.0 && payment.country != settings.home
    }
}

mod each {
    use super::*;

    #[rule]
    pub(crate) fn rows(payment: &Payment) -> bool {
        let declined = payment.status.is_some_and(|status| status == "declined");
        payment.amount > 10.0 && !declined
    }
}

const ROWS: &str = r#"
    {"amount": 11, "country": "AT", "status": "ok"}
    {"amount": 11, "country": "DE", "status": "declined"}
    {"amount": 9, "country": "DE"}
"#;

#[test]
fn rules_over_rows_judge() {
    assert_eq!(testing::rule::<asked::questions>().run(ROWS).verdicts, [false, true, false]);
    assert_eq!(testing::rule::<each::rows>().run(ROWS).verdicts, [true, false, false]);
}
