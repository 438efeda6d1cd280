//! The keys an operator knows: key columns of a batch in, one slot per row out.
//!
//! ```text
//! no column            one slot for all rows
//! one int64, timestamp the value itself is looked up
//! one string           its bytes; of a dictionary each entry once
//! anything else        ordered key bytes (`ordered.rs`), row by row
//! ```
//! A slot says nothing about its key's place among others; `sorted` does.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use tidemill_event::{Field, FieldType};

use crate::group::Intern;
use crate::group::key_columns::KeyColumns;
use crate::group::ordered::{ordered_int, put_bytes, put_int, put_null, take_bytes, take_int, take_presence};
use crate::keys::KeyColumn;

const NOT_SEEN: u32 = u32::MAX;

/// What is wanted of a row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing: it is not even looked up.
    Nothing,
    /// Its slot, if it has one.
    Known,
    /// Its slot; a key that nobody knows gets one.
    Any,
}

/// How keys lie in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One key for all.
    All,
    /// One integer column.
    Int,
    /// One string column, its bytes.
    Text,
    /// Ordered key bytes.
    Columns,
}

/// Keys and their slots. The slot of a null in a single column is 0, which it has from the beginning.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    by: Vec<Field>,
    shape: Shape,
    table: Intern,
}

impl KeyIndex {
    /// For keys of these columns.
    pub(crate) fn new(by: Vec<Field>) -> Self {
        let shape = match by[..] {
            [] => Shape::All,
            [Field { ty: FieldType::Int64 | FieldType::Timestamp(_), .. }] => Shape::Int,
            [Field { ty: FieldType::String | FieldType::Json, .. }] => Shape::Text,
            _ => Shape::Columns,
        };
        let table = if shape == Shape::Int { Intern::ints() } else { Intern::bytes() };
        Self { by, shape, table }
    }

    /// The key's columns.
    pub(crate) fn by(&self) -> &[Field] {
        &self.by
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The slot of a row whose key was not wanted, or is not known.
    pub(crate) const NONE: u32 = NOT_SEEN;

    /// Arrays by slot need room for so many.
    pub(crate) fn slots(&self) -> usize {
        self.table.slots() + 1
    }

    /// How many keys are held or were just made.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The slot of each row's key; keys it does not know get one that nobody holds.
    ///
    /// # Panics
    /// If a key column is not in the batch, or of another type: columns were checked when the pipeline was applied.
    pub(crate) fn slots_of(&mut self, rows: &RecordBatch, slots: &mut Vec<u32>) {
        self.slots_wanted(rows, |_| Wanted::Any, slots);
    }

    /// The slot of each row's key as far as it is wanted, `NONE` for the others: most rows leave nothing here, and only look. (A null of a single
    /// column has its slot in any case.)
    ///
    /// # Panics
    /// As [`Self::slots_of`].
    pub(crate) fn slots_wanted(&mut self, rows: &RecordBatch, wanted: impl Fn(usize) -> Wanted, slots: &mut Vec<u32>) {
        slots.clear();
        let column = |field: &Field| -> ArrayRef {
            let column = rows.column_by_name(&field.name);
            column.unwrap_or_else(|| panic!("no key column `{}` in the batch", field.name)).clone()
        };
        match self.shape {
            Shape::All => {
                slots.extend((0..rows.num_rows()).map(|row| if wanted(row) == Wanted::Nothing { Self::NONE } else { 0 }))
            }
            Shape::Int => {
                let column = column(&self.by[0]);
                match column.data_type() {
                    DataType::Int64 => self.ints::<Int64Type>(column.as_ref(), wanted, slots),
                    _ => self.ints::<TimestampMicrosecondType>(column.as_ref(), wanted, slots),
                }
            }
            Shape::Text => {
                let column = column(&self.by[0]);
                match column.data_type() {
                    DataType::Dictionary(..) => self.dictionary(column.as_ref(), wanted, slots),
                    _ => self.texts(column.as_ref(), wanted, slots),
                }
            }
            Shape::Columns => {
                let columns: Vec<ArrayRef> = self.by.iter().map(column).collect();
                let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
                let mut key = Vec::new();
                for row in 0..rows.num_rows() {
                    let wanted = wanted(row);
                    if wanted == Wanted::Nothing {
                        slots.push(Self::NONE);
                        continue;
                    }
                    key.clear();
                    writers.iter().for_each(|writer| writer.put_ordered(row, &mut key));
                    slots.push(text_slot(&mut self.table, &key, wanted));
                }
            }
        }
    }

    fn ints<T: ArrowPrimitiveType<Native = i64>>(
        &mut self,
        column: &dyn Array,
        wanted: impl Fn(usize) -> Wanted,
        slots: &mut Vec<u32>,
    ) {
        let column = column.as_primitive::<T>();
        let table = &mut self.table;
        let mut slot = |row: usize, value: i64| int_slot(table, value, wanted(row));
        if column.null_count() == 0 {
            slots.extend(column.values().iter().enumerate().map(|(row, value)| slot(row, *value)));
        } else {
            slots.extend(column.iter().enumerate().map(|(row, value)| value.map_or(0, |value| slot(row, value))));
        }
    }

    fn texts(&mut self, column: &dyn Array, wanted: impl Fn(usize) -> Wanted, slots: &mut Vec<u32>) {
        let column = column.as_string::<i32>();
        let table = &mut self.table;
        let slot = |(row, value): (usize, Option<&str>)| value.map_or(0, |value| text_slot(table, value.as_bytes(), wanted(row)));
        slots.extend(column.iter().enumerate().map(slot));
    }

    fn dictionary(&mut self, column: &dyn Array, wanted: impl Fn(usize) -> Wanted, slots: &mut Vec<u32>) {
        let column = column.as_dictionary::<UInt32Type>();
        let values = column.values().as_string::<i32>();
        let table = &mut self.table;
        // A large dictionary of which this batch uses little is not worth a table of its own.
        if values.len() > column.len() {
            let slot = |row| match column.key(row).filter(|entry| values.is_valid(*entry)) {
                Some(entry) => text_slot(table, values.value(entry).as_bytes(), wanted(row)),
                None => 0,
            };
            return slots.extend((0..column.len()).map(slot));
        }
        let mut known = vec![NOT_SEEN; values.len()];
        let mut slot_of = |row: usize, entry: u32| {
            let wanted = wanted(row);
            let known = &mut known[entry as usize];
            if wanted == Wanted::Nothing {
                return Self::NONE;
            }
            if *known == NOT_SEEN {
                let entry = entry as usize;
                *known = if values.is_valid(entry) { text_slot(table, values.value(entry).as_bytes(), wanted) } else { 0 };
            }
            *known
        };
        if column.null_count() == 0 {
            slots.extend(column.keys().values().iter().enumerate().map(|(row, entry)| slot_of(row, *entry)));
        } else {
            slots.extend(column.keys().iter().enumerate().map(|(row, entry)| entry.map_or(0, |entry| slot_of(row, entry))));
        }
    }

    /// The slot of an integer that is the whole key.
    #[inline]
    pub(super) fn int_slot(&mut self, value: i64, wanted: Wanted) -> u32 {
        int_slot(&mut self.table, value, wanted)
    }

    /// The slot of a key by its bytes in the table.
    #[inline]
    pub(super) fn text_slot(&mut self, value: &[u8], wanted: Wanted) -> u32 {
        text_slot(&mut self.table, value, wanted)
    }

    /// One more holder of a key.
    pub(crate) fn hold(&mut self, slot: u32) {
        if slot > 0 {
            self.table.hold(slot - 1);
        }
    }

    /// One holder less.
    pub(crate) fn release(&mut self, slot: u32) {
        if slot > 0 {
            self.table.release(slot - 1);
        }
    }

    /// Keys that a batch brought and nobody holds go again.
    pub(crate) fn forget_unheld(&mut self, slots: &[u32]) {
        slots.iter().filter(|slot| **slot > 0 && **slot != Self::NONE).for_each(|slot| self.table.forget_if_unheld(slot - 1));
    }

    /// The slot of a key that somebody asks for; of several rows, that of the first. Where nobody holds the key, nothing lies there.
    pub(crate) fn asked(&mut self, key: &RecordBatch) -> u32 {
        let mut slots = Vec::new();
        self.slots_of(key, &mut slots);
        self.forget_unheld(&slots);
        slots[0]
    }

    /// The ordered bytes of a slot's key behind a tag: how entries of keys are called in the store.
    pub(crate) fn tagged_key(&self, tag: u8, slot: u32) -> Vec<u8> {
        let mut key = vec![tag];
        self.put_key(slot, &mut key);
        key
    }

    /// Appends the ordered bytes of a slot's key.
    pub(crate) fn put_key(&self, slot: u32, out: &mut Vec<u8>) {
        match self.shape {
            Shape::All => {}
            Shape::Int | Shape::Text if slot == 0 => put_null(out),
            Shape::Int => put_int(self.table.int_at(slot - 1), out),
            Shape::Text => put_bytes(self.table.text_at(slot - 1), out),
            Shape::Columns => out.extend_from_slice(self.table.text_at(slot - 1)),
        }
    }

    /// The slot of a key by its ordered bytes. `None`: these bytes are no key of these columns.
    pub(crate) fn slot_of_key(&mut self, key: &[u8]) -> Option<u32> {
        let mut rest = key;
        let slot = match self.shape {
            Shape::All => 0,
            Shape::Int | Shape::Text if !take_presence(&mut rest)? => 0,
            Shape::Int => {
                let value = take_int(&mut rest)?;
                self.table.int(value) + 1
            }
            Shape::Text => {
                let mut text = Vec::new();
                take_bytes(&mut rest, &mut text)?;
                str::from_utf8(&text).ok()?;
                self.table.text(&text) + 1
            }
            Shape::Columns => {
                let types: Vec<FieldType> = self.by.iter().map(|field| field.ty).collect();
                KeyColumns::new(&types).push(key)?;
                rest = &[];
                self.table.text(key) + 1
            }
        };
        rest.is_empty().then_some(slot)
    }

    /// Compares the keys of two slots.
    fn compare(&self, a: u32, b: u32) -> Ordering {
        match self.shape {
            Shape::All => Ordering::Equal,
            // The null of a single column is slot 0 and comes first.
            Shape::Int | Shape::Text if a == 0 || b == 0 => (a > 0).cmp(&(b > 0)),
            Shape::Int => self.table.int_at(a - 1).cmp(&self.table.int_at(b - 1)),
            Shape::Text | Shape::Columns => self.table.text_at(a - 1).cmp(self.table.text_at(b - 1)),
        }
    }

    /// Orders things by the keys of their slots. Keys must be distinct, or what shares one in order already.
    pub(crate) fn sort<T: Copy>(&self, things: &mut Vec<T>, slot: impl Fn(&T) -> u32) {
        if things.is_sorted_by(|a, b| self.compare(slot(a), slot(b)).is_le()) {
            return;
        }
        // Most comparisons end in eight bytes behind what all keys share.
        let shared = self.shared_prefix(things, &slot);
        let mut ranked: Vec<(u64, u32)> =
            (0u32..).zip(&*things).map(|(at, thing)| (self.rank(slot(thing), shared), at)).collect();
        ranked.sort_unstable_by(|(rank, at), (other_rank, other)| {
            let order = rank.cmp(other_rank);
            order.then_with(|| self.compare(slot(&things[*at as usize]), slot(&things[*other as usize]))).then(at.cmp(other))
        });
        *things = ranked.into_iter().map(|(_, at)| things[at as usize]).collect();
    }

    /// Two lists of slots, each in the order of their keys, as one.
    pub(crate) fn merge_sorted(&self, left: Vec<u32>, right: Vec<u32>) -> Vec<u32> {
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let next = if self.compare(*a, *b).is_le() { left.next() } else { right.next() };
            merged.extend(next);
        }
        merged.extend(left);
        merged.extend(right);
        merged
    }

    fn shared_prefix<T>(&self, things: &[T], slot: &impl Fn(&T) -> u32) -> usize {
        if !matches!(self.shape, Shape::Text | Shape::Columns) {
            return 0;
        }
        let mut keys = things.iter().map(slot).filter(|slot| *slot > 0).map(|slot| self.table.text_at(slot - 1));
        let Some(first) = keys.next() else { return 0 };
        keys.fold(first.len(), |shared, key| {
            first[..shared].iter().zip(key).position(|(a, b)| a != b).unwrap_or(shared.min(key.len()))
        })
    }

    /// A number whose order never contradicts that of the keys.
    fn rank(&self, slot: u32, shared: usize) -> u64 {
        match self.shape {
            Shape::All => 0,
            Shape::Int | Shape::Text if slot == 0 => 0,
            Shape::Int => ordered_int(self.table.int_at(slot - 1)),
            Shape::Text | Shape::Columns => {
                let rest = &self.table.text_at(slot - 1)[shared..];
                let mut bytes = [0; 8];
                let length = rest.len().min(8);
                bytes[..length].copy_from_slice(&rest[..length]);
                u64::from_be_bytes(bytes)
            }
        }
    }

    /// The key columns of these slots, in this order.
    pub(crate) fn columns(&self, slots: impl Iterator<Item = u32>) -> Vec<ArrayRef> {
        match self.shape {
            Shape::All => Vec::new(),
            Shape::Int => {
                let values = slots.map(|slot| (slot > 0).then(|| self.table.int_at(slot - 1)));
                vec![match self.by[0].ty {
                    FieldType::Int64 => Arc::new(values.collect::<arrow_array::Int64Array>()) as ArrayRef,
                    _ => Arc::new(values.collect::<arrow_array::TimestampMicrosecondArray>().with_timezone("UTC")),
                }]
            }
            Shape::Text => {
                let text = |slot: u32| str::from_utf8(self.table.text_at(slot - 1)).expect("it came from a string");
                vec![Arc::new(slots.map(|slot| (slot > 0).then(|| text(slot))).collect::<arrow_array::StringArray>())]
            }
            Shape::Columns => {
                let types: Vec<FieldType> = self.by.iter().map(|field| field.ty).collect();
                let mut columns = KeyColumns::new(&types);
                slots.for_each(|slot| columns.push(self.table.text_at(slot - 1)).expect("a key that came from columns"));
                columns.finish()
            }
        }
    }
}

/// The slot of a key that is an integer.
#[inline]
fn int_slot(table: &mut Intern, value: i64, wanted: Wanted) -> u32 {
    match wanted {
        Wanted::Nothing => KeyIndex::NONE,
        Wanted::Known => table.known_int(value).map_or(KeyIndex::NONE, |slot| slot + 1),
        Wanted::Any => table.int(value) + 1,
    }
}

/// The slot of a key by its bytes.
#[inline]
fn text_slot(table: &mut Intern, value: &[u8], wanted: Wanted) -> u32 {
    match wanted {
        Wanted::Nothing => KeyIndex::NONE,
        Wanted::Known => table.known_text(value).map_or(KeyIndex::NONE, |slot| slot + 1),
        Wanted::Any => table.text(value) + 1,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use proptest::prelude::*;

    use super::*;
    use crate::example::{dictionary_batch, plain_batch, rows_of};

    /// Slots as the groups of equal rows, in order of first appearance.
    fn groups(slots: &[u32]) -> Vec<usize> {
        let mut seen: Vec<u32> = Vec::new();
        slots
            .iter()
            .map(|slot| {
                seen.iter().position(|known| known == slot).unwrap_or_else(|| {
                    seen.push(*slot);
                    seen.len() - 1
                })
            })
            .collect()
    }

    fn slots(index: &mut KeyIndex, rows: &RecordBatch) -> Vec<u32> {
        let mut slots = Vec::new();
        index.slots_of(rows, &mut slots);
        slots
    }

    proptest! {
        /// Equal keys share a slot whatever form their column has; slots sort as keys do; keys come back as columns and as bytes.
        #[test]
        fn every_shape_groups_sorts_and_reads_back(keys in proptest::collection::vec((proptest::option::of("[ab]{0,12}"), proptest::option::of(-3i64..3)), 1..40)) {
            let texts: Vec<Option<String>> = keys.iter().map(|(text, _)| text.clone()).collect();
            let ints: Vec<Option<i64>> = keys.iter().map(|(_, int)| *int).collect();
            let both = rows_of(Arc::new(StringArray::from(texts.clone())), ints.clone());
            let string = Field::new("k", FieldType::String, true);
            let int = Field::new("v", FieldType::Int64, true);
            let check = |index: &mut KeyIndex, rows: &RecordBatch, model: Vec<(Option<String>, Option<i64>)>| {
                let slots = slots(index, rows);
                let mut seen = Vec::new();
                let expected: Vec<usize> = model.iter().map(|key| seen.iter().position(|known| *known == key).unwrap_or_else(|| { seen.push(key); seen.len() - 1 })).collect();
                assert_eq!(groups(&slots), expected);
                let mut sorted: Vec<(u32, usize)> = slots.iter().copied().zip(0..).collect();
                index.sort(&mut sorted, |(slot, _)| *slot);
                let mut expected: Vec<usize> = (0..model.len()).collect();
                expected.sort_by_key(|row| &model[*row]);
                assert_eq!(sorted.iter().map(|(_, row)| *row).collect::<Vec<_>>(), expected);
                for (slot, row) in &sorted {
                    let mut key = Vec::new();
                    index.put_key(*slot, &mut key);
                    assert_eq!(index.slot_of_key(&key), Some(*slot));
                    let columns = index.columns([*slot].into_iter());
                    for (column, field) in columns.iter().zip(index.by()) {
                        match field.ty {
                            FieldType::String => assert_eq!(column.as_string::<i32>().iter().next().flatten(), model[*row].0.as_deref()),
                            _ => assert_eq!(column.as_primitive::<Int64Type>().iter().next().flatten(), model[*row].1),
                        }
                    }
                }
            };
            let mut index = KeyIndex::new(vec![string.clone()]);
            let only_text: Vec<_> = keys.iter().map(|(text, _)| (text.clone(), None)).collect();
            check(&mut index, &plain_batch(&texts), only_text.clone());
            check(&mut index, &dictionary_batch(&texts), only_text);
            check(&mut KeyIndex::new(vec![int.clone()]), &both, keys.iter().map(|(_, int)| (None, *int)).collect());
            check(&mut KeyIndex::new(vec![string, int]), &both, keys.clone());
            check(&mut KeyIndex::new(Vec::new()), &both, keys.iter().map(|_| (None, None)).collect());
        }
    }

    #[test]
    fn a_key_that_nobody_holds_goes() {
        let mut index = KeyIndex::new(vec![Field::new("v", FieldType::Int64, true)]);
        let rows = rows_of(Arc::new(StringArray::from(vec!["a"; 3])), vec![Some(1), None, Some(2)]);
        let found = slots(&mut index, &rows);
        index.hold(found[0]);
        index.hold(found[1]);
        index.forget_unheld(&found);
        assert_eq!(index.len(), 1);
        assert_eq!(slots(&mut index, &rows)[..2], found[..2]);
        index.release(found[0]);
        index.release(found[1]);
        assert_eq!(index.slot_of_key(&[1, 0]), None);
        assert_eq!(index.slot_of_key(&[0]), Some(0));
    }

    #[test]
    fn a_key_is_looked_up_as_far_as_it_is_wanted() {
        let texts = ["a", "b", "a", "b", "a"].map(|text| Some(text.to_owned()));
        let wanted = [Wanted::Known, Wanted::Nothing, Wanted::Any, Wanted::Known, Wanted::Known];
        let two = vec![Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true)];
        let ints = rows_of(Arc::new(StringArray::from(texts.to_vec())), vec![Some(1), Some(2), Some(1), Some(2), Some(1)]);
        for (by, rows) in [
            (two[..1].to_vec(), plain_batch(&texts)),
            (two[..1].to_vec(), dictionary_batch(&texts)),
            (two[1..].to_vec(), ints.clone()),
            (two, ints),
        ] {
            let mut index = KeyIndex::new(by);
            let mut found = Vec::new();
            index.slots_wanted(&rows, |row| wanted[row], &mut found);
            // The first `a` comes before anybody knows it, and nobody asks for a new `b`.
            assert_eq!(found, [KeyIndex::NONE, KeyIndex::NONE, 1, KeyIndex::NONE, 1]);
            assert_eq!(index.len(), 1);
            index.forget_unheld(&found);
            assert_eq!(index.len(), 0);
        }
    }

    #[test]
    fn columns_of_every_type_come_back() {
        let first = crate::example::all_types_first();
        let by: Vec<Field> = first.schema_ref().fields().iter().map(|field| Field::from_arrow(field).expect("a field")).collect();
        let mut index = KeyIndex::new(by);
        let found = slots(&mut index, &first);
        let again = index.columns(found.into_iter());
        for ((field, column), was) in index.by().iter().zip(&again).zip(first.columns()) {
            // Zero has one sign in a key.
            if field.ty != FieldType::Float64 {
                assert_eq!(column, was);
            }
        }
    }
}
