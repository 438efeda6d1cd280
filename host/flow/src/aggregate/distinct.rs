//! `count(distinct x)`, exact: each value is stored once for all groups, and a group has the numbers of its values.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::Schema;
use hashbrown::HashTable;
use tidemill_event::{Field, FieldType};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::{take, take_u32};
use crate::group::KeyIndex;

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Distinct {
    field: Field,
    values: KeyIndex,
    /// (group, value) pairs that are there.
    seen: HashTable<(u32, u32)>,
    hasher: ahash::RandomState,
    /// The values of each group, in no order that shows.
    groups: Vec<Vec<u32>>,
}

impl Distinct {
    pub(crate) fn new(of: FieldType) -> Self {
        let field = Field::new("x", of, true);
        let values = KeyIndex::new(vec![field.clone()]);
        Self { field, values, seen: HashTable::new(), hasher: ahash::RandomState::new(), groups: Vec::new() }
    }

    fn add(&mut self, group: u32, value: u32) {
        let hash = self.hasher.hash_one((group, value));
        if self.seen.find(hash, |pair| *pair == (group, value)).is_some() {
            return;
        }
        let hasher = &self.hasher;
        self.seen.insert_unique(hash, (group, value), |pair| hasher.hash_one(*pair));
        self.groups[group as usize].push(value);
        self.values.hold(value);
    }
}

impl Accumulators for Distinct {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, Vec::new());
    }

    fn clear(&mut self, group: u32) {
        for value in std::mem::take(&mut self.groups[group as usize]) {
            let hash = self.hasher.hash_one((group, value));
            if let Ok(entry) = self.seen.find_entry(hash, |pair| *pair == (group, value)) {
                entry.remove();
            }
            self.values.release(value);
        }
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("count(distinct) has an argument");
        let field = self.field.arrow().with_data_type(column.data_type().clone());
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column.clone()]).expect("one column");
        let mut values = Vec::with_capacity(groups.len());
        self.values.slots_of(&rows, &mut values);
        let nulls = column.logical_nulls();
        for (row, (group, value)) in groups.iter().zip(&values).enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                self.add(*group, *value);
            }
        }
        // A null of a type whose nulls are keys like any other.
        self.values.forget_unheld(&values);
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            for value in self.groups[*from as usize].clone() {
                self.add(*into, value);
            }
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let counts = groups.iter().map(|group| self.groups[*group as usize].len() as i64);
        Finished { values: Arc::new(Int64Array::from_iter_values(counts)), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let mut values = self.groups[group as usize].clone();
        self.values.sort(&mut values, |value| *value);
        out.extend_from_slice(&(values.len() as u32).to_le_bytes());
        for value in values {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            self.values.put_key(value, out);
            let length = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.clear(group);
        for _ in 0..take_u32(bytes)? {
            let length = take_u32(bytes)? as usize;
            let value = self.values.slot_of_key(take(bytes, length)?)?;
            self.add(group, value);
        }
        Some(())
    }
}
