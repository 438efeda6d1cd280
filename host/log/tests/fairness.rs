//! Tenants take turns: one that sends more than the disk takes waits for itself, and the others do not notice.

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{append, definition, is_journal, open, read_all, small_settings};
use tidemill_event::{StreamId, StreamName};
use tidemill_log::simulated::{Call, Gate, HookedDisk, MemoryDisk};
use tidemill_log::{Append, AppendError, Disk, Log, LogSettings, Stream};

/// A stream of a tenant.
fn stream_of(log: &Log, tenant: &str) -> Arc<Stream> {
    let name = StreamName::from_client("events").expect("a plain name");
    let id = StreamId::new(tenant.parse().expect("a plain name"), name);
    log.create_stream(&id, definition(1)).expect("a stream")
}

/// A log whose journal syncs wait while the gate is shut.
fn held(change: impl FnOnce(&mut LogSettings)) -> (Log, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let passing = Arc::clone(&gate);
    let disk = HookedDisk::over(Arc::new(MemoryDisk::default()), move |call, path| {
        if call == Call::Sync && is_journal(path) {
            passing.pass();
        }
        Ok(())
    });
    let mut settings = small_settings(Path::new("/log"));
    settings.mark_idle = Duration::from_secs(3600);
    change(&mut settings);
    (open(&settings, &disk), gate)
}

#[test]
fn a_quiet_tenant_is_in_the_next_group_however_much_another_sends() {
    const LOUD: i64 = 100;
    let (log, gate) = held(|settings| {
        settings.journal_file_bytes = 1 << 20;
        settings.journal_bytes_max = 16 << 20;
        settings.group_bytes_max = 256 << 10;
        settings.overlap_bytes = usize::MAX;
    });
    let (loud, quiet) = (stream_of(&log, "loud"), stream_of(&log, "quiet"));
    gate.shut();
    let before = log.stats().groups;
    let answers: Arc<Mutex<Vec<&str>>> = Arc::default();
    let answering = |who: &'static str, append: Append| {
        let answers = Arc::clone(&answers);
        let on_durable = move |_| answers.lock().expect("nobody panics with it").push(who);
        log.append(Append { on_durable: Some(Box::new(on_durable)), ..append }).expect("taken")
    };
    // The first one is on its way to the disk, the others wait: many groups of them.
    let mut all: Vec<_> = (0..LOUD).map(|n| answering("loud", append(&loud, 0, n * 500..(n + 1) * 500))).collect();
    while log.stats().groups < before + 1 {
        std::thread::yield_now();
    }
    all.push(answering("quiet", append(&quiet, 0, [7])));
    gate.open();
    for pending in all {
        pending.wait().expect("durable");
    }
    let groups = log.stats().groups - before;
    assert!(groups > 4, "{groups} groups are too few to tell");
    // It is in the second group: before it, there are the first group and a part of the second.
    let answers = answers.lock().expect("nobody panics with it");
    let place = answers.iter().position(|who| *who == "quiet").expect("it was answered") as u64;
    assert!(place * groups <= 3 * LOUD as u64, "answered behind {place} of {LOUD} in {groups} groups");
    assert_eq!(read_all(&quiet.partitions()[0]), [7]);
    assert_eq!(read_all(&loud.partitions()[0]), (0..50_000).collect::<Vec<_>>(), "in the order it was sent");
}

#[test]
fn a_tenant_over_its_share_of_the_queue_is_refused_and_others_are_not() {
    let (log, gate) = held(|settings| {
        settings.queue_bytes_max = 64 << 10;
        settings.tenant_queue_bytes_max = 32 << 10;
    });
    let (loud, quiet) = (stream_of(&log, "loud"), stream_of(&log, "quiet"));
    gate.shut();
    let refused = loop {
        if let Err(error) = log.append(append(&loud, 0, 0..10)) {
            break error;
        }
    };
    assert!(matches!(refused, AppendError::Overloaded(what) if what.contains("tenant")), "{refused}");
    let pending = log.append(append(&quiet, 0, 0..10)).expect("there is room for others");
    gate.open();
    pending.wait().expect("durable");
}

#[test]
fn a_tenant_over_its_share_of_memory_is_refused_until_its_rows_are_rolled() {
    let gate = Arc::new(Gate::default());
    let passing = Arc::clone(&gate);
    let disk = HookedDisk::over(Arc::new(MemoryDisk::default()), move |call, path| {
        if call == Call::Create && path.extension().is_some_and(|extension| extension == "segment") {
            passing.pass();
        }
        Ok(())
    });
    let mut settings = small_settings(Path::new("/log"));
    settings.tail_bytes_max = 512 << 10;
    settings.tenant_tail_bytes_max = 64 << 10;
    let log = open(&settings, &(disk as Arc<dyn Disk>));
    let (loud, quiet) = (stream_of(&log, "loud"), stream_of(&log, "quiet"));
    gate.shut();
    let mut next = 0;
    let refused = loop {
        match log.append(append(&loud, 0, next..next + 100)) {
            Ok(pending) => pending.wait().expect("durable"),
            Err(error) => break error,
        };
        next += 100;
    };
    assert!(matches!(refused, AppendError::Overloaded(what) if what.contains("tenant in memory")), "{refused}");
    log.append(append(&quiet, 0, 0..100)).expect("there is room for others").wait().expect("durable");
    gate.open();
    log.append_waiting(append(&loud, 0, next..next + 100)).expect("taken when rows are rolled").wait().expect("durable");
    assert_eq!(read_all(&loud.partitions()[0]), (0..next + 100).collect::<Vec<_>>());
}
