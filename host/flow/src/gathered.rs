//! The keys of one call: found before it, written back behind it, or forgotten if it did not return.
//!
//! With a time to live, a key's entry may run out between two rows of one batch. Such a row starts anew, so the call ends before it
//! ([`Together::Rows`]): what a row sees must not depend on where a batch was cut.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use tidemill_event::KeyedState;
use tidemill_event::batch::times;

use crate::keyed::{FIRST, KeyedTable, NOT_SEEN};
use crate::keys::KeyColumn;
use crate::ttl::FRESH;
use crate::{FlowBatch, Outcome, Watermark};

/// The keys of one call.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) row_to_key: Arc<[u32]>,
    pub(crate) slots: Vec<u32>,
    /// Slots that were made for this call.
    fresh: Vec<u32>,
    /// Per key, where entries expire: whether the call must not see what is there, and when it expires if the call returns.
    lives: Option<Vec<Life>>,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    is_over: bool,
    expiry: i64,
}

/// How many of some rows one call may take.
pub(crate) enum Together {
    All(Gathered),
    /// The first so many; one at least.
    Rows(usize),
}

impl KeyedTable {
    /// Finds the keys of rows that shall be one call. Ends with `scatter` or `abandon`.
    pub(crate) fn gather_together(&mut self, input: &FlowBatch, by: &[Arc<str>], output: &Outcome) -> Together {
        let marks = output.marks();
        self.gather_as_of(input, by, output, |row| marks.before(input.origin[row]))
    }

    /// The same, each row as of a watermark.
    pub(crate) fn gather_as_of(
        &mut self,
        input: &FlowBatch,
        by: &[Arc<str>],
        output: &Outcome,
        watermark: impl Fn(usize) -> Watermark,
    ) -> Together {
        let mut gathered = self.gather(&input.rows, by);
        let Some(expiries) = &self.expiries else { return Together::All(gathered) };
        let ttl = expiries.ttl;
        let mut lives: Vec<Option<Life>> = vec![None; gathered.slots.len()];
        let row_times = times(&input.rows);
        for (row, key) in gathered.row_to_key.iter().enumerate() {
            let now = ttl.now(row_times.value(row), watermark(row), output);
            let life = &mut lives[*key as usize];
            let before = match life {
                // Written by a row of this call: this one must see that.
                Some(life) if now.seen >= life.expiry => {
                    self.abandon(gathered);
                    return Together::Rows(row);
                }
                Some(life) => *life,
                None => {
                    let slot = gathered.slots[*key as usize];
                    match expiries.of(slot) {
                        FRESH => Life { is_over: false, expiry: i64::MIN },
                        expiry => Life { is_over: now.seen >= expiry, expiry },
                    }
                }
            };
            *life = Some(Life { expiry: before.expiry.max(ttl.expiry(now)), ..before });
        }
        gathered.lives = Some(lives.into_iter().map(|life| life.expect("a key has a row")).collect());
        Together::All(gathered)
    }

    /// Finds the keys of a batch; keys without state get the first row for the time being. Ends with `scatter` or `abandon`.
    pub(crate) fn gather(&mut self, rows: &RecordBatch, by: &[Arc<str>]) -> Gathered {
        self.warm(rows, by);
        let mut gathered = Gathered { row_to_key: Arc::new([]), slots: Vec::new(), fresh: Vec::new(), lives: None };
        gathered.row_to_key = match by {
            [] => {
                self.numbered(&[], &mut gathered);
                vec![0; rows.num_rows()].into()
            }
            [name] if matches!(rows.column_by_name(name).map(Array::data_type), Some(DataType::Dictionary(..))) => {
                self.gather_dictionary(rows, by, &mut gathered)
            }
            _ => {
                let columns = KeyColumn::of(rows, by);
                let mut key = Vec::new();
                (0..rows.num_rows())
                    .map(|row| {
                        key.clear();
                        columns.iter().for_each(|column| column.write(row, &mut key));
                        self.numbered(&key, &mut gathered)
                    })
                    .collect()
            }
        };
        gathered.slots.iter().for_each(|slot| self.number[*slot as usize] = NOT_SEEN);
        gathered
    }

    /// One key column that is a dictionary: a look-up per entry in use, not per row.
    fn gather_dictionary(&mut self, rows: &RecordBatch, by: &[Arc<str>], gathered: &mut Gathered) -> Arc<[u32]> {
        let columns = KeyColumn::of(rows, by);
        let column = rows.column_by_name(&by[0]).expect("the caller saw it").as_dictionary::<UInt32Type>();
        // The last place stands for null rows.
        let mut numbers = vec![NOT_SEEN; column.values().len() + 1];
        let last = numbers.len() - 1;
        let mut key = Vec::new();
        let entries = column.keys();
        (0..rows.num_rows())
            .map(|row| {
                let entry = if entries.is_valid(row) { entries.value(row) as usize } else { last };
                if numbers[entry] == NOT_SEEN {
                    key.clear();
                    columns[0].write(row, &mut key);
                    numbers[entry] = self.numbered(&key, gathered);
                }
                numbers[entry]
            })
            .collect()
    }

    /// The number of a key in this call.
    pub(crate) fn numbered(&mut self, key: &[u8], gathered: &mut Gathered) -> u32 {
        let slot = match self.find(key) {
            Some(slot) => slot,
            None => {
                let slot = self.insert(key);
                if let Some(expiries) = &mut self.expiries {
                    expiries.set(slot, FRESH);
                }
                gathered.fresh.push(slot);
                slot
            }
        };
        let number = &mut self.number[slot as usize];
        if *number == NOT_SEEN {
            *number = gathered.slots.len() as u32;
            gathered.slots.push(slot);
        }
        *number
    }

    /// What a call is given.
    pub(crate) fn state(&self, gathered: &Gathered) -> KeyedState {
        let is_over = |number: usize| gathered.lives.as_ref().is_some_and(|lives| lives[number].is_over);
        let seen: Vec<u32> =
            gathered.slots.iter().enumerate().map(|(number, slot)| if is_over(number) { FIRST } else { *slot }).collect();
        let columns = self.columns.iter().map(|column| column.load(&seen)).collect();
        let fields = self.first.schema_ref().fields().iter().cloned().collect();
        KeyedState { row_to_key: gathered.row_to_key.clone(), rows: crate::batch::assemble(fields, columns, seen.len()) }
    }

    /// The call returned: its state rows count.
    ///
    /// # Panics
    /// If the rows are not one per key in the declared types: the runtime checks that.
    pub(crate) fn scatter(&mut self, gathered: Gathered, rows: &RecordBatch) {
        let Gathered { row_to_key: _, slots, fresh, lives } = gathered;
        assert_eq!((rows.num_rows(), rows.num_columns()), (slots.len(), self.columns.len()), "a state row per key");
        let mut changed = vec![false; slots.len()];
        for (column, new) in self.columns.iter_mut().zip(rows.columns()) {
            column.store(&slots, new.as_ref(), &mut changed);
        }
        if let (Some(lives), Some(expiries)) = (lives, &mut self.expiries) {
            for ((slot, life), changed) in slots.iter().zip(lives).zip(&mut changed) {
                if expiries.of(*slot) != life.expiry {
                    expiries.set(*slot, life.expiry);
                    *changed = true;
                }
            }
        }
        slots.into_iter().zip(changed).filter(|(_, changed)| *changed).for_each(|(slot, _)| self.touch(slot));
        fresh.into_iter().for_each(|slot| self.touch(slot));
    }

    /// The call did not return, or said nothing about its state: keys that were new to it go again.
    pub(crate) fn abandon(&mut self, gathered: Gathered) {
        gathered.fresh.into_iter().for_each(|slot| self.remove(slot));
    }
}
