//! What a version of a table holds, and the bytes it is kept as (`docs/formats/tables.md`).
//!
//! ```text
//! magic "TMTABLE1" | length of the head u32 | head | an Arrow IPC stream of one record batch      little-endian
//! head: {"fields": […], "key": […]}           a kept table's: "history": true, and two columns more: times, and whether the key went
//! ```
//! The digest of all of it names the file, so nothing else guards it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_event::batch::time_field;
use tidemill_event::json::RowEncoder;
use tidemill_event::{Field, Offset, StreamSchema, UnknownFields};

use crate::tables::fields::{fields_json, parse_fields};

const MAGIC: &[u8; 8] = b"TMTABLE1";

/// The rows of one version.
#[derive(Debug, Clone)]
pub struct TableContent {
    /// Its columns.
    pub fields: Vec<Field>,
    /// By which columns no two rows are alike; empty if nobody said.
    pub key: Vec<Arc<str>>,
    /// The rows, one column per field.
    pub rows: RecordBatch,
    /// Of a kept table as it is written down: per row its event time, and whether its key went.
    pub(crate) history: Option<(Vec<i64>, BooleanBuffer)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    fields: Value,
    key: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    history: bool,
}

impl TableContent {
    /// # Panics
    /// If the columns are not those of the fields.
    pub(crate) fn new(fields: Vec<Field>, key: Vec<Arc<str>>, columns: Vec<ArrayRef>, rows: usize) -> Self {
        let schema = Arc::new(Schema::new(fields.iter().map(Field::arrow).collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options).expect("the columns of the fields");
        Self { fields, key, rows, history: None }
    }

    /// A column by its name.
    pub(crate) fn column(&self, name: &str) -> Option<(&Field, &ArrayRef)> {
        let at = self.fields.iter().position(|field| &*field.name == name)?;
        Some((&self.fields[at], self.rows.column(at)))
    }

    /// So many rows from `offset` on as JSON, one a line.
    pub fn ndjson(&self, offset: usize, limit: usize) -> Vec<u8> {
        let offset = offset.min(self.rows.num_rows());
        let rows = (self.rows.num_rows() - offset).min(limit);
        let mut columns = self.rows.slice(offset, rows).columns().to_vec();
        // An encoder's batches are events, which have a time; it is not written.
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC")));
        let fields = self.fields.iter().map(Field::arrow).chain([time_field()]).collect::<Vec<_>>();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the columns and a time");
        let schema = StreamSchema { fields: self.fields.clone(), unknown: UnknownFields::Drop, infer: false };
        let mut text = Vec::new();
        RowEncoder::new(&schema, None).encode(&batch, 0..rows, Offset::ZERO, &mut text);
        text
    }

    /// Its bytes: the same for the same rows.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ArrowError> {
        let key = self.key.iter().map(|name| name.to_string()).collect();
        let head = Head { fields: fields_json(&self.fields), key, history: self.history.is_some() };
        let head = serde_json::to_vec(&head).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
        let rows = self.with_history()?;
        let mut writer = StreamWriter::try_new_with_options(bytes, rows.schema_ref(), options)?;
        writer.write(&rows)?;
        writer.finish()?;
        writer.into_inner()
    }

    fn with_history(&self) -> Result<RecordBatch, ArrowError> {
        let Some((times, gone)) = &self.history else { return Ok(self.rows.clone()) };
        let more = [ArrowField::new("time", DataType::Int64, false), ArrowField::new("gone", DataType::Boolean, false)];
        let fields: Vec<_> = self.rows.schema().fields().iter().cloned().chain(more.map(Arc::new)).collect();
        let more: [ArrayRef; 2] = [Arc::new(Int64Array::from(times.clone())), Arc::new(BooleanArray::new(gone.clone(), None))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), self.rows.columns().iter().cloned().chain(more).collect())
    }

    /// The content of these bytes, which are those that were written. The error says what they are instead.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let short = || "it is too short".to_owned();
        let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as a table does")?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (head, stream) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
        let head: Head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
        let fields = parse_fields(&head.fields)?;
        let mut reader = StreamReader::try_new(stream, None).map_err(|error| error.to_string())?;
        let rows = reader.next().ok_or("it has no rows")?.map_err(|error| error.to_string())?;
        if rows.num_columns() != fields.len() + if head.history { 2 } else { 0 } {
            return Err("its columns are not those that it names".to_owned());
        }
        let key = head.key.into_iter().map(Into::into).collect();
        if !head.history {
            return Ok(Self { fields, key, rows, history: None });
        }
        let times = rows.column(fields.len()).as_primitive_opt::<Int64Type>().ok_or("its times are none")?.values().to_vec();
        let gone = rows.column(fields.len() + 1).as_boolean_opt().ok_or("it does not say which keys went")?.values().clone();
        let own = rows.project(&(0..fields.len()).collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        Ok(Self { fields, key, rows: own, history: Some((times, gone)) })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, StringArray};
    use tidemill_event::FieldType;

    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_always_the_same() {
        let fields = vec![Field::new("iata", FieldType::String, false), Field::new("elevation", FieldType::Int64, true)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["ABE", "ÅES"])), Arc::new(Int64Array::from(vec![Some(393), None]))];
        let table = TableContent::new(fields.clone(), vec!["iata".into()], columns, 2);
        let bytes = table.encode().expect("bytes");
        assert_eq!(table.encode().expect("bytes"), bytes);
        let again = TableContent::decode(&bytes).expect("the table");
        assert_eq!((&again.fields, &again.key, &again.rows), (&fields, &table.key, &table.rows));
        let told = String::from_utf8(table.ndjson(0, 9)).expect("text");
        assert_eq!(told, "{\"iata\":\"ABE\",\"elevation\":393}\n{\"iata\":\"ÅES\",\"elevation\":null}\n");
        assert_eq!(table.ndjson(0, 1), b"{\"iata\":\"ABE\",\"elevation\":393}\n");
        assert_eq!(table.ndjson(1, 9), "{\"iata\":\"ÅES\",\"elevation\":null}\n".as_bytes());
        assert!(table.ndjson(2, 9).is_empty() && table.ndjson(9, 9).is_empty());
        let history = Some((vec![-5, i64::MAX], BooleanBuffer::from(vec![true, false])));
        let kept = TableContent { history: history.clone(), ..table.clone() };
        let again = TableContent::decode(&kept.encode().expect("bytes")).expect("the table");
        assert_eq!((&again.rows, again.history), (&table.rows, history));
        assert!((0..bytes.len() - 16).all(|short| TableContent::decode(&bytes[..short]).is_err()));
        let empty = TableContent::new(fields, Vec::new(), table.rows.slice(0, 0).columns().to_vec(), 0);
        assert_eq!(TableContent::decode(&empty.encode().expect("bytes")).expect("the table").rows.num_rows(), 0);
    }
}
