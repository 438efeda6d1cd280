//! What benches of whole steps measure by.

use std::hint::black_box;
use std::time::Duration;

use criterion::Bencher;
use rustix::time::{ClockId, clock_gettime};

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
