//! The last row of each key of a stream, as a value that never changes: taking rows in makes the next one, which shares what stayed.
//!
//! ```text
//! layers, oldest first     [ 1,000,000 rows ][ 60,000 ][ 4,000 ][ 12 ]
//!                                                        ▲         ▲
//!   look up: the newest layer that has the key ──────────┴─────────┘      a new layer for each batch; layers of about one size become one
//! ```
//! Which row of a key is the last one is decided by (event time, order in the stream), so rows may come out of order. What is in it is a
//! function of the rows alone, however they were cut into batches and whenever layers became one.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave;
use arrow_select::take::take_record_batch;

use crate::lookup::index::NONE;
use crate::lookup::layer::{Layer, key_columns};
use crate::lookup::{Found, LookupTable, TableIndex};

/// A key that went is remembered for so long in event time, so that an older row that comes late does not bring it back.
pub const GONE_KEPT_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// Where a key's row is.
const NOWHERE: (u32, u32) = (NONE, NONE);

/// The last row of each key.
#[derive(Debug, Clone)]
pub struct LatestRows {
    schema: SchemaRef,
    key: Arc<[usize]>,
    layers: Vec<Arc<Layer>>,
    live: usize,
}

/// Rows as they come, all of one partition.
pub struct NewRows<'a> {
    /// The table's columns; texts written out.
    pub rows: &'a RecordBatch,
    /// Their event times.
    pub times: &'a [i64],
    /// Rows that take their key away.
    pub gone: &'a BooleanBuffer,
}

/// What became of rows that did not become the last one of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// A later row of their key was there.
    pub older: u64,
    /// A part of their key is null: nothing ever finds them.
    pub without_key: u64,
}

/// What was the last row of a key while a batch is taken in.
#[derive(Clone, Copy)]
struct Last {
    time: i64,
    gone: bool,
    /// Of the batch.
    row: Option<u32>,
    was_live: bool,
}

impl LatestRows {
    /// Of no row. `key` are places of columns, at least one.
    pub fn new(schema: SchemaRef, key: Arc<[usize]>) -> Self {
        Self { schema, key, layers: Vec::new(), live: 0 }
    }

    /// Rows that were told by [`LatestRows::in_order`].
    pub fn of(rows: RecordBatch, times: ScalarBuffer<i64>, gone: BooleanBuffer, key: Arc<[usize]>) -> Self {
        let (schema, live) = (rows.schema(), gone.len() - gone.count_set_bits());
        let layer = Layer::new(rows, times, gone, &key);
        Self { schema, key, layers: if layer.len() == 0 { Vec::new() } else { vec![Arc::new(layer)] }, live }
    }

    /// How many keys have a row.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Rows it holds, those that were replaced or went and are not cleared away yet with them.
    pub fn held(&self) -> usize {
        self.layers.iter().map(|layer| layer.len()).sum()
    }

    /// Bytes of its rows in memory, about.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes rows of a partition in, in their order. `newest` is the latest time of the partition's rows before them, and then of them too.
    #[must_use]
    pub fn take_in(&self, new: &NewRows<'_>, newest: &mut i64) -> (Self, Passed) {
        let keys = key_columns(new.rows, &self.key);
        // The number of a key in this batch is that of its last row.
        let numbers = TableIndex::equal(&keys).find(&keys);
        let before = self.find(&keys);
        let mut lasts: Vec<Option<Last>> = vec![None; numbers.len()];
        let mut passed = Passed::default();
        for (row, (number, time)) in numbers.iter().zip(new.times).enumerate() {
            if *number == NONE {
                passed.without_key += 1;
                *newest = (*newest).max(*time);
                continue;
            }
            let gone = new.gone.value(row);
            let last = &mut lasts[*number as usize];
            if last.is_none() && before[row] != NOWHERE {
                let (layer, at) = (&self.layers[before[row].0 as usize], before[row].1 as usize);
                let gone = layer.gone.value(at);
                *last = Some(Last { time: layer.times[at], gone, row: None, was_live: !gone });
            }
            let is_older = last.is_some_and(|last| {
                let is_forgotten = last.gone && newest.saturating_sub(last.time) > GONE_KEPT_MICROS;
                *time < last.time && !is_forgotten
            });
            *newest = (*newest).max(*time);
            if is_older {
                passed.older += 1;
                continue;
            }
            let was_live = last.is_some_and(|last| last.was_live);
            *last = Some(Last { time: *time, gone, row: Some(row as u32), was_live });
        }
        let changed: Vec<Last> = lasts.into_iter().flatten().filter(|last| last.row.is_some()).collect();
        (self.with(new.rows, changed), passed)
    }

    fn with(&self, rows: &RecordBatch, mut changed: Vec<Last>) -> Self {
        let mut next = self.clone();
        if changed.is_empty() {
            return next;
        }
        changed.sort_unstable_by_key(|last| last.row);
        let live = changed.iter().filter(|last| !last.gone).count();
        let was_live = changed.iter().filter(|last| last.was_live).count();
        next.live = self.live + live - was_live;
        let places = UInt32Array::from_iter_values(changed.iter().filter_map(|last| last.row));
        let rows = take_record_batch(rows, &places).expect("rows of the batch");
        let times = changed.iter().map(|last| last.time).collect();
        let gone = changed.iter().map(|last| last.gone).collect();
        next.layers.push(Arc::new(Layer::new(rows, times, gone, &self.key)));
        next
    }

    /// Makes one of neighbouring layers of about the same size, if it has no more than so many rows. What is in it stays the same.
    pub fn settle(&mut self, rows_max: usize) {
        while let [.., older, newer] = self.layers.as_slice() {
            let rows = older.len() + newer.len();
            if newer.len() * 2 < older.len() || rows > rows_max {
                return;
            }
            let both = Arc::new(older.under(newer, &self.key));
            self.layers.truncate(self.layers.len() - 2);
            self.layers.push(both);
        }
    }

    /// The same, of what was this value a while ago and was settled meanwhile. `false`: it was not, and nothing was changed.
    pub fn take_over_settled(&mut self, before: &Self, settled: &Self) -> bool {
        let is_prefix = before.layers.len() <= self.layers.len()
            && before.layers.iter().zip(&self.layers).all(|(then, now)| Arc::ptr_eq(then, now));
        if is_prefix {
            self.layers.splice(..before.layers.len(), settled.layers.iter().cloned());
        }
        is_prefix
    }

    /// Whether [`LatestRows::settle`] without a bound would do something.
    pub fn is_unsettled(&self) -> bool {
        matches!(self.layers.as_slice(), [.., older, newer] if newer.len() * 2 >= older.len())
    }

    /// All rows by key, with their times and whether their key went; of those that went, only the ones since `forgotten_before`. The same for
    /// the same rows.
    pub fn in_order(&self, forgotten_before: i64) -> (RecordBatch, ScalarBuffer<i64>, BooleanBuffer) {
        let Some((first, rest)) = self.layers.split_first() else {
            return (RecordBatch::new_empty(self.schema.clone()), ScalarBuffer::from(Vec::new()), BooleanBuffer::new_unset(0));
        };
        // The small ones first: each row is copied few times.
        let over = rest.iter().rev().cloned().reduce(|newer, older| Arc::new(older.under(&newer, &self.key)));
        let whole = over.map_or_else(|| first.clone(), |over| Arc::new(first.under(&over, &self.key)));
        let Layer { rows, times, gone, index: _ } = whole.in_order(&self.key, forgotten_before);
        (rows, times, gone)
    }

    /// Layer and row of each key.
    fn find(&self, keys: &[ArrayRef]) -> Vec<(u32, u32)> {
        let mut found = vec![NOWHERE; keys[0].len()];
        let mut missing = found.len();
        for (number, layer) in self.layers.iter().enumerate().rev() {
            if missing == 0 {
                break;
            }
            for (place, row) in found.iter_mut().zip(layer.index.find(keys)) {
                if *place == NOWHERE && row != NONE {
                    *place = (number as u32, row);
                    missing -= 1;
                }
            }
        }
        found
    }
}

/// The last rows as one step looks them up.
#[derive(Debug)]
pub struct LatestLookup {
    rows: LatestRows,
    /// For each column of the table's key, which of the step's it is.
    keys: Vec<usize>,
    /// The columns it gives.
    take: Vec<usize>,
}

impl LatestLookup {
    /// `keys`: for each column of the table's key, which of the step's it is; `take`: columns by place.
    pub fn new(rows: LatestRows, keys: Vec<usize>, take: Vec<usize>) -> Self {
        Self { rows, keys, take }
    }
}

impl LookupTable for LatestLookup {
    fn look_up(&self, keys: &[ArrayRef]) -> Found {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|at| keys[*at].clone()).collect();
        let layers = &self.rows.layers;
        let is_live = |(layer, row): (u32, u32)| layer != NONE && !layers[layer as usize].gone.value(row as usize);
        let found = self.rows.find(&keys);
        let hits = BooleanBuffer::collect_bool(found.len(), |at| is_live(found[at]));
        // The first part is a null, for rows without a match.
        let place = |place: &(u32, u32)| if is_live(*place) { (place.0 as usize + 1, place.1 as usize) } else { (0, 0) };
        let places: Vec<(usize, usize)> = found.iter().map(place).collect();
        let column = |at: &usize| {
            let nothing = new_null_array(self.rows.schema.field(*at).data_type(), 1);
            let parts = layers.iter().map(|layer| layer.rows.column(*at).as_ref());
            let parts: Vec<_> = std::iter::once(nothing.as_ref()).chain(parts).collect();
            interleave(&parts, &places).expect("parts of one type")
        };
        Found { columns: self.take.iter().map(column).collect(), hits }
    }
}
