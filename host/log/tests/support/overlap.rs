//! Two groups on their way to the disk at once, of which the second alone lands; then another life over the place of the first.
//!
//! ```text
//! written, not synced    │ A │ B │ C │        a power cut tears B
//! the next life          │ A │ B'│ C │        C stands where the group behind B' would, with the right number
//! ```

use std::sync::Arc;

use tidemill_log::simulated::{Call, Gate, HookedDisk, MemoryDisk};
use tidemill_log::{Disk, Log, Planted};

use super::{append, events, is_journal, open, read_all};

const SECTOR: usize = 512;

/// `Err` if a group of the first life shows in the second. Row `n` is the rows of group `n`.
pub fn an_old_group_behind_a_new_one(planted: Option<Planted>) -> Result<(), String> {
    let mut settings = super::life::settings(planted);
    settings.overlap_bytes = 1;
    // Zeros ahead of the second life's groups would hide the one that must be recognised.
    settings.journal_ahead_bytes = 0;
    settings.mark_idle = std::time::Duration::from_secs(3600);
    let platter = Arc::new(MemoryDisk::default());
    let gate = Arc::new(Gate::default());
    let passing = Arc::clone(&gate);
    let gated = HookedDisk::over(Arc::clone(&platter) as Arc<dyn Disk>, move |call, path| {
        if call == Call::Sync && is_journal(path) {
            passing.pass();
        }
        Ok(())
    });
    let torn = {
        let log = open(&settings, &gated);
        let stream = events(&log, 1);
        log.append(append(&stream, 0, [1])).expect("taken").wait().expect("durable");
        let journal = platter.paths().into_iter().find(|path| is_journal(path)).expect("a journal file");
        let before = platter.bytes(&journal);
        gate.shut();
        let written = |groups: usize| {
            let sectors = |bytes: &[u8]| bytes.chunks(SECTOR).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (before, now) = (sectors(&before), sectors(&platter.bytes(&journal)));
            let differ: Vec<usize> = (0..now.len()).filter(|at| before[*at] != now[*at]).collect();
            (differ.len() == groups).then_some(differ)
        };
        let mut differ = None;
        for (groups, id) in [(1, 2), (2, 3)] {
            // Each its own group: the first is being synced when the second is written.
            drop(log.append(append(&stream, 0, [id])).expect("taken"));
            while differ.is_none() {
                differ = written(groups);
                std::thread::yield_now();
            }
            differ = if groups == 2 { differ } else { None };
        }
        let torn = platter.copy();
        gate.open();
        let first = differ.expect("two sectors")[0] * SECTOR;
        torn.change(&journal, |bytes| bytes[first..first + SECTOR].fill(0));
        Arc::new(torn)
    };
    let torn: Arc<dyn Disk> = torn;
    let log = open(&settings, &torn);
    log.append(append(&events(&log, 1), 0, [4])).expect("taken").wait().expect("durable");
    // As a kill would leave it: nothing of a clean stop may help.
    std::mem::forget(log);
    let log = Log::open(settings, torn).map_err(|error| error.to_string())?;
    let found = read_all(&events(&log, 1).partitions()[0]);
    if found == [1, 4] { Ok(()) } else { Err(format!("a group of another life joins: rows {found:?}, and should be [1, 4]")) }
}
