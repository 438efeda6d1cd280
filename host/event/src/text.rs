//! A column of texts that decides by itself whether it is a dictionary: it starts as one and turns plain when too many values differ.
//!
//! Built from bytes that were checked to be UTF-8, and checked once more, a whole column at a time, when it is finished. The
//! dictionary is in order of first appearance, so the same rows give the same bytes.

use std::sync::Arc;

use ahash::RandomState;
use arrow_array::{ArrayRef, DictionaryArray, StringArray, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use hashbrown::HashTable;

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

/// The eight bytes at `at`, if there are so many.
#[inline(always)]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first eight bytes of a value as one number, zeros behind a shorter one. With the length it stands for one short value only.
#[inline(always)]
pub(crate) fn head(value: &[u8]) -> u64 {
    let half = |bytes: &[u8]| bytes.first_chunk::<4>().map_or(0, |half| u64::from(u32::from_le_bytes(*half)));
    match value {
        [] => 0,
        [a] => u64::from(*a),
        [a, b] => u64::from(*a) | u64::from(*b) << 8,
        [a, b, c] => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        longer => match word(longer, 0) {
            Some(word) => word,
            // The last four bytes overlap the first ones by what is missing to eight.
            None => half(longer) | half(&longer[longer.len() - 4..]) >> (8 * (8 - longer.len())) << 32,
        },
    }
}

/// Whether two values of one length are equal behind their first eight bytes: in line, most are shorter than a call is worth.
#[inline(always)]
fn same_tail(one: &[u8], other: &[u8]) -> bool {
    let length = one.len();
    if length > 32 {
        return one == other;
    }
    let mut at = 8;
    while at + 8 < length {
        if word(one, at) != word(other, at) {
            return false;
        }
        at += 8;
    }
    word(one, length - 8) == word(other, length - 8)
}

/// A hash of short values with secret keys, so that nobody can choose values that collide; longer ones go to `ahash`.
#[derive(Debug)]
struct ShortHash {
    keys: [u64; 2],
    long: RandomState,
}

impl ShortHash {
    fn new() -> Self {
        let long = RandomState::new();
        Self { keys: [long.hash_one(1u64), long.hash_one(2u64)], long }
    }

    /// The hash of a value with this [`head`].
    #[inline(always)]
    fn of(&self, value: &[u8], head: u64) -> u64 {
        let length = value.len();
        let last = match length {
            0..=8 => 0,
            9..=16 => word(value, length - 8).unwrap_or(0),
            _ => return self.long.hash_one(value),
        };
        let product = u128::from(head ^ self.keys[0]) * u128::from(last ^ self.keys[1] ^ length as u64);
        let folded = product as u64 ^ (product >> 64) as u64;
        folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ folded >> 32
    }
}

/// Variable-length values one behind the other.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) data: Vec<u8>,
    pub(crate) offsets: Vec<i32>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0] }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.close();
    }

    /// Ends the value whose bytes were appended to `data`.
    ///
    /// # Panics
    /// If a column holds 2 GiB: batches are bounded far below.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.offsets.push(i32::try_from(self.data.len()).expect("a column is smaller than 2 GiB"));
    }

    /// Forgets the values from `length` on, and bytes without a value.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length + 1);
        self.data.truncate(self.offsets[length] as usize);
    }

    /// Everything as Arrow buffers; empty afterwards.
    pub(crate) fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let (data, offsets) = (take(&mut self.data), take(&mut self.offsets));
        self.offsets.push(0);
        (OffsetBuffer::new(offsets.into()), data.into())
    }
}

/// The values, in a vector at most twice as large as they are; `values` is empty afterwards, with room for as many again.
///
/// A small batch behind a large one gets a copy, since what it would hold on to lives as long as it does: in tails, in queues.
pub(crate) fn take<T: Copy>(values: &mut Vec<T>) -> Vec<T> {
    if values.len() * 2 < values.capacity() {
        let exact = values.clone();
        values.clear();
        return exact;
    }
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Texts {
    form: Form,
    /// The rows of a dictionary, as places in `distinct`.
    keys: Vec<u32>,
    distinct: Runs,
    entries: Vec<Entry>,
    places: HashTable<u32>,
    hash: ShortHash,
    /// The values of a plain column.
    plain: Runs,
    /// Batches for which it stays plain.
    plain_batches: u32,
    /// Whether the newest row brought its value into the dictionary: it takes it out again when it is dropped.
    fresh: bool,
}

/// What a look-up needs of a value in the dictionary; short ones need no more.
#[derive(Debug)]
struct Entry {
    head: u64,
    hash: u64,
    length: usize,
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
            entries: Vec::new(),
            places: HashTable::new(),
            hash: ShortHash::new(),
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
        self.push_headed(value, head(value))
    }

    /// As [`Texts::push`], for a value whose [`head`] is known.
    #[inline]
    pub(crate) fn push_headed(&mut self, value: &[u8], head: u64) -> Option<u32> {
        match self.form {
            Form::Dictionary => {
                let place = self.place(value, head);
                self.keys.push(place);
                if self.fresh && self.distinct.len() > DISTINCT_ALWAYS.max(self.keys.len() / 4) {
                    self.turn_plain();
                    self.plain_batches = PLAIN_BATCHES;
                }
                Some(place)
            }
            Form::Plain => {
                self.plain.push(value);
                None
            }
        }
    }

    /// Takes the value that is at `place` of the dictionary, as [`Texts::push`] answered; the column must still be one.
    pub(crate) fn push_place(&mut self, place: u32) {
        self.fresh = false;
        self.keys.push(place);
    }

    /// The place of a value in the dictionary, brought in if it is new.
    #[inline]
    fn place(&mut self, value: &[u8], head: u64) -> u32 {
        let hash = self.hash.of(value, head);
        let (entries, distinct, length) = (&self.entries, &self.distinct, value.len());
        let known = self.places.find(hash, |place| {
            let place = *place as usize;
            let entry = &entries[place];
            entry.head == head && entry.length == length && (length <= 8 || same_tail(distinct.get(place), value))
        });
        if let Some(place) = known {
            self.fresh = false;
            return *place;
        }
        self.add(value, head, hash)
    }

    #[inline(never)]
    fn add(&mut self, value: &[u8], head: u64, hash: u64) -> u32 {
        let place = self.distinct.len() as u32;
        self.distinct.push(value);
        self.entries.push(Entry { head, hash, length: value.len() });
        let entries = &self.entries;
        self.places.insert_unique(hash, place, |place| entries[*place as usize].hash);
        self.fresh = true;
        place
    }

    /// Whether it is a dictionary so far.
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
        self.entries.clear();
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
                    let newest = self.distinct.len() - 1;
                    if let Ok(entry) = self.places.find_entry(self.entries[newest].hash, |place| *place as usize == newest) {
                        entry.remove();
                    }
                    self.entries.truncate(newest);
                    self.distinct.truncate(newest);
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

/// The validity of `length` rows of which those in `nulls` (ascending) are null; `None` if none is.
pub(crate) fn validity(nulls: &[u32], length: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = arrow_buffer::BooleanBufferBuilder::new(length);
    bits.append_n(length, true);
    for row in nulls {
        bits.set_bit(*row as usize, false);
    }
    Some(NullBuffer::new(bits.finish()))
}
