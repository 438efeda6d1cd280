//! Which thread does what: a small group is synced by who wrote it, and the writer finds its next file ready.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use support::{append, events, is_journal, open, read_all, small_settings};
use tidemill_log::simulated::{Call, HookedDisk, MemoryDisk};
use tidemill_log::{Disk, Log, LogSettings, Stream};

/// Calls on journal files: what, and by which thread of the log.
type Calls = Arc<Mutex<Vec<(Call, String)>>>;

fn watched(change: impl FnOnce(&mut LogSettings)) -> (Log, Arc<Stream>, Calls) {
    let calls = Calls::default();
    let noting = Arc::clone(&calls);
    let disk = HookedDisk::over(Arc::new(MemoryDisk::default()), move |call, path| {
        if is_journal(path) {
            noting.lock().push((call, thread::current().name().unwrap_or_default().to_owned()));
        }
        Ok(())
    });
    let mut settings = small_settings(Path::new("/log"));
    settings.mark_idle = Duration::from_secs(3600);
    change(&mut settings);
    let log = open(&settings, &(disk as Arc<dyn Disk>));
    let stream = events(&log, 1);
    calls.lock().clear();
    (log, stream, calls)
}

/// Who made calls of that kind.
fn callers(calls: &Calls, kind: Call) -> Vec<String> {
    calls.lock().iter().filter(|(call, _)| *call == kind).map(|(_, caller)| caller.clone()).collect()
}

fn fill(log: &Log, stream: &Arc<Stream>, ids: std::ops::Range<i64>) {
    for id in ids {
        log.append(append(stream, 0, [id])).expect("taken").wait().expect("durable");
    }
}

#[test]
fn a_small_group_is_synced_by_who_wrote_it_and_a_large_one_is_not() {
    let (log, stream, calls) = watched(|_| {});
    fill(&log, &stream, 0..3);
    assert_eq!(callers(&calls, Call::Sync), ["log-writer"; 3]);
    let (log, stream, calls) = watched(|settings| settings.overlap_bytes = 1);
    fill(&log, &stream, 0..3);
    assert_eq!(callers(&calls, Call::Sync), ["log-syncer"; 3], "another group may be written meanwhile");
}

#[test]
fn the_next_file_is_ready_before_it_is_needed() {
    let (log, stream, calls) = watched(|settings| settings.journal_file_bytes = 32 << 10);
    // A group of one row is a sector: a quarter of the file is full after these.
    fill(&log, &stream, 0..20);
    let began = Instant::now();
    // It is synced when it is made, and again when it is full of zeros.
    while callers(&calls, Call::Sync).iter().filter(|caller| *caller == "log-preparer").count() < 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "no file is prepared");
        thread::yield_now();
    }
    // That call has begun: what is left is to put the file where the writer looks.
    thread::sleep(Duration::from_millis(200));
    fill(&log, &stream, 20..70);
    assert!(log.stats().journal_bytes > 32 << 10, "the second file is in use");
    let made_by = callers(&calls, Call::Create);
    assert!(made_by.iter().all(|caller| caller == "log-preparer"), "the writer made none: {made_by:?}");
    assert_eq!(read_all(&stream.partitions()[0]), (0..70).collect::<Vec<_>>());
}
