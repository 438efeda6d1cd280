//! Lives of a log on a disk that fails: opened, checked against the model, put to work until the power goes or a call fails, cut.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemill_event::{EventTime, Offset, PartitionId, TenantName};
use tidemill_log::simulated::{Call, Fault, HookedDisk, MemoryDisk, Random};
use tidemill_log::{
    Append, Appended, Disk, Gathered, Log, LogSettings, OpenError, Pending, Planted, PowerCutDisk, RequestMark, Stream,
    Visibility,
};

use super::model::{GATHERED, GatheredAnswers, Model, PARTITIONS, Sent, WRITER};
use super::{definition, frame, is_journal, rows, stream_id};

/// Small files and bounds, so that a short life meets them all.
pub fn settings(planted: Option<Planted>) -> LogSettings {
    let mut settings = super::small_settings(Path::new("/log"));
    // Some dozens: most of a long life's are forgotten, and must not be new again.
    settings.tenant_requests_bytes_max = 10_000;
    settings.journal_file_bytes = 16 << 10;
    settings.journal_bytes_max = 256 << 10;
    settings.journal_roll_bytes = 48 << 10;
    settings.segment_own_bytes = 8 << 10;
    settings.overlap_bytes = 512;
    settings.mark_idle = std::time::Duration::from_millis(2);
    settings.planted = planted;
    settings
}

/// A platter, a log's settings, and what is known of what the log was told.
pub struct Machine {
    pub below: Arc<MemoryDisk>,
    pub model: Model,
    pub settings: LogSettings,
}

/// What ends a life.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// The power fails during this change of the disk.
    Power(u64),
    /// A call fails, and soon after it the power.
    Fault(Fault),
}

impl Machine {
    /// With nothing on its platter.
    pub fn empty(planted: Option<Planted>) -> Self {
        Self { below: Arc::default(), model: Model::default(), settings: settings(planted) }
    }

    /// With the stream on its platter.
    pub fn prepared(planted: Option<Planted>) -> Self {
        let machine = Self::empty(planted);
        let log = machine.open().expect("opens");
        log.create_stream(&stream_id("events"), definition(PARTITIONS)).expect("a stream");
        machine
    }

    /// Opens with the power on.
    pub fn open(&self) -> Result<Log, OpenError> {
        Log::open(self.settings.clone(), Arc::clone(&self.below) as Arc<dyn Disk>)
    }

    /// One life: open, check, work until its end, cut. `Err` is a broken promise. `Ok(false)` if the fault met no call.
    pub fn live(&mut self, seed: u64, end: End) -> Result<bool, String> {
        self.life(seed, end, true)
    }

    /// The power fails while the log recovers, or shortly after.
    pub fn recover(&mut self, seed: u64, end: End) -> Result<bool, String> {
        self.life(seed, end, false)
    }

    fn life(&mut self, seed: u64, end: End, work: bool) -> Result<bool, String> {
        let disk = PowerCutDisk::new(Arc::clone(&self.below) as Arc<dyn Disk>);
        match end {
            End::Power(calls) => disk.fail_after(calls),
            End::Fault(fault) => disk.fail(fault),
        }
        let slow = seed.is_multiple_of(4);
        let delayed = HookedDisk::over(Arc::new(disk.clone()), move |call, path| {
            if slow && call == Call::Sync && is_journal(path) {
                // Others get something done meanwhile, as they would beside a real disk.
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            Ok(())
        });
        // In one story of three the writer syncs small groups itself.
        let overlap_bytes = if seed.is_multiple_of(3) { 8 << 10 } else { self.settings.overlap_bytes };
        let settings = LogSettings { overlap_bytes, ..self.settings.clone() };
        let result = match Log::open(settings, delayed) {
            Ok(log) => {
                let result = match end {
                    // A read may fail then, which is no promise broken.
                    End::Fault(_) => Ok(()),
                    End::Power(_) => match self.model.check(&log) {
                        // A file was being made ahead meanwhile, and met the end: what a dead disk does not give is not lost.
                        Err(said) if said.ends_with("the power is off") => Ok(()),
                        checked => checked,
                    },
                };
                if result.is_ok() && work {
                    self.work(&log, seed, if matches!(end, End::Power(_)) { 10_000 } else { 60 });
                }
                result
            }
            // The disk may fail while the log recovers: that is no fault of its own.
            Err(OpenError::Disk(_)) => Ok(()),
            Err(error) => Err(format!("recovery failed: {error}")),
        };
        disk.cut(seed).expect("memory does not fail");
        result.map(|()| disk.fault_met())
    }

    /// Opens with the power on and checks, in the journal's form and then rolled.
    pub fn judge(&mut self) -> Result<(), String> {
        let log = self.open().map_err(|error| format!("recovery failed: {error}"))?;
        self.model.check(&log)?;
        log.roll().map_err(|error| error.to_string())?;
        drop(log);
        let log = self.open().map_err(|error| format!("recovery after a roll failed: {error}"))?;
        self.model.check(&log)
    }

    fn work(&mut self, log: &Log, seed: u64, rounds: u64) {
        let id = stream_id("events");
        let Some(stream) = log.stream(&id).or_else(|| log.create_stream(&id, definition(PARTITIONS)).ok()) else { return };
        let counter = self.model.counter;
        // Changes of the manifest come at any moment of a roll.
        let counting = log.clone();
        let documents = std::thread::spawn(move || count(&counting, counter, rounds * 2));
        self.model.lives.push(Vec::new());
        let mut worker = Worker { log, stream, model: &mut self.model, random: Random::new(seed), pending: Vec::new() };
        worker.run(rounds);
        self.model.counter = documents.join().expect("no panic");
    }
}

struct Worker<'a> {
    log: &'a Log,
    stream: Arc<Stream>,
    model: &'a mut Model,
    random: Random,
    /// Which entry of this life waits for its answer.
    pending: Vec<(usize, Pending)>,
}

impl Worker<'_> {
    fn run(&mut self, rounds: u64) {
        for round in 0..rounds {
            let alive = match self.random.below(40) {
                0 => self.trim(),
                1 => self.make_stream(),
                2 => self.make_anew(),
                3..9 => self.gather(),
                _ => self.append(),
            };
            let wait = self.random.chance(2, 5);
            if !alive || (wait && !self.collect()) {
                break;
            }
            // A retention without bounds removes nothing, and has shared segments moved together.
            if round % 40 == 39 && (self.log.roll().is_err() || self.log.retain(EventTime(0)).is_err()) {
                break;
            }
        }
        self.collect();
    }

    fn ids(&mut self) -> Vec<i64> {
        let first = self.model.next_id + 1;
        self.model.next_id += self.random.below(20) as i64 + 1;
        (first..=self.model.next_id).collect()
    }

    fn append(&mut self) -> bool {
        let ids = self.ids();
        let frames: Vec<(u32, Vec<i64>)> = if self.random.chance(1, 4) {
            vec![(0, ids.clone()), (1, ids)]
        } else {
            vec![(self.random.below(u64::from(GATHERED)) as u32, ids)]
        };
        let frame = |(partition, ids): &(u32, Vec<i64>)| frame(&self.stream, *partition, rows(ids.iter().copied()));
        let request = self.model.lives.iter().map(|life| life.len() as u64).sum();
        let rows = frames.iter().map(|(_, ids)| ids.len() as u64).sum();
        let mark = RequestMark {
            stream: Arc::clone(&self.stream),
            writer: WRITER.into(),
            sequence: Some(request),
            rows,
            accepted: rows,
            answer: Some(request.to_le_bytes()[..].into()),
        };
        let append = Append { requests: vec![mark], ..Append::atomic(frames.iter().map(frame).collect()) };
        let Ok(pending) = self.log.append_waiting(append) else { return false };
        let life = self.model.lives.last_mut().expect("this life");
        self.pending.push((life.len(), pending));
        life.push(Sent { request, frames, answer: None });
        true
    }

    fn gather(&mut self) -> bool {
        let ids = self.ids();
        let source = Source { stream: Arc::clone(&self.stream), ids: Mutex::new(ids), answers: Arc::clone(&self.model.gathered) };
        self.log.announce(Arc::new(source));
        true
    }

    fn trim(&mut self) -> bool {
        let number = self.random.below(u64::from(GATHERED)) as u32;
        let partition = self.stream.partition(PartitionId(number)).expect("the partitions are fixed");
        let (from, end) = (partition.trim_point().0, partition.end(Visibility::Durable).0);
        let before = from + self.random.below(end - from + 1) / 2;
        let asked = self.model.trims.entry(number).or_default();
        *asked = (*asked).max(before);
        self.log.trim(partition.key(), Offset(before)).is_ok()
    }

    fn make_stream(&mut self) -> bool {
        let name = format!("stream-{}", self.model.next_id);
        let made = self.log.create_stream(&stream_id(&name), definition(2)).is_ok();
        if made {
            self.model.streams.push(name);
        }
        made
    }

    /// Deletes the stream `brief` and makes it again, with rows that name its generation.
    fn make_anew(&mut self) -> bool {
        let id = stream_id("brief");
        if self.log.stream(&id).is_some() {
            self.model.brief.1 += 1;
            if self.log.delete_stream(&id).is_err() {
                return false;
            }
            self.model.brief.0 = self.model.brief.1;
        }
        let Ok(stream) = self.log.create_stream(&id, definition(1)) else { return false };
        let first = self.model.brief.1 * 1_000;
        self.log.append_waiting(super::append(&stream, 0, first..first + 9)).is_ok()
    }

    /// Waits for what was sent. `false` if the log has stopped.
    fn collect(&mut self) -> bool {
        let life = self.model.lives.last_mut().expect("this life");
        let mut alive = true;
        for (index, pending) in self.pending.drain(..) {
            match pending.wait() {
                Ok(offsets) => life[index].answer = Some(offsets.to_vec()),
                Err(_) => alive = false,
            }
        }
        alive
    }
}

/// Rows that are handed over when the writer asks for them.
struct Source {
    stream: Arc<Stream>,
    ids: Mutex<Vec<i64>>,
    answers: GatheredAnswers,
}

impl Gathered for Source {
    fn tenant(&self) -> &TenantName {
        &self.stream.id().tenant
    }

    fn take(&self) -> Option<Append> {
        let ids = std::mem::take(&mut *self.ids.lock());
        let frames = vec![frame(&self.stream, GATHERED, rows(ids.iter().copied()))];
        let index = {
            let mut answers = self.answers.lock();
            answers.push((ids, None));
            answers.len() - 1
        };
        let answers = Arc::clone(&self.answers);
        let heard = move |answer: Appended| answers.lock()[index].1 = answer.ok().map(|offsets| offsets[0]);
        Some(Append { on_durable: Some(Box::new(heard)), atomic: false, ..Append::atomic(frames) })
    }
}

/// Counts up in a document until the log stops.
fn count(log: &Log, (mut acknowledged, mut sent): (u64, u64), until: u64) -> (u64, u64) {
    for _ in 0..until {
        sent += 1;
        if log.put_documents(vec![("counter".to_owned(), Some(sent.to_le_bytes().to_vec()))]).is_err() {
            break;
        }
        acknowledged = sent;
    }
    (acknowledged, sent)
}
