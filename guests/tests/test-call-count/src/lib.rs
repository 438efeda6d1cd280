//! Answers by the number of the call, as if globals lasted: what `tidemill test` must name.

use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_sdk::{Batch, Event, Mask, rule};

/// Needs no column.
#[derive(Event)]
struct Row {}

/// Yes to every row of the instance's first call, then no and yes in turn.
#[rule(batch)]
fn call_count(batch: &Batch<Row>) -> Mask {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    Mask::all(batch.rows(), call.is_multiple_of(2))
}
