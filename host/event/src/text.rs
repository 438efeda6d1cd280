//! A column of texts that decides by itself whether it is a dictionary: it starts as one and turns plain when too many values differ.
//!
//! Built from bytes that were checked to be UTF-8, and checked once more, a whole column at a time, when it is finished. The
//! dictionary is in order of first appearance, so the same rows give the same bytes.

use std::sync::Arc;

use arrow_array::{ArrayRef, DictionaryArray, StringArray, UInt32Array};
use arrow_buffer::{NullBuffer, ScalarBuffer};

mod chunk;
mod places;
mod runs;

pub(crate) use chunk::{CHUNK_BYTES, Chunk};
pub(crate) use places::{Key, Places, same_long};
pub(crate) use runs::{Runs, take, validity};

/// Distinct values that a dictionary under construction may always have; beyond them, at most one for each four rows.
const DISTINCT_ALWAYS: usize = 1_024;
/// So many rows of which more than half differ say what the column is like.
const DECIDED_ROWS: usize = 256;
/// Batches that a column stays plain for before a dictionary is tried again.
const PLAIN_BATCHES: u32 = 64;
/// Fewer rows than this are kept plain: two arrays would cost more than they save.
const DICTIONARY_ROWS_MIN: usize = 16;
/// The key of a null row until the column is finished.
const NULL_KEY: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Texts {
    form: Form,
    /// The rows of a dictionary, as places in `distinct`.
    keys: Vec<u32>,
    distinct: Runs,
    places: Places,
    /// The values of a plain column.
    plain: Runs,
    /// Batches for which it stays plain.
    plain_batches: u32,
    /// Whether the newest row brought its value into the dictionary: it takes it out again when it is dropped.
    fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Dictionary,
    Plain,
}

impl Texts {
    pub(crate) fn new() -> Self {
        Self {
            form: Form::Dictionary,
            keys: Vec::new(),
            distinct: Runs::new(),
            places: Places::new(),
            plain: Runs::new(),
            plain_batches: 0,
            fresh: false,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self.form {
            Form::Dictionary => self.keys.len(),
            Form::Plain => self.plain.len(),
        }
    }

    pub(crate) fn push_null(&mut self) {
        match self.form {
            Form::Dictionary => {
                self.fresh = false;
                self.keys.push(NULL_KEY);
            }
            Form::Plain => self.plain.close(),
        }
    }

    /// Takes a value and answers its place in the dictionary, while there is one.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) -> Option<u32> {
        if self.form == Form::Plain {
            self.plain.push(value);
            return None;
        }
        let key = self.places.key(value);
        let distinct = &self.distinct;
        let known = self.places.find(&key, |place| same_long(distinct.get(place), value));
        Some(self.push_known(known, key, value))
    }

    /// As [`Texts::push`], for the first `length` bytes (at most 16) of a chunk.
    #[inline(always)]
    pub(crate) fn push_short(&mut self, chunk: Chunk, length: usize) {
        if self.form == Form::Plain {
            self.plain.push_short(chunk, length);
            return;
        }
        let key = Key::short(chunk, length);
        match self.places.find(&key, |_| true) {
            Ok(place) => self.push_place(place),
            known => _ = self.push_known(known, key, &chunk.bytes()[..length]),
        }
    }

    fn push_known(&mut self, known: Result<u32, usize>, key: Key, value: &[u8]) -> u32 {
        match known {
            Ok(place) => {
                self.push_place(place);
                place
            }
            Err(at) => self.add(at, key, value),
        }
    }

    /// Brings a new value into the dictionary, by the slot where it would be.
    #[inline(never)]
    fn add(&mut self, at: usize, key: Key, value: &[u8]) -> u32 {
        self.distinct.push(value);
        let place = self.places.add(at, key);
        self.fresh = true;
        self.keys.push(place);
        if self.distinct.len() > DISTINCT_ALWAYS.max(self.keys.len() / 4) {
            self.turn_plain();
            self.places.reset();
            self.plain_batches = PLAIN_BATCHES;
        }
        place
    }

    /// Takes the value that is at `place` of the dictionary, as [`Texts::push`] answered; the column must still be one.
    #[inline(always)]
    pub(crate) fn push_place(&mut self, place: u32) {
        self.fresh = false;
        self.keys.push(place);
    }

    /// Whether it is a dictionary so far.
    #[inline]
    pub(crate) fn is_dictionary(&self) -> bool {
        self.form == Form::Dictionary
    }

    #[cold]
    fn turn_plain(&mut self) {
        self.plain.data.reserve(self.distinct.data.len() * 4);
        for key in &self.keys {
            match *key {
                NULL_KEY => self.plain.close(),
                key => self.plain.push(self.distinct.get(key as usize)),
            }
        }
        self.clear_dictionary();
        self.form = Form::Plain;
    }

    fn clear_dictionary(&mut self) {
        self.keys.clear();
        self.distinct.truncate(0);
        self.places.clear();
        self.fresh = false;
    }

    /// Takes back the rows from `length` on; only the newest row can be taken back from a dictionary.
    pub(crate) fn truncate(&mut self, length: usize) {
        match self.form {
            Form::Dictionary => {
                if self.keys.len() == length {
                    return;
                }
                self.keys.truncate(length);
                if self.fresh {
                    self.fresh = false;
                    self.places.take_newest();
                    self.distinct.truncate(self.distinct.len() - 1);
                }
            }
            Form::Plain => self.plain.truncate(length),
        }
    }

    /// The column; empty afterwards. One whose values hardly repeat stays plain for a while, whatever the next batches hold.
    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        let (rows, distinct) = (self.len(), self.distinct.len());
        if self.form == Form::Dictionary {
            if rows >= DICTIONARY_ROWS_MIN && distinct > 0 && distinct <= rows / 2 {
                return self.finish_dictionary(nulls);
            }
            self.turn_plain();
            self.plain_batches = if rows >= DECIDED_ROWS && distinct > 0 { PLAIN_BATCHES } else { 0 };
        }
        let (offsets, data) = self.plain.take();
        self.plain_batches = self.plain_batches.saturating_sub(1);
        if self.plain_batches == 0 {
            self.form = Form::Dictionary;
        }
        Arc::new(StringArray::try_new(offsets, data, nulls).expect("texts were checked when they were read"))
    }

    fn finish_dictionary(&mut self, nulls: Option<NullBuffer>) -> ArrayRef {
        if nulls.is_some() {
            for key in &mut self.keys {
                if *key == NULL_KEY {
                    *key = 0;
                }
            }
        }
        let keys = UInt32Array::new(ScalarBuffer::from(take(&mut self.keys)), nulls);
        let (offsets, data) = self.distinct.take();
        let values = StringArray::try_new(offsets, data, None).expect("texts were checked when they were read");
        self.clear_dictionary();
        Arc::new(DictionaryArray::try_new(keys, Arc::new(values)).expect("keys are places in the dictionary"))
    }
}
