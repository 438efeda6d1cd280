//! A request is known when its rows are on disk, exactly then, and for as long as is stated.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::{append, events, is_journal, open, read_all, small_settings, stream_id};
use tidemill_event::EventTime;
use tidemill_log::simulated::{Call, Gate, HookedDisk, MemoryDisk};
use tidemill_log::{Append, AppendError, Disk, Log, RequestMark, RequestSeen, RequestState, Stream};

const HOUR: i64 = 3_600_000_000;

fn mark(stream: &Arc<Stream>, writer: &str, sequence: impl Into<Option<u64>>, rows: u64, answer: Option<&str>) -> RequestMark {
    let answer = answer.map(|answer| answer.as_bytes().into());
    RequestMark { stream: Arc::clone(stream), writer: writer.into(), sequence: sequence.into(), rows, accepted: rows, answer }
}

fn take(log: &Log, append: Append) {
    log.append(append).expect("taken").wait().expect("durable");
}

fn seen(rows: u64, answer: Option<&str>) -> RequestState {
    RequestState::Seen(RequestSeen { rows, accepted: rows, answer: answer.map(|answer| answer.as_bytes().into()) })
}

#[test]
fn a_request_is_known_when_it_is_durable_and_after_restarts_and_rolls() {
    let disk = Arc::new(MemoryDisk::default()) as Arc<dyn Disk>;
    let settings = small_settings(Path::new("/log"));
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    assert_eq!(log.request(&stream, "key:a", None), RequestState::New);
    // A request of two appends, and one of which every row was rejected.
    take(&log, Append { requests: vec![mark(&stream, "key:a", None, 3, None)], ..append(&stream, 0, 0..3) });
    assert_eq!(log.request(&stream, "key:a", None), seen(3, None));
    take(&log, Append { requests: vec![mark(&stream, "key:a", None, 5, Some("five"))], ..append(&stream, 0, 3..5) });
    take(&log, Append { requests: vec![mark(&stream, "producer:p", 7, 0, Some("none"))], ..Append::atomic(Vec::new()) });
    let check = |log: &Log, when: &str| {
        let stream = log.stream(&stream_id("events")).expect("known");
        assert_eq!(log.request(&stream, "key:a", None), seen(5, Some("five")), "{when}");
        assert_eq!(log.request(&stream, "producer:p", Some(7)), seen(0, Some("none")), "{when}");
        assert_eq!(log.request(&stream, "producer:p", Some(6)), RequestState::New, "{when}: gaps are no requests");
        assert_eq!(read_all(&stream.partitions()[0]), [0, 1, 2, 3, 4], "{when}");
    };
    check(&log, "at once");
    drop(log);
    let log = open(&settings, &disk);
    check(&log, "from the journal");
    log.roll().expect("rolled");
    // The journal files that held them are used again.
    let other = log.create_stream(&stream_id("other"), support::definition(1)).expect("a stream");
    for id in 0..2_000 {
        drop(log.append_waiting(append(&other, 0, [id])).expect("taken"));
    }
    log.roll().expect("rolled");
    assert_eq!(log.request(&other, "key:a", None), RequestState::New, "another stream's");
    drop(log);
    let log = open(&settings, &disk);
    check(&log, "from the manifest");
}

#[test]
fn what_is_not_on_disk_is_not_known() {
    let gate = Arc::new(Gate::default());
    let passing = Arc::clone(&gate);
    let disk = HookedDisk::over(Arc::new(MemoryDisk::default()), move |call, path| {
        if call == Call::Sync && is_journal(path) {
            passing.pass();
        }
        Ok(())
    });
    let log = open(&small_settings(Path::new("/log")), &disk);
    let stream = events(&log, 1);
    gate.shut();
    let pending = log.append(Append { requests: vec![mark(&stream, "key:a", None, 1, Some("one"))], ..append(&stream, 0, [1]) });
    while log.stats().groups < 2 {
        std::thread::yield_now();
    }
    assert_eq!(log.request(&stream, "key:a", None), RequestState::New, "written, and not synced");
    gate.open();
    pending.expect("taken").wait().expect("durable");
    assert_eq!(log.request(&stream, "key:a", None), seen(1, Some("one")));
}

#[test]
fn requests_are_forgotten_after_their_time_and_beyond_their_bound() {
    let disk = Arc::new(MemoryDisk::default()) as Arc<dyn Disk>;
    let mut settings = small_settings(Path::new("/log"));
    settings.requests_age = Duration::from_secs(24 * 3600);
    settings.tenant_requests_bytes_max = 10_000;
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    log.retain(EventTime(0)).expect("told");
    take(&log, Append { requests: vec![mark(&stream, "key:old", None, 1, None)], ..append(&stream, 0, [1]) });
    log.retain(EventTime(20 * HOUR)).expect("told");
    take(&log, Append { requests: vec![mark(&stream, "key:new", None, 1, None)], ..append(&stream, 0, [2]) });
    drop(log);
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    log.retain(EventTime(25 * HOUR)).expect("told");
    assert_eq!(log.request(&stream, "key:old", None), RequestState::New, "its time is over, across a restart");
    assert_eq!(log.request(&stream, "key:new", None), seen(1, None));
    for sequence in 0..100 {
        take(&log, Append { requests: vec![mark(&stream, "producer:p", sequence, 0, None)], ..Append::atomic(Vec::new()) });
    }
    let known = (0..100).filter(|sequence| log.request(&stream, "producer:p", Some(*sequence)).seen().is_some()).count();
    assert!((10..60).contains(&known), "{known} of 100 are known within 10,000 bytes");
    assert_eq!(log.request(&stream, "key:new", None), RequestState::New, "the oldest went first");
    assert!(log.request(&stream, "producer:p", Some(99)).seen().is_some());
}

#[test]
fn a_forgotten_number_is_not_new_again_after_restarts_and_rolls() {
    let disk = Arc::new(MemoryDisk::default()) as Arc<dyn Disk>;
    let mut settings = small_settings(Path::new("/log"));
    settings.tenant_requests_bytes_max = 2_000;
    settings.tenant_writers_max = 2;
    let mut log = open(&settings, &disk);
    let mut stream = events(&log, 1);
    let mut id = 0;
    let mut take_of = |log: &Log, stream: &Arc<Stream>, writer: &str, sequence: u64| {
        id += 1;
        take(log, Append { requests: vec![mark(stream, writer, sequence, 1, None)], ..append(stream, 0, [id]) });
    };
    let is_known = |log: &Log, stream: &Stream, writer: &str, sequence: u64| {
        log.request(stream, writer, Some(sequence)) != RequestState::New
    };
    take_of(&log, &stream, "producer:quiet", 5);
    for sequence in 0..300 {
        take_of(&log, &stream, "producer:busy", sequence);
        if sequence % 60 == 59 {
            // Every other time from the journal alone.
            if sequence % 120 == 59 {
                log.roll().expect("rolled");
            }
            drop((log, stream));
            log = open(&settings, &disk);
            stream = events(&log, 1);
        }
        assert!((0..=sequence).all(|sequence| is_known(&log, &stream, "producer:busy", sequence)), "{sequence}");
        assert!(!is_known(&log, &stream, "producer:busy", sequence + 1));
    }
    assert_eq!(log.request(&stream, "producer:quiet", Some(5)), RequestState::Forgotten { through: 5 });
    assert_eq!(log.request(&stream, "producer:quiet", Some(6)), RequestState::New);
    // Two silent writers are known, the third pushes the longest silent one out.
    for (writer, sequences) in [("producer:second", 1), ("producer:third", 1), ("producer:busy", 300)] {
        (0..sequences).for_each(|sequence| take_of(&log, &stream, writer, 1_000 + sequence));
    }
    assert_eq!(log.request(&stream, "producer:quiet", Some(5)), RequestState::New, "a writer of which nothing is known");
    assert_eq!(log.request(&stream, "producer:third", Some(1_000)), RequestState::Forgotten { through: 1_000 });
}

#[test]
fn marks_over_their_bounds_are_refused() {
    let disk = Arc::new(MemoryDisk::default()) as Arc<dyn Disk>;
    let log = open(&small_settings(Path::new("/log")), &disk);
    let stream = events(&log, 1);
    let long = "w".repeat(257);
    let error = log.append(Append { requests: vec![mark(&stream, &long, None, 1, None)], ..append(&stream, 0, [1]) });
    assert!(matches!(error, Err(AppendError::Request { what: "writer", bytes: 257, .. })), "{error:?}");
    let long = "a".repeat((16 << 10) + 1);
    let error = log.append(Append { requests: vec![mark(&stream, "w", None, 1, Some(&long))], ..append(&stream, 0, [1]) });
    assert!(matches!(error, Err(AppendError::Request { what: "answer", .. })), "{error:?}");
    assert!(read_all(&stream.partitions()[0]).is_empty());
}
