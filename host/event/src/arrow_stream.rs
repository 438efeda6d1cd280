//! Event batches as an Arrow IPC stream: the columns as they are kept, and where each row lies.
//!
//! ```text
//! | schema field 0 | … | schema field n-1 | _unknown (if kept) | _partition | _offset | _time |
//!                                                                UInt32       UInt64    Timestamp(µs, UTC)
//! ```
//! Columns of JSON texts, `_unknown` among them, are marked as the canonical extension type `arrow.json`, so that what is read can be sent
//! again as it was. A stream has one schema from its first message to its last: the one its writer was made with. A string column is a dictionary
//! or plain text throughout, whichever the first rows have; later ones are brought into that form.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take;

use crate::batch::{ConformError, conform};
use crate::schema::{EXTENSION_METADATA, JSON_EXTENSION, dictionary_type, holds_json};
use crate::{Offset, PartitionId, StreamSchema};

/// Why rows could not be written. What was written before stands.
#[derive(Debug, thiserror::Error)]
pub enum ArrowStreamError {
    /// The rows have a newer schema than the stream, and do not fit the older one.
    #[error("rows of another schema version do not fit this stream: {0}")]
    Conform(#[from] ConformError),
    /// Arrow refused its own columns.
    #[error("the rows cannot be written as Arrow: {0}")]
    Arrow(#[from] ArrowError),
}

/// Writes rows of a stream as an Arrow IPC stream.
pub struct ArrowStream {
    schema: StreamSchema,
    /// Made with the first rows, whose columns say how strings are written.
    writer: Option<(SchemaRef, StreamWriter<Vec<u8>>)>,
}

impl ArrowStream {
    /// A stream whose rows all have `schema`.
    pub fn new(schema: StreamSchema) -> Self {
        Self { schema, writer: None }
    }

    /// Appends the rows of `runs` of a batch that has the schema `from`; `start` is the offset of the batch's row 0.
    ///
    /// # Panics
    /// If the batch is no event batch of `from`, or a run is not in it.
    pub fn write(
        &mut self,
        batch: &RecordBatch,
        from: &StreamSchema,
        place: (PartitionId, Offset),
        runs: &[Range<usize>],
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowStreamError> {
        let placed = with_places(batch, place, runs)?;
        let rows = conform(&placed.rows, from, &self.schema)?;
        let mut columns = rows.columns().to_vec();
        let mut fields: Vec<ArrowField> = rows.schema().fields().iter().map(|field| told(field)).collect();
        // Before `_time`, which is the last.
        let at = columns.len() - 1;
        columns.splice(at..at, [placed.partitions, placed.offsets]);
        fields.splice(at..at, place_fields());
        if self.writer.is_none() {
            let schema = Arc::new(Schema::new(fields));
            self.writer = Some((schema.clone(), StreamWriter::try_new(Vec::new(), &schema)?));
        }
        let Some((schema, writer)) = &mut self.writer else { return Ok(()) };
        let columns = columns.into_iter().zip(schema.fields()).map(|(column, field)| in_form(column, field.data_type()));
        let rows = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)?;
        writer.write(&rows)?;
        out.append(writer.get_mut());
        Ok(())
    }

    /// Ends the stream; one without rows has a schema all the same.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowStreamError> {
        if self.writer.is_none() {
            let mut fields: Vec<ArrowField> = self.schema.arrow().fields().iter().map(|field| told(field)).collect();
            let at = fields.len() - 1;
            fields.splice(at..at, place_fields());
            let schema = Arc::new(Schema::new(fields));
            self.writer = Some((schema.clone(), StreamWriter::try_new(Vec::new(), &schema)?));
        }
        if let Some((_, writer)) = &mut self.writer {
            writer.finish()?;
            out.append(writer.get_mut());
        }
        Ok(())
    }
}

/// A field as others are told of it.
fn told(field: &ArrowField) -> ArrowField {
    let mut told = field.clone();
    if holds_json(field) {
        told.metadata_mut().insert(EXTENSION_METADATA.to_owned(), JSON_EXTENSION.to_owned());
    }
    told
}

fn place_fields() -> [ArrowField; 2] {
    [ArrowField::new("_partition", DataType::UInt32, false), ArrowField::new("_offset", DataType::UInt64, false)]
}

/// The wanted rows, and where they lie.
struct Placed {
    rows: RecordBatch,
    partitions: ArrayRef,
    offsets: ArrayRef,
}

fn with_places(batch: &RecordBatch, place: (PartitionId, Offset), runs: &[Range<usize>]) -> Result<Placed, ArrowError> {
    let rows = match runs {
        [] => batch.slice(0, 0),
        [run] => batch.slice(run.start, run.len()),
        runs => {
            let mut wanted = vec![false; batch.num_rows()];
            runs.iter().for_each(|run| wanted[run.clone()].fill(true));
            filter_record_batch(batch, &BooleanArray::from(wanted))?
        }
    };
    let (partition, start) = place;
    let offsets: UInt64Array = runs.iter().cloned().flatten().map(|row| start.plus(row).0).collect();
    let partitions = UInt32Array::from(vec![partition.0; rows.num_rows()]);
    Ok(Placed { rows, partitions: Arc::new(partitions), offsets: Arc::new(offsets) })
}

/// A string column as dictionary or plain text, whichever the stream has.
fn in_form(column: ArrayRef, form: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == form {
        return Ok(column);
    }
    if *form == dictionary_type() && *column.data_type() == DataType::Utf8 {
        let mut builder = StringDictionaryBuilder::<UInt32Type>::new();
        builder.extend(column.as_string::<i32>());
        return Ok(Arc::new(builder.finish()));
    }
    match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => take(dictionary.values(), dictionary.keys(), None),
        // Not a string column: the writer refuses it.
        None => Ok(column),
    }
}
