//! Group commit: what arrives while one group is being synced is the next one; nothing is acknowledged before its sync; queues have
//! an end.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use support::{append, events, frame, is_journal, open, read_all, rows, small_settings};
use tidemill_event::{PartitionId, TenantName};
use tidemill_log::simulated::{Call, Gate, HookedDisk, MemoryDisk};
use tidemill_log::{Append, AppendError, Disk, FrameRows, Gathered, Log, LogSettings, Stream, Visibility};

struct Held {
    log: Log,
    stream: Arc<Stream>,
    gate: Arc<Gate>,
    syncs: Arc<AtomicUsize>,
}

/// A log whose journal syncs can be held.
fn held(partitions: u32, change: impl FnOnce(&mut LogSettings)) -> Held {
    let (gate, syncs) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let (passing, counting) = (Arc::clone(&gate), Arc::clone(&syncs));
    let disk = HookedDisk::over(Arc::new(MemoryDisk::default()), move |call, path| {
        if call == Call::Sync && is_journal(path) {
            counting.fetch_add(1, Ordering::SeqCst);
            passing.pass();
        }
        Ok(())
    });
    let mut settings = small_settings(std::path::Path::new("/log"));
    settings.mark_idle = Duration::from_secs(3600);
    change(&mut settings);
    let log = open(&settings, &disk);
    let stream = events(&log, partitions);
    syncs.store(0, Ordering::SeqCst);
    Held { log, stream, gate, syncs }
}

#[test]
fn sixty_four_producers_need_two_syncs() {
    let Held { log, stream, gate, syncs } = held(64, |_| {});
    gate.shut();
    let queued = Arc::new(AtomicUsize::new(0));
    let producers: Vec<_> = (0..64u32)
        .map(|number| {
            let (log, stream, queued) = (log.clone(), Arc::clone(&stream), Arc::clone(&queued));
            thread::spawn(move || {
                let pending = log.append(append(&stream, number, [i64::from(number)])).expect("taken");
                queued.fetch_add(1, Ordering::SeqCst);
                pending.wait().expect("durable");
            })
        })
        .collect();
    while queued.load(Ordering::SeqCst) < 64 {
        thread::yield_now();
    }
    gate.open();
    for producer in producers {
        producer.join().expect("acknowledged");
    }
    assert!(syncs.load(Ordering::SeqCst) <= 2, "{} syncs", syncs.load(Ordering::SeqCst));
    for partition in stream.partitions() {
        assert_eq!(read_all(partition), [i64::from(partition.key().partition.0)]);
    }
}

#[test]
fn nothing_is_acknowledged_or_durable_before_its_sync() {
    let Held { log, stream, gate, .. } = held(1, |_| {});
    let partition = stream.partition(PartitionId(0)).expect("there");
    let (sequenced, durable) = (partition.subscribe(Visibility::Sequenced), partition.subscribe(Visibility::Durable));
    let heard = Arc::new(AtomicUsize::new(0));
    let hearing = Arc::clone(&heard);
    let listening = partition.listen(
        Visibility::Durable,
        Arc::new(move || {
            hearing.fetch_add(1, Ordering::SeqCst);
        }),
    );
    gate.shut();
    let mut pending = log.append(append(&stream, 0, 0..5)).expect("taken");
    while sequenced.borrow().0 < 5 {
        thread::yield_now();
    }
    // In the journal's order and readable for those who feed it again, and for nobody else.
    assert_eq!(support::read_from(partition, tidemill_event::Offset(2), Visibility::Sequenced), [2, 3, 4]);
    thread::sleep(Duration::from_millis(20));
    assert_eq!((partition.end(Visibility::Durable).0, durable.borrow().0, heard.load(Ordering::SeqCst)), (0, 0, 0));
    assert!(partition.read(tidemill_event::Offset(0), support::ALL, Visibility::Durable).expect("readable").is_none());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Future::poll(std::pin::Pin::new(&mut pending), &mut context).is_pending());
    gate.open();
    assert_eq!(pending.wait().expect("durable")[0].0, 0);
    assert_eq!((partition.end(Visibility::Durable).0, durable.borrow().0, heard.load(Ordering::SeqCst)), (5, 5, 1));
    drop(listening);
    log.append(append(&stream, 0, 5..6)).expect("taken").wait().expect("durable");
    assert_eq!(heard.load(Ordering::SeqCst), 1, "a dropped listener is not called");
}

#[test]
fn a_full_queue_refuses_and_waiting_waits() {
    let Held { log, stream, gate, .. } = held(1, |settings| settings.queue_bytes_max = 16 << 10);
    gate.shut();
    let mut taken = Vec::new();
    let refused = loop {
        match log.append(append(&stream, 0, 0..10)) {
            Ok(pending) => taken.push(pending),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Overloaded(_)), "{refused}");
    assert!(taken.len() > 3 && log.stats().overloaded == 1 && log.stats().queue_bytes <= 16 << 10);
    let waiting = {
        let (log, stream) = (log.clone(), Arc::clone(&stream));
        thread::spawn(move || log.append_waiting(append(&stream, 0, [99])).expect("taken after a while").wait().expect("durable"))
    };
    thread::sleep(Duration::from_millis(30));
    assert!(!waiting.is_finished());
    gate.open();
    waiting.join().expect("acknowledged");
    for pending in taken {
        pending.wait().expect("durable");
    }
    assert_eq!(read_all(stream.partition(PartitionId(0)).expect("there")).last(), Some(&99));
}

/// Rows of concurrent requests, gathered until the writer asks.
struct Gathering {
    stream: Arc<Stream>,
    open: Mutex<Vec<i64>>,
    frames: AtomicUsize,
    answers: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Gathered for Gathering {
    fn tenant(&self) -> &TenantName {
        &self.stream.id().tenant
    }

    fn take(&self) -> Option<Append> {
        let ids = std::mem::take(&mut *self.open.lock());
        if ids.is_empty() {
            return None;
        }
        self.frames.fetch_add(1, Ordering::SeqCst);
        let (answers, count) = (Arc::clone(&self.answers), ids.len());
        let frames: Vec<FrameRows> = vec![frame(&self.stream, 0, rows(ids))];
        let on_durable = Box::new(move |answer: tidemill_log::Appended| {
            answers.lock().push((answer.map_or(u64::MAX, |offsets| offsets[0].0), count));
        });
        Some(Append { frames, atomic: false, requests: Vec::new(), on_durable: Some(on_durable) })
    }
}

#[test]
fn gathered_rows_become_one_frame_per_group() {
    let Held { log, stream, gate, .. } = held(1, |_| {});
    let gathering = Arc::new(Gathering {
        stream: Arc::clone(&stream),
        open: Mutex::default(),
        frames: AtomicUsize::new(0),
        answers: Arc::default(),
    });
    gate.shut();
    // The first announcement is taken at once and held in its sync; all others become the next frame.
    for id in 0..100 {
        let first = {
            let mut open = gathering.open.lock();
            open.push(id);
            open.len() == 1
        };
        if first {
            log.announce(Arc::clone(&gathering) as Arc<dyn Gathered>);
        }
        while id == 0 && gathering.frames.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
    }
    assert!(gathering.answers.lock().is_empty());
    gate.open();
    while gathering.answers.lock().len() < 2 {
        thread::yield_now();
    }
    assert_eq!(*gathering.answers.lock(), [(0, 1), (1, 99)]);
    assert_eq!(read_all(stream.partition(PartitionId(0)).expect("there")), (0..100).collect::<Vec<_>>());
    // What waits when the log closes is answered too.
    gathering.open.lock().push(100);
    log.close().expect("closed");
    log.announce(Arc::clone(&gathering) as Arc<dyn Gathered>);
    assert_eq!(gathering.answers.lock().last(), Some(&(u64::MAX, 1)), "refused, not forgotten");
}

#[test]
fn two_groups_overlap_and_the_second_alone_never_counts() {
    // The first is held in its sync, the second is written meanwhile; the disk then loses the first.
    let below = Arc::new(MemoryDisk::default());
    let gate = Arc::new(Gate::default());
    let passing = Arc::clone(&gate);
    let disk = HookedDisk::over(Arc::clone(&below) as Arc<dyn Disk>, move |call, path| {
        if call == Call::Sync && is_journal(path) {
            passing.pass();
        }
        Ok(())
    });
    let mut settings = small_settings(std::path::Path::new("/log"));
    settings.overlap_bytes = 1;
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    let journal = below.paths().into_iter().find(|path| is_journal(path)).expect("a journal file");
    let before = below.bytes(&journal);
    gate.shut();
    let first = log.append(append(&stream, 0, 0..3)).expect("taken");
    while log.stats().groups < 2 {
        thread::yield_now();
    }
    let one = below.bytes(&journal);
    let second = log.append(append(&stream, 0, 3..6)).expect("taken");
    while log.stats().groups < 3 {
        thread::yield_now();
    }
    let crashed = Arc::new(below.copy());
    gate.open();
    first.wait().expect("durable");
    second.wait().expect("durable");
    // Sectors of the first group are lost; the second lies whole behind them.
    let lost: Vec<usize> = (0..before.len()).filter(|at| before[*at] != one[*at]).collect();
    let (from, to) = (lost[0], lost[lost.len() - 1]);
    crashed.change(&journal, |bytes| bytes[from..=to].copy_from_slice(&before[from..=to]));

    let crashed_disk = Arc::clone(&crashed) as Arc<dyn Disk>;
    let log = open(&settings, &crashed_disk);
    let stream = events(&log, 1);
    assert!(read_all(stream.partition(PartitionId(0)).expect("there")).is_empty());
    // A group of the same size takes the first one's place: what lies behind it is of a run that has ended.
    log.append(append(&stream, 0, 10..13)).expect("taken").wait().expect("durable");
    let crashed = Arc::new(crashed.copy());
    let log = open(&settings, &(Arc::clone(&crashed) as Arc<dyn Disk>));
    let stream = events(&log, 1);
    assert_eq!(read_all(stream.partition(PartitionId(0)).expect("there")), [10, 11, 12]);
}
