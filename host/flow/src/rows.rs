//! Rows that an operator keeps, by number: the batches they came in as long as enough of a batch is needed, and each row as bytes.
//!
//! ```text
//! row ──► (chunk, place)      a chunk is a batch, or rows of several gathered anew when most of what is held is needed by nobody
//!                             a row that was read alone is a chunk of its own until there are enough of those
//! row as bytes                per column 00, or 01 and the value as in ordered key bytes; doubles bit by bit
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use arrow_select::take::take as picked_from;
use tidemill_event::Field;

use crate::aggregate::bytes::{take, take_u32};
use crate::group::ordered::put_exact_float;
use crate::group::{KeyColumns, put_row};

/// Rows held beyond four times of what is needed are gathered anew, but not for fewer.
const WASTED_ROWS_MIN: usize = 16_384;
/// The same where others hold rows of the same batches: much of that memory is theirs as well.
const WASTED_SHARED_ROWS_MIN: usize = 4_096;
/// Rows that were read alone: so many become one chunk.
const LOOSE_ROWS_MAX: usize = 1_024;

/// Of a batch of which one row in so many is needed, or fewer, those are copied.
const FEW: usize = 4;

/// Where a row is.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    chunk: u32,
    row: u32,
}

/// The rows, all of the same columns.
#[derive(Debug)]
pub(crate) struct Rows {
    fields: Vec<Field>,
    /// Of all chunks.
    schema: SchemaRef,
    /// Others keep rows of the same batches.
    is_shared: bool,
    chunks: Vec<Option<RecordBatch>>,
    /// How many rows of each chunk are needed.
    needed: Vec<u32>,
    places: Vec<Place>,
    free_rows: Vec<u32>,
    free_chunks: Vec<u32>,
    /// Chunks of one row that was read alone, and the row.
    loose: BTreeMap<u32, u32>,
    live: usize,
    held: usize,
}

impl Rows {
    /// Rows of these columns.
    pub(crate) fn new(fields: Vec<Field>) -> Self {
        let types: Vec<ArrowField> = fields.iter().map(|field| field.arrow().with_nullable(true)).collect();
        Self {
            fields,
            schema: Arc::new(Schema::new(types)),
            is_shared: false,
            chunks: Vec::new(),
            needed: Vec::new(),
            places: Vec::new(),
            free_rows: Vec::new(),
            free_chunks: Vec::new(),
            loose: BTreeMap::new(),
            live: 0,
            held: 0,
        }
    }

    /// The same, where many others keep rows of the same batches, which have nothing but what somebody needs, and no dictionary: a row is not copied
    /// until its batch is needed for little else.
    pub(crate) fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// The columns.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Arrays by row need room for so many.
    pub(crate) fn slots(&self) -> usize {
        self.places.len()
    }

    /// Some rows of a batch, by number; the batch may have more columns.
    ///
    /// # Panics
    /// If a column is not there.
    pub(crate) fn add(&mut self, batch: &RecordBatch, picked: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let picked: Vec<u32> = picked.into_iter().collect();
        if picked.is_empty() {
            return Vec::new();
        }
        // Few rows of many are copied: they would hold on to all of the batch, and a dictionary need not be spelled out for the others.
        let few = (!self.is_shared && picked.len() * FEW <= batch.num_rows()).then(|| UInt32Array::from(picked.clone()));
        let column = |field: &Field| -> ArrayRef {
            let column = batch.column_by_name(&field.name).unwrap_or_else(|| panic!("no column `{}` in the batch", field.name));
            let column = match &few {
                Some(few) => picked_from(column, few, None).expect("rows of the batch"),
                None => column.clone(),
            };
            // All chunks have the same types, so that rows of several go side by side.
            match column.data_type() {
                DataType::Dictionary(_, values) => cast(&column, values).expect("a dictionary casts to its values"),
                _ => column,
            }
        };
        let columns = self.fields.iter().map(column).collect();
        let (rows, places) = match few {
            Some(_) => (picked.len(), (0..picked.len() as u32).collect()),
            None => (batch.num_rows(), picked),
        };
        let chunk = self.add_chunk(self.batch_of(columns, rows));
        places.into_iter().map(|row| self.add_row(Place { chunk, row })).collect()
    }

    fn add_chunk(&mut self, rows: RecordBatch) -> u32 {
        self.held += rows.num_rows();
        if let Some(chunk) = self.free_chunks.pop() {
            self.chunks[chunk as usize] = Some(rows);
            return chunk;
        }
        self.chunks.push(Some(rows));
        self.needed.push(0);
        self.chunks.len() as u32 - 1
    }

    fn add_row(&mut self, place: Place) -> u32 {
        self.needed[place.chunk as usize] += 1;
        self.live += 1;
        if let Some(row) = self.free_rows.pop() {
            self.places[row as usize] = place;
            return row;
        }
        self.places.push(place);
        self.places.len() as u32 - 1
    }

    /// Nobody needs the row any more. Its number is another's soon.
    pub(crate) fn remove(&mut self, row: u32) {
        let Place { chunk, .. } = self.places[row as usize];
        self.free_rows.push(row);
        self.live -= 1;
        self.needed[chunk as usize] -= 1;
        if self.needed[chunk as usize] == 0 {
            let rows = self.chunks[chunk as usize].take().map_or(0, |rows| rows.num_rows());
            self.held -= rows;
            self.free_chunks.push(chunk);
            self.loose.remove(&chunk);
        }
    }

    /// Rows that were read alone become one chunk: each takes far more than its bytes otherwise.
    fn gather_loose(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        let gathered = self.gathered(loose.values().copied());
        let into = self.add_chunk(gathered);
        self.needed[into as usize] = loose.len() as u32;
        for (place, (chunk, row)) in (0u32..).zip(loose) {
            self.places[row as usize] = Place { chunk: into, row: place };
            (self.chunks[chunk as usize], self.needed[chunk as usize]) = (None, 0);
            self.held -= 1;
            self.free_chunks.push(chunk);
        }
    }

    /// These rows as a batch.
    fn gathered(&self, rows: impl ExactSizeIterator<Item = u32>) -> RecordBatch {
        let length = rows.len();
        self.batch_of(self.gather(rows.map(Some)), length)
    }

    fn batch_of(&self, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).expect("columns of these types")
    }

    /// Gathers what is needed if most of what is held is not. `live`: all rows there are, in any order.
    pub(crate) fn compact(&mut self, live: impl Iterator<Item = u32>) {
        let wasted_min = if self.is_shared { WASTED_SHARED_ROWS_MIN } else { WASTED_ROWS_MIN };
        if self.held <= wasted_min + 4 * self.live {
            return;
        }
        let rows: Vec<u32> = live.collect();
        let gathered = self.gathered(rows.iter().copied());
        self.chunks.clear();
        self.loose.clear();
        self.needed.clear();
        self.free_chunks.clear();
        self.held = 0;
        let chunk = self.add_chunk(gathered);
        self.needed[chunk as usize] = rows.len() as u32;
        (0u32..).zip(rows).for_each(|(place, row)| self.places[row as usize] = Place { chunk, row: place });
    }

    /// The columns of these rows, in this order; `None` is a row of nulls.
    pub(crate) fn gather(&self, rows: impl Iterator<Item = Option<u32>>) -> Vec<ArrayRef> {
        let (used, indices) = self.chunks_of(rows);
        (0..self.fields.len()).map(|at| self.interleaved(at, &used, &indices)).collect()
    }

    /// One of their columns, by its place among the fields.
    pub(crate) fn column(&self, at: usize, rows: impl Iterator<Item = Option<u32>>) -> ArrayRef {
        let (used, indices) = self.chunks_of(rows);
        self.interleaved(at, &used, &indices)
    }

    /// The chunks these rows are in, and where in which of them each is.
    fn chunks_of(&self, rows: impl Iterator<Item = Option<u32>>) -> (Vec<&RecordBatch>, Vec<(usize, usize)>) {
        // Only chunks in use take part; the first is a null for each column.
        let mut number = vec![0; self.chunks.len()];
        let mut used: Vec<&RecordBatch> = Vec::new();
        let mut indices = Vec::with_capacity(rows.size_hint().0);
        for row in rows {
            let Some(row) = row else {
                indices.push((0, 0));
                continue;
            };
            let Place { chunk, row } = self.places[row as usize];
            let known = &mut number[chunk as usize];
            if *known == 0 {
                used.push(self.chunks[chunk as usize].as_ref().expect("a row's chunk is there"));
                *known = used.len();
            }
            indices.push((*known, row as usize));
        }
        (used, indices)
    }

    fn interleaved(&self, at: usize, used: &[&RecordBatch], indices: &[(usize, usize)]) -> ArrayRef {
        let null = arrow_array::new_null_array(&self.fields[at].ty.arrow(), 1);
        let mut arrays: Vec<&dyn Array> = vec![null.as_ref()];
        arrays.extend(used.iter().map(|rows| rows.column(at).as_ref()));
        interleave(&arrays, indices).expect("chunks have the same types")
    }

    /// The batch a row is in, and where; the batch has the columns of `fields`.
    pub(crate) fn at(&self, row: u32) -> (&RecordBatch, usize) {
        let Place { chunk, row } = self.places[row as usize];
        (self.chunks[chunk as usize].as_ref().expect("a row's chunk is there"), row as usize)
    }

    /// Appends a row as bytes.
    pub(crate) fn encode(&self, row: u32, out: &mut Vec<u8>) {
        let Place { chunk, row } = self.places[row as usize];
        let rows = self.chunks[chunk as usize].as_ref().expect("a row's chunk is there");
        for column in rows.columns() {
            match column.as_primitive_opt::<Float64Type>() {
                Some(doubles) if doubles.is_valid(row as usize) => put_exact_float(doubles.value(row as usize), out),
                _ => put_row(column.as_ref(), row as usize, out),
            }
        }
    }

    /// Appends the length of a row's bytes (u32), and they.
    pub(crate) fn encode_sized(&self, row: u32, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.encode(row, out);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Takes what [`Self::encode_sized`] wrote off the front.
    pub(crate) fn decode_sized(&mut self, rest: &mut &[u8]) -> Option<u32> {
        let length = take_u32(rest)? as usize;
        self.decode(take(rest, length)?)
    }

    /// A row from its bytes. `None`: these bytes are no such row.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Option<u32> {
        let types: Vec<_> = self.fields.iter().map(|field| field.ty).collect();
        let mut columns = KeyColumns::new(&types);
        columns.push(bytes)?;
        let chunk = self.add_chunk(self.batch_of(columns.finish(), 1));
        let row = self.add_row(Place { chunk, row: 0 });
        self.loose.insert(chunk, row);
        if self.loose.len() >= LOOSE_ROWS_MAX {
            self.gather_loose();
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::example::{all_types_first, dictionary_batch, plain_batch};
    use tidemill_event::FieldType;

    #[test]
    fn every_type_is_kept_and_read_back() {
        let first = all_types_first();
        let fields: Vec<Field> =
            first.schema_ref().fields().iter().map(|field| Field::from_arrow(field).expect("a field")).collect();
        let mut rows = Rows::new(fields);
        let [row] = rows.add(&first, [0])[..] else { panic!("one row") };
        let mut bytes = Vec::new();
        rows.encode(row, &mut bytes);
        let again = rows.decode(&bytes).expect("what was encoded");
        assert_eq!(rows.gather([Some(again)].into_iter()), first.columns());
        assert!((0..bytes.len()).all(|short| rows.decode(&bytes[..short]).is_none()));
    }

    /// As at a restart: each row on its own, some of which go again, and their numbers with them.
    #[test]
    fn rows_that_were_read_alone_become_chunks() {
        let mut rows = Rows::new(vec![Field::new("k", FieldType::String, true)]);
        let mut live: Vec<(u32, String)> = Vec::new();
        for number in 0..5_000 {
            let key = format!("{number}");
            let mut bytes = vec![1];
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&[0, 0]);
            live.push((rows.decode(&bytes).expect("a row"), key));
            if number % 3 == 0 {
                let (gone, _) = live.swap_remove(number * 7 % live.len());
                rows.remove(gone);
            }
        }
        let chunks = rows.chunks.iter().flatten().count();
        assert!(chunks < LOOSE_ROWS_MAX + 8, "{chunks} chunks of {} rows", live.len());
        assert_eq!(rows.held, rows.chunks.iter().flatten().map(RecordBatch::num_rows).sum::<usize>());
        let told = rows.gather(live.iter().map(|(row, _)| Some(*row)));
        assert!(told[0].as_string::<i32>().iter().eq(live.iter().map(|(_, key)| Some(key.as_str()))));
    }

    proptest! {
        /// Rows are those that were added, whatever was removed and gathered anew, and whatever form their columns had.
        #[test]
        fn rows_are_those_that_were_added(batches in proptest::collection::vec((proptest::collection::vec(proptest::option::of("[ab]{0,3}"), 1..9), any::<bool>(), any::<u16>()), 0..12)) {
            let mut rows = Rows::new(vec![Field::new("k", FieldType::String, true)]);
            let mut model: Vec<(u32, Option<String>)> = Vec::new();
            for (keys, dictionary, kept) in batches {
                let batch = if dictionary { dictionary_batch(&keys) } else { plain_batch(&keys) };
                let added = rows.add(&batch, 0..keys.len() as u32);
                model.extend(added.into_iter().zip(keys));
                let mut place = 0;
                model.retain(|(row, _)| {
                    place += 1;
                    let stays = kept >> (place % 16) & 1 == 1;
                    if !stays {
                        rows.remove(*row);
                    }
                    stays
                });
                // As if much were wasted.
                rows.held += WASTED_ROWS_MIN * usize::from(kept & 1);
                rows.compact(model.iter().map(|(row, _)| *row));
                rows.held = rows.chunks.iter().flatten().map(RecordBatch::num_rows).sum();
                prop_assert_eq!(rows.live, model.len());
                let told = rows.gather(model.iter().map(|(row, _)| Some(*row)).chain([None]));
                let told: Vec<Option<&str>> = told[0].as_string::<i32>().iter().collect();
                let expected: Vec<Option<&str>> = model.iter().map(|(_, key)| key.as_deref()).chain([None]).collect();
                prop_assert_eq!(told, expected);
            }
        }
    }
}
