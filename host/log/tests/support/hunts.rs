//! What the crash tests do to a log, each as one story that a seed repeats: for a right log, and for one with a planted bug.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidemill_log::simulated::{Call, Fault, HookedDisk, Random};
use tidemill_log::{Disk, Log, OpenError, Planted, PowerCutDisk};

use super::life::{End, Machine};
use super::{append, definition, is_journal, read_all, stream_id};

/// Three lives on one disk, the first cut at the change `first`, then a judgement: groups of a life that was cut must not join
/// later ones.
pub fn three_lives(planted: Option<Planted>, seed: u64, first: u64) -> Result<(), String> {
    let mut machine = if seed.is_multiple_of(8) { Machine::empty(planted) } else { Machine::prepared(planted) };
    let mut random = Random::new(seed);
    for life in 0..3 {
        let calls = if life == 0 { first } else { random.below(160) + 1 };
        // One story in four is told on a disk with slow syncs.
        machine
            .live(random.next() / 4 * 4 + u64::from(!seed.is_multiple_of(4)), End::Power(calls))
            .map_err(|broken| format!("life {life}: {broken}"))?;
    }
    machine.judge().map_err(|broken| format!("at the end: {broken}"))
}

/// The power fails while the log recovers from a power cut, five times over.
pub fn five_deep(planted: Option<Planted>, seed: u64) -> Result<(), String> {
    let mut machine = Machine::prepared(planted);
    let mut random = Random::new(seed);
    machine.live(random.next(), End::Power(40 + random.below(300)))?;
    for depth in 0..5 {
        let calls = random.below(24) + 1;
        machine.recover(random.next(), End::Power(calls)).map_err(|broken| format!("depth {depth}: {broken}"))?;
    }
    machine.judge()
}

/// One call fails, in a life or while the log recovers; the power goes soon after. `Ok(false)` if the fault met no call.
pub fn one_fault(planted: Option<Planted>, seed: u64, fault: Fault, work: bool) -> Result<bool, String> {
    let mut machine = Machine::prepared(planted);
    let mut random = Random::new(seed);
    machine.live(random.next(), End::Power(60 + random.below(120)))?;
    let end = End::Fault(fault);
    let met = if work { machine.live(random.next(), end)? } else { machine.recover(random.next(), end)? };
    machine.judge().map(|()| met)
}

/// A fault that a seed chooses.
pub fn any_fault(seed: u64) -> Fault {
    let mut random = Random::new(seed);
    Fault {
        call: Call::ALL[random.below(Call::ALL.len() as u64) as usize],
        nth: random.below(60) + 1,
        error: io::ErrorKind::Other,
        stays: random.chance(1, 2),
    }
}

/// A log that was closed cleanly after a life with rolls, trims and recycled files.
pub fn closed(planted: Option<Planted>, seed: u64) -> Result<Machine, String> {
    let mut machine = Machine::prepared(planted);
    machine.live(seed, End::Power(250))?;
    let log = machine.open().map_err(|error| error.to_string())?;
    machine.model.check(&log)?;
    machine.model.counter = (machine.model.counter.1 + 1, machine.model.counter.1 + 1);
    let counter = machine.model.counter.1.to_le_bytes().to_vec();
    log.put_documents(vec![("counter".to_owned(), Some(counter))]).map_err(|error| error.to_string())?;
    log.close().map_err(|error| error.to_string())?;
    Ok(machine)
}

/// Something stored is changed: a bit, a sector, the length. What is not served right must be reported.
pub fn one_flip(machine: &Machine, seed: u64) -> Result<bool, String> {
    let mut random = Random::new(seed);
    let platter = machine.below.copy();
    let mut sizes: Vec<(PathBuf, u64)> = platter
        .paths()
        .into_iter()
        .map(|path| (platter.bytes(&path).len() as u64, path))
        .map(|(bytes, path)| (path, bytes))
        .collect();
    sizes.retain(|(_, bytes)| *bytes > 0);
    let (path, bytes) = sizes.swap_remove(random.below(sizes.len() as u64) as usize);
    let at = random.below(bytes) as usize;
    let how = random.below(8);
    platter.change(&path, |bytes| match how {
        0 => bytes.truncate(at),
        1 => {
            let sector = at / 512 * 512;
            let end = (sector + 512).min(bytes.len());
            bytes[sector..end].fill(0);
        }
        _ => bytes[at] ^= 1 << (at % 8),
    });
    let told = |broken: String| {
        format!("{} of byte {at} in {}: {broken}", ["cut", "sector"].get(how as usize).unwrap_or(&"flip"), path.display())
    };
    match Log::open(machine.settings.clone(), Arc::new(platter)) {
        Ok(log) => machine.model.check_damaged(&log).map_err(told),
        Err(OpenError::Damaged(_) | OpenError::Format { .. }) => Ok(true),
        Err(OpenError::Disk(error)) if how == 0 => Err(told(format!("a file that is cut off is no error of the disk: {error}"))),
        Err(error) => Err(told(error.to_string())),
    }
}

/// A kill leaves in the page cache what was written and not synced. The next life reads it and shows it as durable: a power cut
/// after that must not take it back. The rows shown beyond those that were acknowledged.
pub fn kill_then_cut(planted: Option<Planted>, calls: u64) -> Result<usize, String> {
    let machine = Machine::prepared(planted);
    let settings = &machine.settings;
    let cache = PowerCutDisk::new(Arc::clone(&machine.below) as Arc<dyn Disk>);
    let made = Arc::new(AtomicU64::new(0));
    let killed = HookedDisk::over(Arc::new(cache.clone()), move |_, _| {
        if made.fetch_add(1, Ordering::SeqCst) > calls { Err(io::Error::other("killed")) } else { Ok(()) }
    });
    let partition = |log: &Log| {
        let stream = log.stream(&stream_id("events")).expect("it was made before");
        assert_eq!(*stream.definition(), definition(super::model::PARTITIONS));
        stream
    };
    let mut acknowledged = 0;
    if let Ok(log) = Log::open(settings.clone(), killed) {
        let stream = partition(&log);
        while log.append(append(&stream, 0, acknowledged..acknowledged + 1)).is_ok_and(|pending| pending.wait().is_ok()) {
            acknowledged += 1;
        }
    }
    let shown = match Log::open(settings.clone(), Arc::new(cache.clone())) {
        Ok(log) => read_all(&partition(&log).partitions()[0]),
        Err(error) => return Err(format!("after the kill: {error}")),
    };
    if (shown.len() as i64) < acknowledged {
        return Err(format!("{shown:?} of {acknowledged}"));
    }
    cache.cut(calls).expect("memory does not fail");
    let log = machine.open().map_err(|error| error.to_string())?;
    let found = read_all(&partition(&log).partitions()[0]);
    if found == shown { Ok(shown.len() - acknowledged as usize) } else { Err(format!("shown was {shown:?}, and now {found:?}")) }
}

/// A kill between the making of a journal file and the sync of its name. The next life finds the file and writes groups into it: a
/// power cut after that must not take the name back, and the acknowledged rows with it.
pub fn kill_before_a_name_is_synced(seed: u64) -> Result<(), String> {
    let mut machine = Machine::prepared(None);
    // The preparer would sync the name beside its own.
    machine.settings.journal_ahead_bytes = 0;
    let cache = PowerCutDisk::new(Arc::clone(&machine.below) as Arc<dyn Disk>);
    let (opened, dead) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (armed, made) = (Arc::clone(&opened), AtomicBool::new(false));
    let dies = Arc::clone(&dead);
    let killed = HookedDisk::over(Arc::new(cache.clone()), move |call, path| {
        if armed.load(Ordering::SeqCst) && call == Call::Create && is_journal(path) {
            made.store(true, Ordering::SeqCst);
        }
        if made.load(Ordering::SeqCst) && call == Call::SyncDir {
            dies.store(true, Ordering::SeqCst);
        }
        if dies.load(Ordering::SeqCst) { Err(io::Error::other("killed")) } else { Ok(()) }
    });
    let events = |log: &Log| log.stream(&stream_id("events")).expect("it was made before");
    let log = Log::open(machine.settings.clone(), killed).map_err(|error| error.to_string())?;
    opened.store(true, Ordering::SeqCst);
    let stream = events(&log);
    let mut sent = 0;
    while log.append(append(&stream, 0, [sent])).is_ok_and(|pending| pending.wait().is_ok()) {
        sent += 1;
    }
    drop((stream, log));
    assert!(dead.load(Ordering::SeqCst), "the life ended elsewhere");
    let log = Log::open(machine.settings.clone(), Arc::new(cache.clone())).map_err(|error| format!("after the kill: {error}"))?;
    let stream = events(&log);
    for id in sent..sent + 4 {
        log.append(append(&stream, 0, [id])).expect("taken").wait().expect("durable");
    }
    let shown = read_all(&stream.partitions()[0]);
    cache.cut(seed).expect("memory does not fail");
    drop((stream, log));
    let log = machine.open().map_err(|error| error.to_string())?;
    let found = read_all(&events(&log).partitions()[0]);
    if found == shown { Ok(()) } else { Err(format!("shown was {shown:?}, and now {found:?}")) }
}
