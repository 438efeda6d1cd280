//! The rows of a table by key: key columns of a batch in, one row number per row out.
//!
//! ```text
//! one int64, timestamp   the value itself is looked up
//! one string             its bytes; of a dictionary each entry once
//! anything else          ordered key bytes, row by row
//! networks, domains      see `networks.rs`, `domains.rs`
//! ```

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;

use crate::keys::KeyColumn;
use crate::lookup::domains::Domains;
use crate::lookup::networks::Networks;

/// No row of the table.
pub(crate) const NONE: u32 = u32::MAX;
/// Not looked for yet.
const UNKNOWN: u32 = u32::MAX - 1;

/// A value that a table cannot be looked up by. The table must change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}: {error}")]
pub struct BadKey {
    /// The table's row, from 0.
    pub row: usize,
    /// What is wrong with it.
    pub error: String,
}

/// A row by whose key it cannot be told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// A part of the key is null.
    Null {
        /// The row, from 0.
        row: usize,
    },
    /// Another row has the same key.
    Repeated {
        /// The row, from 0.
        row: usize,
        /// The first row with that key.
        first: usize,
    },
}

/// The rows whose key is null or that of a row before them, ascending. `columns` make the key; at least one.
pub fn check_key(columns: &[ArrayRef]) -> Vec<KeyFault> {
    let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
    let (mut keys, mut key, mut faults) = (Keys::default(), Vec::new(), Vec::new());
    for row in 0..columns[0].len() {
        if !write(&writers, row, &mut key) {
            faults.push(KeyFault::Null { row });
            continue;
        }
        match keys.find(&key) {
            NONE => keys.insert(&key, row as u32),
            first => faults.push(KeyFault::Repeated { row, first: first as usize }),
        }
    }
    faults
}

/// The rows of one version of a table, by some of its columns. Never changed once it is made.
#[derive(Debug)]
pub struct TableIndex(Shape);

#[derive(Debug)]
enum Shape {
    Int(HashMap<i64, u32>),
    Keys(Keys),
    /// One string column: its bytes are the key.
    Text(Keys),
    Networks(Networks),
    Domains(Domains),
}

/// Keys as bytes, behind each other.
#[derive(Debug, Default)]
struct Keys {
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    /// Where each key ends, and its row.
    keys: Vec<(usize, u32)>,
    table: HashTable<u32>,
}

impl Keys {
    fn key<'a>(bytes: &'a [u8], keys: &[(usize, u32)], at: u32) -> &'a [u8] {
        let at = at as usize;
        let start = at.checked_sub(1).map_or(0, |before| keys[before].0);
        &bytes[start..keys[at].0]
    }

    /// The last row of a key stays.
    fn insert(&mut self, key: &[u8], row: u32) {
        let Self { hasher, bytes, keys, table } = self;
        let hash = hasher.hash_one(key);
        if let Some(at) = table.find(hash, |at| Self::key(bytes, keys, *at) == key) {
            keys[*at as usize].1 = row;
            return;
        }
        bytes.extend_from_slice(key);
        keys.push((bytes.len(), row));
        let at = keys.len() as u32 - 1;
        table.insert_unique(hash, at, |at| hasher.hash_one(Self::key(bytes, keys, *at)));
    }

    fn find(&self, key: &[u8]) -> u32 {
        let found = self.table.find(self.hasher.hash_one(key), |at| Self::key(&self.bytes, &self.keys, *at) == key);
        found.map_or(NONE, |at| self.keys[*at as usize].1)
    }
}

impl TableIndex {
    /// By equality with these columns of the table, at least one, all of the same length. Rows with a null among them match nothing.
    pub fn equal(columns: &[ArrayRef]) -> Self {
        let rows = columns[0].len();
        Self(match (columns, columns[0].data_type()) {
            ([one], DataType::Int64) => Shape::Int(ints(one.as_primitive::<Int64Type>().iter())),
            ([one], DataType::Timestamp(..)) => Shape::Int(ints(one.as_primitive::<TimestampMicrosecondType>().iter())),
            ([one], DataType::Utf8) => {
                let mut keys = Keys::default();
                let texts = (0u32..).zip(one.as_string::<i32>()).filter_map(|(row, text)| Some((row, text?)));
                texts.for_each(|(row, text)| keys.insert(text.as_bytes(), row));
                Shape::Text(keys)
            }
            _ => {
                let mut keys = Keys::default();
                let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
                let mut key = Vec::new();
                for row in 0..rows {
                    if write(&writers, row, &mut key) {
                        keys.insert(&key, row as u32);
                    }
                }
                Shape::Keys(keys)
            }
        })
    }

    /// By the narrowest network of this column that holds an address.
    pub fn networks(column: &StringArray) -> Result<Self, BadKey> {
        Networks::new(column).map(|networks| Self(Shape::Networks(networks)))
    }

    /// By the longest domain of this column that a host is in.
    pub fn domains(column: &StringArray) -> Result<Self, BadKey> {
        Domains::new(column).map(|domains| Self(Shape::Domains(domains)))
    }

    /// The table's row for each row of a batch, [`NONE`] where there is none.
    ///
    /// # Panics
    /// If a column is of another type than the table's: types were compared when the pipeline was applied.
    pub(crate) fn find(&self, keys: &[ArrayRef]) -> Vec<u32> {
        let column = keys[0].as_ref();
        match &self.0 {
            Shape::Int(table) => match column.data_type() {
                DataType::Int64 => find_ints::<Int64Type>(table, column),
                _ => find_ints::<TimestampMicrosecondType>(table, column),
            },
            Shape::Text(table) => find_texts(column, |text| table.find(text.as_bytes())),
            Shape::Networks(networks) => find_texts(column, |text| networks.find(text)),
            Shape::Domains(domains) => {
                let mut host = String::new();
                find_texts(column, |text| domains.find(text, &mut host))
            }
            Shape::Keys(table) => {
                let writers: Vec<KeyColumn<'_>> = keys.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
                let mut key = Vec::new();
                let find = |row| if write(&writers, row, &mut key) { table.find(&key) } else { NONE };
                (0..column.len()).map(find).collect()
            }
        }
    }
}

fn ints(values: impl Iterator<Item = Option<i64>>) -> HashMap<i64, u32> {
    (0u32..).zip(values).filter_map(|(row, value)| Some((value?, row))).collect()
}

fn find_ints<T: ArrowPrimitiveType<Native = i64>>(table: &HashMap<i64, u32>, column: &dyn Array) -> Vec<u32> {
    let find = |value: i64| table.get(&value).copied().unwrap_or(NONE);
    let column = column.as_primitive::<T>();
    match column.null_count() {
        0 => column.values().iter().map(|value| find(*value)).collect(),
        _ => column.iter().map(|value| value.map_or(NONE, find)).collect(),
    }
}

/// Looks texts up; of a dictionary each entry once, unless this batch uses little of it.
fn find_texts(column: &dyn Array, mut find: impl FnMut(&str) -> u32) -> Vec<u32> {
    let DataType::Dictionary(..) = column.data_type() else {
        return column.as_string::<i32>().iter().map(|text| text.map_or(NONE, &mut find)).collect();
    };
    let column = column.as_dictionary::<UInt32Type>();
    let values = column.values().as_string::<i32>();
    let mut known = vec![UNKNOWN; if values.len() > column.len() { 0 } else { values.len() }];
    let row_of = |row| match column.key(row).filter(|entry| values.is_valid(*entry)) {
        None => NONE,
        Some(entry) => match known.get_mut(entry) {
            None => find(values.value(entry)),
            Some(known) => {
                if *known == UNKNOWN {
                    *known = find(values.value(entry));
                }
                *known
            }
        },
    };
    (0..column.len()).map(row_of).collect()
}

/// Writes the key of a row. `false`: a part of it is null, and it matches nothing.
fn write(writers: &[KeyColumn<'_>], row: usize, key: &mut Vec<u8>) -> bool {
    key.clear();
    writers.iter().all(|writer| {
        let begin = key.len();
        writer.put_ordered(row, key);
        // The first byte of a column says whether a value follows.
        key[begin] != 0
    })
}
