//! Steps that let some rows of a key go: those too close behind others, and those that a lot did not fall on.
//!
//! ```text
//! dedupe: {by: [id], within: 1h}         at most 1 row of a key in any hour            Limit of one row
//! rate: {by: [user], limit: 100, per: 1m} at most 100 rows of a key in any minute      Limit
//! sample: {rate: 0.1, by: [user]}        all rows of a tenth of the keys               Sample
//! ```

mod limit;
mod passed;
mod sample;

#[cfg(test)]
mod limit_tests;

pub use limit::{Limit, LimitSettings};
pub use sample::{Sample, SampleRefused};
