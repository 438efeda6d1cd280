//! Event batches as NDJSON: dotted fields inside objects again, unknown fields back where they were, the host's fields at the end.
//!
//! Where a schema took a name that older rows have among their unknown fields, a row shows its column, or the unknown field if
//! that column is null: no name comes twice, and nothing is hidden.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use hashbrown::HashMap;

use super::ColumnWriter;
use super::container::{members, plain_name};
use super::value::{write_integer, write_text, write_time};
use crate::batch::{UNKNOWN_COLUMN, times};
use crate::{FieldType, Offset, PartitionId, StreamSchema};

/// Where the rows of a batch lie: adds `_partition`, `_offset` and `_time` to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition they were read from.
    pub partition: PartitionId,
}

/// Writes rows of one schema as JSON.
#[derive(Debug)]
pub struct RowEncoder {
    types: Vec<FieldType>,
    root: Object,
    place: Option<Place>,
}

/// What a row, or an object in it, is written as.
#[derive(Debug, Default)]
struct Object {
    members: Vec<Member>,
    /// Where each name is among them.
    places: HashMap<Box<[u8]>, usize>,
}

/// A member of an object.
#[derive(Debug)]
struct Member {
    /// `"name":`.
    quoted: Box<[u8]>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Column(usize),
    Object(Object),
}

/// A batch made ready: its columns by type.
struct Columns<'a> {
    writers: Vec<ColumnWriter<'a>>,
    unknown: Option<&'a StringArray>,
    times: &'a TimestampMicrosecondArray,
}

impl RowEncoder {
    /// An encoder for batches of `schema`; with a place, rows carry the host's fields.
    pub fn new(schema: &StreamSchema, place: Option<Place>) -> Self {
        let mut root = Object::default();
        for (column, field) in schema.fields.iter().enumerate() {
            root.insert(&field.name, column);
        }
        Self { types: schema.fields.iter().map(|field| field.ty).collect(), root, place }
    }

    /// Appends the given rows of an event batch, each with a line feed. `start` is the offset of the batch's row 0.
    ///
    /// # Panics
    /// If the batch is not of the encoder's schema, or the range is not in it.
    pub fn encode(&self, batch: &RecordBatch, rows: Range<usize>, start: Offset, out: &mut Vec<u8>) {
        let columns = self.columns(batch);
        for row in rows {
            self.row(&columns, row, out);
            if let Some(place) = self.place {
                out.pop();
                out.extend_from_slice(if out.last() == Some(&b'{') { b"\"_partition\":" } else { b",\"_partition\":" });
                write_integer(place.partition.0, out);
                out.extend_from_slice(b",\"_offset\":");
                write_integer(start.plus(row).0, out);
                out.extend_from_slice(b",\"_time\":");
                write_time(columns.times.value(row), None, out);
                out.push(b'}');
            }
            out.push(b'\n');
        }
    }

    /// The given row of a batch as JSON, without a line feed and without the host's fields.
    ///
    /// # Panics
    /// As [`RowEncoder::encode`].
    pub fn one(&self, batch: &RecordBatch, row: usize) -> String {
        let mut out = Vec::new();
        self.row(&self.columns(batch), row, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn columns<'a>(&self, batch: &'a RecordBatch) -> Columns<'a> {
        let writers = self.types.iter().zip(batch.columns()).map(|(ty, array)| ColumnWriter::new(*ty, array)).collect();
        let unknown = batch.column_by_name(UNKNOWN_COLUMN).map(|array| array.as_string::<i32>());
        Columns { writers, unknown, times: times(batch) }
    }

    fn row(&self, columns: &Columns<'_>, row: usize, out: &mut Vec<u8>) {
        let unknown = columns.unknown.filter(|unknown| unknown.is_valid(row)).map(|unknown| unknown.value(row).as_bytes());
        match unknown {
            None => plain_object(&self.root, columns, row, out),
            Some(unknown) => merged_object(&self.root, columns, row, unknown, out),
        }
    }
}

impl Object {
    /// Puts a column where its dotted name says. A field below or above another one is left out: definitions refuse it.
    fn insert(&mut self, path: &str, column: usize) {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let place = *self.places.entry(name.as_bytes().into()).or_insert(self.members.len());
        if place == self.members.len() {
            let mut quoted = Vec::new();
            write_text(name.as_bytes(), &mut quoted);
            quoted.push(b':');
            let value = rest.map_or(Value::Column(column), |_| Value::Object(Self::default()));
            self.members.push(Member { quoted: quoted.into(), value });
        }
        if let (Value::Object(inner), Some(rest)) = (&mut self.members[place].value, rest) {
            inner.insert(rest, column);
        }
    }
}

fn plain_object(object: &Object, columns: &Columns<'_>, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, member) in object.members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&member.quoted);
        match &member.value {
            Value::Column(column) => columns.writers[*column].write(row, out),
            Value::Object(inner) => plain_object(inner, columns, row, out),
        }
    }
    out.push(b'}');
}

/// An object with the unknown fields that stood in it: first the schema's members, then the others as they came.
fn merged_object(object: &Object, columns: &Columns<'_>, row: usize, unknown: &[u8], out: &mut Vec<u8>) {
    let mut named: Vec<Option<&[u8]>> = vec![None; object.members.len()];
    let mut others: Vec<(&[u8], &[u8])> = Vec::new();
    for (raw, value) in members(unknown) {
        match object.places.get(&*plain_name(raw)) {
            Some(place) => named[*place] = Some(value),
            None => others.push((raw, value)),
        }
    }
    out.push(b'{');
    for (member, named) in object.members.iter().zip(named) {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.extend_from_slice(&member.quoted);
        match (&member.value, named) {
            (Value::Column(column), Some(value)) if columns.writers[*column].is_null(row) => out.extend_from_slice(value),
            (Value::Column(column), _) => columns.writers[*column].write(row, out),
            (Value::Object(inner), Some(value)) if value.first() == Some(&b'{') => merged_object(inner, columns, row, value, out),
            (Value::Object(inner), Some(value)) if all_null(inner, columns, row) => out.extend_from_slice(value),
            (Value::Object(inner), _) => plain_object(inner, columns, row, out),
        }
    }
    for (raw, value) in others {
        out.extend_from_slice(if out.last() == Some(&b'{') { b"\"" } else { b",\"" });
        out.extend_from_slice(raw);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    out.push(b'}');
}

fn all_null(object: &Object, columns: &Columns<'_>, row: usize) -> bool {
    object.members.iter().all(|member| match &member.value {
        Value::Column(column) => columns.writers[*column].is_null(row),
        Value::Object(inner) => all_null(inner, columns, row),
    })
}
