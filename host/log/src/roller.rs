//! The roller's thread: moves durable rows from tails into segments, so that journal files can be used again.
//!
//! ```text
//! write segments ─► sync them ─► sync their folder ─► note them in the journal ─► replace the manifest ─► reuse journal files
//! ```
//! A crash between any two of these leaves rows in both places, or a file nobody names: offsets say which copy to drop, and
//! opening removes the file. It needs nobody but the writer: no reader, task or sink can hold a journal file.
//!
//! When it is told to clean, it removes segments of which no row is left, and moves what is left of shared ones together.

mod compact;
mod write;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashSet;

use crate::change::{Change, SegmentMeta};
use crate::core::Core;
use crate::error::{DiskError, Poisoned};
use crate::manifest;
use crate::partition::Partition;
use crate::planted::Planted;
use crate::recovery::segment_dir;

/// While a bound is broken, the roller looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// While the disk is full, what failed is tried again after this long, and the disk is looked at.
const FULL_WAIT: Duration = Duration::from_millis(100);

pub(crate) struct Roller {
    core: Arc<Core>,
    dir: PathBuf,
    next_segment: u64,
    /// Segments with damage: they are left as they are.
    unmovable: HashSet<u64>,
    /// The first segment of the roll under way.
    attempt: u64,
    /// Segments that the manifest does not name any more, and whose files are there.
    removed: BTreeSet<u64>,
}

impl Roller {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let dir = segment_dir(&core.settings.dir);
        let next_segment = core.manifest.read().next_segment();
        Self { core, dir, next_segment, unmovable: HashSet::new(), attempt: next_segment, removed: BTreeSet::new() }
    }

    /// Runs until the log is closed or has stopped.
    pub(crate) fn run(mut self) -> Result<(), Poisoned> {
        let core = Arc::clone(&self.core);
        loop {
            let (joins, roll, clean) = {
                let mut orders = core.orders.lock();
                loop {
                    if orders.stop {
                        return Ok(());
                    }
                    let full = core.space.is_full();
                    if full && core.roll.wait_for(&mut orders, FULL_WAIT).timed_out() {
                        parking_lot::MutexGuard::unlocked(&mut orders, || core.look_at_space());
                    }
                    if orders.stop {
                        return Ok(());
                    }
                    if orders.wanted > orders.done || orders.clean || !orders.join.is_empty() {
                        break;
                    }
                    if full {
                        continue;
                    }
                    if !core.roll_is_needed() {
                        // The writer says so when a bound comes near.
                        core.roll.wait(&mut orders);
                    } else if core.roll.wait_for(&mut orders, LOOK_AGAIN).timed_out() && self.something_to_roll() {
                        orders.wanted += 1;
                    }
                }
                let clean = std::mem::take(&mut orders.clean);
                (std::mem::take(&mut orders.join), (orders.wanted > orders.done).then_some(orders.wanted), clean)
            };
            for partition in joins {
                partition.join_small();
            }
            self.attempt = self.next_segment;
            let done = match roll {
                Some(_) => self.roll(),
                None if clean => self.clean(),
                None => Ok(()),
            };
            match done {
                Ok(()) => {}
                Err(RollError::Disk(error)) if error.is_full() => {
                    self.ran_out(&error, clean);
                    continue;
                }
                Err(RollError::Disk(error)) => {
                    let why = Poisoned::Disk(error);
                    core.stop(why.clone());
                    return Err(why);
                }
                Err(RollError::Stopped) => return Ok(()),
            }
            if let Some(order) = roll {
                core.counters.rolls.fetch_add(1, Ordering::Relaxed);
                core.orders.lock().done = order;
                core.rolled.notify_all();
                core.progress.notify_all();
            }
        }
    }

    /// The disk is full: nothing of the attempt is kept, the reserve is given up, and it is tried again a little later.
    fn ran_out(&mut self, error: &DiskError, clean: bool) {
        let core = &self.core;
        let noted = core.manifest.read().next_segment();
        for number in self.attempt..self.next_segment {
            let path = core.store.path(number);
            if number >= noted && core.disk.remove(&path).is_ok() {
                tracing::debug!(path = %path.display(), "a segment that found no room is removed");
            }
        }
        core.space.ran_out(error);
        core.orders.lock().clean |= clean;
    }

    fn something_to_roll(&self) -> bool {
        self.core.manifest.read().partitions().iter().any(|partition| partition.has_unrolled())
    }

    fn roll(&mut self) -> Result<(), RollError> {
        // Read first: whatever is durable now is at or below the partitions' durable ends read after it.
        let durable = self.core.flow.lock().durable;
        let partitions = self.core.manifest.read().partitions();
        if self.core.settings.plants(Planted::RollFreesEarly) {
            let mut journal = self.core.journal.lock();
            let start = journal.start_after(durable, durable);
            journal.recycle(start);
        }
        let segments = self.write_segments(&partitions)?;
        self.settle(durable, segments, Vec::new())?;
        self.evict(&partitions);
        Ok(())
    }

    /// Removes what nobody needs any more from the disk.
    fn clean(&mut self) -> Result<(), RollError> {
        let (added, moved) = self.compact()?;
        if moved.is_empty() && self.removed.is_empty() && self.removable().is_empty() {
            return Ok(());
        }
        self.settle(0, added, moved)
    }

    /// Notes new segments, and those whose rows are in them or gone, makes the manifest say so too, and lets files go: journal
    /// files whose groups are all at or below `rolled`, and segments.
    fn settle(&mut self, rolled: u64, added: Vec<SegmentMeta>, moved: Vec<u64>) -> Result<(), RollError> {
        let core = Arc::clone(&self.core);
        // A snapshot that is being taken has its segments and journal files: neither changes until it is.
        let _settling = core.settling.lock();
        let mut removed = self.removable();
        removed.extend(moved);
        removed.sort_unstable();
        removed.dedup();
        // Added first: a row is never in no segment.
        let mut changes: Vec<Change> = added.into_iter().map(Change::SegmentAdded).collect();
        changes.extend(removed.iter().map(|segment| Change::SegmentRemoved { segment: *segment }));
        if !changes.is_empty() {
            core.change_durably(changes).map_err(|_| RollError::Stopped)?;
        }
        // From here on a restart does not ask for them, whatever happens to the manifest. This makes room for it on a full disk.
        self.removed.extend(removed);
        self.remove()?;
        let start = {
            let now = core.flow.lock().durable;
            core.journal.lock().start_after(rolled, now)
        };
        let (covers, snapshot) = {
            let manifest = core.manifest.read();
            (manifest.covers, manifest.snapshot(start))
        };
        // A snapshot of what a crash could still take back would hide the changes that come in its place.
        if !core.settings.plants(Planted::ManifestAhead) {
            core.wait_durable(covers).map_err(|_| RollError::Stopped)?;
        }
        // Only now: they are remembered when they are durable.
        let snapshot = snapshot.finish(&core.requests.lock());
        manifest::replace(&*core.disk, &core.settings.dir, &snapshot)?;
        {
            let mut journal = core.journal.lock();
            journal.recycle(start);
            core.counters.live_files.store(journal.live_files(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Segments whose rows were all trimmed.
    fn removable(&self) -> Vec<u64> {
        let manifest = self.core.manifest.read();
        let trimmed = |segment: &&SegmentMeta| {
            segment.parts.iter().all(|part| {
                manifest.partition(part.stream, part.partition).is_none_or(|partition| partition.trim_point().0 >= part.end)
            })
        };
        manifest.segments.values().filter(trimmed).map(|segment| segment.number).collect()
    }

    fn remove(&mut self) -> Result<(), RollError> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let pinned: HashSet<u64> = self.core.pinned.lock().keys().copied().collect();
        let removed: Vec<u64> = self.removed.iter().copied().filter(|segment| !pinned.contains(segment)).collect();
        for segment in removed {
            self.core.store.forget(segment);
            let path = self.core.store.path(segment);
            self.core.disk.remove(&path).map_err(DiskError::new("remove", &path))?;
            self.removed.remove(&segment);
        }
        self.core.disk.sync_dir(&self.dir).map_err(DiskError::new("sync", &self.dir))?;
        Ok(())
    }

    /// Makes room in memory: rows of earlier rolls go first, the newest stay for readers that are only a little behind; and those
    /// of the tenant that has most in memory before those of others.
    fn evict(&self, partitions: &[Arc<Partition>]) {
        let tails = &self.core.store.tails;
        let mut partitions: Vec<_> = partitions.iter().collect();
        partitions.sort_by_cached_key(|partition| Reverse(partition.tails().bytes.load(Ordering::Relaxed)));
        for all in [false, true] {
            for partition in &partitions {
                if tails.bytes.load(Ordering::Relaxed) * 2 <= self.core.settings.tail_bytes_max {
                    return;
                }
                partition.evict(all);
            }
        }
    }
}

/// Why a roll did not end.
enum RollError {
    Disk(DiskError),
    /// The log has stopped or is closing.
    Stopped,
}

impl From<DiskError> for RollError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}
