//! A disk that fills: nothing that was acknowledged is lost, nothing stops for good, and it goes on by itself when there is room.

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{append, definition, events, is_journal, open, read_all, small_settings, stream_id};
use tidemill_event::EventTime;
use tidemill_log::simulated::{Call, HookedDisk, MemoryDisk};
use tidemill_log::{AppendError, Disk, DiskFile, Log, LogSettings, Poisoned, Stream};

fn settings() -> LogSettings {
    let mut settings = small_settings(Path::new("/log"));
    settings.journal_file_bytes = 16 << 10;
    settings.journal_bytes_max = 256 << 10;
    settings.journal_roll_bytes = 96 << 10;
    settings
}

fn takes_room(call: Call) -> bool {
    matches!(call, Call::Write | Call::Preallocate | Call::Create)
}

/// Every call that needs room fails, one in each life; each time all goes on as if nothing had been.
#[test]
fn full_for_a_while_at_every_call() {
    for first in 1..120 {
        let calls = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&calls);
        let below = Arc::new(MemoryDisk::default());
        let disk = HookedDisk::over(Arc::clone(&below) as Arc<dyn Disk>, move |call, _| {
            // Opening is done by then: it refuses, and is tried again by whoever starts the host.
            let number = if takes_room(call) { counting.fetch_add(1, Ordering::SeqCst) } else { 0 };
            let refused = number == 1_000_000 + first;
            if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        let log = open(&settings(), &disk);
        let stream = events(&log, 2);
        calls.store(1_000_000, Ordering::SeqCst);
        for id in 0..60i64 {
            // As a task appends: it waits.
            let pending = log.append_waiting(append(&stream, 0, id * 10..id * 10 + 10));
            pending.expect("taken").wait().unwrap_or_else(|error| panic!("call {first}: {error}"));
            if id % 20 == 19 {
                log.roll().unwrap_or_else(|error| panic!("call {first}: {error}"));
            }
        }
        let expected: Vec<i64> = (0..600).collect();
        assert_eq!(read_all(&stream.partitions()[0]), expected, "call {first}");
        log.close().unwrap_or_else(|error| panic!("call {first}: {error}"));
        drop((log, stream));
        let log = open(&settings(), &(below as Arc<dyn Disk>));
        assert_eq!(read_all(&events(&log, 2).partitions()[0]), expected, "call {first}, after a restart");
        if calls.load(Ordering::SeqCst) < 1_000_000 + first {
            assert!(first > 20, "only {first} calls need room");
            return;
        }
    }
}

/// A disk of so many bytes, counted by the length of its files.
struct SmallDisk {
    below: Arc<MemoryDisk>,
    bytes_max: Arc<AtomicU64>,
}

struct SmallFile {
    below: Arc<dyn DiskFile>,
    disk: Arc<MemoryDisk>,
    bytes_max: Arc<AtomicU64>,
}

impl SmallFile {
    fn room(&self, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.below.len()?);
        if more > 0 && self.disk.total_bytes() + more > self.bytes_max.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for SmallFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(at, buffer)
    }
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.room(at + bytes.len() as u64)?;
        self.below.write_at(at, bytes)
    }
    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.room(bytes)?;
        self.below.preallocate(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        self.below.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.below.sync_all()
    }
}

impl SmallDisk {
    fn file(&self, below: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SmallFile { below, disk: Arc::clone(&self.below), bytes_max: Arc::clone(&self.bytes_max) })
    }
}

impl Disk for SmallDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.below.open(path)?))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.below.create(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir(dir)
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.bytes_max.load(Ordering::SeqCst).saturating_sub(self.below.total_bytes()))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.below.sync_dir(dir)
    }
}

fn small_disk(bytes: u64) -> (Arc<MemoryDisk>, Arc<AtomicU64>, Arc<dyn Disk>) {
    let (below, bytes_max) = (Arc::new(MemoryDisk::default()), Arc::new(AtomicU64::new(bytes)));
    let disk = SmallDisk { below: Arc::clone(&below), bytes_max: Arc::clone(&bytes_max) };
    (below, bytes_max, Arc::new(disk))
}

/// Appends until new rows are refused, and still are when all that is there is in segments: a roll can make room, as rows take
/// less of it in a segment than in the journal.
fn fill(log: &Log, stream: &Arc<Stream>, next: &mut i64) {
    while *next < 100_000 {
        match log.append(append(stream, 0, *next..*next + 100)) {
            Ok(pending) => {
                pending.wait().expect("durable");
                *next += 100;
            }
            Err(AppendError::DiskFull) => {
                log.roll().expect("rolled");
                // Long enough for the log to look again.
                std::thread::sleep(Duration::from_millis(250));
                if matches!(log.room(stream), Err(AppendError::DiskFull)) {
                    return;
                }
            }
            Err(AppendError::Overloaded(_)) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never full");
}

#[test]
fn new_rows_are_refused_before_the_end_and_everything_else_goes_on() {
    let (below, bytes_max, disk) = small_disk(1 << 20);
    let mut settings = settings();
    settings.reserve_bytes = 64 << 10;
    let log = open(&settings, &disk);
    let old = log.create_stream(&stream_id("old"), definition(1)).expect("a stream");
    let stream = events(&log, 1);
    for round in 0..40 {
        log.append_waiting(append(&old, 0, round * 200..(round + 1) * 200)).expect("taken").wait().expect("durable");
    }
    log.roll().expect("rolled");
    let mut next = 0i64;
    fill(&log, &stream, &mut next);
    // Reads, commits of tasks, documents and rolling.
    assert_eq!(read_all(&stream.partitions()[0]).len() as i64, next);
    for _ in 0..20 {
        log.append_waiting(append(&stream, 0, next..next + 10)).expect("taken").wait().expect("durable");
        next += 10;
    }
    log.put_documents(vec![("pipeline/a".into(), Some(vec![7; 100]))]).expect("kept");
    log.roll().expect("rolled");
    fill(&log, &stream, &mut next);
    // A stream goes, and with it the refusal.
    log.delete_stream(&stream_id("old")).expect("deleted");
    let since = Instant::now();
    while log.room(&stream).is_err() {
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "room has returned, and nobody noticed: {} of {:?}",
            below.total_bytes(),
            bytes_max
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    log.append(append(&stream, 0, next..next + 10)).expect("taken").wait().expect("durable");
    drop((log, stream));
    let log = open(&settings, &disk);
    assert_eq!(read_all(&events(&log, 1).partitions()[0]), (0..next + 10).collect::<Vec<_>>());
}

#[test]
fn another_program_takes_all_the_room_and_gives_it_back() {
    let (below, bytes_max, disk) = small_disk(4 << 20);
    let mut settings = settings();
    settings.reserve_bytes = 64 << 10;
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    let reserve = PathBuf::from("/log/reserve");
    assert_eq!(below.bytes(&reserve).len(), 64 << 10);
    log.append(append(&stream, 0, 0..100)).expect("taken").wait().expect("durable");
    // From one call to the next nothing is left.
    bytes_max.store(below.total_bytes(), Ordering::SeqCst);
    let mut next = 100;
    while !log.stats().disk_full {
        let _ = log.append(append(&stream, 0, next..next + 100)).map(|pending| pending.wait().expect("durable"));
        next += 100;
        assert!(next < 100_000);
    }
    let ends = |log: &tidemill_log::Log| {
        log.stream(&stream_id("events")).expect("known").partitions()[0].end(tidemill_log::Visibility::Durable).0
    };
    let before = ends(&log);
    assert!(matches!(log.append(append(&stream, 0, [0])), Err(AppendError::DiskFull)));
    log.retain(EventTime(0)).expect("told");
    bytes_max.store(64 << 20, Ordering::SeqCst);
    let since = Instant::now();
    while log.room(&stream).is_err() {
        assert!(since.elapsed() < Duration::from_secs(2), "room has returned, and nobody noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(below.bytes(&reserve).len(), 64 << 10, "held again");
    log.append(append(&stream, 0, 0..10)).expect("taken").wait().expect("durable");
    assert!(ends(&log) >= before + 10);
}

#[test]
fn a_log_that_waits_for_room_can_be_closed() {
    let full = Arc::new(AtomicBool::new(false));
    let refusing = Arc::clone(&full);
    let below = Arc::new(MemoryDisk::default());
    let disk = HookedDisk::over(Arc::clone(&below) as Arc<dyn Disk>, move |call, path| {
        let refused = refusing.load(Ordering::SeqCst) && takes_room(call) && is_journal(path);
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let log = open(&settings(), &disk);
    let stream = events(&log, 1);
    log.append(append(&stream, 0, 0..10)).expect("taken").wait().expect("durable");
    full.store(true, Ordering::SeqCst);
    let waiting = log.append(append(&stream, 0, 10..20)).expect("taken");
    while !log.stats().disk_full {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read_all(&stream.partitions()[0]), (0..10).collect::<Vec<_>>(), "reads go on");
    assert!(log.close().is_err(), "something was taken and could not be written");
    assert!(matches!(waiting.wait(), Err(Poisoned::Disk(_) | Poisoned::Closed)), "never acknowledged");
    drop((log, stream));
    let log = open(&settings(), &(below as Arc<dyn Disk>));
    assert_eq!(read_all(&events(&log, 1).partitions()[0]), (0..10).collect::<Vec<_>>());
}
