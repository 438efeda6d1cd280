//! One sync makes durable whatever was written before it began, and only then is anything acknowledged.
//!
//! Under load this is a thread's work, so that the next group can be written meanwhile. A small group that is alone is synced by the writer
//! itself: to hand it over and to be told costs two switches between threads, as much as the sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::core::{Core, WrittenGroup, fail_group};
use crate::error::{DiskError, Poisoned};
use crate::planted::Planted;
use crate::stats::SYNC_BUCKETS;

/// Runs until everything written is on disk and the writer has ended, or the log has stopped.
pub(crate) fn run(core: &Core) -> Result<(), Poisoned> {
    loop {
        let groups: Vec<WrittenGroup> = {
            let mut flow = core.flow.lock();
            while flow.written.is_empty() {
                if flow.stopped.is_some() {
                    return Ok(());
                }
                core.written.wait(&mut flow);
            }
            flow.written.drain(..).collect()
        };
        settle(core, groups)?;
    }
}

/// Makes groups durable, and tells everybody. They are the oldest ones that are not.
pub(crate) fn settle(core: &Core, mut groups: Vec<WrittenGroup>) -> Result<(), Poisoned> {
    if let Err(error) = sync(core, &groups)
        && !core.settings.plants(Planted::SyncErrorIgnored)
    {
        // What the kernel has of these groups is unknown, and asking again would not tell.
        let why = Poisoned::Disk(error);
        core.stop(why.clone());
        for group in groups {
            fail_group(group, &why);
        }
        return Err(why);
    }
    let (count, last) = (groups.len(), groups.last().map_or((0, (0, 0)), |group| (group.number, group.end)));
    core.publish(&mut groups);
    {
        let mut flow = core.flow.lock();
        flow.in_flight -= count;
        if last.0 > flow.durable {
            (flow.durable, flow.durable_end) = last;
        }
        core.work.notify_one();
        core.progress.notify_all();
    }
    core.tell(&mut groups);
    Ok(())
}

/// Syncs every file the groups are in, in order: a group counts only when those before it do.
fn sync(core: &Core, groups: &[WrittenGroup]) -> Result<(), DiskError> {
    let mut last = None;
    for group in groups {
        if last.is_some_and(|file| Arc::ptr_eq(file, &group.file)) {
            continue;
        }
        let began = Instant::now();
        group.file.sync()?;
        count(core, began.elapsed());
        last = Some(&group.file);
    }
    Ok(())
}

fn count(core: &Core, time: Duration) {
    let counters = &core.counters;
    counters.syncs.fetch_add(1, Ordering::Relaxed);
    counters.sync_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    let bucket = SYNC_BUCKETS.iter().position(|bound| time <= *bound).unwrap_or(SYNC_BUCKETS.len());
    counters.sync_latency[bucket].fetch_add(1, Ordering::Relaxed);
}
