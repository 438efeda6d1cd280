//! Sketches: small summaries of many values, with stated bounds. They merge, and but for the frequent values say the same in whatever order.

mod frequent;
mod hash;
mod hyper_log_log;
mod quantiles;
mod recent;

#[cfg(test)]
mod exact_tests;

pub(crate) use frequent::Frequent;
pub(crate) use hash::stable_hash;
pub(crate) use hyper_log_log::HyperLogLog;
pub(crate) use quantiles::Quantiles;
pub use recent::RecentQuantiles;
