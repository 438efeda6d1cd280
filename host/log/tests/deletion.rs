//! A deleted stream is gone for readers, writers and the disk; its name may be used again, its number never.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::{append, definition, events, open, read_all, small_settings, stream_id};
use tidemill_event::{EventTime, Offset};
use tidemill_log::simulated::MemoryDisk;
use tidemill_log::{Append, AppendError, Disk, Log, LogSettings, ReadError, RequestMark, RequestState, StreamError, Visibility};

fn disk() -> (Arc<MemoryDisk>, Arc<dyn Disk>) {
    let memory = Arc::new(MemoryDisk::default());
    (Arc::clone(&memory), memory as Arc<dyn Disk>)
}

/// Journal files that hold five thousand rows in one entry.
fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 256 << 10;
    settings.journal_bytes_max = 4 << 20;
    settings.journal_roll_bytes = 2 << 20;
    settings
}

fn segments(disk: &MemoryDisk) -> usize {
    disk.paths().iter().filter(|path| path.extension().is_some_and(|extension| extension == "segment")).count()
}

fn take(log: &Log, append: Append) {
    log.append(append).expect("taken").wait().expect("durable");
}

/// Waits for the roller.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what}: not within two seconds");
}

#[test]
fn a_deleted_stream_is_gone_and_its_name_is_free() {
    let (memory, disk) = disk();
    let settings = settings();
    let log = open(&settings, &disk);
    let other = log.create_stream(&stream_id("other"), definition(1)).expect("a stream");
    let stream = events(&log, 2);
    take(&log, append(&stream, 0, 0..100));
    take(&log, append(&other, 0, 0..3));
    log.roll().expect("rolled");
    let mark = RequestMark {
        stream: Arc::clone(&stream),
        writer: "key:a".into(),
        sequence: None,
        rows: 1,
        accepted: 1,
        answer: Some(b"one"[..].into()),
    };
    take(&log, Append { requests: vec![mark], ..append(&stream, 1, 0..100) });
    log.delete_stream(&stream_id("events")).expect("deleted");
    assert!(matches!(log.delete_stream(&stream_id("events")), Err(StreamError::Missing(_))));

    assert!(stream.is_deleted() && log.stream(&stream_id("events")).is_none());
    for partition in stream.partitions() {
        let read = partition.read(Offset::ZERO, support::ALL, Visibility::Durable);
        assert!(matches!(read, Err(ReadError::Deleted(_))), "{read:?}");
    }
    assert!(matches!(log.append(append(&stream, 0, [1])), Err(AppendError::Deleted(_))));

    let again = events(&log, 1);
    assert_eq!((again.is_deleted(), read_all(&again.partitions()[0])), (false, vec![]));
    assert_eq!(log.request(&again, "key:a", None), RequestState::New, "requests are the old stream's");
    take(&log, append(&again, 0, 500..503));
    let check = |log: &Log| {
        let again = log.stream(&stream_id("events")).expect("known");
        let other = log.stream(&stream_id("other")).expect("known");
        assert_eq!(read_all(&again.partitions()[0]), [500, 501, 502]);
        assert_eq!(read_all(&other.partitions()[0]), [0, 1, 2]);
        assert_eq!((again.partitions().len(), log.request(&again, "key:a", None)), (1, RequestState::New));
    };
    check(&log);
    drop((log, stream, again, other));
    let log = open(&settings, &disk);
    check(&log);
    log.roll().expect("rolled");
    drop(log);
    let log = open(&settings, &disk);
    check(&log);
    // The highest number was a deleted stream's: it is not given again, also when no manifest names it.
    let last = log.create_stream(&stream_id("last"), definition(1)).expect("a stream");
    take(&log, append(&last, 0, 0..10));
    log.delete_stream(&stream_id("last")).expect("deleted");
    log.roll().expect("rolled");
    drop((log, last));
    let log = open(&settings, &disk);
    let last = log.create_stream(&stream_id("last"), definition(1)).expect("a stream");
    drop((log, last));
    let log = open(&settings, &disk);
    let last = log.stream(&stream_id("last")).expect("known");
    assert!(read_all(&last.partitions()[0]).is_empty(), "rows of the old stream are still in the journal, and not here");
    check(&log);
    assert!(segments(&memory) > 0);
}

#[test]
fn followers_are_woken_and_hear_of_it() {
    let (_, disk) = disk();
    let log = open(&settings(), &disk);
    let stream = events(&log, 1);
    take(&log, append(&stream, 0, 0..3));
    let partition = Arc::clone(&stream.partitions()[0]);
    let mut ends = partition.subscribe(Visibility::Durable);
    ends.mark_unchanged();
    let woken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let waking = Arc::clone(&woken);
    let listening = partition.listen(
        Visibility::Sequenced,
        Arc::new(move || {
            waking.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }),
    );
    log.delete_stream(&stream_id("events")).expect("deleted");
    assert!(ends.has_changed().expect("the log is open"), "a follower that waits is woken");
    assert_eq!(woken.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(partition.is_deleted());
    drop(listening);
}

#[test]
fn files_go_and_memory_is_freed() {
    let (memory, disk) = disk();
    let log = open(&settings(), &disk);
    let stream = events(&log, 2);
    for round in 0..3 {
        take(&log, append(&stream, 0, round * 5_000..(round + 1) * 5_000));
        take(&log, append(&stream, 1, [round]));
        log.roll().expect("rolled");
    }
    take(&log, append(&stream, 0, 0..500));
    assert!(segments(&memory) >= 6 && log.stats().tail_bytes > 0);
    log.delete_stream(&stream_id("events")).expect("deleted");
    assert_eq!((log.stats().tail_bytes, log.stats().tail_unrolled_bytes), (0, 0));
    until("segments of the deleted stream are removed", || segments(&memory) == 0 && log.stats().segments == 0);
    drop(log);
    let log = open(&settings(), &disk);
    assert!(log.streams().is_empty() && log.stats().segments == 0);
}

#[test]
fn retention_lets_whole_segments_go_and_never_what_is_held() {
    let (memory, disk) = disk();
    let settings = settings();
    let log = open(&settings, &disk);
    let id = stream_id("events");
    let stream = events(&log, 1);
    let partition = Arc::clone(&stream.partitions()[0]);
    // The time of a row is its id, in µs.
    for round in 0..4 {
        take(&log, append(&stream, 0, round * 5_000..(round + 1) * 5_000));
        log.roll().expect("rolled");
    }
    take(&log, append(&stream, 0, 20_000..20_100));
    log.retain(EventTime(40_000)).expect("told");
    assert_eq!(partition.trim_point().0, 0, "no retention, nothing goes");

    let mut kept = definition(1);
    kept.retention.age = Some(Duration::from_micros(10_000));
    log.update_stream(&id, kept.clone()).expect("updated");
    assert_eq!((stream.version().0, stream.definition().retention), (1, kept.retention));
    let mut hold = partition.hold(Offset(4_999));
    let trim_point = |log: &Log, now: i64| {
        log.retain(EventTime(now)).expect("told");
        // What was told is in the journal before the next append is.
        take(log, append(&log.stream(&id).expect("known"), 0, [50_000 + now]));
        log.stream(&id).expect("known").partitions()[0].trim_point().0
    };
    assert_eq!(trim_point(&log, 16_000), 0, "the first segment is old, and its last row is held");
    hold.advance(Offset(5_000));
    assert_eq!(trim_point(&log, 16_000), 5_000);
    assert_eq!(trim_point(&log, 24_000), 5_000, "held from there on");
    drop(hold);
    assert_eq!(trim_point(&log, 24_000), 10_000);
    until("two files are removed", || {
        log.retain(EventTime(24_000)).expect("told");
        segments(&memory) == 2
    });
    assert!(matches!(
        partition.read(Offset(9_999), support::ALL, Visibility::Durable),
        Err(ReadError::Trimmed { trim_point: Offset(10_000), .. })
    ));
    drop((log, stream, partition));
    let log = open(&settings, &disk);
    let stream = log.stream(&id).expect("known");
    assert_eq!(stream.partitions()[0].trim_point().0, 10_000);
    assert_eq!(stream.definition().retention, kept.retention, "kept over a restart");
    assert_eq!(read_all(&stream.partitions()[0])[..2], [10_000, 10_001]);
    // Rows that were never rolled grow old too.
    assert_eq!(trim_point(&log, 35_000), 20_100);
    let mut wrong = kept.clone();
    wrong.partitions = 2;
    assert!(matches!(log.update_stream(&id, wrong), Err(StreamError::Definition { .. })));
}

#[test]
fn a_row_whose_clock_is_years_ahead_keeps_nothing_for_years() {
    let (_, disk) = disk();
    let settings = settings();
    let mut kept = definition(1);
    kept.retention.age = Some(Duration::from_micros(10_000));
    let log = open(&settings, &disk);
    let stream = log.create_stream(&stream_id("events"), kept).expect("a stream");
    let partition = Arc::clone(&stream.partitions()[0]);
    let ahead = 100 * 365 * 86_400 * 1_000_000_i64;
    log.retain(EventTime(1_000)).expect("told");
    // In a segment, in another with rows behind it, and in none.
    take(&log, append(&stream, 0, (0..100).chain([ahead])));
    log.roll().expect("rolled");
    take(&log, append(&stream, 0, 200..300));
    log.roll().expect("rolled");
    take(&log, append(&stream, 0, [ahead + 1]));
    assert_eq!(partition.seek(EventTime(ahead)), Offset(64), "in the second block: it is found by its time all the same");
    let trim_point = |log: &Log, now: i64| {
        log.retain(EventTime(now)).expect("told");
        // What was told is in the journal before the next append is.
        take(log, append(&log.stream(&stream_id("events")).expect("known"), 0, [now]));
        log.stream(&stream_id("events")).expect("known").partitions()[0].trim_point().0
    };
    assert_eq!(trim_point(&log, 2_000), 0, "it came a moment ago");
    assert_eq!(trim_point(&log, 11_500), 201, "the segments came at 1,000, the last one by 2,000");
    drop((log, stream, partition));
    // After a start nobody knows when rows of the journal came: by then.
    let log = open(&settings, &disk);
    assert_eq!(trim_point(&log, 12_500), 201);
    assert_eq!(trim_point(&log, 30_000), 205);
}

#[test]
fn retention_by_size_keeps_at_least_the_newest_bytes() {
    let (memory, disk) = disk();
    let log = open(&settings(), &disk);
    let stream = events(&log, 1);
    for round in 0..6 {
        take(&log, append(&stream, 0, round * 5_000..(round + 1) * 5_000));
        log.roll().expect("rolled");
    }
    let one = log.stats().segment_bytes / 6;
    let mut kept = definition(1);
    kept.retention.bytes = Some(2 * one);
    log.update_stream(&stream_id("events"), kept).expect("updated");
    log.retain(EventTime(0)).expect("told");
    until("files are removed", || {
        log.retain(EventTime(0)).expect("told");
        segments(&memory) == 3
    });
    assert!(log.stats().segment_bytes >= 2 * one, "{} of {one} each", log.stats().segment_bytes);
    assert_eq!(stream.partitions()[0].trim_point().0, 15_000);
}

#[test]
fn rows_that_stay_leave_shared_segments() {
    let (memory, disk) = disk();
    let settings = settings();
    let log = open(&settings, &disk);
    let stream = events(&log, 40);
    // Twelve rolls of a few rows of each partition: every segment is shared by all.
    for round in 0..12 {
        let frames = (0..40).map(|partition| support::frame(&stream, partition, support::rows(round * 3..(round + 1) * 3)));
        take(&log, Append::atomic(frames.collect()));
        log.roll().expect("rolled");
    }
    assert_eq!(segments(&memory), 12);
    log.retain(EventTime(0)).expect("told");
    until("small segments are moved together", || {
        log.retain(EventTime(0)).expect("told");
        segments(&memory) <= 5
    });
    for partition in stream.partitions() {
        assert_eq!(read_all(partition), (0..36).collect::<Vec<_>>());
    }
    let before = log.stats().segment_bytes;
    // Only one partition's last rows are kept.
    for partition in stream.partitions() {
        let keep = if partition.key().partition.0 == 7 { 33 } else { 36 };
        log.trim(partition.key(), Offset(keep)).expect("trimmed");
    }
    take(&log, append(&stream, 7, [36]));
    until("what is left is moved out", || {
        log.retain(EventTime(0)).expect("told");
        log.stats().segment_bytes * 4 < before
    });
    assert_eq!(read_all(&stream.partitions()[7]), [33, 34, 35, 36]);
    drop((log, stream));
    let log = open(&settings, &disk);
    let stream = events(&log, 40);
    for partition in stream.partitions() {
        let expected: &[i64] = if partition.key().partition.0 == 7 { &[33, 34, 35, 36] } else { &[] };
        assert_eq!(read_all(partition), expected);
    }
    take(&log, append(&stream, 3, [90]));
    assert_eq!(read_all(&stream.partitions()[3]), [90]);
    assert_eq!(stream.partitions()[3].end(Visibility::Durable).0, 37, "offsets go on where they were");
}
