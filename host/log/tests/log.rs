//! The log as its users see it: appending, reading, following, restarting, rolling, trimming.

mod support;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use support::{ALL, append, definition, events, frame, ids, open, read_all, read_from, rows, small_settings, stream_id};
use tidemill_event::{EventTime, Field, FieldType, Offset, PartitionId, SchemaVersion};
use tidemill_log::{
    Append, AppendError, Disk, FrameRows, LogSettings, ReadError, ReadLimit, RealDisk, Stream, StreamError, Visibility,
};

fn real() -> (tempfile::TempDir, LogSettings, Arc<dyn Disk>) {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = small_settings(&dir.path().join("log"));
    (dir, settings, Arc::new(RealDisk))
}

fn partition(stream: &Arc<Stream>, number: u32) -> &tidemill_log::Partition {
    stream.partition(PartitionId(number)).expect("the partition is there")
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    let pending = log.append(append(&stream, 0, 0..10)).expect("taken");
    assert_eq!(*pending.wait().expect("durable"), vec![Offset(0)]);
    let both = Append::atomic(vec![
        frame(&stream, 1, rows(100..103)),
        frame(&stream, 0, rows(10..12)),
        frame(&stream, 1, rows(103..104)),
    ]);
    let offsets = log.append(both).expect("taken").wait().expect("durable");
    assert_eq!(*offsets, vec![Offset(0), Offset(10), Offset(3)]);
    log.put_documents(vec![("a/1".into(), Some(b"one".to_vec())), ("b".into(), Some(b"two".to_vec()))]).expect("noted");
    log.put_documents(vec![("b".into(), None), ("a/2".into(), Some(Vec::new()))]).expect("noted");
    for round in 0..3 {
        // A clean stop, then a stop without one (the handle is dropped), then once more.
        let log = if round == 0 { log.clone() } else { open(&settings, &disk) };
        let stream = log.stream(&stream_id("events")).expect("the stream is known");
        assert_eq!(read_all(partition(&stream, 0)), (0..12).collect::<Vec<_>>());
        assert_eq!(read_all(partition(&stream, 1)), (100..104).collect::<Vec<_>>());
        let cut = log.durable_cut();
        assert_eq!(cut.iter().map(|(_, end)| end.0).collect::<Vec<_>>(), vec![12, 4]);
        assert_eq!(log.documents("a/").iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a/1", "a/2"]);
        assert_eq!((log.document("b"), log.document("a/1").as_deref()), (None, Some(b"one".as_slice())));
        if round == 0 {
            log.close().expect("closed");
        }
    }
}

/// Its change stays in the journal, behind what the manifest covered: a roll that had nothing to note wrote a manifest that had the
/// version and did not say so, and the next life took the change once more.
#[test]
fn a_version_is_the_same_after_a_restart_and_a_roll_of_nothing() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    log.append(append(&stream, 0, [1])).expect("taken").wait().expect("durable");
    log.roll().expect("rolled");
    let mut schema = stream.definition().schema.clone();
    schema.fields.push(Field::new("more", FieldType::Int64, true));
    assert_eq!(log.evolve_stream(stream.id(), schema).expect("evolved"), SchemaVersion(2));
    drop((stream, log));
    for life in 1..=3 {
        let log = open(&settings, &disk);
        assert_eq!(events(&log, 1).version(), SchemaVersion(2), "in life {life}");
        log.roll().expect("rolled");
    }
}

#[test]
fn streams_are_made_once_and_evolve_by_version() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let id = stream_id("events");
    let stream = log.create_stream(&id, definition(1)).expect("made");
    assert!(matches!(log.create_stream(&id, definition(2)), Err(StreamError::Exists(_))));
    let none = support::definition(0);
    assert!(matches!(log.create_stream(&stream_id("none"), none), Err(StreamError::Definition { .. })));
    let mut schema = stream.definition().schema.clone();
    assert_eq!(log.evolve_stream(&id, schema.clone()).expect("the same"), SchemaVersion(1));
    schema.fields.push(Field::new("more", FieldType::Int64, true));
    log.append(append(&stream, 0, 0..2)).expect("taken").wait().expect("durable");
    assert_eq!(log.evolve_stream(&id, schema.clone()).expect("evolved"), SchemaVersion(2));
    let old = rows(2..4);
    let mut columns = old.columns().to_vec();
    columns.insert(2, Arc::new(Int64Array::from(vec![Some(7), None])));
    let new = RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("fits");
    let wrong = FrameRows { version: SchemaVersion(2), ..frame(&stream, 0, old) };
    assert!(matches!(log.append(Append::atomic(vec![wrong])), Err(AppendError::Schema { .. })));
    let right = FrameRows { version: SchemaVersion(2), ..frame(&stream, 0, new) };
    log.append(Append::atomic(vec![right])).expect("taken").wait().expect("durable");
    for rolled in [false, true] {
        if rolled {
            log.roll().expect("rolled");
        }
        let log = if rolled {
            log.close().expect("closed");
            open(&settings, &disk)
        } else {
            log.clone()
        };
        let stream = log.stream(&id).expect("known");
        assert_eq!(stream.version(), SchemaVersion(2), "what the manifest covers is not made again from the journal");
        // A block never spans versions.
        let first = partition(&stream, 0).read(Offset(0), ALL, Visibility::Durable).expect("readable").expect("rows");
        assert_eq!((first.version, first.rows.num_rows(), first.schema.schema.fields.len()), (SchemaVersion(1), 2, 2));
        let second = partition(&stream, 0).read(Offset(2), ALL, Visibility::Durable).expect("readable").expect("rows");
        assert_eq!((second.version, second.rows.num_rows(), &second.schema.schema), (SchemaVersion(2), 2, &schema));
        assert_eq!(second.rows.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
    }
}

#[test]
fn a_change_that_the_manifest_covers_is_not_made_twice() {
    let (_dir, mut settings, disk) = real();
    settings.journal_file_bytes = 16 << 10;
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    // The stream is made in the first file, which goes; it evolves in the second, which stays.
    let mut next = 0;
    while log.stats().journal_bytes < 2 * settings.journal_file_bytes {
        log.append(append(&stream, 0, next..next + 10)).expect("taken").wait().expect("durable");
        next += 10;
    }
    let mut schema = stream.definition().schema.clone();
    schema.fields.push(Field::new("more", FieldType::Int64, true));
    log.evolve_stream(&stream_id("events"), schema).expect("evolved");
    log.roll().expect("rolled");
    assert_eq!(log.stats().journal_bytes, settings.journal_file_bytes);
    log.close().expect("closed");
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    assert_eq!(stream.version(), SchemaVersion(2));
    assert_eq!(read_all(partition(&stream, 0)), (0..next).collect::<Vec<_>>());
}

#[test]
fn dictionaries_stay_dictionaries_where_values_repeat() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    let batch = |count: i64| {
        let texts: DictionaryArray<UInt32Type> =
            (0..count).map(|row| (row % 5 != 4).then(|| ["a", "b"][row as usize % 2])).collect();
        let times = TimestampMicrosecondArray::from_iter_values(0..count).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..count)), Arc::new(texts), Arc::new(times)];
        let mut fields: Vec<_> = definition(1).schema.arrow().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields[1] = fields[1].clone().with_data_type(columns[1].data_type().clone());
        RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).expect("fits")
    };
    // A slice of one row holds a dictionary that it mostly does not use: it is written out. The whole one stays.
    for piece in [batch(40), batch(40).slice(3, 1), rows([1, 2])] {
        log.append(Append::atomic(vec![frame(&stream, 0, piece)])).expect("taken").wait().expect("durable");
    }
    let texts = |block: &RecordBatch| -> Vec<Option<String>> {
        support::texts(block.column(1)).iter().map(|text| text.map(str::to_owned)).collect()
    };
    let expected: Vec<Option<String>> = (0..40)
        .map(|row| (row % 5 != 4).then(|| ["a", "b"][row % 2].to_owned()))
        .chain([Some("b".to_owned()), Some("text of 1".to_owned()), Some("text of 2".to_owned())])
        .collect();
    for round in ["memory", "journal", "segment"] {
        let log = if round == "memory" {
            log.clone()
        } else {
            log.close().expect("closed");
            open(&settings, &disk)
        };
        let stream = log.stream(&stream_id("events")).expect("known");
        let mut found = Vec::new();
        while let Some(block) =
            partition(&stream, 0).read(Offset(found.len() as u64), ALL, Visibility::Durable).expect("readable")
        {
            if found.is_empty() {
                assert!(block.rows.column(1).as_dictionary_opt::<UInt32Type>().is_some(), "from {round}");
            }
            found.extend(texts(&block.rows));
        }
        assert_eq!(found, expected, "from {round}");
        if round == "journal" {
            log.roll().expect("rolled");
            log.close().expect("closed");
        }
    }
}

#[test]
fn reads_keep_their_limits_and_join_small_appends() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    let pending: Vec<_> = (0..200).map(|id| log.append(append(&stream, 0, [id])).expect("taken")).collect();
    for pending in pending {
        pending.wait().expect("durable");
    }
    let place = partition(&stream, 0);
    let whole = place.read(Offset(0), ALL, Visibility::Durable).expect("readable").expect("rows");
    assert_eq!(ids(&whole.rows), (0..64).collect::<Vec<_>>(), "one block of `block_rows`");
    let limit = ReadLimit { rows_max: 10, ..ALL };
    let some = place.read(Offset(5), limit, Visibility::Durable).expect("readable").expect("rows");
    assert_eq!((some.start, ids(&some.rows)), (Offset(5), (5..15).collect::<Vec<_>>()));
    let limit = ReadLimit { bytes_max: 1, ..ALL };
    let one = place.read(Offset(7), limit, Visibility::Durable).expect("readable").expect("rows");
    assert_eq!(ids(&one.rows), [7], "at least one row");
    assert!(place.read(Offset(200), ALL, Visibility::Durable).expect("the end").is_none());
    assert!(matches!(place.read(Offset(201), ALL, Visibility::Durable), Err(ReadError::BeyondEnd { end: Offset(200), .. })));
    assert_eq!(read_from(place, Offset(63), Visibility::Durable), (63..200).collect::<Vec<_>>());
}

#[test]
fn large_appends_are_cut_unless_they_are_atomic() {
    let (_dir, mut settings, disk) = real();
    settings.entry_bytes_max = 4 << 10;
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    let before = log.stats();
    let large = Append { atomic: false, ..Append::atomic(vec![frame(&stream, 1, rows([-1])), frame(&stream, 0, rows(0..1000))]) };
    assert_eq!(*log.append(large).expect("taken").wait().expect("durable"), [Offset(0), Offset(0)]);
    let after = log.stats();
    assert!(after.entries - before.entries > 5 && after.frames - before.frames > 6, "{after:?}");
    assert_eq!(after.rows - before.rows, 1001);
    let too_large = Append::atomic(vec![frame(&stream, 0, rows(0..5000))]);
    assert!(matches!(log.append(too_large), Err(AppendError::TooLarge { .. })));
    let missing = Append::atomic(vec![frame(&stream, 2, rows([1]))]);
    assert!(matches!(log.append(missing), Err(AppendError::NoPartition { partition: 2, .. })));
    log.close().expect("closed");
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    assert_eq!(read_all(partition(&stream, 0)), (0..1000).collect::<Vec<_>>());
    assert!(stream.partition(PartitionId(2)).is_none());
}

#[test]
fn a_restart_from_segments_alone() {
    let (dir, mut settings, disk) = real();
    settings.tail_bytes_max = 64 << 10;
    let log = open(&settings, &disk);
    let stream = events(&log, 3);
    for round in 0..20 {
        let frames = (0..3).map(|number| frame(&stream, number, rows(round * 40..(round + 1) * 40))).collect();
        log.append_waiting(Append::atomic(frames)).expect("taken").wait().expect("durable");
        if round % 5 == 4 {
            log.roll().expect("rolled");
        }
    }
    let stats = log.stats();
    assert_eq!((stats.tail_unrolled_bytes, stats.journal_bytes), (0, settings.journal_file_bytes));
    assert!(stats.segments >= 4 && stats.rolls >= 4, "{stats:?}");
    log.close().expect("closed");
    // The journal's groups become what a recycled file has: nothing of this life.
    let journal: Vec<_> = std::fs::read_dir(dir.path().join("log/journal")).expect("a folder").collect();
    assert!(journal.len() <= 6, "{} journal files: they are used again", journal.len());
    let log = open(&settings, &disk);
    let stream = events(&log, 3);
    assert_eq!(log.stats().tail_bytes, 0, "nothing came from the journal");
    for place in stream.partitions() {
        assert_eq!(read_all(place), (0..800).collect::<Vec<_>>());
    }
    assert!(log.stats().cache_misses > 0);
    // Life goes on behind them.
    log.append(append(&stream, 1, 800..810)).expect("taken").wait().expect("durable");
    assert_eq!(read_all(partition(&stream, 1)), (0..810).collect::<Vec<_>>());
}

#[test]
fn trimmed_rows_vanish_with_their_segments() {
    let (dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    let place = partition(&stream, 0);
    for round in 0..4 {
        log.append(append(&stream, 0, round * 10..(round + 1) * 10)).expect("taken").wait().expect("durable");
        log.roll().expect("rolled");
    }
    let segments = || std::fs::read_dir(dir.path().join("log/segments")).expect("a folder").count();
    assert_eq!(segments(), 4);
    log.trim(place.key(), Offset(25)).expect("taken");
    log.append(append(&stream, 1, [1])).expect("taken").wait().expect("durable");
    assert_eq!(place.trim_point(), Offset(25));
    assert!(matches!(place.read(Offset(24), ALL, Visibility::Durable), Err(ReadError::Trimmed { trim_point: Offset(25), .. })));
    assert_eq!(read_all(place), (25..40).collect::<Vec<_>>());
    log.roll().expect("rolled");
    assert_eq!(segments(), 3, "two went, one of partition 1 came");
    // Beyond the end is no place to trim to: what comes later is kept.
    log.trim(place.key(), Offset(1000)).expect("taken");
    log.append(append(&stream, 0, 40..43)).expect("taken").wait().expect("durable");
    assert_eq!((place.trim_point(), read_all(place)), (Offset(40), vec![40, 41, 42]));
    log.trim(place.key(), Offset(43)).expect("taken");
    while place.trim_point() < Offset(43) {
        std::thread::yield_now();
    }
    log.roll().expect("rolled");
    log.close().expect("closed");
    let log = open(&settings, &disk);
    let stream = events(&log, 2);
    let place = partition(&stream, 0);
    assert_eq!((place.trim_point(), place.end(Visibility::Durable)), (Offset(43), Offset(43)), "offsets are not given out twice");
    assert_eq!(segments(), 1);
    log.append(append(&stream, 0, 43..44)).expect("taken").wait().expect("durable");
    assert_eq!(read_all(place), [43]);
}

#[test]
fn a_time_is_found_in_segments_and_tail() {
    let (_dir, settings, disk) = real();
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    let place = partition(&stream, 0);
    assert_eq!(place.seek(EventTime(0)), Offset(0));
    // In the helper's rows the time is the id; blocks of segments have 64 rows.
    for round in 0..5 {
        log.append(append(&stream, 0, round * 100..(round + 1) * 100)).expect("taken").wait().expect("durable");
        if round == 2 {
            log.roll().expect("rolled");
        }
    }
    for (time, offset) in [(-5, 0), (0, 0), (63, 0), (64, 64), (299, 256), (300, 300), (350, 300), (450, 400), (500, 500)] {
        assert_eq!(place.seek(EventTime(time)), Offset(offset), "time {time}");
    }
    log.trim(place.key(), Offset(70)).expect("taken");
    log.append(append(&stream, 0, 500..501)).expect("taken").wait().expect("durable");
    assert_eq!(place.seek(EventTime(0)), Offset(70));
}

#[test]
fn readers_fall_from_the_tail_into_segments_and_back() {
    let (_dir, mut settings, disk) = real();
    settings.tail_bytes_max = 48 << 10;
    settings.queue_bytes_max = 16 << 10;
    settings.cache_bytes_max = 16 << 10;
    settings.journal_file_bytes = 16 << 10;
    settings.journal_bytes_max = 256 << 10;
    settings.journal_roll_bytes = 64 << 10;
    let log = open(&settings, &disk);
    let stream = events(&log, 1);
    const ROWS: i64 = 20_000;
    let producer = {
        let (log, stream) = (log.clone(), Arc::clone(&stream));
        std::thread::spawn(move || {
            let mut next = 0;
            while next < ROWS {
                let size = next % 37 + 1;
                log.append_waiting(append(&stream, 0, next..(next + size).min(ROWS))).expect("taken");
                next += size;
            }
        })
    };
    let readers = [(usize::MAX, Visibility::Sequenced), (1000, Visibility::Durable), (7, Visibility::Durable)].map(
        |(rows_max, visibility)| {
            let place = Arc::clone(&stream.partitions()[0]);
            std::thread::spawn(move || {
                let mut next = 0i64;
                // The slow one begins when half is there: it has to catch up through segments.
                while rows_max == 7 && place.end(visibility).0 < ROWS as u64 / 2 {
                    std::thread::yield_now();
                }
                while next < ROWS {
                    let limit = ReadLimit { rows_max, ..ALL };
                    match place.read(Offset(next as u64), limit, visibility).expect("readable") {
                        Some(block) => {
                            let found = ids(&block.rows);
                            assert_eq!(found, (next..next + found.len() as i64).collect::<Vec<_>>());
                            next += found.len() as i64;
                        }
                        None => std::thread::yield_now(),
                    }
                }
            })
        },
    );
    producer.join().expect("appended");
    for reader in readers {
        reader.join().expect("saw every offset once");
    }
    let stats = log.stats();
    assert!(stats.rolls > 3 && stats.cache_misses > 0 && stats.journal_bytes <= settings.journal_bytes_max, "{stats:?}");
    // What an earlier roll left, what one that is not through has written, and what came meanwhile.
    let unrolled_max = settings.tail_bytes_max + settings.queue_bytes_max;
    assert!(stats.tail_bytes <= (settings.tail_bytes_max / 2 + 2 * unrolled_max) as u64, "{stats:?}");
    log.roll().expect("rolled");
    let stats = log.stats();
    assert!(stats.tail_unrolled_bytes == 0 && stats.tail_bytes <= settings.tail_bytes_max as u64 / 2, "{stats:?}");
}

#[test]
fn thousands_of_partitions_with_one_row_each() {
    let (dir, mut settings, disk) = real();
    settings.journal_file_bytes = 8 << 20;
    settings.journal_bytes_max = 64 << 20;
    settings.tail_bytes_max = 64 << 20;
    let log = open(&settings, &disk);
    let stream = events(&log, 5000);
    let frames = (0..5000).map(|number| frame(&stream, number, rows([i64::from(number)]))).collect();
    log.append(Append::atomic(frames)).expect("taken").wait().expect("durable");
    log.roll().expect("rolled");
    let stats = log.stats();
    assert_eq!((stats.segments, stats.tail_unrolled_bytes), (1, 0), "small remainders share one file");
    log.close().expect("closed");
    drop(log);
    assert_eq!(std::fs::read_dir(dir.path().join("log/segments")).expect("a folder").count(), 1);
    let log = open(&settings, &disk);
    let stream = events(&log, 5000);
    for number in [0, 1, 2500, 4999] {
        assert_eq!(read_all(partition(&stream, number)), [i64::from(number)]);
    }
    // Only descriptors of the journal, the mark and the few segments read are open: none per partition.
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(descriptors < 200, "{descriptors} open files");
}
