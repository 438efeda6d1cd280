//! What is in a Parquet file: every type with its values, nulls and all, dictionaries as what they stand for, a file per schema.

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use support::folder::read_parquet;
use support::{Folder, Rig};
use tidemill_connect::{BatchBounds, FileFormat, Step};
use tidemill_event::{Field, FieldType, StreamSchema, TimeUnit, UnknownFields};

const BOUNDS: BatchBounds = BatchBounds { rows: 1_000_000, bytes: 1 << 30, every: Duration::from_secs(10) };

fn schema() -> StreamSchema {
    let field = |name: &str, ty| Field::new(name, ty, true);
    let fields = vec![
        field("bool", FieldType::Bool),
        field("int", FieldType::Int64),
        field("float", FieldType::Float64),
        field("money", FieldType::Decimal { precision: 38, scale: 2 }),
        field("user.name", FieldType::String),
        field("country", FieldType::String),
        field("bytes", FieldType::Bytes),
        field("at", FieldType::Timestamp(Some(TimeUnit::Millis))),
        field("more", FieldType::Json),
    ];
    StreamSchema { fields, unknown: UnknownFields::Keep, infer: false }
}

fn times(times: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"))
}

/// Two rows and a row of nulls. `country` is a dictionary in the first and third batch, plain in the second.
fn columns(dictionary: bool) -> Vec<ArrayRef> {
    let countries = StringArray::from(vec![Some("NO"), Some("CH"), None]);
    let country: ArrayRef =
        if dictionary { Arc::new(countries.iter().collect::<DictionaryArray<UInt32Type>>()) } else { Arc::new(countries) };
    let at = TimestampMicrosecondArray::from(vec![Some(-1), Some(1_700_000_000_123_456), None]).with_timezone("UTC");
    let money = Decimal128Array::from(vec![Some(-12_345), Some(99_999_999_999_999_999_999_999_999_999_999_999_999), None]);
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
        Arc::new(Float64Array::from(vec![Some(-0.0), Some(1e300), None])),
        Arc::new(money.with_precision_and_scale(38, 2).expect("fits")),
        Arc::new(StringArray::from(vec![Some(""), Some("Åse \u{1F600}"), None])),
        country,
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), Some(&b""[..]), None])),
        Arc::new(at),
        Arc::new(StringArray::from(vec![Some("{\"a\":[1,null]}"), Some("\"x\""), None])),
        Arc::new(StringArray::from(vec![Some("{\"new\":1}"), None, None])),
        times(&[1, 2, 3]),
    ]
}

#[test]
fn every_value_reads_back_as_it_was() {
    let (rig, target) = (Rig::with(schema()), Folder::new(FileFormat::Parquet));
    for dictionary in [true, false, true] {
        rig.append_columns(1, columns(dictionary));
    }
    let mut drive = rig.reader(&target, 1, BOUNDS);
    assert_eq!(drive.finish(), Vec::<String>::new());
    assert_eq!(target.names(), ["00001-000000000000-000000000009.parquet"]);
    let batches = read_parquet(&target.path().join(&target.names()[0]));
    let read = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let names: Vec<&str> = batches[0].schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let fields = ["bool", "int", "float", "money", "user.name", "country", "bytes", "at", "more"];
    assert_eq!(names, [&fields[..], &["_unknown", "_partition", "_offset", "_time"]].concat());
    let mut expected = columns(false);
    let time = expected.pop().expect("the time");
    for (name, once) in names.iter().zip(&expected) {
        let thrice = arrow_select::concat::concat(&[once, once, once]).expect("one type");
        let column = read.column_by_name(name).expect("a column");
        assert_eq!(column.data_type(), once.data_type(), "{name}");
        assert_eq!(column, &thrice, "{name}");
    }
    let thrice = arrow_select::concat::concat(&[&time, &time, &time]).expect("one type");
    assert_eq!(read.column(12), &thrice);
    assert_eq!(read.column(10), &(Arc::new(Int32Array::from(vec![1; 9])) as ArrayRef));
    assert_eq!(read.column(11), &(Arc::new(Int64Array::from_iter_values(0..9)) as ArrayRef));
}

#[test]
fn a_change_of_schema_begins_a_new_file() {
    let number = |name: &str| Field::new(name, FieldType::Int64, true);
    let of = |fields| StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
    let (rig, target) = (Rig::with(of(vec![number("a")])), Folder::new(FileFormat::Parquet));
    let numbers = |from: i64| Arc::new(Int64Array::from_iter_values(from..from + 2)) as ArrayRef;
    rig.append_columns(0, vec![numbers(0), times(&[1, 1])]);
    let mut drive = rig.reader(&target, 0, BOUNDS);
    assert_eq!(drive.step(false).expect("adds"), Step::Added);
    rig.log.evolve_stream(rig.stream.id(), of(vec![number("a"), number("b")])).expect("evolves");
    rig.append_columns(0, vec![numbers(2), numbers(7), times(&[1, 1])]);
    assert_eq!(drive.finish(), Vec::<String>::new());
    assert_eq!(target.names(), ["00000-000000000000-000000000002.parquet", "00000-000000000002-000000000004.parquet"]);
    let columns = |at: usize| read_parquet(&target.path().join(&target.names()[at]))[0].num_columns();
    assert_eq!((columns(0), columns(1)), (4, 5));
}

#[test]
fn a_file_is_cut_at_its_size_and_its_memory_is_bounded() {
    let field = Field::new("text", FieldType::String, false);
    let schema = StreamSchema { fields: vec![field], unknown: UnknownFields::Drop, infer: false };
    let (rig, target) = (Rig::with(schema), Folder::new(FileFormat::Parquet));
    // Random enough that neither a dictionary nor zstd makes it small.
    let mut random = 1_u64;
    let mut text = |_: usize| -> String {
        let letter = |_: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (random >> 33) as u8 % 75)
        };
        (0..100).map(letter).collect()
    };
    const ROWS: usize = 2_000;
    for _ in 0..100 {
        let texts: Vec<String> = (0..ROWS).map(&mut text).collect();
        rig.append_columns(0, vec![Arc::new(StringArray::from(texts)), times(&[0; ROWS])]);
    }
    let mut drive = rig.reader(&target, 0, BatchBounds { bytes: 12 << 20, ..BOUNDS });
    assert_eq!(drive.finish(), Vec::<String>::new());
    let mut offset = 0;
    for name in target.names() {
        let file = std::fs::File::open(target.path().join(&name)).expect("a file");
        let length = file.metadata().expect("its length").len();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).expect("is Parquet");
        // The bound is on what was encoded; zstd saves a little of it.
        assert!(length < 14 << 20, "{name} has {length} bytes");
        for group in reader.metadata().row_groups() {
            assert!(group.total_byte_size() < 12 << 20, "{name} has a row group of {} bytes", group.total_byte_size());
        }
        offset += reader.metadata().file_metadata().num_rows();
    }
    assert_eq!(offset, 100 * ROWS as i64);
    assert_eq!(target.names().len(), 2, "{:?}", target.names());
    let batches = read_parquet(&target.path().join(&target.names()[0]));
    assert_eq!(batches[0].column(0).data_type(), &DataType::Utf8);
    assert!(batches[0].column(0).as_string::<i32>().iter().all(|text| text.is_some_and(|text| text.len() == 100)));
}
