//! Event batches as an Arrow IPC stream, read back by Arrow's own reader.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Schema};
use tidemill_event::arrow_stream::ArrowStream;
use tidemill_event::definition_json;
use tidemill_event::json::{DecodeLimits, RowDecoder};
use tidemill_event::{EventTime, Offset, PartitionId, StreamDefinition, dictionary_type};

fn definition(json: &str) -> Arc<StreamDefinition> {
    Arc::new(definition_json::parse(json.as_bytes()).expect("a definition"))
}

fn rows(definition: &Arc<StreamDefinition>, lines: &[&str]) -> RecordBatch {
    let limits = DecodeLimits { depth_max: 64, line_bytes_max: 1 << 20 };
    let mut decoder = RowDecoder::new(definition.clone(), limits);
    for (index, line) in lines.iter().enumerate() {
        decoder.row(line.as_bytes(), EventTime(index as i64)).expect("a row");
    }
    decoder.finish()
}

/// The same rows with column 0 as plain text or as a dictionary.
fn with_form(batch: &RecordBatch, form: &DataType) -> RecordBatch {
    let texts: Vec<Option<String>> = (0..batch.num_rows()).map(|row| text(batch.column(0), row)).collect();
    let plain = StringArray::from(texts.clone());
    let column: ArrayRef = if *form == DataType::Utf8 {
        Arc::new(plain)
    } else {
        Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<UInt32Type>>())
    };
    let schema = batch.schema();
    let mut fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0] = fields[0].clone().with_data_type(form.clone());
    let mut columns = batch.columns().to_vec();
    columns[0] = column;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => {
            let key = dictionary.keys().value(row) as usize;
            dictionary.values().as_string::<i32>().value(key).to_owned()
        }
        None => column.as_string::<i32>().value(row).to_owned(),
    })
}

fn read(bytes: &[u8]) -> (Schema, Vec<RecordBatch>) {
    let reader = StreamReader::try_new(bytes, None).expect("an Arrow stream");
    let schema = reader.schema().as_ref().clone();
    (schema, reader.collect::<Result<_, _>>().expect("record batches"))
}

#[test]
fn rows_come_back_with_their_places() {
    let definition = definition(r#"{"fields": [{"name": "user", "type": "string"}, {"name": "n", "type": "int64"}]}"#);
    let batch = rows(&definition, &[r#"{"user":"a","n":1}"#, r#"{"user":"b","n":2,"x":true}"#, r#"{"n":3}"#, r#"{"user":"a"}"#]);
    let mut stream = ArrowStream::new(definition.schema.clone());
    let mut bytes = Vec::new();
    stream.write(&batch, &definition.schema, (PartitionId(3), Offset(100)), &[0..1, 2..4], &mut bytes).expect("written");
    stream
        .write(&batch, &definition.schema, (PartitionId(4), Offset(7)), std::slice::from_ref(&(1..2)), &mut bytes)
        .expect("written");
    stream.finish(&mut bytes).expect("ended");
    let (schema, batches) = read(&bytes);
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["user", "n", "_unknown", "_partition", "_offset", "_time"]);
    assert_eq!(batches.len(), 2);
    let first = &batches[0];
    assert_eq!((0..3).map(|row| text(first.column(0), row)).collect::<Vec<_>>(), [Some("a".into()), None, Some("a".into())]);
    assert_eq!(first.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), Some(3), None]);
    assert_eq!(first.column(3).as_primitive::<UInt32Type>().values(), &[3, 3, 3]);
    assert_eq!(first.column(4).as_primitive::<UInt64Type>().values(), &[100, 102, 103]);
    assert_eq!(first.column(5).as_primitive::<TimestampMicrosecondType>().values(), &[0, 2, 3]);
    assert_eq!(text(batches[1].column(2), 0).as_deref(), Some(r#"{"x":true}"#));
    assert_eq!(batches[1].column(4).as_primitive::<UInt64Type>().values(), &[8]);
}

#[test]
fn a_string_column_keeps_the_form_of_the_first_rows() {
    let definition = definition(r#"{"fields": [{"name": "user", "type": "string"}], "unknown": "drop"}"#);
    let batch = rows(&definition, &[r#"{"user":"a"}"#, r#"{"user":"b"}"#, r#"{}"#, r#"{"user":"a"}"#]);
    let forms = [DataType::Utf8, dictionary_type()];
    for first in &forms {
        let mut stream = ArrowStream::new(definition.schema.clone());
        let mut bytes = Vec::new();
        for form in [first, &forms[0], &forms[1]] {
            let rows = with_form(&batch, form);
            stream
                .write(&rows, &definition.schema, (PartitionId(0), Offset(0)), std::slice::from_ref(&(0..4)), &mut bytes)
                .expect("written");
        }
        stream.finish(&mut bytes).expect("ended");
        let (schema, batches) = read(&bytes);
        assert_eq!(schema.field(0).data_type(), first);
        assert_eq!(batches.len(), 3);
        for batch in &batches {
            let texts: Vec<_> = (0..4).map(|row| text(batch.column(0), row)).collect();
            assert_eq!(texts, [Some("a".into()), Some("b".into()), None, Some("a".into())]);
            if let Some(dictionary) = batch.column(0).as_dictionary_opt::<UInt32Type>() {
                assert_eq!(dictionary.values().len(), 2, "no value stands twice in a dictionary");
            }
        }
    }
}

#[test]
fn rows_of_an_older_version_fit_the_newest() {
    let old = definition(r#"{"fields": [{"name": "n", "type": "int64"}]}"#);
    let new = definition(r#"{"fields": [{"name": "n", "type": "int64"}, {"name": "city", "type": "string"}]}"#);
    let batch = rows(&old, &[r#"{"n":1,"city":"Rome"}"#, r#"{"n":2}"#]);
    let mut stream = ArrowStream::new(new.schema.clone());
    let mut bytes = Vec::new();
    stream.write(&batch, &old.schema, (PartitionId(0), Offset(0)), std::slice::from_ref(&(0..2)), &mut bytes).expect("written");
    stream.finish(&mut bytes).expect("ended");
    let (_, batches) = read(&bytes);
    assert_eq!((text(batches[0].column(1), 0).as_deref(), text(batches[0].column(1), 1)), (Some("Rome"), None));
}

#[test]
fn a_stream_without_rows_has_a_schema() {
    let definition = definition(r#"{"fields": [{"name": "n", "type": "int64"}], "unknown": "drop"}"#);
    let mut bytes = Vec::new();
    ArrowStream::new(definition.schema.clone()).finish(&mut bytes).expect("ended");
    let (schema, batches) = read(&bytes);
    assert_eq!((schema.fields().len(), batches.len()), (4, 0));
}
