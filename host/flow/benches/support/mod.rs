//! What benches of whole steps measure by, and the rows that those of patterns go through.

#![allow(dead_code, reason = "each bench is a program of its own and uses some of it")]

use std::hint::black_box;
use std::time::Duration;

use criterion::Bencher;
use rustix::time::{ClockId, clock_gettime};

pub(crate) mod patterns;
pub(crate) mod payments;

/// Measures CPU time of this thread: the same on a busy machine.
pub(crate) fn cpu(bencher: &mut Bencher<'_>, mut routine: impl FnMut() -> usize) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    bencher.iter_custom(|count| {
        let begun = now();
        (0..count).for_each(|_| {
            black_box(routine());
        });
        now() - begun
    });
}

/// A number that looks random (splitmix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
