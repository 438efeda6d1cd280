//! Tables of a process: entries by a key of their own within the step's key. What is wanted is asked for before the batch; then an entry is
//! looked at and written as often as one likes, and rows of one key see what those before them wrote.

use std::collections::BTreeMap;

use crate::abi::bindings::Column as Place;
use crate::call::{Call, WantedAnswer};
use crate::column::{Bits, Column};
use crate::field::Field;
use crate::output::Buffer;

/// An entry of a table. Made by `#[derive(Table)]`.
pub trait TableEntry: Sized {
    /// Its key: the fields marked `#[table(key)]`, a tuple if there are several.
    type Key: Ord + Clone;
    /// The table's name.
    const NAME: &'static str;
    /// The fields of the key.
    const KEY: &'static [Field];
    /// The other fields.
    const VALUES: &'static [Field];
    /// How long an entry lives in µs, whether by the host's clock, and whether wanting it puts its end off; 0 is until it is deleted.
    const TTL: (u64, bool, bool);

    /// Its key.
    fn key(&self) -> Self::Key;

    /// Writes the columns of keys.
    fn store_keys<'a>(keys: impl Iterator<Item = &'a Self::Key> + Clone, buffer: &mut Buffer, places: &mut Vec<Place>)
    where
        Self::Key: 'a;

    /// Reads the values of as many entries as there are `keys`; of those that are not there, `None`. `call` has their number as its keys'.
    fn load(keys: Vec<Self::Key>, there: &[bool], call: &Call<'_>, places: &[Place]) -> Vec<Option<Self>>;

    /// Writes the columns of values; nulls where there is no entry.
    fn store_values(entries: &[Option<Self>], buffer: &mut Buffer, places: &mut Vec<Place>);
}

/// What is declared of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableDeclaration {
    /// Its name.
    pub name: &'static str,
    /// The fields of the key.
    pub key: &'static [Field],
    /// The other fields.
    pub values: &'static [Field],
    /// See [`TableEntry::TTL`].
    pub ttl: (u64, bool, bool),
}

/// The entries of a table that a batch wants.
pub struct Table<E: TableEntry> {
    row: u32,
    key: u32,
    /// For each wanted one: the row, the number of the step's key, and the entry's key.
    wanted: Vec<(u32, u32, E::Key)>,
    numbers: BTreeMap<(u32, E::Key), u32>,
    entries: Vec<Option<E>>,
    writes: Vec<(u32, u32, bool)>,
}

impl<E: TableEntry> Default for Table<E> {
    fn default() -> Self {
        Self { row: 0, key: 0, wanted: Vec::new(), numbers: BTreeMap::new(), entries: Vec::new(), writes: Vec::new() }
    }
}

impl<E: TableEntry> Table<E> {
    /// The event or timer needs the entry of that key.
    pub fn want(&mut self, key: E::Key) {
        self.wanted.push((self.row, self.key, key));
    }

    /// The entry of that key, if it is there.
    ///
    /// # Panics
    /// If it was not wanted.
    pub fn get(&self, key: &E::Key) -> Option<&E> {
        self.entries[self.number(key)].as_ref()
    }

    /// Puts an entry, in place of one of its key.
    ///
    /// # Panics
    /// If its key was not wanted.
    pub fn put(&mut self, entry: E) {
        let number = self.number(&entry.key());
        self.writes.push((self.row, number as u32, true));
        self.entries[number] = Some(entry);
    }

    /// Deletes the entry of that key, and gives it back if it was there.
    ///
    /// # Panics
    /// If it was not wanted.
    pub fn delete(&mut self, key: &E::Key) -> Option<E> {
        let number = self.number(key);
        let entry = self.entries[number].take();
        if entry.is_some() {
            self.writes.push((self.row, number as u32, false));
        }
        entry
    }

    fn number(&self, key: &E::Key) -> usize {
        // The map's key owns; a copy is what it costs to look.
        match self.numbers.get(&(self.key, key.clone())) {
            Some(number) => *number as usize,
            None => panic!("an entry of `{}` is used that `wants` did not ask for", E::NAME),
        }
    }

    fn load(&mut self, call: &Call<'_>, there: &Place, places: &[Place], count: usize, numbers: &[[u8; 4]]) {
        let mut keys: Vec<Option<E::Key>> = vec![None; count];
        for ((_, of, key), number) in std::mem::take(&mut self.wanted).into_iter().zip(numbers) {
            let number = u32::from_le_bytes(*number);
            keys[number as usize].get_or_insert_with(|| key.clone());
            self.numbers.insert((of, key), number);
        }
        let call = Call { keys: count, ..*call };
        let bits = Bits::bind(&call, there, count);
        let there: Vec<bool> = (0..count).map(|entry| bits.get(entry)).collect();
        let keys = keys.into_iter().map(|key| key.expect("every entry was wanted")).collect();
        self.entries = E::load(keys, &there, &call, places);
    }
}

/// What was found: the numbers of entries, and their columns; nothing where there are no tables.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Where the numbers start in the call's data.
    pub entries: u32,
    /// For each table whether each entry is there, then its values.
    pub columns: &'a [Place],
}

impl Found<'_> {
    pub(crate) fn is_some(&self) -> bool {
        !self.columns.is_empty()
    }
}

/// All tables of a process: `()`, or a tuple of [`Table`]s.
pub trait Tables: Default {
    /// What they are.
    fn declared() -> Vec<TableDeclaration>;
    /// The row in hand, and the number of its key.
    fn set_row(&mut self, row: u32, key: u32);
    /// Writes what is wanted.
    fn write_wanted(self, answer: &mut WantedAnswer);
    /// Reads what was found of what is wanted.
    fn load(&mut self, call: &Call<'_>, found: Found<'_>);
    /// Writes the entries, and who wrote them: how many writes, and where.
    fn write(self, buffer: &mut Buffer, places: &mut Vec<Place>) -> (usize, u32);
}

macro_rules! tables {
    ($count:literal; $($name:ident $at:tt),*) => {
        impl<$($name: TableEntry),*> Tables for ($(Table<$name>,)*) {
            fn declared() -> Vec<TableDeclaration> {
                vec![$(TableDeclaration { name: $name::NAME, key: $name::KEY, values: $name::VALUES, ttl: $name::TTL }),*]
            }

            fn set_row(&mut self, _row: u32, _key: u32) {
                $((self.$at.row, self.$at.key) = (_row, _key);)*
            }

            fn write_wanted(self, answer: &mut WantedAnswer) {
                let counts: Vec<u32> = vec![$(self.$at.wanted.len() as u32),*];
                let rows: Vec<Vec<u32>> = vec![$(self.$at.wanted.iter().map(|(row, ..)| *row).collect()),*];
                let words = counts.into_iter().chain(rows.into_iter().flatten());
                answer.entries = answer.buffer.put_words(words.map(u32::to_le_bytes));
                $($name::store_keys(self.$at.wanted.iter().map(|(_, _, key)| key), &mut answer.buffer, &mut answer.keys);)*
            }

            fn load(&mut self, call: &Call<'_>, found: Found<'_>) {
                let words: &[[u8; 4]] = call.data[found.entries as usize..].as_chunks().0;
                let (_counts, mut _numbers) = words.split_at($count);
                let mut _columns = found.columns;
                $({
                    let (columns, rest) = _columns.split_at(1 + $name::VALUES.len());
                    _columns = rest;
                    let (numbers, rest) = _numbers.split_at(self.$at.wanted.len());
                    _numbers = rest;
                    let count = u32::from_le_bytes(_counts[$at]) as usize;
                    self.$at.load(call, &columns[0], &columns[1..], count, numbers);
                })*
            }

            fn write(self, buffer: &mut Buffer, _places: &mut Vec<Place>) -> (usize, u32) {
                let mut writes: Vec<[u32; 4]> = Vec::new();
                $(
                    let of_table = |(row, entry, is_put): &(u32, u32, bool)| [*row, $at, *entry, u32::from(*is_put)];
                    writes.extend(self.$at.writes.iter().map(of_table));
                    $name::store_values(&self.$at.entries, buffer, _places);
                )*
                // By row; those of one row and table stay in their order.
                writes.sort_by_key(|[row, ..]| *row);
                (writes.len(), buffer.put_words(writes.into_iter().flatten().map(u32::to_le_bytes)))
            }
        }
    };
}

tables!(0;);
tables!(1; A 0);
tables!(2; A 0, B 1);
tables!(3; A 0, B 1, C 2);
tables!(4; A 0, B 1, C 2, D 3);
