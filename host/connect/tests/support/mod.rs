//! A log with rows, targets that fail on demand, and a driver with a clock of its own.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part of it")]

mod disk;
pub(crate) mod folder;
pub(crate) mod hook;
// The whole-host tests' receiver: one is enough.
#[allow(unreachable_pub, reason = "it is public where it lives")]
#[path = "../../../../tests/src/receiver.rs"]
pub(crate) mod receiver;
mod terminal;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tidemill_connect::{BatchBounds, Mark, MarkStore, Promise, ReaderError, ReaderParts, Sink, SinkError, SinkReader, Step};
use tidemill_event::{
    Backoff, Field, FieldType, Offset, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamId, StreamName,
    StreamSchema, TenantName, UnknownFields,
};
use tidemill_log::{Append, FrameRows, Log, LogSettings, RealDisk, Stream};

pub(crate) use disk::Fault;
pub(crate) use folder::Folder;
pub(crate) use hook::Hook;
pub(crate) use terminal::Terminal;

/// A stream of rows `{"n": …}`, in which `n` is the offset.
pub(crate) struct Rig {
    pub(crate) log: Log,
    pub(crate) stream: Arc<Stream>,
}

/// All streams of a test's process are in one log: opening one costs more than a case does.
fn shared_log() -> Log {
    static LOG: OnceLock<(tempfile::TempDir, Log)> = OnceLock::new();
    let (_, log) = LOG.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(LogSettings::new(dir.path().join("log")), Arc::new(RealDisk)).expect("a log");
        (dir, log)
    });
    log.clone()
}

impl Rig {
    pub(crate) fn new() -> Self {
        let schema =
            StreamSchema { fields: vec![Field::new("n", FieldType::Int64, false)], unknown: UnknownFields::Drop, infer: false };
        Self::with(schema)
    }

    pub(crate) fn with(schema: StreamSchema) -> Self {
        static STREAMS: AtomicU32 = AtomicU32::new(0);
        let log = shared_log();
        let name = format!("rows-{}", STREAMS.fetch_add(1, Ordering::Relaxed));
        let id = StreamId::new(TenantName::default_tenant(), StreamName::from_client(&name).expect("a name"));
        let definition = StreamDefinition {
            schema,
            time: None,
            key: Vec::new(),
            partitions: 2,
            retention: Retention::default(),
            compatibility: Default::default(),
        };
        let stream = log.create_stream(&id, definition).expect("a stream");
        Self { log, stream }
    }

    /// Appends rows; they are durable when it returns.
    pub(crate) fn append(&self, partition: u32, numbers: Range<i64>) {
        let times = TimestampMicrosecondArray::from_iter_values(numbers.clone().map(|n| n * 1_000_000)).with_timezone("UTC");
        self.append_columns(partition, vec![Arc::new(Int64Array::from_iter_values(numbers)), Arc::new(times)]);
    }

    pub(crate) fn append_columns(&self, partition: u32, columns: Vec<ArrayRef>) {
        let (version, definition) = self.stream.current();
        let schema = definition.schema.arrow();
        let typed = schema.fields().iter().zip(&columns);
        let fields: Vec<_> =
            typed.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
        let rows = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).expect("an event batch");
        self.append_rows(partition, version, rows);
    }

    fn append_rows(&self, partition: u32, version: SchemaVersion, rows: RecordBatch) {
        let frame = FrameRows { stream: self.stream.clone(), version, partition: PartitionId(partition), rows };
        self.log.append(Append::atomic(vec![frame])).expect("there is room").wait().expect("is durable");
    }

    pub(crate) fn reader(&self, target: &dyn Target, partition: u32, bounds: BatchBounds) -> Drive {
        let place = self.stream.partition(PartitionId(partition)).expect("a partition").clone();
        let reader = SinkReader::new(ReaderParts {
            partition: place,
            sink: target.open(partition),
            marks: Box::new(target.marks(partition)),
            start: Offset(0),
            bounds,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 7),
            life: "0123456789abcdef".to_owned(),
            refused: None,
        });
        Drive { reader, now: Instant::now() }
    }
}

/// A reader whose time passes as fast as it is asked to wait.
pub(crate) struct Drive {
    pub(crate) reader: SinkReader,
    pub(crate) now: Instant,
}

impl Drive {
    pub(crate) fn step(&mut self, flush: bool) -> Result<Step, ReaderError> {
        let done = self.reader.step(self.now, flush);
        if let Ok(Step::Waiting(until)) = done {
            self.now = self.now.max(until);
        }
        done
    }

    /// Steps until there is nothing left to do; the errors on the way.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        for _ in 0..10_000 {
            match self.step(true) {
                Ok(Step::AtEnd) => return errors,
                Ok(Step::Added | Step::Committed { .. } | Step::Halved | Step::Refused { .. } | Step::Waiting(_)) => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
        panic!("it does not come to an end: {errors:?}");
    }
}

/// A target that outlives the sinks that write to it.
pub(crate) trait Target {
    /// As a start of the process would.
    fn open(&self, partition: u32) -> Box<dyn Sink>;

    /// The mark that survives a crash.
    fn marks(&self, partition: u32) -> Marks;

    /// The `calls`-th call of the target from now on fails, before or after it did what it was asked for.
    fn fail(&self, calls: u64, fault: Fault);

    /// What a reader of the target sees, in the order it sees it.
    fn seen(&self, partition: u32) -> Vec<i64>;
}

/// Whether rows 0 to `end` are at the target as promised.
#[track_caller]
pub(crate) fn check_seen(target: &dyn Target, promise: Promise, partition: u32, end: i64, story: &str) {
    let seen = target.seen(partition);
    match promise {
        Promise::ExactlyOnce | Promise::OncePerKey => assert_eq!(seen, (0..end).collect::<Vec<_>>(), "{story}"),
        Promise::AtLeastOnce => {
            let mut once: Vec<i64> = Vec::new();
            for n in seen {
                if !once.contains(&n) {
                    once.push(n);
                }
            }
            assert_eq!(once, (0..end).collect::<Vec<_>>(), "in order, if the repeats are left out: {story}");
        }
    }
}

/// Marks in memory, which is a disk to the sinks of a test.
#[derive(Clone, Default)]
pub(crate) struct Marks(pub(crate) Arc<Mutex<MarkState>>);

#[derive(Default)]
pub(crate) struct MarkState {
    pub(crate) mark: Option<Mark>,
    /// So many stores go well, the next one does not.
    pub(crate) fail_after: Option<u64>,
}

impl MarkStore for Marks {
    fn load(&self) -> Option<Mark> {
        self.0.lock().expect("unpoisoned").mark.clone()
    }

    fn store(&self, mark: &Mark) -> Result<(), SinkError> {
        let mut state = self.0.lock().expect("unpoisoned");
        match state.fail_after {
            Some(0) => {
                state.fail_after = None;
                return Err(SinkError::Log("planted".to_owned()));
            }
            Some(left) => state.fail_after = Some(left - 1),
            None => {}
        }
        state.mark = Some(mark.clone());
        Ok(())
    }
}
