//! Cold entries that time comes to: each has an instant at which something happens to it, and a row may need all that its key has.
//!
//! ```text
//! stored key    head │ place, 8 │ key │ rest        place: an instant not after the entry's own, shared by many
//! cell          head │ place    │ key               the entries of a key in a place: a row of the key reads its cells
//! ```
//! When the first instant of a place comes, all its entries come back: one scan, in the order of keys. So what a step must have in memory
//! at once is what is due in one place, and places are a part of how far entries reach ahead ([`place_of`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeBounds;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::cold::Cold;
use crate::group::ordered::{ordered_int, plain_int};
use crate::{ColdEntries, Save};

/// What a cold entry takes in memory, about: what every one does, and its cell.
pub(crate) const DATED_BYTES: u64 = 56;
/// So many places, or twice as many, are as far as an entry reaches ahead.
const PLACES: i64 = 8;

/// The place of an instant that lies `reach` ahead of what made it. What moves on in time moves its entry to another place, so places are not short.
pub(crate) fn place_of(instant: i64, reach: i64) -> i64 {
    let bits = (reach / PLACES).max(1).ilog2();
    instant >> bits << bits
}

/// Appends a place as stored keys have it.
pub(crate) fn put_place(place: i64, key: &mut Vec<u8>) {
    key.extend_from_slice(&ordered_int(place).to_be_bytes());
}

/// Takes a place from the front of a stored key behind its head.
pub(crate) fn take_place(key: &mut &[u8]) -> Option<i64> {
    let (place, rest) = key.split_first_chunk::<8>()?;
    *key = rest;
    Some(plain_int(u64::from_be_bytes(*place)))
}

/// How many entries of a key in a place left.
#[derive(Debug, Clone, Copy)]
struct Cell {
    hash: u64,
    place: i64,
    entries: u32,
}

/// The entries of a place that left, and the first instant of theirs.
#[derive(Debug)]
struct Place {
    entries: usize,
    first: i64,
}

/// The cold entries of a step.
#[derive(Default)]
pub(crate) struct Dated {
    head: Vec<u8>,
    /// How long the rest of a stored key is.
    rest: usize,
    cold: Cold,
    /// By the hash of the key alone.
    cells: HashTable<Cell>,
    hasher: ahash::RandomState,
    places: BTreeMap<i64, Place>,
}

impl Dated {
    /// None, of entries whose stored keys begin with `head` and have `rest` bytes behind their key.
    pub(crate) fn new(head: &[u8], rest: usize) -> Self {
        Self {
            head: head.to_vec(),
            rest,
            cold: Cold::default(),
            cells: HashTable::new(),
            hasher: ahash::RandomState::new(),
            places: BTreeMap::new(),
        }
    }

    pub(crate) fn spill_to(&mut self, store: Arc<dyn ColdEntries>) {
        self.cold.spill_to(store);
    }

    /// Whether entries may leave.
    pub(crate) fn has_store(&self) -> bool {
        self.cold.has_store()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cold.is_empty()
    }

    /// The entry of that stored key left; something happens to it at `instant`.
    pub(crate) fn left(&mut self, key: &[u8], save: Save, instant: i64) {
        self.cold.left(key, save);
        let (place, of_key) = self.apart(key);
        let hash = self.hasher.hash_one(of_key);
        match self.cells.find_mut(hash, |cell| (cell.hash, cell.place) == (hash, place)) {
            Some(cell) => cell.entries += 1,
            None => {
                self.cells.insert_unique(hash, Cell { hash, place, entries: 1 }, |cell| cell.hash);
            }
        }
        let place = self.places.entry(place).or_insert(Place { entries: 0, first: instant });
        place.entries += 1;
        place.first = place.first.min(instant);
    }

    /// The first instant at which something happens to one, or earlier.
    pub(crate) fn first(&self) -> Option<i64> {
        let mut first = None;
        for (at, place) in &self.places {
            if first.is_some_and(|first| *at >= first) {
                break;
            }
            first = Some(first.map_or(place.first, |first: i64| first.min(place.first)));
        }
        first
    }

    /// The cells that a key has in these places: what the stored keys of its entries begin with.
    pub(crate) fn cells_of(&self, of_key: &[u8], places: impl RangeBounds<i64>) -> impl Iterator<Item = Vec<u8>> {
        let hash = self.hasher.hash_one(of_key);
        let cells = self.cells.iter_hash(hash).filter(move |cell| cell.hash == hash && places.contains(&cell.place));
        cells.map(|cell| [&self.head, &ordered_int(cell.place).to_be_bytes()[..], of_key].concat())
    }

    /// Takes back the entries of cells, in the order of their keys; `each` as for [`Cold::take`].
    pub(crate) fn take<E: Display>(
        &mut self,
        cells: &BTreeSet<Vec<u8>>,
        mut each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>,
    ) {
        for cell in cells {
            self.take_all(cell, &mut each);
        }
    }

    /// Takes back the entries of places whose first instant is before `watermark`, or at it.
    pub(crate) fn take_until<E: Display>(&mut self, watermark: i64, each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>) {
        let due = self.places.range(..=watermark).filter(|(_, place)| place.first <= watermark);
        self.take_those(due.map(|(at, _)| *at).collect(), each);
    }

    /// Takes back the entries of these places.
    pub(crate) fn take_places<E: Display>(
        &mut self,
        places: impl RangeBounds<i64>,
        each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>,
    ) {
        self.take_those(self.places.range(places).map(|(at, _)| *at).collect(), each);
    }

    fn take_those<E: Display>(&mut self, places: Vec<i64>, mut each: impl FnMut(&[u8], &[u8], Save) -> Result<(), E>) {
        for place in places {
            let mut begins = self.head.clone();
            put_place(place, &mut begins);
            self.take_all(&begins, &mut each);
        }
    }

    fn take_all<E: Display>(&mut self, begins: &[u8], each: &mut impl FnMut(&[u8], &[u8], Save) -> Result<(), E>) {
        let mut cold = std::mem::take(&mut self.cold);
        let is_an_entry = self.rest == 0 && begins.len() > self.head.len() + 8;
        let mut come_back = |key: &[u8], value: &[u8], save| {
            self.forget(key);
            each(key, value, save)
        };
        if is_an_entry {
            cold.take(&BTreeSet::from([begins.to_vec()]), &mut come_back);
        } else {
            cold.take_all(begins, &mut come_back);
        }
        self.cold = cold;
        let missing = self.entries_of(begins);
        if missing > 0 {
            self.cold.is_lost(&format!("{missing} entries are not in the store"));
        }
    }

    /// How many entries of a cell, or of a place, are still away.
    fn entries_of(&self, begins: &[u8]) -> usize {
        let mut of_key = &begins[self.head.len()..];
        let Some(place) = take_place(&mut of_key) else { return 0 };
        if of_key.is_empty() {
            return self.places.get(&place).map_or(0, |place| place.entries);
        }
        let hash = self.hasher.hash_one(of_key);
        let cell = self.cells.find(hash, |cell| (cell.hash, cell.place) == (hash, place));
        cell.map_or(0, |cell| cell.entries as usize)
    }

    /// An entry is not away any more.
    fn forget(&mut self, key: &[u8]) {
        let (place, of_key) = self.apart(key);
        let hash = self.hasher.hash_one(of_key);
        if let Ok(mut cell) = self.cells.find_entry(hash, |cell| (cell.hash, cell.place) == (hash, place)) {
            cell.get_mut().entries -= 1;
            if cell.get().entries == 0 {
                cell.remove();
            }
        }
        if let Some(of_place) = self.places.get_mut(&place) {
            of_place.entries -= 1;
            if of_place.entries == 0 {
                self.places.remove(&place);
            }
        }
        if self.cells.is_empty() {
            self.cells = HashTable::new();
        }
    }

    /// The place of a stored key, and its key.
    fn apart<'a>(&self, key: &'a [u8]) -> (i64, &'a [u8]) {
        let mut of_key = key.get(self.head.len()..key.len().saturating_sub(self.rest)).unwrap_or_default();
        let place = take_place(&mut of_key).unwrap_or_default();
        (place, of_key)
    }
}
