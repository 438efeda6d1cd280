//! The log as others see it: open, append, look up, close.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex, RwLock};
use tidemill_event::{EventTime, Offset, PartitionKey, SchemaVersion, StreamDefinition, StreamId, StreamSchema};
use tokio::sync::watch;

use crate::append::{Append, Gathered, Pending};
use crate::change::Change;
use crate::core::{Core, Counters, Flow, RollOrders};
use crate::disk::Disk;
use crate::durable::{Cut, Durable};
use crate::error::{AppendError, CloseError, OpenError, Poisoned, StreamError};
use crate::partition::Visibility;
use crate::recovery::{Recovered, recover, segment_dir};
use crate::requests::{self, RequestState};
use crate::retention;
use crate::settings::LogSettings;
use crate::snapshot::{self, Snapshot, SnapshotError};
use crate::space::Space;
use crate::stats::LogStats;
use crate::store::SegmentStore;
use crate::stream::Stream;
use crate::threads::Threads;
use crate::writer::Writer;

/// The most partitions a stream may have.
const PARTITIONS_MAX: u32 = 65_536;
/// The most fields a stream may have.
const FIELDS_MAX: usize = 4_096;

/// The durable log of a data directory. Clones are handles to the same log; when the last one is dropped it is closed.
#[derive(Clone)]
pub struct Log {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.owner.core.settings.dir).finish_non_exhaustive()
    }
}

/// Owns the threads.
struct Owner {
    core: Arc<Core>,
    threads: Mutex<Option<Threads>>,
    next_stream: AtomicU32,
    /// Names that are being made: their changes are on their way.
    making: Mutex<HashSet<StreamId>>,
    /// One change of a stream at a time: each builds on the one before.
    changing: Mutex<()>,
}

impl Log {
    /// Opens the log in `settings.dir`, making it if it is new, and recovers what a crash left. Blocks. Only one process may have
    /// a log open: who owns the data directory sees to that.
    pub fn open(settings: LogSettings, disk: Arc<dyn Disk>) -> Result<Log, OpenError> {
        check(&settings)?;
        #[cfg(feature = "planted")]
        let disk = crate::planted::forgetful(&settings, disk);
        let segments = segment_dir(&settings.dir);
        let (cache, open) = (settings.cache_bytes_max, settings.open_segments_max);
        let store = Arc::new(SegmentStore::new(Arc::clone(&disk), segments, settings.block_rows, cache, open));
        let recovered = recover(&settings, &disk, &store)?;
        let Recovered { manifest, requests, journal, mark_file, mark, previous, found } = recovered;
        let next_stream = AtomicU32::new(manifest.next_stream());
        let space = Space::open(Arc::clone(&disk), &settings.dir, settings.reserve_bytes);
        let durable_end = (journal.current.sequence, journal.at);
        let counters = Counters::default();
        counters.live_files.store(journal.live_files(), Ordering::Relaxed);
        let core = Arc::new(Core {
            settings,
            disk,
            store,
            manifest: RwLock::new(manifest),
            journal: Mutex::new(journal),
            began: mark,
            settling: Mutex::new(()),
            pinned: Mutex::default(),
            copied_bytes: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            requests: Mutex::new(requests),
            now: AtomicI64::new(requests::TIME_UNKNOWN),
            flow: Mutex::new(Flow { durable: mark.durable, durable_end, ..Flow::default() }),
            work: Condvar::new(),
            written: Condvar::new(),
            progress: Condvar::new(),
            publishing: RwLock::new(()),
            poisoned: watch::Sender::new(None),
            space,
            orders: Mutex::new(RollOrders::default()),
            // What the last life had no time for.
            uncleaned: AtomicBool::new(true),
            roll: Condvar::new(),
            rolled: Condvar::new(),
            prepare: Condvar::new(),
            ending: AtomicBool::new(false),
            counters,
        });
        let threads = Threads::start(&core, Writer::new(Arc::clone(&core), mark_file, mark, previous))?;
        core.look_at_space();
        let (threads, making) = (Mutex::new(Some(threads)), Mutex::new(HashSet::new()));
        let log = Self { owner: Arc::new(Owner { core, threads, next_stream, making, changing: Mutex::new(()) }) };
        for change in &found {
            if let Change::Damaged { damage, .. } = change {
                tracing::error!(%damage, "a partition is stopped");
            }
        }
        if !found.is_empty() {
            // An error here shows again, and clearer, at the first append.
            let _ = log.core().change_durably(found);
        }
        Ok(log)
    }

    fn core(&self) -> &Core {
        &self.owner.core
    }

    /// Makes a stream, at version 1. Blocks until that is durable.
    pub fn create_stream(&self, id: &StreamId, definition: StreamDefinition) -> Result<Arc<Stream>, StreamError> {
        check_definition(id, &definition)?;
        {
            let mut making = self.owner.making.lock();
            if self.stream(id).is_some() || !making.insert(id.clone()) {
                return Err(StreamError::Exists(id.clone()));
            }
        }
        let number = self.owner.next_stream.fetch_add(1, Ordering::Relaxed);
        let made = self.core().change_durably(vec![Change::StreamCreated { stream: number, id: id.clone(), definition }]);
        self.owner.making.lock().remove(id);
        made?;
        self.stream(id).ok_or_else(|| StreamError::Missing(id.clone()))
    }

    /// Gives a stream its next schema version; the current one if `schema` is what it has. Blocks until that is durable. Whether
    /// the change is compatible is for the caller to know.
    pub fn evolve_stream(&self, id: &StreamId, schema: StreamSchema) -> Result<SchemaVersion, StreamError> {
        let _changing = self.owner.changing.lock();
        let stream = self.stream(id).ok_or_else(|| StreamError::Missing(id.clone()))?;
        let (version, current) = stream.current();
        if current.schema == schema {
            return Ok(version);
        }
        let definition = StreamDefinition { schema, ..current.as_ref().clone() };
        check_definition(id, &definition)?;
        self.core().change_durably(vec![Change::StreamEvolved { stream: stream.number(), definition }])?;
        Ok(stream.version())
    }

    /// Changes of a stream's newest definition what is no schema: its retention, and what else says nothing about columns, time,
    /// key or partitions. The version stays. Blocks until that is durable.
    pub fn update_stream(&self, id: &StreamId, definition: StreamDefinition) -> Result<(), StreamError> {
        let _changing = self.owner.changing.lock();
        let stream = self.stream(id).ok_or_else(|| StreamError::Missing(id.clone()))?;
        let current = stream.definition();
        if *current == definition {
            return Ok(());
        }
        let shape = |of: &StreamDefinition| (of.schema.clone(), of.time.clone(), of.key.clone(), of.partitions);
        if shape(&current) != shape(&definition) {
            let what = "its columns, time, key and partitions do not change this way".to_owned();
            return Err(StreamError::Definition { stream: id.clone(), what });
        }
        self.core().change_durably(vec![Change::StreamUpdated { stream: stream.number(), definition }])?;
        Ok(())
    }

    /// Deletes a stream with all its rows. Blocks until that is durable; its files go in the background. Readers and writers that
    /// have a handle get an error from then on, and those who follow it are woken for that. A stream made later under the same
    /// name is another one, which begins at offset 0. Whether anybody needs the stream is for the caller to know.
    pub fn delete_stream(&self, id: &StreamId) -> Result<(), StreamError> {
        let _changing = self.owner.changing.lock();
        let stream = self.stream(id).ok_or_else(|| StreamError::Missing(id.clone()))?;
        self.core().change_durably(vec![Change::StreamDeleted { stream: stream.number() }])?;
        self.core().clean();
        Ok(())
    }

    /// The stream of that name. One that was just asked for may show a moment before it is durable.
    pub fn stream(&self, id: &StreamId) -> Option<Arc<Stream>> {
        self.core().manifest.read().streams.get(id).cloned()
    }

    /// Every stream, ascending by id.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.core().manifest.read().streams.values().cloned().collect()
    }

    /// A document of those above (pipelines, components).
    pub fn document(&self, key: &str) -> Option<Arc<[u8]>> {
        self.core().manifest.read().documents.get(key).cloned()
    }

    /// All documents whose keys begin with `prefix`, ascending by key.
    pub fn documents(&self, prefix: &str) -> Vec<(String, Arc<[u8]>)> {
        let manifest = self.core().manifest.read();
        let from = manifest.documents.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        from.map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
    }

    /// Sets (`Some`) and removes (`None`) documents, all or none. Blocks until that is durable. Of concurrent calls the last one
    /// counts.
    pub fn put_documents(&self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), AppendError> {
        self.core().change_durably(changes.into_iter().map(|(key, value)| Change::Document { key, value }).collect())
    }

    /// Queues an append for the next group and returns at once.
    pub fn append(&self, append: Append) -> Result<Pending, AppendError> {
        self.core().append(append, false)
    }

    /// [`Log::append`], but waits for room in the queue: for worker threads.
    pub fn append_waiting(&self, append: Append) -> Result<Pending, AppendError> {
        self.core().append(append, true)
    }

    /// Whether a client's rows for this stream would be taken now: for rows that are gathered, before they are. They count as
    /// refused if not.
    pub fn room(&self, stream: &Stream) -> Result<(), AppendError> {
        self.core().room(stream.partitions().first().map(|partition| partition.tails()))
    }

    /// Asks the writer to call `take` when it forms the next group. Announce once per fill.
    pub fn announce(&self, source: Arc<dyn Gathered>) {
        self.core().announce(source);
    }

    /// What is known of a request of `writer` to a stream; `sequence` as in [`crate::RequestMark`].
    pub fn request(&self, stream: &Stream, writer: &str, sequence: Option<u64>) -> RequestState {
        self.core().requests.lock().get(&stream.id().tenant, stream.number(), writer, sequence)
    }

    /// Says what time it is, to be called every few seconds: the log keeps no clock. Rows that their streams' retention lets go
    /// are trimmed, whole blocks of them, and never what a [`crate::Hold`] holds; files without a row that is kept are removed in
    /// the background; requests that are too old are forgotten. Does not wait for the disk.
    pub fn retain(&self, now: EventTime) -> Result<(), AppendError> {
        let core = self.core();
        core.now.store(now.0, Ordering::Relaxed);
        core.requests.lock().pass(now.0);
        let trims: Vec<Change> = self.streams().iter().flat_map(|stream| retention::trims(stream, now)).collect();
        if !trims.is_empty() {
            // Not waited for: what is not durable at a crash is found again.
            let _answer = core.change(trims)?;
        }
        core.clean();
        core.look_at_space();
        Ok(())
    }

    /// Rows below `before` may vanish (at most up to the durable end); never moves back. Not waited for: after a crash it may
    /// have to be said again. An unknown partition is no error: there is nothing to trim.
    pub fn trim(&self, partition: &PartitionKey, before: Offset) -> Result<(), AppendError> {
        let Some(stream) = self.stream(&partition.stream) else { return Ok(()) };
        let Some(place) = stream.partition(partition.partition) else { return Ok(()) };
        let before = before.min(place.end(Visibility::Durable));
        if before <= place.trim_point() {
            return Ok(());
        }
        let (stream, partition) = place.numbers();
        self.core().change(vec![Change::Trimmed { stream, partition, before: before.0 }]).map(|_| ())
    }

    /// The durable end of every partition, all of one moment.
    pub fn durable_cut(&self) -> Durable<Cut> {
        let core = self.core();
        let streams = self.streams();
        let _moment = core.publishing.read();
        let partitions = streams.iter().flat_map(|stream| stream.partitions());
        let ends = partitions.map(|partition| (partition.key().clone(), partition.end(Visibility::Durable)));
        Durable::new(Cut::new(ends.collect()))
    }

    /// Rolls every row that is durable now into segments and frees the journal files that held them. Blocks. The log does this by
    /// itself when its bounds ask for it; here for a backup, and for tests.
    pub fn roll(&self) -> Result<(), Poisoned> {
        let core = self.core();
        let mut orders = core.orders.lock();
        // One more than what may be running: that one may have begun before the caller's rows were durable.
        orders.wanted += 1;
        let order = orders.wanted;
        core.roll.notify_one();
        while orders.done < order {
            if orders.stop {
                drop(orders);
                return Err(core.flow.lock().stopped.clone().unwrap_or(Poisoned::Closed));
            }
            core.rolled.wait(&mut orders);
        }
        Ok(())
    }

    /// Takes a snapshot of everything that is durable now, for a backup: rolls first, and copies what is left in the journal. Blocks.
    /// What it names stays until it is dropped; the log goes on meanwhile.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        self.snapshot_with(|| (), |()| ()).map(|(snapshot, ())| snapshot)
    }

    /// [`Log::snapshot`], with something else as of the same moment: `enter` is called shortly before the end of the snapshot is chosen,
    /// `leave` as soon as it is, with what `enter` returned. What the log is told between the two may be in the snapshot or not; what was
    /// durable before `enter` returned is. Both may wait for the log, but not for another snapshot.
    pub fn snapshot_with<G, T>(
        &self,
        enter: impl FnOnce() -> G,
        leave: impl FnOnce(G) -> T,
    ) -> Result<(Snapshot, T), SnapshotError> {
        self.roll()?;
        let cut = self.durable_cut();
        snapshot::take(&self.owner.core, cut, enter, leave)
    }

    /// Resolves when a write or sync has failed: the process must stop. Safe to drop; never resolves for a log that is closed.
    pub fn failed(&self) -> impl Future<Output = Poisoned> + Send + 'static {
        let mut poisoned = self.core().poisoned.subscribe();
        async move {
            let found = poisoned.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match found {
                Some(why) => why,
                None => std::future::pending().await,
            }
        }
    }

    /// What the log counts about itself.
    pub fn stats(&self) -> LogStats {
        let core = self.core();
        let counters = &core.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (segments, segment_bytes, pinned_bytes) = {
            let manifest = core.manifest.read();
            let pinned = core.pinned.lock();
            let unneeded = pinned.iter().filter(|(segment, _)| !manifest.segments.contains_key(*segment));
            let pinned_bytes: u64 = unneeded.map(|(_, pin)| pin.bytes).sum();
            (manifest.segments.len() as u64, manifest.segments.values().map(|segment| segment.bytes).sum(), pinned_bytes)
        };
        LogStats {
            groups: get(&counters.groups),
            entries: get(&counters.entries),
            frames: get(&counters.frames),
            rows: get(&counters.rows),
            bytes: get(&counters.bytes),
            syncs: get(&counters.syncs),
            sync_latency: std::array::from_fn(|bucket| get(&counters.sync_latency[bucket])),
            sync_time: Duration::from_nanos(get(&counters.sync_nanos)),
            queue_bytes: core.flow.lock().queue.memory_bytes() as u64,
            tail_bytes: core.store.tails.bytes.load(Ordering::Relaxed) as u64,
            tail_unrolled_bytes: core.store.tails.unrolled.load(Ordering::Relaxed) as u64,
            journal_bytes: get(&counters.live_files) * core.settings.journal_file_bytes,
            segment_bytes,
            segments,
            snapshot_bytes: pinned_bytes + get(&core.copied_bytes),
            rolls: get(&counters.rolls),
            overloaded: get(&counters.overloaded),
            disk_full: core.space.is_full(),
            cache_hits: get(&core.store.hits),
            cache_misses: get(&core.store.misses),
        }
    }

    /// Takes nothing more, writes and syncs what is queued, notes the durable mark, and ends its threads. Blocks. Calls after the
    /// first do nothing. Rows can still be read.
    pub fn close(&self) -> Result<(), CloseError> {
        self.owner.close()
    }
}

impl Owner {
    fn close(&self) -> Result<(), CloseError> {
        let threads = self.threads.lock().take();
        let Some(threads) = threads else { return Ok(()) };
        let core = &self.core;
        let failed = threads.end(core);
        failed.map_or(Ok(()), |why| Err(CloseError::Poisoned(why)))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log did not close");
        }
    }
}

fn check(settings: &LogSettings) -> Result<(), OpenError> {
    let wrong = |text: &str| Err(OpenError::Settings(text.to_owned()));
    if !(16 << 10..=1 << 30).contains(&settings.journal_file_bytes) || !settings.journal_file_bytes.is_multiple_of(4096) {
        return wrong("`journal_file_bytes` must be a multiple of 4 KiB, between 16 KiB and 1 GiB");
    }
    if settings.journal_bytes_max < 4 * settings.journal_file_bytes {
        return wrong("`journal_bytes_max` must be at least four journal files");
    }
    if settings.block_rows == 0 || settings.entry_bytes_max == 0 || settings.group_bytes_max == 0 {
        return wrong("`block_rows`, `entry_bytes_max` and `group_bytes_max` must be at least 1");
    }
    Ok(())
}

fn check_definition(id: &StreamId, definition: &StreamDefinition) -> Result<(), StreamError> {
    let wrong = |what: String| Err(StreamError::Definition { stream: id.clone(), what });
    if !(1..=PARTITIONS_MAX).contains(&definition.partitions) {
        return wrong(format!("{} partitions; between 1 and {PARTITIONS_MAX} are possible", definition.partitions));
    }
    if definition.schema.fields.len() > FIELDS_MAX {
        return wrong(format!("{} fields; at most {FIELDS_MAX} are possible", definition.schema.fields.len()));
    }
    Ok(())
}
