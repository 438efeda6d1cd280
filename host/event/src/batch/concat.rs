//! Batches of one stream put behind each other, whatever form their text columns have.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::{DataType, Field, Schema};

use crate::text::Texts;

/// A plain text column of so many rows was decided to be one; smaller ones are too short to tell.
const DECIDED_ROWS: usize = 256;

/// The rows of all batches, in order. Columns must be of the same logical types; a text column comes out as a dictionary where few
/// values repeat, and plain where one of the parts already is in earnest.
///
/// # Panics
/// If there is no batch, or their columns differ in more than the form of texts.
pub fn concat(batches: &[RecordBatch]) -> RecordBatch {
    let first = batches.first().expect("there is a batch to begin with");
    if batches.len() == 1 {
        return first.clone();
    }
    let columns: Vec<ArrayRef> = (0..first.num_columns())
        .map(|column| {
            let parts: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(column)).collect();
            match first.column(column).data_type() {
                DataType::Utf8 | DataType::Dictionary(_, _) => {
                    texts(&parts, first.schema_ref().field(column).metadata().contains_key(crate::schema::TYPE_METADATA))
                }
                _ => plain(&parts),
            }
        })
        .collect();
    let schema = first.schema_ref();
    let fields = schema.fields().iter().zip(&columns).map(|(field, array)| {
        if field.data_type() == array.data_type() {
            return Arc::clone(field);
        }
        Arc::new(Field::new(field.name(), array.data_type().clone(), field.is_nullable()).with_metadata(field.metadata().clone()))
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns of one stream agree")
}

fn plain(parts: &[&ArrayRef]) -> ArrayRef {
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref() as &dyn Array).collect();
    arrow_select::concat::concat(&parts).expect("columns of one stream agree")
}

/// `json` texts (`_unknown` among them) stay plain: few of them repeat.
fn texts(parts: &[&ArrayRef], json: bool) -> ArrayRef {
    let is_plain = |part: &&ArrayRef| *part.data_type() == DataType::Utf8;
    if parts.iter().all(is_plain) && (json || parts.iter().any(|part| part.len() >= DECIDED_ROWS)) {
        return plain(parts);
    }
    let mut texts = Texts::new();
    for part in parts {
        match part.data_type() {
            DataType::Dictionary(_, _) => dictionary_part(part, &mut texts),
            _ => {
                let values = part.as_string::<i32>();
                for row in 0..values.len() {
                    push(&mut texts, values, row, values.is_null(row));
                }
            }
        }
    }
    texts.finish(nulls(parts))
}

fn nulls(parts: &[&ArrayRef]) -> Option<NullBuffer> {
    if parts.iter().all(|part| part.null_count() == 0) {
        return None;
    }
    let mut valid = BooleanBufferBuilder::new(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        match part.nulls() {
            Some(nulls) => valid.append_buffer(nulls.inner()),
            None => valid.append_n(part.len(), true),
        }
    }
    Some(NullBuffer::new(valid.finish()))
}

/// Looks each value of the part's dictionary up once, as long as the whole is a dictionary.
fn dictionary_part(part: &ArrayRef, texts: &mut Texts) {
    const NOT_YET: u32 = u32::MAX;
    let dictionary = part.as_dictionary::<UInt32Type>();
    let values = dictionary.values().as_string::<i32>();
    let nulls = dictionary.keys().nulls();
    let mut places = vec![NOT_YET; values.len()];
    for (row, key) in dictionary.keys().values().iter().enumerate() {
        let key = *key as usize;
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            texts.push_null();
            continue;
        }
        let place = places[key];
        if place != NOT_YET && texts.is_dictionary() {
            texts.push_place(place);
        } else {
            places[key] = texts.push(values.value(key).as_bytes()).unwrap_or(NOT_YET);
        }
    }
}

fn push(texts: &mut Texts, values: &StringArray, row: usize, null: bool) {
    if null {
        texts.push_null();
    } else {
        texts.push(values.value(row).as_bytes());
    }
}
