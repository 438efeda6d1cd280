//! What the log's threads and its callers share: the queue in front of the writer, what waits for a sync, and the end of it all.
//!
//! ```text
//! callers ─► queue, announced ─► writer ─► written ─► syncer ─► durable
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex, RwLock};
use tidemill_event::{Offset, TenantName};
use tokio::sync::{oneshot, watch};

use crate::append::{Append, Appended, Gathered, Pending};
use crate::change::{self, Change};
use crate::disk::Disk;
use crate::error::{AppendError, Poisoned};
use crate::fair::{FairQueue, Measured};
use crate::journal::{Journal, JournalFile};
use crate::manifest::Manifest;
use crate::mark::Mark;
use crate::partition::Partition;
use crate::prepare::{Prepared, Reply, Sizes, prepare};
use crate::requests::{Requests, StoredMark};
use crate::settings::LogSettings;
use crate::space::Space;
use crate::stats::SYNC_BUCKETS;
use crate::store::{SegmentStore, TailMemory};

/// What one place in the queue holds.
pub(crate) enum Item {
    Rows(Prepared),
    Changes { changes: Vec<Change>, payload: Vec<u8>, reply: Reply },
}

impl Measured for Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Rows(prepared) => prepared.encoded_max,
            Self::Changes { payload, .. } => payload.len() + 64,
        }
    }

    /// What the queue is bounded by. Small batches are mostly overhead.
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Rows(prepared) => prepared.memory_bytes,
            Self::Changes { payload, .. } => 2 * payload.len() + 64,
        }
    }
}

impl Item {
    /// Whose it is; changes of the manifest are nobody's.
    pub(crate) fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::Rows(prepared) => prepared.tenant.as_ref(),
            Self::Changes { .. } => None,
        }
    }

    fn failed(self, why: &Poisoned) {
        match self {
            Self::Rows(prepared) => prepared.reply.failed(why),
            Self::Changes { reply, .. } => reply.failed(why),
        }
    }
}

/// A group that was written and waits for its sync.
pub(crate) struct WrittenGroup {
    pub(crate) number: u64,
    pub(crate) file: Arc<JournalFile>,
    /// Where the group ends: the file's sequence, and the byte behind it.
    pub(crate) end: (u64, u64),
    /// Where each partition in it ends.
    pub(crate) ends: Vec<(Arc<Partition>, Offset)>,
    pub(crate) marks: Vec<(TenantName, StoredMark)>,
    pub(crate) replies: Vec<(Reply, Vec<Offset>)>,
}

/// What goes from callers to the writer and from it to the syncer.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) queue: FairQueue<Item, Arc<dyn Gathered>>,
    pub(crate) written: VecDeque<WrittenGroup>,
    /// Groups written and not yet synced, the one being synced included.
    pub(crate) in_flight: usize,
    /// Every group up to this number is on disk.
    pub(crate) durable: u64,
    /// Where the last of those ends.
    pub(crate) durable_end: (u64, u64),
    /// Nothing new is taken; the writer ends when everything is on disk.
    pub(crate) closing: bool,
    /// Why nothing is taken any more.
    pub(crate) stopped: Option<Poisoned>,
}

/// A segment that snapshots need.
#[derive(Default)]
pub(crate) struct Pin {
    /// How many of them.
    pub(crate) count: u32,
    pub(crate) bytes: u64,
}

/// What the roller is asked for.
#[derive(Default)]
pub(crate) struct RollOrders {
    pub(crate) wanted: u64,
    pub(crate) done: u64,
    pub(crate) join: Vec<Arc<Partition>>,
    /// Rows were trimmed: files may go.
    pub(crate) clean: bool,
    pub(crate) stop: bool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_latency: [AtomicU64; SYNC_BUCKETS.len() + 1],
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) rolls: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    /// Journal files that hold rows not known to be in segments.
    pub(crate) live_files: AtomicU64,
}

/// The shared part of a log.
pub(crate) struct Core {
    pub(crate) settings: LogSettings,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: Arc<SegmentStore>,
    pub(crate) manifest: RwLock<Manifest>,
    pub(crate) journal: Mutex<Journal>,
    /// Of the requests that are on disk.
    pub(crate) requests: Mutex<Requests>,
    /// What the log was last told the time is.
    pub(crate) now: AtomicI64,
    pub(crate) flow: Mutex<Flow>,
    /// For the writer: something to write, or a sync has ended.
    pub(crate) work: Condvar,
    /// For the syncer: something was written.
    pub(crate) written: Condvar,
    /// For those who wait for room, or for a group to be durable.
    pub(crate) progress: Condvar,
    /// Held to write while durable ends move: who reads it sees all of a moment.
    pub(crate) publishing: RwLock<()>,
    pub(crate) poisoned: watch::Sender<Option<Poisoned>>,
    pub(crate) space: Space,
    /// What the mark said at the start: the run, and its first group.
    pub(crate) began: Mark,
    /// Held while journal files are let go, and while a snapshot is taken.
    pub(crate) settling: Mutex<()>,
    /// Segments that snapshots still need.
    pub(crate) pinned: Mutex<HashMap<u64, Pin>>,
    /// Bytes of the journal copies of snapshots.
    pub(crate) copied_bytes: AtomicU64,
    /// Snapshots since the start, for the names of their copies.
    pub(crate) snapshots: AtomicU64,
    pub(crate) orders: Mutex<RollOrders>,
    /// Rows were trimmed or rolled, or a stream deleted, since the roller last cleaned.
    pub(crate) uncleaned: AtomicBool,
    pub(crate) roll: Condvar,
    pub(crate) rolled: Condvar,
    /// For the preparer, with the journal's lock: the current file is not new any more, or the log ends.
    pub(crate) prepare: Condvar,
    /// The log ends: what is only done ahead is not worth doing.
    pub(crate) ending: AtomicBool,
    pub(crate) counters: Counters,
}

impl Core {
    pub(crate) fn sizes(&self) -> Sizes {
        let settings = &self.settings;
        // A group must fit behind a file's header; its own header and padding are at most two sectors.
        let group_bytes = (settings.journal_file_bytes as usize).saturating_sub(2048);
        Sizes { entry_bytes: settings.entry_bytes_max, group_bytes }
    }

    /// Queues an append. `wait` blocks for room instead of refusing.
    pub(crate) fn append(&self, append: Append, wait: bool) -> Result<Pending, AppendError> {
        let mut prepared = prepare(append, self.sizes(), self.now.load(Ordering::Relaxed)).map_err(|(error, _)| error)?;
        let (sender, pending) = Pending::new();
        prepared.reply.sender = Some(sender);
        let mut flow = self.flow.lock();
        loop {
            if let Some(why) = &flow.stopped {
                return Err(AppendError::Poisoned(why.clone()));
            }
            if flow.closing {
                return Err(AppendError::Poisoned(Poisoned::Closed));
            }
            // Tasks go on: what they write is bounded by what was taken before.
            if !wait && self.space.is_full() {
                self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
                return Err(AppendError::DiskFull);
            }
            let Some(full) = self.full(&flow, &prepared) else { break };
            if !wait {
                self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
                return Err(AppendError::Overloaded(full));
            }
            // The timeout is for bounds that move without this lock: memory freed by the roller.
            self.progress.wait_for(&mut flow, Duration::from_millis(50));
        }
        match prepared.tenant.clone() {
            Some(tenant) => flow.queue.push(&tenant, Item::Rows(prepared)),
            // Nothing in it: answered by the next group.
            None => flow.queue.push_urgent(Item::Rows(prepared)),
        }
        self.work.notify_one();
        Ok(pending)
    }

    /// Which bound an append would break.
    fn full(&self, flow: &Flow, prepared: &Prepared) -> Option<&'static str> {
        let (settings, bytes) = (&self.settings, prepared.memory_bytes);
        let queued = flow.queue.memory_bytes();
        if queued + bytes > settings.queue_bytes_max && queued > 0 {
            return Some("too many appends wait for their group");
        }
        let of_tenant = prepared.tenant.as_ref().map_or(0, |tenant| flow.queue.tenant_memory_bytes(tenant));
        if of_tenant + bytes > settings.tenant_queue_bytes_max && of_tenant > 0 {
            return Some("too many appends of the tenant wait for their group");
        }
        self.unrolled(prepared.frames.first().map(|frame| frame.partition.tails()))
    }

    /// Which bound the rows break that are in no segment.
    fn unrolled(&self, of_tenant: Option<&TailMemory>) -> Option<&'static str> {
        let settings = &self.settings;
        if self.store.tails.unrolled.load(Ordering::Relaxed) >= settings.tail_bytes_max {
            return Some("rows in memory wait to be rolled into segments");
        }
        if of_tenant.is_some_and(|tails| tails.unrolled.load(Ordering::Relaxed) >= settings.tenant_tail_bytes_max) {
            return Some("rows of the tenant in memory wait to be rolled into segments");
        }
        // Two files are kept back for what was taken already.
        let live = self.counters.live_files.load(Ordering::Relaxed);
        if (live + 2) * settings.journal_file_bytes > settings.journal_bytes_max {
            return Some("the journal is full until rows are rolled into segments");
        }
        None
    }

    /// Whether rows of a client would be taken now.
    pub(crate) fn room(&self, of_tenant: Option<&TailMemory>) -> Result<(), AppendError> {
        let refused = if self.space.is_full() {
            AppendError::DiskFull
        } else if let Some(full) = self.unrolled(of_tenant) {
            AppendError::Overloaded(full)
        } else {
            return Ok(());
        };
        self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Looks whether the disk has room for what rolling will write, and for the next journal file.
    pub(crate) fn look_at_space(&self) {
        let unrolled = self.store.tails.unrolled.load(Ordering::Relaxed) as u64;
        let next_file = self.journal.lock().next_file_bytes();
        self.space.look(unrolled + next_file);
        if self.space.is_full() {
            // It looks again until there is room.
            self.roll.notify_one();
        }
    }

    /// Queues changes to the manifest. They are never refused for lack of room: the roller frees room with them.
    pub(crate) fn change(&self, changes: Vec<Change>) -> Result<oneshot::Receiver<Appended>, AppendError> {
        let payload = change::encode_all(&changes);
        let bytes_max = self.sizes().group_bytes;
        if payload.len() + 64 > bytes_max {
            return Err(AppendError::TooLarge { bytes: payload.len() as u64, bytes_max: bytes_max as u64 });
        }
        let (sender, receiver) = oneshot::channel();
        let reply = Reply { sender: Some(sender), callback: None };
        let mut flow = self.flow.lock();
        if let Some(why) = &flow.stopped {
            return Err(AppendError::Poisoned(why.clone()));
        }
        if flow.closing {
            return Err(AppendError::Poisoned(Poisoned::Closed));
        }
        flow.queue.push_urgent(Item::Changes { changes, payload, reply });
        self.work.notify_one();
        Ok(receiver)
    }

    /// [`Core::change`], and waits until they are durable.
    pub(crate) fn change_durably(&self, changes: Vec<Change>) -> Result<(), AppendError> {
        let answer = self.change(changes)?.blocking_recv().unwrap_or(Err(Poisoned::Closed));
        answer.map(|_| ()).map_err(AppendError::Poisoned)
    }

    pub(crate) fn announce(&self, source: Arc<dyn Gathered>) {
        let stopped = {
            let mut flow = self.flow.lock();
            match &flow.stopped {
                Some(why) => why.clone(),
                None => {
                    flow.queue.announce(source.tenant(), Arc::clone(&source));
                    self.work.notify_one();
                    return;
                }
            }
        };
        fail_gathered(&*source, &stopped);
    }

    /// These groups are on disk: moves the durable ends, all in one moment.
    pub(crate) fn publish(&self, groups: &mut [WrittenGroup]) {
        let _publishing = self.publishing.write();
        if groups.iter().any(|group| !group.marks.is_empty()) {
            let mut requests = self.requests.lock();
            for (tenant, mark) in groups.iter_mut().flat_map(|group| group.marks.drain(..)) {
                requests.mark(&tenant, mark);
            }
        }
        for (partition, end) in groups.iter().flat_map(|group| &group.ends) {
            partition.set_durable(*end);
        }
    }

    /// Tells everybody what [`Core::publish`] has moved.
    pub(crate) fn tell(&self, groups: &mut [WrittenGroup]) {
        for (partition, _) in groups.iter().flat_map(|group| &group.ends) {
            partition.announce_durable();
        }
        for (reply, offsets) in groups.iter_mut().flat_map(|group| group.replies.drain(..)) {
            reply.durable(offsets);
        }
    }

    /// Waits until group `number` is on disk.
    pub(crate) fn wait_durable(&self, number: u64) -> Result<(), Poisoned> {
        let mut flow = self.flow.lock();
        while flow.durable < number {
            if let Some(why) = &flow.stopped {
                return Err(why.clone());
            }
            self.progress.wait(&mut flow);
        }
        Ok(())
    }

    /// The log takes nothing more, and nothing that waits will be acknowledged.
    pub(crate) fn stop(&self, why: Poisoned) {
        let (why, items, announced, written) = {
            let mut flow = self.flow.lock();
            let flow = &mut *flow;
            let why = flow.stopped.get_or_insert(why).clone();
            let (items, announced) = flow.queue.drain();
            (why, items, announced, std::mem::take(&mut flow.written))
        };
        if !matches!(why, Poisoned::Closed) {
            self.poisoned.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| why.clone());
                first
            });
        }
        self.work.notify_all();
        self.written.notify_all();
        self.progress.notify_all();
        self.orders.lock().stop = true;
        self.roll.notify_all();
        self.rolled.notify_all();
        for item in items {
            item.failed(&why);
        }
        for source in announced {
            fail_gathered(&*source, &why);
        }
        for group in written {
            fail_group(group, &why);
        }
    }

    /// Asks the roller to roll if a bound is near.
    pub(crate) fn roll_if_needed(&self) {
        if self.roll_is_needed() {
            let mut orders = self.orders.lock();
            if orders.wanted == orders.done {
                orders.wanted += 1;
                self.roll.notify_one();
            }
        }
    }

    /// Asks the roller to remove what is not needed any more, if there may be something.
    pub(crate) fn clean(&self) {
        if self.uncleaned.swap(false, Ordering::AcqRel) {
            self.orders.lock().clean = true;
            self.roll.notify_one();
        }
    }

    pub(crate) fn roll_is_needed(&self) -> bool {
        let settings = &self.settings;
        let live = self.counters.live_files.load(Ordering::Relaxed);
        let unrolled = self.store.tails.unrolled.load(Ordering::Relaxed);
        let of_tenant = self.store.most_unrolled();
        unrolled * 2 >= settings.tail_bytes_max
            || of_tenant * 2 >= settings.tenant_tail_bytes_max
            || (live > 1 && live * settings.journal_file_bytes >= settings.journal_roll_bytes)
    }
}

/// What a stopped log answers to those a group holds.
pub(crate) fn fail_group(group: WrittenGroup, why: &Poisoned) {
    for (reply, _) in group.replies {
        reply.failed(why);
    }
}

fn fail_gathered(source: &dyn Gathered, why: &Poisoned) {
    if let Some(Append { on_durable: Some(callback), .. }) = source.take() {
        callback(Err(why.clone()));
    }
}
