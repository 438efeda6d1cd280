//! The crash tests can fail: with an acknowledgement planted before the sync, they find lost rows.
//! `cargo test --release -p tidemill-log --features planted-early-ack --test planted`
#![cfg(feature = "planted-early-ack")]

mod support;

use support::life::{Ledger, judge, live, prepared_disk};

#[test]
fn an_early_acknowledgement_is_found() {
    let found = (0..200u64).find_map(|seed| {
        let below = prepared_disk();
        let mut ledger = Ledger::default();
        let lived = live(&below, &mut ledger, seed, 40 + seed);
        lived.and_then(|()| judge(&below, &ledger)).err().map(|error| (seed, error))
    });
    let (seed, error) = found.expect("200 power cuts lost no row that was acknowledged before its sync");
    assert!(error.contains("acknowledged rows") || error.contains("the stream is lost"), "seed {seed}: {error}");
}
