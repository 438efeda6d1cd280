//! Lives of a log on a disk whose power fails, and the judge of what it kept: every acknowledged row is there, at its offset; none
//! was invented; order holds; an entry over two partitions is there wholly or not at all; a request is known if and only if its
//! rows are; a stream made under the name of a deleted one has none of its rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use tidemill_event::{EventTime, Offset, PartitionId};
use tidemill_log::{Append, Disk, Log, LogSettings, OpenError, Pending, PowerCutDisk, RequestMark, Stream, Visibility};

use super::memory_disk::MemoryDisk;
use super::{events, frame, read_from, rows};

const PARTITIONS: u32 = 3;

/// What the producer knows: kept apart from the log, as a client's own list would be.
#[derive(Default)]
pub struct Ledger {
    next_id: i64,
    /// Per partition: offset and ids of each acknowledged frame.
    acknowledged: Vec<(u32, Offset, Vec<i64>)>,
    /// Ids that were in entries over partitions 0 and 1.
    pairs: HashSet<i64>,
    /// Per request: its last id, and whether it was acknowledged.
    requests: BTreeMap<u64, (i64, bool)>,
    /// How often the stream `brief` was deleted, as far as that was acknowledged, and as far as it was asked.
    brief: (i64, i64),
    /// A counter in a document: the last value that was acknowledged, and the last that was sent.
    document: (u64, u64),
}

impl Ledger {
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }
}

pub fn settings() -> LogSettings {
    let mut settings = super::small_settings(Path::new("/log"));
    settings.journal_file_bytes = 16 << 10;
    settings.journal_bytes_max = 256 << 10;
    settings.journal_roll_bytes = 48 << 10;
    settings.segment_own_bytes = 8 << 10;
    settings.overlap_bytes = 512;
    settings.mark_idle = std::time::Duration::from_millis(2);
    settings
}

struct Sent {
    request: u64,
    frames: Vec<(u32, Vec<i64>)>,
    pending: Pending,
}

/// One life: open, check, append until the power fails at the `calls`-th change of the disk, cut. `Err` is a broken promise.
pub fn live(below: &Arc<MemoryDisk>, ledger: &mut Ledger, seed: u64, calls: u64) -> Result<(), String> {
    let disk = PowerCutDisk::new(Arc::clone(below) as Arc<dyn Disk>);
    disk.fail_after(calls);
    let opened = Log::open(settings(), Arc::new(disk.clone()));
    let result = match opened {
        Ok(log) => {
            let result = check(&log, ledger);
            if result.is_ok() {
                let counter = ledger.document;
                let counting = log.clone();
                // Changes of the manifest come at any moment of a roll.
                let documents = std::thread::spawn(move || count(&counting, counter));
                work(&log, ledger, seed);
                ledger.document = documents.join().expect("no panic");
            }
            result
        }
        // The power may fail while the log recovers: that is no fault of its own.
        Err(OpenError::Disk(_)) => Ok(()),
        Err(error) => Err(format!("recovery failed: {error}")),
    };
    disk.cut(seed).expect("memory does not fail");
    result
}

/// Opens with the power on and checks, in the journal's form and then rolled.
pub fn judge(below: &Arc<MemoryDisk>, ledger: &Ledger) -> Result<(), String> {
    let disk = Arc::clone(below) as Arc<dyn Disk>;
    let log = Log::open(settings(), Arc::clone(&disk)).map_err(|error| format!("recovery failed: {error}"))?;
    check(&log, ledger)?;
    log.roll().map_err(|error| error.to_string())?;
    drop(log);
    let log = Log::open(settings(), disk).map_err(|error| format!("recovery after a roll failed: {error}"))?;
    check(&log, ledger)
}

fn work(log: &Log, ledger: &mut Ledger, seed: u64) {
    let Some(stream) = events_or_none(log) else { return };
    let mut random = seed;
    let mut sent: Vec<Sent> = Vec::new();
    for round in 0..10_000u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (choice, size) = (random >> 33, (random >> 40) % 20 + 1);
        let first = ledger.next_id + 1;
        ledger.next_id += size as i64;
        let ids: Vec<i64> = (first..=ledger.next_id).collect();
        let frames: Vec<(u32, Vec<i64>)> = if choice % 4 == 0 {
            ledger.pairs.extend(&ids);
            vec![(0, ids.clone()), (1, ids)]
        } else {
            vec![((choice % u64::from(PARTITIONS)) as u32, ids)]
        };
        let parts = frames.iter().map(|(partition, ids)| frame(&stream, *partition, rows(ids.iter().copied())));
        let request = ledger.requests.len() as u64;
        ledger.requests.insert(request, (ledger.next_id, false));
        let mark = RequestMark {
            stream: Arc::clone(&stream),
            writer: "producer:life".into(),
            sequence: request,
            rows: size,
            accepted: size,
            answer: Some(request.to_le_bytes()[..].into()),
        };
        match log.append_waiting(Append { requests: vec![mark], ..Append::atomic(parts.collect()) }) {
            Ok(pending) => sent.push(Sent { request, frames, pending }),
            Err(_) => break,
        }
        let wait = choice % 5 < 2;
        if wait && !collect(&mut sent, ledger) {
            break;
        }
        // A retention without bounds removes nothing, and has shared segments moved together.
        if round % 40 == 39 && (log.roll().is_err() || log.retain(EventTime(0)).is_err()) {
            break;
        }
        if round % 30 == 29 && !brief(log, ledger) {
            break;
        }
    }
    collect(&mut sent, ledger);
}

/// Makes the stream `brief` anew, with rows that name its generation.
fn brief(log: &Log, ledger: &mut Ledger) -> bool {
    let id = super::stream_id("brief");
    if log.stream(&id).is_some() {
        ledger.brief.1 += 1;
        if log.delete_stream(&id).is_err() {
            return false;
        }
        ledger.brief.0 = ledger.brief.1;
    }
    let Ok(stream) = log.create_stream(&id, super::definition(1)) else { return false };
    let generation = ledger.brief.1 * 1_000;
    log.append_waiting(super::append(&stream, 0, generation..generation + 9)).is_ok()
}

/// Counts up in a document until the log stops.
fn count(log: &Log, (mut acknowledged, mut sent): (u64, u64)) -> (u64, u64) {
    for _ in 0..5_000 {
        sent += 1;
        if log.put_documents(vec![("counter".to_owned(), Some(sent.to_le_bytes().to_vec()))]).is_err() {
            break;
        }
        acknowledged = sent;
    }
    (acknowledged, sent)
}

fn events_or_none(log: &Log) -> Option<Arc<Stream>> {
    let id = super::stream_id("events");
    log.stream(&id).or_else(|| log.create_stream(&id, super::definition(PARTITIONS)).ok())
}

fn collect(sent: &mut Vec<Sent>, ledger: &mut Ledger) -> bool {
    let mut alive = true;
    for Sent { request, frames, pending } in sent.drain(..) {
        match pending.wait() {
            Ok(offsets) => {
                if let Some(known) = ledger.requests.get_mut(&request) {
                    known.1 = true;
                }
                let frames = frames.into_iter().zip(offsets.iter());
                ledger.acknowledged.extend(frames.map(|((partition, ids), offset)| (partition, *offset, ids)));
            }
            Err(_) => alive = false,
        }
    }
    alive
}

fn check(log: &Log, ledger: &Ledger) -> Result<(), String> {
    let counter = log.document("counter").map_or(0, |value| u64::from_le_bytes(value[..].try_into().expect("eight bytes")));
    let (acknowledged, sent) = ledger.document;
    if !(acknowledged..=sent).contains(&counter) {
        return Err(format!("acknowledged rows of the counter: it is {counter}, acknowledged {acknowledged}, sent {sent}"));
    }
    if let Some(brief) = log.stream(&super::stream_id("brief")) {
        let found = read_from(&brief.partitions()[0], Offset::ZERO, Visibility::Durable);
        let (acknowledged, asked) = ledger.brief;
        let generation = found.first().map_or(asked, |first| first / 1_000);
        if !(acknowledged..=asked).contains(&generation)
            || found != (generation * 1_000..generation * 1_000 + 9).take(found.len()).collect::<Vec<_>>()
        {
            return Err(format!("`brief` was deleted {acknowledged} to {asked} times, and has {found:?}"));
        }
    }
    let Some(stream) = log.stream(&super::stream_id("events")) else {
        return if ledger.acknowledged.is_empty() { Ok(()) } else { Err("the stream is lost".to_owned()) };
    };
    let found: Vec<Vec<i64>> = (0..PARTITIONS)
        .map(|number| {
            let partition = stream.partition(PartitionId(number)).expect("the partitions are fixed");
            read_from(partition, Offset::ZERO, Visibility::Durable)
        })
        .collect();
    for (partition, offset, ids) in &ledger.acknowledged {
        let from = offset.0 as usize;
        let there = found[*partition as usize].get(from..from + ids.len());
        if there != Some(ids.as_slice()) {
            return Err(format!("acknowledged rows {ids:?} at {partition}/{offset} are {there:?}"));
        }
    }
    let there: HashSet<i64> = found.iter().flatten().copied().collect();
    for (request, (last_id, acknowledged)) in &ledger.requests {
        let seen = log.request(&stream, "producer:life", *request);
        if seen.is_some() != there.contains(last_id) || (seen.is_none() && *acknowledged) {
            let rows = if there.contains(last_id) { "there" } else { "not there" };
            return Err(format!("request {request} (acknowledged: {acknowledged}) is {seen:?}, and its rows are {rows}"));
        }
        if seen.is_some_and(|seen| seen.answer.as_deref() != Some(&request.to_le_bytes())) {
            return Err(format!("request {request} has the answer of another"));
        }
    }
    for (partition, ids) in found.iter().enumerate() {
        if let Some(pair) = ids.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(format!("partition {partition} has {} behind {}", pair[1], pair[0]));
        }
        if let Some(id) = ids.iter().find(|id| **id < 1 || **id > ledger.next_id) {
            return Err(format!("partition {partition} has {id}, which nobody sent"));
        }
    }
    let of =
        |partition: usize| -> BTreeSet<i64> { found[partition].iter().copied().filter(|id| ledger.pairs.contains(id)).collect() };
    if of(0) != of(1) {
        let differ: Vec<_> = of(0).symmetric_difference(&of(1)).copied().collect();
        return Err(format!("entries over two partitions are there by half: {differ:?}"));
    }
    Ok(())
}

/// Makes the stream on a disk that holds, so that lives may begin with it.
pub fn prepared_disk() -> Arc<MemoryDisk> {
    let below = Arc::new(MemoryDisk::default());
    let log = Log::open(settings(), Arc::clone(&below) as Arc<dyn Disk>).expect("opens");
    events(&log, PARTITIONS);
    below
}
