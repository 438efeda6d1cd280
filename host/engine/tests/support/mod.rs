//! A host without its doors: a log, a runtime and an engine in a folder, with rows put in and read out as JSON lines.

#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod chained;
pub(crate) mod moody;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill_connect::SharedOutput;
use tidemill_engine::{Applied, Engine, EngineSettings, PipelineState, Planted, Status};
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder};
use tidemill_event::{
    Clock, ComponentName, EventTime, Offset, PartitionId, PipelineName, Placement, StreamDefinition, StreamId, StreamName,
    TenantName, definition_json,
};
use tidemill_log::simulated::{MemoryDisk, Random};
use tidemill_log::{Append, Disk, FrameRows, Log, LogSettings, PowerCutDisk, ReadLimit, RealDisk, Visibility};
use tidemill_runtime::{Compiler, Grant, Grants, Runtime, RuntimeSettings};
use tidemill_state::{CheckpointId, SimulatedTree, StateStore, Stored, TaskId};

/// A clock that stands still unless it is set: what is written twice is the same twice. Armed, it panics once, in the middle of whatever
/// asks next.
struct Noon {
    armed: Arc<AtomicBool>,
    micros: Arc<AtomicI64>,
}

impl Clock for Noon {
    fn now(&self) -> EventTime {
        assert!(!self.armed.swap(false, Ordering::AcqRel), "planted");
        EventTime(self.micros.load(Ordering::Acquire))
    }
}

/// One runtime serves all tests of a process: an address space each would be too many.
fn runtime() -> Runtime {
    static RUNTIME: std::sync::OnceLock<Runtime> = std::sync::OnceLock::new();
    let grants = Grants::from_iter([Grant::TestRandom]);
    RUNTIME
        .get_or_init(|| {
            Runtime::new(RuntimeSettings { instances_max: 64, grants, ..RuntimeSettings::new(Compiler::InProcess) })
                .expect("a runtime")
        })
        .clone()
}

/// The seeds of a test that wants `default` in a short run: `TIDEMILL_CRASH_STATES` says about how many crash states there may be,
/// `SEED` repeats one.
#[expect(clippy::disallowed_methods, reason = "how long a test may take, and what it repeats, is its runner's business")]
pub(crate) fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("SEED"), number("TIDEMILL_CRASH_STATES")) {
        (Some(seed), _) => vec![seed],
        (None, Some(states)) => (1..=default * states.div_ceil(3000)).collect(),
        (None, None) => (1..=default).collect(),
    }
}

/// What a pipeline printed.
#[derive(Clone, Default)]
pub(crate) struct Printed(pub(crate) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How an engine is opened.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) batch_rows: usize,
    pub(crate) checkpoint_after: Duration,
    pub(crate) workers: usize,
    pub(crate) instances: usize,
    /// Memory for the state of all tasks, in bytes.
    pub(crate) state_memory: u64,
    /// Entries that a task reads of its state before it takes a row.
    pub(crate) listed_at_once: usize,
    /// Rows that a task may have before it that the stage before wrote.
    pub(crate) stage_rows: u64,
    /// Rows of one entry, in bytes; more is committed in parts.
    pub(crate) entry_bytes: usize,
    /// Log and state on a platter in memory, which loses what was not synced. Else in a folder, where the state loses nothing.
    pub(crate) simulated: bool,
    pub(crate) planted: Option<Planted>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            batch_rows: 4096,
            checkpoint_after: Duration::from_secs(3600),
            workers: 2,
            instances: 1000,
            state_memory: 1 << 40,
            listed_at_once: 1 << 17,
            stage_rows: 1 << 17,
            entry_bytes: 8 << 20,
            simulated: false,
            planted: None,
        }
    }
}

/// What outlives the machine.
#[derive(Clone)]
enum Platter {
    Folder,
    Memory(Arc<MemoryDisk>, SimulatedTree),
}

impl Platter {
    fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::Folder => Arc::new(RealDisk),
            Self::Memory(disk, _) => disk.clone(),
        }
    }

    /// As it is when the machine comes back.
    fn cut(self, keep: impl FnMut() -> bool) -> Self {
        match self {
            Self::Folder => Self::Folder,
            Self::Memory(disk, tree) => Self::Memory(disk, tree.cut(keep)),
        }
    }
}

/// What a file sink wrote.
pub(crate) struct WrittenFile {
    pub(crate) partition: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) rows: Vec<Value>,
}

/// A running host.
pub(crate) struct Host {
    dir: Arc<tempfile::TempDir>,
    platter: Platter,
    setup: Setup,
    pub(crate) log: Log,
    pub(crate) engine: Engine,
    pub(crate) printed: Printed,
    /// Loses what was not synced when the power is cut.
    pub(crate) disk: PowerCutDisk,
    /// Set: the next task that commits panics.
    pub(crate) armed: Arc<AtomicBool>,
    /// The time.
    micros: Arc<AtomicI64>,
}

pub(crate) fn tenant() -> TenantName {
    TenantName::default_tenant()
}

pub(crate) fn pipeline(name: &str) -> PipelineName {
    name.parse().expect("a name")
}

pub(crate) fn stream_id(name: &str) -> StreamId {
    StreamId::new(tenant(), name.parse::<StreamName>().expect("a name"))
}

impl Host {
    pub(crate) fn new(setup: Setup) -> Self {
        let noon = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        let platter = if setup.simulated { Platter::Memory(Arc::default(), SimulatedTree::default()) } else { Platter::Folder };
        Self::open(Arc::new(tempfile::tempdir().expect("a folder")), platter, setup, Printed::default(), noon)
    }

    /// Time goes on.
    pub(crate) fn advance(&self, by: Duration) {
        self.micros.fetch_add(by.as_micros() as i64, Ordering::AcqRel);
    }

    fn open(dir: Arc<tempfile::TempDir>, platter: Platter, setup: Setup, printed: Printed, micros: Arc<AtomicI64>) -> Self {
        Self::try_open(dir, platter, setup, printed, micros).expect("a log")
    }

    fn try_open(
        dir: Arc<tempfile::TempDir>,
        platter: Platter,
        setup: Setup,
        printed: Printed,
        micros: Arc<AtomicI64>,
    ) -> Result<Self, String> {
        let disk = PowerCutDisk::new(platter.disk());
        let mut log = LogSettings::new(dir.path().join("log"));
        if setup.simulated {
            // Small enough that short lives roll, and use journal files again.
            (log.journal_file_bytes, log.journal_bytes_max, log.journal_roll_bytes) = (64 << 10, 1 << 20, 192 << 10);
        } else {
            // Its files are reserved whole, and a test may begin hundreds of hosts.
            log.journal_file_bytes = 16 << 20;
        }
        let log = Log::open(log, Arc::new(disk.clone())).map_err(|error| error.to_string())?;
        let stdout = SharedOutput::new(printed.clone());
        let armed = Arc::new(AtomicBool::new(false));
        let settings = EngineSettings {
            workers: setup.workers,
            batch_rows_max: setup.batch_rows,
            // Batches are cut by rows alone, so that every run of a test cuts alike.
            batch_target: Duration::from_secs(3600),
            checkpoint_after: setup.checkpoint_after,
            instances_max: setup.instances,
            state_memory_bytes: setup.state_memory,
            state_listed_at_once: setup.listed_at_once,
            stage_rows_max: setup.stage_rows,
            entry_bytes_max: setup.entry_bytes,
            file_linger: Duration::ZERO,
            webhooks_private: true,
            disk: Arc::new(disk.clone()),
            stdout,
            grants: Grants::from_iter([Grant::TestRandom]),
            planted: setup.planted,
            ..EngineSettings::new(dir.path())
        };
        let clock = Arc::new(Noon { armed: armed.clone(), micros: micros.clone() });
        let engine = match &platter {
            Platter::Folder => Engine::open(settings, log.clone(), runtime(), clock),
            Platter::Memory(_, tree) => {
                Engine::open_on(settings, StateStore::simulated(tree.clone()), log.clone(), runtime(), clock)
            }
        };
        let engine = engine.expect("an engine");
        engine.start();
        Ok(Self { dir, platter, setup, log, engine, printed, disk, armed, micros })
    }

    /// As a crash of the process would end it: no checkpoint, no last commit. What was appended is kept.
    pub(crate) fn crash(self) -> Self {
        self.crash_with(None)
    }

    pub(crate) fn crash_with(self, setup: Option<Setup>) -> Self {
        let setup = setup.unwrap_or(self.setup.clone());
        self.engine.abort();
        let Self { dir, platter, log, engine, printed, micros, .. } = self;
        drop(engine);
        log.close().expect("closes");
        drop(log);
        Self::open(dir, platter.cut(|| true), setup, printed, micros)
    }

    /// The power fails: of what was not synced, the subset that `seed` chooses is kept.
    pub(crate) fn power_cut(self, seed: u64) -> Self {
        self.try_power_cut(seed).expect("a log")
    }

    /// The same; the error of a log that does not open.
    pub(crate) fn try_power_cut(self, seed: u64) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let kept = random.below(9);
        self.disk.cut(random.next()).expect("the power goes");
        // Both at one moment: what is true in the log must not find its state gone, nor state that is not true be believed.
        let platter = self.platter.cut(|| random.chance(kept, 8));
        self.engine.abort();
        let Self { dir, setup, log, engine, printed, micros, .. } = self;
        drop(engine);
        // It has lost its disk: there is nothing it could do but say so.
        let _ = log.close();
        drop(log);
        Self::try_open(dir, platter, setup, printed, micros)
    }

    /// A backup of it as it works.
    pub(crate) fn backup(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        let snapshot = self.engine.snapshot().expect("a snapshot");
        tidemill_backup::write(snapshot, EventTime(1_700_000_000_000_000), &mut tar).expect("memory takes it");
        tar
    }

    /// Ends as a crash would end it, and comes up somewhere else as a backup has it that was taken while it worked.
    pub(crate) fn through_a_backup(self) -> Self {
        let tar = self.backup();
        let dir = tempfile::tempdir().expect("a folder");
        let restored = tidemill_backup::restore(&tar[..], dir.path(), |_| ()).expect("a whole backup");
        assert!(restored.faults.is_empty(), "{:?}", restored.faults);
        self.engine.abort();
        let Self { setup, log, engine, micros, .. } = self;
        drop(engine);
        log.close().expect("closes");
        Self::open(Arc::new(dir), Platter::Folder, Setup { simulated: false, ..setup }, Printed::default(), micros)
    }

    /// A host on a folder that holds what a backup held.
    pub(crate) fn restored(dir: tempfile::TempDir, setup: Setup) -> Result<Self, String> {
        let noon = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        Self::try_open(Arc::new(dir), Platter::Folder, Setup { simulated: false, ..setup }, Printed::default(), noon)
    }

    /// The rows of the NDJSON files of a file target, in the order of their names.
    pub(crate) fn written(&self, target: &str) -> Vec<Value> {
        self.files(target).into_iter().flat_map(|file| file.rows).collect()
    }

    /// The NDJSON files of a file target, in the order of their names.
    pub(crate) fn files(&self, target: &str) -> Vec<WrittenFile> {
        let folder = self.path("files").join(target);
        let mut paths = match &self.platter {
            Platter::Memory(disk, _) => disk.paths(),
            Platter::Folder => {
                let entries = std::fs::read_dir(&folder).into_iter().flatten();
                entries.map(|entry| entry.expect("an entry").path()).collect()
            }
        };
        paths.retain(|path| path.parent() == Some(&folder) && path.extension().is_some_and(|end| end == "ndjson"));
        paths.sort();
        let read = |path: PathBuf| {
            let bytes = match &self.platter {
                Platter::Memory(disk, _) => disk.bytes(&path),
                Platter::Folder => std::fs::read(&path).expect("a file"),
            };
            let text = String::from_utf8(bytes).expect("UTF-8");
            let name = path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
            let numbers: Vec<u64> = name.split('-').map(|digits| digits.parse().expect("a number")).collect();
            let rows = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            WrittenFile { partition: numbers[0], start: numbers[1], end: numbers[2], rows }
        };
        paths.into_iter().map(read).collect()
    }

    /// The `calls`-th write or sync of state from now fails, and all after it.
    pub(crate) fn fail_state_after(&self, calls: u64) {
        match &self.platter {
            Platter::Folder => panic!("state in a folder does not fail"),
            Platter::Memory(_, tree) => tree.fail_after(calls),
        }
    }

    /// Turns a byte in all that checkpoint `id` of every task wrote. How many keys that were.
    pub(crate) fn damage_checkpoint(&self, id: u64) -> usize {
        match &self.platter {
            Platter::Folder => panic!("state in a folder is not damaged"),
            Platter::Memory(_, tree) => tree.damage(CheckpointId(id)),
        }
    }

    /// Turns a byte in the last entry of a step that checkpoint `id` of the only task of a pipeline wrote.
    pub(crate) fn damage_an_entry(&self, name: &str, id: u64) {
        let Platter::Memory(_, tree) = &self.platter else { panic!("state in a folder is not damaged") };
        let (store, checkpoint) = (StateStore::simulated(tree.clone()), CheckpointId(id));
        let task = TaskId { tenant: tenant(), pipeline: pipeline(name), run: 1, partition: PartitionId(0) };
        let written = store.read(&task, checkpoint).expect("its state").into_iter();
        // Far above those of steps are the task's own.
        let mut of_steps = written.filter(|change| change.operator < 1 << 16 && change.stored == Stored::Under(checkpoint));
        let mut entry = of_steps.next_back().expect("an entry of a step");
        *entry.value.as_mut().and_then(|value| value.last_mut()).expect("a value") ^= 0x40;
        store.write(&task, checkpoint, &[entry]).expect("writes");
    }

    /// The `calls`-th write or sync of state from now fails, and no other.
    pub(crate) fn fail_state_once(&self, calls: u64) {
        match &self.platter {
            Platter::Folder => panic!("state in a folder does not fail"),
            Platter::Memory(_, tree) => tree.fail_once(calls),
        }
    }

    /// A clean stop and a new start.
    pub(crate) fn restart(self) -> Self {
        let drained = self.engine.drain(Duration::from_secs(30));
        assert_eq!(drained.tasks_late, 0, "{drained:?}");
        let Self { dir, platter, setup, log, engine, printed, micros, .. } = self;
        drop(engine);
        log.close().expect("closes");
        drop(log);
        Self::open(dir, platter.cut(|| true), setup, printed, micros)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn make_stream(&self, name: &str, definition: &str) {
        let definition = definition_json::parse(definition.as_bytes()).expect("a definition");
        self.log.create_stream(&stream_id(name), definition).expect("a stream");
    }

    /// Appends JSON rows, placed as ingestion places them, and waits until they are on disk.
    pub(crate) fn send(&self, name: &str, rows: &[Value]) {
        assert!(self.try_send(name, rows), "on disk");
    }

    /// The same; `false` if the disk is gone.
    pub(crate) fn try_send(&self, name: &str, rows: &[Value]) -> bool {
        send_to(&self.log, name, rows)
    }

    /// Durable rows of all partitions, one after the other, as JSON lines with their places.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let Some(stream) = self.log.stream(&stream_id(name)) else { return Vec::new() };
        let mut out = Vec::new();
        for partition in stream.partitions() {
            let mut from = partition.trim_point();
            let place = tidemill_event::json::Place { partition: PartitionId(partition.key().partition.0) };
            let limit = ReadLimit { rows_max: 1000, bytes_max: 1 << 20 };
            while let Some(block) = partition.read(from, limit, Visibility::Durable).expect("rows") {
                let encoder = RowEncoder::new(&block.schema.schema, Some(place));
                encoder.encode(&block.rows, 0..block.rows.num_rows(), block.start, &mut out);
                from = Offset(block.start.0 + block.rows.num_rows() as u64);
            }
        }
        String::from_utf8(out).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    pub(crate) fn rows(&self, name: &str) -> Vec<Value> {
        self.lines(name).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// One field of every row.
    pub(crate) fn column(&self, name: &str, field: &str) -> Vec<Value> {
        self.rows(name).into_iter().map(|row| row[field].clone()).collect()
    }

    pub(crate) fn publish(&self, name: &str, version: &str, wasm: &[u8]) {
        let name: ComponentName = name.parse().expect("a name");
        self.engine.components().publish(&tenant(), &name, &version.parse().expect("a version"), wasm).expect("a component");
    }

    pub(crate) fn apply(&self, name: &str, text: &str) -> Applied {
        self.engine.pipelines().apply(&tenant(), &pipeline(name), text, false).expect("a pipeline")
    }

    pub(crate) fn faults(&self, name: &str, text: &str) -> String {
        match self.engine.pipelines().apply(&tenant(), &pipeline(name), text, true) {
            Ok(applied) => panic!("no faults: {}", applied.plan),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.engine.pipelines().status(&tenant(), &pipeline(name)).expect("a pipeline")
    }

    /// Waits until what is asked for holds.
    pub(crate) fn wait(&self, name: &str, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        // With a bug, waiting in vain is one way to be found.
        let patience = if self.setup.planted.is_some() { 10 } else { 120 };
        let until = Instant::now() + Duration::from_secs(patience);
        loop {
            let status = self.status(name);
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "waited for {what}, in vain: {status:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Another plan is refused as long as a replay is there.
    pub(crate) fn apply_conflicts(&self, name: &str, text: &str) {
        let refused = self.engine.pipelines().apply(&tenant(), &pipeline(name), text, false);
        assert!(matches!(refused, Err(tidemill_engine::ApplyError::Conflict(_))), "{refused:?}");
    }

    /// Waits until the replay beside a pipeline has taken every row.
    pub(crate) fn wait_replay(&self, name: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.engine.pipelines().replay_status(&tenant(), &pipeline(name)).expect("a replay");
            if status.lag_records == 0 && !status.tasks.is_empty() {
                return self.sync();
            }
            assert!(Instant::now() < until, "the replay does not come to its end: {status:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until every row was taken, and what came of it is on disk.
    pub(crate) fn settle(&self, name: &str) -> Status {
        let status = self.wait(name, "every row to be taken", |status| {
            status.lag_records == 0 && status.state == PipelineState::Running && !status.tasks.is_empty()
        });
        self.sync();
        status
    }

    /// Everything appended so far is on disk: an entry behind it is.
    pub(crate) fn sync(&self) {
        self.log.put_documents(vec![("test/sync".to_owned(), None)]).expect("on disk");
    }
}

/// Appends JSON rows, placed as ingestion places them; whether they are on disk.
pub(crate) fn send_to(log: &Log, name: &str, rows: &[Value]) -> bool {
    let stream = log.stream(&stream_id(name)).expect("a stream");
    let definition: Arc<StreamDefinition> = stream.definition();
    let mut decoder = RowDecoder::new(definition.clone(), DecodeLimits::default());
    for row in rows {
        decoder.row(row.to_string().as_bytes(), EventTime(0)).expect("a row");
    }
    let mut placement = Placement::new(&definition);
    let frames = placement
        .split(decoder.finish())
        .into_iter()
        .map(|(partition, rows)| FrameRows { stream: stream.clone(), version: stream.version(), partition, rows })
        .collect();
    log.append(Append::atomic(frames)).is_ok_and(|pending| pending.wait().is_ok())
}

/// Whether the streams of two hosts have the same rows.
pub(crate) fn compare(calm: &BTreeMap<String, Vec<String>>, found: &BTreeMap<String, Vec<String>>, what: &str) {
    for (stream, rows) in calm {
        let found = &found[stream];
        let at = (0..rows.len().max(found.len())).find(|at| rows.get(*at) != found.get(*at));
        assert!(
            at.is_none(),
            "{what}: {stream}, row {at:?} of {}/{}: {:?}, and should be {:?}",
            found.len(),
            rows.len(),
            found.get(at.unwrap_or(0)),
            rows.get(at.unwrap_or(0))
        );
    }
}
