//! One behaviour for every sink: rows arrive in order, a repeated range does no harm beyond the sink's promise, and a start knows
//! where the last one stopped.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tidemill_connect::{FileSink, OutputSink, Promise, SharedOutput, Sink, SinkRows};
use tidemill_event::{
    Field, FieldType, Offset, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamSchema, UnknownFields,
};
use tidemill_log::Block;

fn block(values: std::ops::Range<i64>) -> Block {
    let schema =
        StreamSchema { fields: vec![Field::new("n", FieldType::Int64, false)], unknown: UnknownFields::Drop, infer: false };
    let times = TimestampMicrosecondArray::from(vec![0; values.clone().count()]).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(values.clone())), Arc::new(times)];
    let rows = RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("an event batch");
    let definition = StreamDefinition { schema, time: None, key: Vec::new(), partitions: 2, retention: Retention::default() };
    Block { start: Offset(values.start as u64), version: SchemaVersion(1), schema: Arc::new(definition), rows }
}

fn rows(partition: u32, values: std::ops::Range<i64>) -> SinkRows {
    SinkRows { partition: PartitionId(partition), blocks: vec![block(values)] }
}

/// A sink that can be opened again after a "crash", and what a reader of its target sees, partition by partition.
trait Target {
    fn open(&self) -> Box<dyn Sink>;
    fn seen(&self, partition: u32) -> Vec<i64>;
}

fn behaviour(target: &dyn Target) {
    let mut sink = target.open();
    let promise = sink.promise();
    assert_eq!(sink.resume(PartitionId(0)).expect("answers"), None, "nothing was written");
    sink.write(&rows(0, 0..3)).expect("writes");
    sink.write(&rows(1, 0..1)).expect("writes");
    let two_blocks = SinkRows { partition: PartitionId(0), blocks: vec![block(3..4), block(4..6)] };
    sink.write(&two_blocks).expect("writes");
    // The reader does not know whether the last write succeeded, so it comes again.
    sink.write(&two_blocks).expect("takes the same range twice");
    drop(sink);

    let mut sink = target.open();
    match promise {
        Promise::ExactlyOnce => {
            assert_eq!(sink.resume(PartitionId(0)).expect("answers"), Some(Offset(6)));
            assert_eq!(sink.resume(PartitionId(1)).expect("answers"), Some(Offset(1)));
            sink.write(&rows(0, 6..7)).expect("writes on");
            assert_eq!(target.seen(0), (0..7).collect::<Vec<_>>());
        }
        Promise::AtLeastOnce => {
            sink.write(&rows(0, 6..7)).expect("writes on");
            let mut seen = target.seen(0);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (0..7).collect::<Vec<_>>());
        }
    }
}

fn numbers(ndjson: &str) -> Vec<i64> {
    ndjson
        .lines()
        .map(|line| {
            line.strip_prefix("{\"n\":").and_then(|rest| rest.strip_suffix('}')).expect("a row").parse().expect("a number")
        })
        .collect()
}

struct Folder(tempfile::TempDir);

impl Target for Folder {
    fn open(&self) -> Box<dyn Sink> {
        Box::new(FileSink::open(self.0.path(), "reports/daily").expect("opens"))
    }

    fn seen(&self, partition: u32) -> Vec<i64> {
        let mut names: Vec<_> = std::fs::read_dir(self.0.path().join("reports/daily"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{partition:05}-"))))
            .collect();
        names.sort();
        names.iter().flat_map(|path| numbers(&std::fs::read_to_string(path).expect("a file"))).collect()
    }
}

#[test]
fn files_keep_each_row_once() {
    behaviour(&Folder(tempfile::tempdir().expect("a folder")));
}

#[test]
fn a_torn_file_is_thrown_away() {
    let folder = Folder(tempfile::tempdir().expect("a folder"));
    assert!(!FileSink::holds_rows(folder.0.path(), "reports/daily"));
    folder.open().write(&rows(0, 0..2)).expect("writes");
    assert!(FileSink::holds_rows(folder.0.path(), "reports/daily"));
    assert!(!FileSink::holds_rows(folder.0.path(), "reports"), "a folder above is another folder");
    let torn = folder.0.path().join("reports/daily/00000.part");
    std::fs::write(&torn, "{\"n\":").expect("writes");
    let mut sink = folder.open();
    assert!(!Path::new(&torn).exists());
    assert_eq!(sink.resume(PartitionId(0)).expect("answers"), Some(Offset(2)));
}

#[derive(Clone, Default)]
struct Terminal(Arc<Mutex<Vec<u8>>>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Terminal {
    fn open(&self) -> Box<dyn Sink> {
        let output: SharedOutput = Arc::new(Mutex::new(Box::new(self.clone())));
        Box::new(OutputSink::new(output))
    }

    fn seen(&self, _partition: u32) -> Vec<i64> {
        numbers(std::str::from_utf8(&self.0.lock().expect("unpoisoned")).expect("text"))
    }
}

#[test]
fn standard_output_shows_each_row_at_least_once() {
    behaviour(&Terminal::default());
}
