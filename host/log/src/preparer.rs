//! The preparer's thread: has the journal's next file ready before the current one is full.
//!
//! ```text
//! current file ▓▓▓░░░░░░░░░  a quarter full and none free ──► make · reserve · sync names ──► zeros, piece by piece ──► free
//! ```
//! Making a file waits for the file system's own journal several times, and blocks that were never written cost each sync as much
//! again (see [`crate::journal`]): both would be waited for by every append of that moment. When this thread is too slow, or fails, the
//! writer makes the file itself, as it always could: nothing here is ever needed, and no error here is one of the log's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Core;
use crate::error::{DiskError, Poisoned};
use crate::journal::{self, JournalFile};
use crate::recovery::journal_dir;

/// Zeros are written and synced in pieces of this size: a sync of the journal beside it waits for one piece at most.
const PIECE_BYTES: u64 = 1 << 20;
/// After a failure, so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Runs until the log ends.
pub(crate) fn run(core: &Core) -> Result<(), Poisoned> {
    let settings = &core.settings;
    if settings.journal_ahead_bytes == 0 {
        return Ok(());
    }
    let files_max = settings.journal_bytes_max / settings.journal_file_bytes;
    loop {
        let slot = {
            let mut journal = core.journal.lock();
            loop {
                if core.ending.load(Ordering::Acquire) {
                    return Ok(());
                }
                if !core.space.is_full()
                    && let Some(slot) = journal.next_to_prepare(files_max)
                {
                    break slot;
                }
                core.prepare.wait(&mut journal);
            }
        };
        match prepare(core, slot) {
            Ok(Some(file)) => core.journal.lock().prepared(file),
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "a journal file could not be prepared");
                let mut journal = core.journal.lock();
                if !core.ending.load(Ordering::Acquire) {
                    core.prepare.wait_for(&mut journal, TRY_AGAIN);
                }
            }
        }
    }
}

/// A new file, all of it written once; `None` if the log ends meanwhile. What is there of the file then is used by the next life.
fn prepare(core: &Core, slot: u64) -> Result<Option<JournalFile>, DiskError> {
    let settings = &core.settings;
    let file = journal::create_file(&*core.disk, &journal_dir(&settings.dir), slot, settings.journal_file_bytes)?;
    let mut at = 0;
    while at < file.bytes {
        if core.ending.load(Ordering::Acquire) {
            return Ok(None);
        }
        let piece = PIECE_BYTES.min(file.bytes - at);
        file.write_zeros(at, at + piece)?;
        file.sync()?;
        at += piece;
    }
    Ok(Some(file))
}

/// Ends the thread.
pub(crate) fn end(core: &Core) {
    core.ending.store(true, Ordering::Release);
    // Under the lock: not between its look and its wait.
    let _journal = core.journal.lock();
    core.prepare.notify_all();
}
