//! The rule the benches measure: one number, two texts, nothing remembered. The host's benches have the same function natively.

pub mod payment;

use tidemill_sdk::rule;

use payment::{Home, Payment};

/// Successful payments over a thousand from abroad.
#[rule]
pub fn abroad(payment: &Payment, config: &Home) -> bool {
    payment.amount > 1000.0 && payment.country != config.home && payment.status == "ok"
}

#[cfg(test)]
mod tests {
    #[test]
    fn judges() {
        super::payment::check::<super::abroad>();
    }
}
