//! Rows with different keys that came one after the other, and never change: what `latest.rs` is made of.
//!
//! ```text
//! rows  | symbol | price |    times    gone             index: symbol ─► row
//!   0   |  ACME  |  9.5  |    09:00    no
//!   1   |  INIT  |   -   |    09:02    yes: the key has no row any more, and what is older than 09:02 does not bring it back
//! ```

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, ScalarBuffer};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;

use crate::keys::KeyColumn;
use crate::lookup::TableIndex;
use crate::lookup::index::NONE;

/// Rows by key, no two alike.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) rows: RecordBatch,
    pub(super) times: ScalarBuffer<i64>,
    pub(super) gone: BooleanBuffer,
    pub(super) index: TableIndex,
}

/// The columns of the key.
pub(super) fn key_columns(rows: &RecordBatch, key: &[usize]) -> Vec<ArrayRef> {
    key.iter().map(|at| rows.column(*at).clone()).collect()
}

impl Layer {
    /// Of rows whose keys are all different, and none of them null.
    pub(super) fn new(rows: RecordBatch, times: ScalarBuffer<i64>, gone: BooleanBuffer, key: &[usize]) -> Self {
        let index = TableIndex::equal(&key_columns(&rows, key));
        Self { rows, times, gone, index }
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Bytes of its rows, about; its index takes some more.
    pub(super) fn bytes(&self) -> usize {
        tidemill_event::batch::bytes(&self.rows) + self.times.len() * 8
    }

    /// These rows of it, in this order.
    fn taken(&self, places: &[u32], key: &[usize]) -> Self {
        let rows = take_record_batch(&self.rows, &UInt32Array::from(places.to_vec())).expect("rows of the layer");
        let times = places.iter().map(|place| self.times[*place as usize]).collect();
        let gone = places.iter().map(|place| self.gone.value(*place as usize)).collect();
        Self::new(rows, times, gone, key)
    }

    /// Both as one: a key that is in both is as the newer one has it.
    pub(super) fn under(&self, newer: &Self, key: &[usize]) -> Self {
        let replaced = newer.index.find(&key_columns(&self.rows, key));
        let stays = BooleanArray::new(BooleanBuffer::collect_bool(replaced.len(), |row| replaced[row] == NONE), None);
        let kept = filter_record_batch(&self.rows, &stays).expect("a mask of its length");
        let rows = concat_batches(kept.schema_ref(), [&kept, &newer.rows]).expect("the same columns");
        let own = stays.values().set_indices();
        let times = own.map(|row| self.times[row]).chain(newer.times.iter().copied()).collect();
        let mut gone = BooleanBufferBuilder::new(rows.num_rows());
        stays.values().set_indices().for_each(|row| gone.append(self.gone.value(row)));
        gone.append_buffer(&newer.gone);
        Self::new(rows, times, gone.finish(), key)
    }

    /// By key, without the keys that went before `forgotten_before`: the same for the same rows, however they came together.
    pub(super) fn in_order(&self, key: &[usize], forgotten_before: i64) -> Self {
        let columns = key_columns(&self.rows, key);
        let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
        let is_kept = |row: &u32| !self.gone.value(*row as usize) || self.times[*row as usize] >= forgotten_before;
        let with_key = |row: u32| {
            let mut bytes = Vec::new();
            writers.iter().for_each(|writer| writer.put_ordered(row as usize, &mut bytes));
            (bytes, row)
        };
        let mut rows: Vec<(Vec<u8>, u32)> = (0..self.len() as u32).filter(is_kept).map(with_key).collect();
        rows.sort_unstable();
        let places: Vec<u32> = rows.into_iter().map(|(_, row)| row).collect();
        self.taken(&places, key)
    }
}
