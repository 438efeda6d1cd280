//! A disk that refuses: after a failed write or sync nothing is acknowledged, the failure is heard, and a restart loses nothing
//! that was acknowledged before it.

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::{append, events, is_journal, open, read_all, small_settings};
use tidemill_log::simulated::{Call, HookedDisk, MemoryDisk};
use tidemill_log::{AppendError, Disk, LogSettings, Poisoned};

fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 16 << 10;
    settings.journal_bytes_max = 256 << 10;
    settings
}

/// Works until the `fatal`-th call that fits fails (and all after it). How many acknowledgements came, and whether it failed at all.
fn life(below: &Arc<MemoryDisk>, error: io::ErrorKind, fatal: u64, fits: fn(Call, &Path) -> bool) -> (i64, bool) {
    let calls = Arc::new(AtomicU64::new(u64::MAX / 2));
    let counting = Arc::clone(&calls);
    let disk = HookedDisk::over(Arc::clone(below) as Arc<dyn Disk>, move |call, path| {
        if fits(call, path) && counting.fetch_add(1, Ordering::SeqCst) + 1 >= u64::MAX / 2 + 1_000_000 {
            return Err(error.into());
        }
        Ok(())
    });
    let log = open(&settings(), &disk);
    let stream = events(&log, 2);
    calls.store(u64::MAX / 2 + 1_000_000 - fatal, Ordering::SeqCst);
    let (mut acknowledged, mut failed) = (0, false);
    for id in 0..60i64 {
        let answer = log.append(append(&stream, 0, id * 10..id * 10 + 10)).map(tidemill_log::Pending::wait);
        match answer {
            Ok(Ok(_)) => {
                assert!(!failed, "acknowledged after a failure");
                acknowledged += 1;
            }
            Ok(Err(Poisoned::Disk(_))) | Err(AppendError::Poisoned(Poisoned::Disk(_))) => failed = true,
            other => panic!("{other:?}"),
        }
        if id % 20 == 19 && log.roll().is_err() {
            failed = true;
        }
    }
    if failed {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let heard = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), log.failed()).await });
        assert!(matches!(heard, Ok(Poisoned::Disk(_))), "the failure is heard");
        assert!(log.put_documents(vec![("a".into(), None)]).is_err());
        assert!(log.close().is_err());
    } else {
        // What is left is the mark of a clean stop.
        failed = log.close().is_err();
    }
    (acknowledged, failed)
}

fn every_call(error: io::ErrorKind, fits: fn(Call, &Path) -> bool) {
    for (failures, fatal) in (1..200).enumerate() {
        let below = Arc::new(MemoryDisk::default());
        let (acknowledged, failed) = life(&below, error, fatal, fits);
        let log = open(&settings(), &(Arc::clone(&below) as Arc<dyn Disk>));
        let stream = events(&log, 2);
        let found = read_all(&stream.partitions()[0]);
        assert!(
            found.len() as i64 >= acknowledged * 10,
            "call {fatal}: {} rows of {acknowledged} acknowledged appends",
            found.len()
        );
        assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
        if !failed {
            assert!(failures > 3, "only {failures} calls could fail");
            return;
        }
    }
    panic!("199 failures, and still calls left: the loop is too short");
}

#[test]
fn every_sync_fails_once() {
    every_call(io::ErrorKind::Other, |call, _| matches!(call, Call::Sync | Call::SyncDir));
}

#[test]
fn every_write_fails_once() {
    every_call(io::ErrorKind::Other, |call, _| matches!(call, Call::Write | Call::Preallocate | Call::Create));
}

#[test]
fn every_name_change_fails_once() {
    // Journal files are made rarely: segments and the manifest are what is left.
    every_call(io::ErrorKind::Other, |call, path| {
        !is_journal(path) && matches!(call, Call::Create | Call::Rename | Call::SyncDir)
    });
}
