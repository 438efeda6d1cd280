//! The rule of `bench-rule`, written over columns. It shares that one's types by their source: as a library it would bring its exports along.

#[path = "../../bench-rule/src/payment.rs"]
pub mod payment;

use tidemill_sdk::column::Column;
use tidemill_sdk::{Batch, Mask, rule};

use payment::{Home, Payment};

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
    #[test]
    fn judges() {
        super::payment::check::<super::abroad>();
    }
}
