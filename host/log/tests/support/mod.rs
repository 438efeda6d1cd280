//! What the tests of the log share: rows that name themselves, small bounds, and disks that fail.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "shared by several test binaries")]

pub mod hunts;
pub mod life;
pub mod model;
pub mod overlap;
pub mod seeds;

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    cast::AsArray,
    types::{Int64Type, UInt32Type},
};
use tidemill_event::{
    Field, FieldType, Offset, PartitionId, Retention, SchemaVersion, StreamDefinition, StreamId, StreamName, StreamSchema,
    TenantName, UnknownFields,
};
use tidemill_log::{Append, Disk, FrameRows, Log, LogSettings, Partition, ReadLimit, Stream, Visibility};

/// `id int64, text string`, nothing unknown kept.
pub fn definition(partitions: u32) -> StreamDefinition {
    let fields = vec![Field::new("id", FieldType::Int64, false), Field::new("text", FieldType::String, true)];
    let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
    StreamDefinition {
        schema,
        time: None,
        key: Vec::new(),
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

pub fn stream_id(name: &str) -> StreamId {
    StreamId::new(TenantName::default_tenant(), StreamName::from_client(name).expect("a plain name"))
}

/// One row per id; text and time follow from it.
pub fn rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let text: StringArray = ids.iter().map(|id| (id % 7 != 0).then(|| text_of(*id))).collect();
    let times = TimestampMicrosecondArray::from(ids.clone()).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(text), Arc::new(times)];
    RecordBatch::try_new(Arc::new(definition(1).schema.arrow()), columns).expect("columns fit")
}

fn text_of(id: i64) -> String {
    format!("text of {id}")
}

/// The ids of rows, after checking that everything else in them follows from those.
pub fn ids(rows: &RecordBatch) -> Vec<i64> {
    let ids = rows.column(0).as_primitive::<Int64Type>();
    let text = texts(rows.column(1));
    for (row, id) in ids.values().iter().enumerate() {
        if id % 7 == 0 {
            assert!(text.is_null(row), "row {id} has a text");
        } else {
            assert_eq!(text.value(row), text_of(*id));
        }
    }
    assert_eq!(tidemill_event::batch::times(rows).values(), ids.values());
    ids.values().to_vec()
}

/// A string column in either of its forms.
pub fn texts(column: &ArrayRef) -> StringArray {
    match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => dictionary.downcast_dict::<StringArray>().expect("strings").into_iter().collect(),
        None => column.as_string::<i32>().clone(),
    }
}

pub fn frame(stream: &Arc<Stream>, partition: u32, rows: RecordBatch) -> FrameRows {
    FrameRows { stream: Arc::clone(stream), version: SchemaVersion(1), partition: PartitionId(partition), rows }
}

pub fn append(stream: &Arc<Stream>, partition: u32, ids: impl IntoIterator<Item = i64>) -> Append {
    Append::atomic(vec![frame(stream, partition, rows(ids))])
}

pub const ALL: ReadLimit = ReadLimit { rows_max: usize::MAX, bytes_max: usize::MAX };

/// Every id of a partition from an offset on.
pub fn read_from(partition: &Partition, from: Offset, visibility: Visibility) -> Vec<i64> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some(block) = partition.read(at, ALL, visibility).expect("rows can be read") {
        assert_eq!(block.start, at);
        found.extend(ids(&block.rows));
        at = at.plus(block.rows.num_rows());
    }
    assert!(at >= partition.trim_point());
    found
}

/// Every durable id of a partition.
pub fn read_all(partition: &Partition) -> Vec<i64> {
    read_from(partition, partition.trim_point(), Visibility::Durable)
}

/// Whether a path is a journal file.
pub fn is_journal(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "journal")
}

/// Small files and bounds, so that tests reach them.
pub fn small_settings(dir: &std::path::Path) -> LogSettings {
    let mut settings = LogSettings::new(dir);
    settings.journal_file_bytes = 64 << 10;
    settings.journal_ahead_bytes = 2 << 10;
    settings.journal_bytes_max = 1 << 20;
    settings.journal_roll_bytes = 512 << 10;
    settings.tail_bytes_max = 4 << 20;
    settings.block_rows = 64;
    // Disks in memory are copied often.
    settings.reserve_bytes = 0;
    settings.segment_own_bytes = 64 << 10;
    settings
}

pub fn open(settings: &LogSettings, disk: &Arc<dyn Disk>) -> Log {
    Log::open(settings.clone(), Arc::clone(disk)).expect("the log opens")
}

/// The stream `events`, made if it is not there.
pub fn events(log: &Log, partitions: u32) -> Arc<Stream> {
    let id = stream_id("events");
    log.stream(&id).unwrap_or_else(|| log.create_stream(&id, definition(partitions)).expect("a stream"))
}
