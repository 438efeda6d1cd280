//! The writer's thread: forms groups from what waits, gives out offsets, writes each group with one call.
//!
//! The next group is whatever arrived while the last one was being synced; nothing waits for a timer. Only when much waits already
//! is it written during that sync, so that the disk never idles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemill_event::{Offset, TenantName};

use crate::append::Append;
use crate::change::Change;
use crate::columns;
use crate::core::{Core, Item, WrittenGroup, fail_group};
use crate::error::{DiskError, Poisoned};
use crate::fair::{Measured, Next};
use crate::frame::{self, FrameHead};
use crate::group::{GroupBuilder, GroupHeader, SECTOR, padded};
use crate::journal::{FileHeader, JournalFile};
use crate::mark::{Mark, MarkFile};
use crate::planted::Planted;
use crate::prepare::{Prepared, Reply, prepare};
use crate::requests::StoredMark;
use crate::syncer;

/// Groups written and not synced at once: one on its way to the disk and one behind it.
const IN_FLIGHT_MAX: usize = 2;
/// While the disk is full, it is tried again after this long.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// How much earlier than the sync a planted acknowledgement is.
const EARLY: Duration = Duration::from_millis(2);

pub(crate) struct Writer {
    core: Arc<Core>,
    builder: GroupBuilder,
    /// The number of the next group.
    number: u64,
    previous: u32,
    mark_file: MarkFile,
    mark: Mark,
    changes_first: Vec<Change>,
}

enum Work {
    Group(Vec<Item>),
    /// Nothing happened for a while.
    Idle,
    End,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, mark_file: MarkFile, mark: Mark, previous: u32) -> Self {
        let (builder, number) = (GroupBuilder::default(), mark.run_start);
        Self { core, builder, number, previous, mark_file, mark, changes_first: Vec::new() }
    }

    /// Runs until the log is closed or has stopped.
    pub(crate) fn run(mut self) -> Result<(), Poisoned> {
        loop {
            match self.next_work() {
                Work::Group(items) => self.write_group(items)?,
                Work::Idle => self.note_mark()?,
                Work::End => break,
            }
        }
        let stopped = self.core.flow.lock().stopped.clone();
        match stopped {
            None => self.note_mark(),
            // What went back into the queue while the log stopped is answered here.
            Some(why) => {
                self.core.stop(why);
                Ok(())
            }
        }
    }

    fn next_work(&mut self) -> Work {
        let core = Arc::clone(&self.core);
        let settings = &core.settings;
        let mut flow = core.flow.lock();
        loop {
            if flow.stopped.is_some() {
                return Work::End;
            }
            let waiting = !flow.queue.is_empty();
            let overlap = flow.in_flight < IN_FLIGHT_MAX && flow.queue.bytes() >= settings.overlap_bytes;
            if waiting && (flow.in_flight == 0 || overlap) {
                break;
            }
            if waiting || flow.in_flight > 0 {
                core.work.wait(&mut flow);
            } else if flow.closing {
                return Work::End;
            } else if self.mark.durable < flow.durable {
                if core.work.wait_for(&mut flow, settings.mark_idle).timed_out() && flow.queue.is_empty() && !flow.closing {
                    return Work::Idle;
                }
            } else {
                core.work.wait(&mut flow);
            }
        }
        let mut items = Vec::new();
        let mut bytes = 0;
        let (sizes, now) = (core.sizes(), core.now.load(Ordering::Relaxed));
        while bytes < settings.group_bytes_max
            && let Some(next) = flow.queue.next(settings.group_bytes_max - bytes, items.is_empty())
        {
            let (tenant, source) = match next {
                Next::Item(item) => {
                    bytes += item.bytes();
                    items.push(item);
                    continue;
                }
                Next::Source(tenant, source) => (tenant, source),
            };
            // `take` may need a lock that is held while announcing.
            let taken = parking_lot::MutexGuard::unlocked(&mut flow, || {
                let append = source.take()?;
                match prepare(Append { atomic: false, ..append }, sizes, now) {
                    Ok(prepared) => Some(prepared),
                    Err((error, callback)) => {
                        let reply = Reply { sender: None, callback };
                        reply.failed(&Poisoned::Refused(error.to_string()));
                        None
                    }
                }
            });
            if let Some(prepared) = taken {
                bytes += prepared.encoded_max;
                flow.queue.charge(&tenant, prepared.encoded_max);
                items.push(Item::Rows(prepared));
            }
        }
        // A gathered append may not fit behind the others: it waits at the head of the queue, no row lost.
        let mut total = 0;
        let fits = items.iter().take_while(|item| {
            total += item.bytes();
            total <= sizes.group_bytes
        });
        let fits = fits.count().max(1).min(items.len());
        for item in items.drain(fits..).rev() {
            let tenant = item.tenant().cloned();
            flow.queue.put_back(tenant.as_ref(), item);
        }
        flow.queue.forgive();
        core.progress.notify_all();
        Work::Group(items)
    }

    fn write_group(&mut self, items: Vec<Item>) -> Result<(), Poisoned> {
        if items.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let mut group = Group { replies: Vec::with_capacity(items.len()), ..Group::default() };
        self.builder.start();
        for item in items {
            match item {
                Item::Rows(prepared) => self.rows(prepared, &mut group),
                Item::Changes { changes, payload, reply } => {
                    self.builder.changes(&payload);
                    self.changes_first.extend(changes);
                    group.replies.push((reply, Vec::new()));
                }
            }
        }
        if !self.changes_first.is_empty() {
            let mut manifest = core.manifest.write();
            for change in self.changes_first.drain(..) {
                if change.leaves_room() {
                    core.uncleaned.store(true, Ordering::Release);
                }
                if let Err(what) = manifest.apply(change) {
                    tracing::error!(what, "a change does not fit the manifest");
                }
            }
            manifest.covers = self.number;
        }
        for (partition, _) in &group.ends {
            partition.announce_sequenced();
        }
        let Group { ends, marks, replies, join, frames, rows } = group;
        let durable = core.flow.lock().durable;
        let written = match self.write(durable) {
            Ok((file, end)) => WrittenGroup { number: self.number, file, end, ends, marks, replies },
            Err(error) => {
                let why = Poisoned::Disk(error);
                core.stop(why.clone());
                for (reply, _) in replies {
                    reply.failed(&why);
                }
                return Err(why);
            }
        };
        let bytes = padded(self.builder.group().len()) as u64;
        let counters = &core.counters;
        for (counter, value) in [
            (&counters.groups, 1),
            (&counters.entries, u64::from(self.builder.entries())),
            (&counters.frames, frames),
            (&counters.rows, rows),
            (&counters.bytes, bytes),
        ] {
            counter.fetch_add(value, Ordering::Relaxed);
        }
        self.number += 1;
        self.sync(written, bytes)?;
        if !join.is_empty() {
            core.orders.lock().join.extend(join);
            core.roll.notify_one();
        }
        core.roll_if_needed();
        Ok(())
    }

    /// Gives an append its offsets and encodes it.
    fn rows(&mut self, prepared: Prepared, group: &mut Group) {
        let Prepared { frames, entries, marks, marks_payload, reply, .. } = prepared;
        let mut offsets = Vec::with_capacity(frames.len());
        for frame in &frames {
            let (start, join) = frame.partition.sequence(frame.rows.clone(), frame.version, frame.bytes, frame.times.1);
            let rows = frame.rows.num_rows();
            if join {
                group.join.push(Arc::clone(&frame.partition));
            }
            group.ends.push((Arc::clone(&frame.partition), start.plus(rows)));
            group.rows += rows as u64;
            offsets.push(start);
        }
        for entry in &entries {
            group.frames += entry.len() as u64;
            self.builder.rows(entry, |piece, out| {
                let frame = &frames[piece.frame];
                let (stream, partition) = frame.partition.numbers();
                let whole = piece.rows == frame.rows.num_rows();
                let slice = if whole { None } else { Some(frame.rows.slice(piece.start, piece.rows)) };
                let rows = slice.as_ref().unwrap_or(&frame.rows);
                let (time_min, time_max) = if whole { frame.times } else { frame::time_range(rows) };
                columns::encode_rows(rows, out);
                let start = offsets[piece.frame].plus(piece.start).0;
                let (version, rows) = (frame.version.0, piece.rows as u32);
                FrameHead { stream, version, partition, rows, start, time_min, time_max, bytes: 0, checksum: 0 }
            });
        }
        if !marks_payload.is_empty() {
            // In the same group: they count together or not at all.
            self.builder.requests(&marks_payload);
            group.marks.extend(marks);
        }
        group.replies.push((reply, offsets));
    }

    /// One write, in the current file or at the start of the next. While the disk is full, it waits: what is in the group has its
    /// offsets already, and is not acknowledged.
    fn write(&mut self, durable: u64) -> Result<(Arc<JournalFile>, (u64, u64)), DiskError> {
        let bytes = padded(crate::group::HEADER_BYTES + self.builder.bytes()) as u64;
        let place = self.with_room(|writer| writer.core.journal.lock().place(writer.number, bytes))?;
        if place.is_near_the_end {
            self.core.prepare.notify_one();
        }
        if place.first {
            let live = self.core.journal.lock().live_files();
            self.core.counters.live_files.store(live, Ordering::Relaxed);
            self.core.look_at_space();
        }
        let (run, number, previous) = (self.mark.run, self.number, self.previous);
        let header = GroupHeader { run, number, durable, bytes: 0, entries: 0, previous, heads: 0, sequence: place.sequence };
        let checksum = self.builder.finish(header);
        // The same bytes at the same place, as often as it takes: nobody knows of them yet.
        let ahead = self.core.settings.journal_ahead_bytes;
        self.with_room(|writer| {
            place.file.write_ahead(place.at + bytes, ahead)?;
            if place.first {
                let header = FileHeader { sequence: place.sequence, run, first_group: number, previous };
                place.file.write(place.at - SECTOR as u64, writer.builder.group_with_file_header(&header.encode()))
            } else {
                place.file.write(place.at, writer.builder.group())
            }
        })?;
        self.previous = checksum;
        Ok((place.file, (place.sequence, place.at + bytes)))
    }

    /// Tries until there is room, or the log closes.
    fn with_room<T>(&mut self, mut call: impl FnMut(&mut Self) -> Result<T, DiskError>) -> Result<T, DiskError> {
        loop {
            let error = match call(self) {
                Err(error) if error.is_full() => error,
                done => return done,
            };
            self.core.space.ran_out(&error);
            self.core.roll.notify_one();
            let core = Arc::clone(&self.core);
            let mut flow = core.flow.lock();
            if flow.closing || flow.stopped.is_some() {
                return Err(error);
            }
            // Woken by each append that comes: a moment less is no harm.
            core.work.wait_for(&mut flow, FULL_WAIT);
        }
    }

    /// A small group that is alone is synced here; others are handed over, so that the next one can be written meanwhile.
    fn sync(&self, mut group: WrittenGroup, bytes: u64) -> Result<(), Poisoned> {
        let core = &self.core;
        if core.settings.plants(Planted::EarlyAcknowledgement) {
            core.publish(std::slice::from_mut(&mut group));
            core.tell(std::slice::from_mut(&mut group));
            // On a disk that syncs at once there would hardly be a moment between them to lose the power in.
            std::thread::sleep(EARLY);
        }
        let mut flow = core.flow.lock();
        if let Some(why) = flow.stopped.clone() {
            drop(flow);
            fail_group(group, &why);
            return Ok(());
        }
        flow.in_flight += 1;
        if flow.in_flight == 1 && bytes < core.settings.overlap_bytes as u64 && flow.queue.bytes() < core.settings.overlap_bytes {
            drop(flow);
            return syncer::settle(core, vec![group]);
        }
        flow.written.push_back(group);
        core.written.notify_one();
        Ok(())
    }

    /// Notes the durable mark beside the journal.
    fn note_mark(&mut self) -> Result<(), Poisoned> {
        let durable = self.core.flow.lock().durable;
        if durable <= self.mark.durable {
            return Ok(());
        }
        self.mark.durable = durable;
        match self.mark_file.write(self.mark) {
            Ok(()) => Ok(()),
            Err(error) if error.is_full() && error.operation == "write" => {
                // Without it a torn end and damage are told apart a little less well, and that is all.
                self.core.space.ran_out(&error);
                Ok(())
            }
            Err(error) => {
                let why = Poisoned::Disk(error);
                self.core.stop(why.clone());
                Err(why)
            }
        }
    }
}

/// What is known of a group while it is formed.
#[derive(Default)]
struct Group {
    ends: Vec<(Arc<crate::partition::Partition>, Offset)>,
    marks: Vec<(TenantName, StoredMark)>,
    replies: Vec<(Reply, Vec<Offset>)>,
    join: Vec<Arc<crate::partition::Partition>>,
    frames: u64,
    rows: u64,
}
