//! A snapshot taken while the log works opens elsewhere with everything that was durable before, and disturbs nobody.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use support::{definition, events, frame, open, read_all, rows, small_settings, stream_id};
use tidemill_event::Offset;
use tidemill_log::simulated::MemoryDisk;
use tidemill_log::{Append, Disk, DiskFile, Log, LogSettings, RequestMark, Snapshot, SnapshotContent, verify};

fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 32 << 10;
    settings.journal_roll_bytes = 128 << 10;
    settings.segment_own_bytes = 8 << 10;
    settings
}

/// Copies a snapshot into an empty disk.
fn restore(snapshot: &Snapshot, from: &MemoryDisk) -> Arc<MemoryDisk> {
    let to = Arc::new(MemoryDisk::default());
    for file in snapshot.files() {
        let bytes = match &file.content {
            SnapshotContent::Bytes(bytes) => bytes.clone(),
            SnapshotContent::File { path, bytes } => from.bytes(path)[..*bytes as usize].to_vec(),
        };
        let made: Arc<dyn DiskFile> = to.create(&Path::new("/log").join(&file.name)).expect("made");
        made.write_at(0, &bytes).expect("written");
    }
    to
}

fn take(log: &Log, append: Append) {
    log.append_waiting(append).expect("taken").wait().expect("durable");
}

#[test]
fn what_was_durable_is_in_it_while_the_log_goes_on() {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
    let stream = events(&log, 2);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let writer = {
        let (log, stream) = (log.clone(), Arc::clone(&stream));
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        thread::spawn(move || {
            for round in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let ids = round * 5..(round + 1) * 5;
                // The same rows in both partitions: an entry is in a snapshot wholly or not at all.
                let mark = RequestMark {
                    stream: Arc::clone(&stream),
                    writer: "producer:p".into(),
                    sequence: Some(round as u64),
                    rows: 5,
                    accepted: 5,
                    answer: Some(b"five"[..].into()),
                };
                let frames = vec![frame(&stream, 0, rows(ids.clone())), frame(&stream, 1, rows(ids))];
                take(&log, Append { requests: vec![mark], ..Append::atomic(frames) });
                acknowledged.store((round + 1) * 5, Ordering::SeqCst);
            }
        })
    };
    for number in 1..9 {
        while acknowledged.load(Ordering::SeqCst) < number * 500 {
            thread::yield_now();
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let snapshot = log.snapshot().expect("taken");
        let cut: Vec<u64> = stream.partitions().iter().map(|partition| snapshot.cut().end(partition.key()).0).collect();
        assert!(cut.iter().all(|end| *end as i64 >= before), "{cut:?} of {before}");
        // Much happens before it is copied: rows, rolls, removals.
        let target = acknowledged.load(Ordering::SeqCst) + 1_000;
        while acknowledged.load(Ordering::SeqCst) < target {
            thread::yield_now();
        }
        let copy = restore(&snapshot, &disk);
        drop(snapshot);
        let copy = copy as Arc<dyn Disk>;
        assert_eq!(verify(Path::new("/log"), &copy).expect("readable").faults, []);
        let restored = open(&settings(), &copy);
        let there = restored.stream(&stream_id("events")).expect("known");
        let found: Vec<Vec<i64>> = there.partitions().iter().map(|partition| read_all(partition)).collect();
        assert!(found[0].len() as u64 >= cut[0], "{} of {}", found[0].len(), cut[0]);
        assert_eq!(found[0], found[1], "entries are whole");
        assert_eq!(found[0], (0..found[0].len() as i64).collect::<Vec<_>>());
        let last = found[0].len() as u64 / 5;
        assert!(restored.request(&there, "producer:p", Some(last - 1)).seen().is_some(), "requests come along");
        assert!(restored.request(&there, "producer:p", Some(last)).seen().is_none());
        // It is a log like any other.
        take(&restored, support::append(&there, 0, [-1]));
        assert_eq!(read_all(&there.partitions()[0]).last(), Some(&-1));
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().expect("acknowledged");
    let left: Vec<PathBuf> = disk.paths().into_iter().filter(|path| path.to_string_lossy().contains("snapshot-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn files_that_a_snapshot_names_stay_until_it_is_dropped() {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&settings(), &(Arc::clone(&disk) as Arc<dyn Disk>));
    let brief = log.create_stream(&stream_id("brief"), definition(1)).expect("a stream");
    take(&log, support::append(&brief, 0, 0..500));
    let snapshot = log.snapshot().expect("taken");
    log.trim(brief.partitions()[0].key(), Offset(500)).expect("trimmed");
    log.delete_stream(&stream_id("brief")).expect("deleted");
    log.roll().expect("rolled");
    let copy = restore(&snapshot, &disk);
    let restored = open(&settings(), &(copy as Arc<dyn Disk>));
    let there = restored.stream(&stream_id("brief")).expect("it was there");
    assert_eq!(read_all(&there.partitions()[0]).len(), 500);
    let segments = || disk.paths().iter().filter(|path| path.extension().is_some_and(|extension| extension == "segment")).count();
    assert_eq!(segments(), 1);
    drop(snapshot);
    for _ in 0..1_000 {
        if segments() == 0 {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the segment stays though nobody needs it");
}
