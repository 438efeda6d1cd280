//! Rows of one schema made rows of another: an older version read with the newest, a pipeline's output written to a stream.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, new_null_array};
use arrow_schema::{Field as ArrowField, Schema};

use super::{UNKNOWN_COLUMN, time_field, unknown_field};
use crate::json::{ColumnWriter, DecodeLimits, RowDecoder, RowEncoder, type_name};
use crate::{EventTime, Field, FieldType, Offset, StreamDefinition, StreamSchema, UnknownFields};

/// Why rows of one schema are none of another. A retry cannot help: one of the schemas must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConformError {
    /// A field has another type there.
    #[error("field `{field}` is {from} here and {to} there: change one of them, or cast it with `select`")]
    Type {
        /// Its name.
        field: Arc<str>,
        /// The type the rows have.
        from: String,
        /// The type they must have.
        to: String,
    },
    /// A value is null or its field missing where that may not be.
    #[error("field `{field}` is null or missing in row {row} and may not be: give it a value, or declare it nullable")]
    Null {
        /// Its name.
        field: Arc<str>,
        /// The first such row of the batch.
        row: usize,
    },
    /// A field the target does not name, where unknown fields are rejected.
    #[error(
        "field `{field}` is not in the target's schema, which rejects unknown fields: add it there, or drop it with `select`"
    )]
    Unknown {
        /// Its name.
        field: Arc<str>,
    },
}

/// The rows of an event batch of schema `from` as an event batch of schema `to`.
///
/// Columns go by name. An int64 becomes float64 and anything becomes json where `to` says so; a column that `to` adds takes the
/// value that the row has among its unknown fields, if it fits, else null; a column `to` does not name goes the way of unknown fields.
pub fn conform(rows: &RecordBatch, from: &StreamSchema, to: &StreamSchema) -> Result<RecordBatch, ConformError> {
    if from.fields == to.fields && from.unknown == to.unknown {
        return Ok(rows.clone());
    }
    let extra: Vec<(usize, &Field)> =
        from.fields.iter().enumerate().filter(|(_, field)| to.field(&field.name).is_none()).collect();
    if let (Some((_, field)), UnknownFields::Reject) = (extra.first(), to.unknown) {
        return Err(ConformError::Unknown { field: Arc::clone(&field.name) });
    }
    let added: Vec<&Field> = to.fields.iter().filter(|field| from.field(&field.name).is_none()).collect();
    let outside = outside(rows, &extra, &added, to);
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(to.fields.len() + 2);
    let mut fields: Vec<ArrowField> = Vec::with_capacity(to.fields.len() + 2);
    for field in &to.fields {
        let column = match from.fields.iter().position(|known| known.name == field.name) {
            Some(place) => convert(rows.column(place), &from.fields[place], field)?,
            None => match outside.column_by_name(&field.name) {
                Some(column) => Arc::clone(column),
                None => new_null_array(&field.ty.arrow(), rows.num_rows()),
            },
        };
        if !field.nullable && column.null_count() > 0 {
            let row = (0..column.len()).find(|row| column.is_null(*row)).unwrap_or(0);
            return Err(ConformError::Null { field: Arc::clone(&field.name), row });
        }
        fields.push(field.arrow().with_data_type(column.data_type().clone()));
        columns.push(column);
    }
    if to.unknown == UnknownFields::Keep {
        fields.push(unknown_field());
        columns.push(match outside.column_by_name(UNKNOWN_COLUMN) {
            Some(column) => Arc::clone(column),
            None => Arc::new(StringArray::new_null(rows.num_rows())),
        });
    }
    fields.push(time_field());
    columns.push(Arc::clone(rows.column(rows.num_columns() - 1)));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns are as the target says"))
}

fn convert(array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef, ConformError> {
    match (from.ty, to.ty) {
        (from, to) if from == to => Ok(Arc::clone(array)),
        // The unit is how it reads back; what is stored is the same.
        (FieldType::Timestamp(_), FieldType::Timestamp(_)) => Ok(Arc::clone(array)),
        (FieldType::Int64, FieldType::Float64) => {
            let values = array.as_primitive::<Int64Type>();
            Ok(Arc::new(values.unary::<_, arrow_array::types::Float64Type>(|value| value as f64) as Float64Array))
        }
        (ty, FieldType::Json) => {
            let writer = ColumnWriter::new(ty, array);
            let text = |row: usize| {
                let mut text = Vec::new();
                writer.write(row, &mut text);
                String::from_utf8(text).expect("JSON is UTF-8")
            };
            Ok(Arc::new((0..array.len()).map(|row| array.is_valid(row).then(|| text(row))).collect::<StringArray>()))
        }
        (from_type, to_type) => {
            Err(ConformError::Type { field: Arc::clone(&to.name), from: type_name(from_type), to: type_name(to_type) })
        }
    }
}

/// What the rows have outside the columns both schemas name: the columns `to` adds, taken from unknown fields, and what stays
/// unknown. It goes through JSON, which is slow and rare: schemas change seldom, and most rows have nothing unknown.
fn outside(rows: &RecordBatch, extra: &[(usize, &Field)], added: &[&Field], to: &StreamSchema) -> RecordBatch {
    let unknown = rows.column_by_name(UNKNOWN_COLUMN);
    let nothing_unknown = unknown.is_none_or(|unknown| unknown.null_count() == unknown.len());
    if nothing_unknown && (extra.is_empty() || to.unknown == UnknownFields::Drop) {
        return RecordBatch::new_empty(Arc::new(Schema::empty()));
    }
    if added.is_empty() && extra.is_empty() {
        let columns: Vec<(&str, ArrayRef)> = unknown.map(|unknown| (UNKNOWN_COLUMN, Arc::clone(unknown))).into_iter().collect();
        return RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .expect("one column");
    }
    // The part of each row that is outside, as JSON; decoded again with the added fields named.
    let mut source_fields: Vec<Field> = extra.iter().map(|(_, field)| (*field).clone()).collect();
    let mut source_columns: Vec<ArrayRef> = extra.iter().map(|(place, _)| Arc::clone(rows.column(*place))).collect();
    source_fields.iter_mut().for_each(|field| field.nullable = true);
    let mut arrow: Vec<ArrowField> = source_fields
        .iter()
        .zip(&source_columns)
        .map(|(field, column)| field.arrow().with_data_type(column.data_type().clone()))
        .collect();
    if let Some(unknown) = unknown {
        arrow.push(unknown_field());
        source_columns.push(Arc::clone(unknown));
    }
    arrow.push(time_field());
    source_columns.push(Arc::clone(rows.column(rows.num_columns() - 1)));
    let source = RecordBatch::try_new(Arc::new(Schema::new(arrow)), source_columns).expect("columns of the batch");
    let source_schema = StreamSchema { fields: source_fields, unknown: UnknownFields::Keep, infer: false };
    let encoder = RowEncoder::new(&source_schema, None);
    let target = |fields: Vec<Field>| {
        let schema = StreamSchema {
            fields,
            unknown: if to.unknown == UnknownFields::Keep { UnknownFields::Keep } else { UnknownFields::Drop },
            infer: false,
        };
        let definition = StreamDefinition {
            schema,
            time: None,
            key: Vec::new(),
            partitions: 1,
            retention: Default::default(),
            compatibility: Default::default(),
        };
        let limits = DecodeLimits { depth_max: 128, line_bytes_max: usize::MAX };
        RowDecoder::new(Arc::new(definition), limits)
    };
    let nullable = |field: &&Field| Field { nullable: true, ..(**field).clone() };
    let mut decoder = target(added.iter().map(nullable).collect());
    let mut text = Vec::new();
    for row in 0..rows.num_rows() {
        text.clear();
        encoder.encode(&source, row..row + 1, Offset::ZERO, &mut text);
        if decoder.row(&text, EventTime(0)).is_err() {
            // Something does not fit its new column: it stays unknown, with all else of the row.
            decoder.row_unknown(&text);
        }
    }
    decoder.finish()
}
