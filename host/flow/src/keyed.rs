//! Keyed state as rows: one state row per key, kept as columns in memory, with what changed since the last checkpoint.
//!
//! ```text
//! batch rows ──gather──► row_to_key, one slot per distinct key ──state──► one row per key ──► call
//!                                                                                             │ returned        │ did not
//!                                                              slots ◄──scatter── new rows ◄──┘     abandon ◄───┘
//! ```
//! A slot is a place in the columns. Keys of a call that never had state get slots at the end, filled with the declared first values;
//! `abandon` takes those away again, so that a failing call leaves nothing behind. Keys of a call are numbered by first appearance.
//!
//! A stored value is `01` (this layout) followed by its fields in declared order (`state_column.rs`); a stored key is as in `keys.rs`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use hashbrown::HashTable;
use tidemill_event::{Field, KeyedState};

use crate::StepState;
use crate::checksum::checksum;
use crate::keys::KeyColumn;
use crate::state_column::StateColumn;

const LAYOUT: u8 = 1;
const NOT_SEEN: u32 = u32::MAX;

/// Keyed state of a step.
pub struct Keyed {
    /// The columns whose values are the key; none: one key for all.
    pub by: Vec<Arc<str>>,
    /// The state.
    pub table: KeyedTable,
}

/// A key whose state changed since the last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key's bytes.
    pub key: Box<[u8]>,
    /// Its state row as bytes; `None`: it has none any more.
    pub value: Option<Box<[u8]>>,
}

/// A stored state row that does not read back: the store is damaged, or the state's declaration is another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored state of key {key} does not read as ({fields}) at byte {at_byte}")]
pub struct StateCorrupt {
    /// The key, in hexadecimal.
    pub key: String,
    /// The declared fields.
    pub fields: String,
    /// Where in the value reading stopped.
    pub at_byte: usize,
}

/// The keys of one call.
#[derive(Debug)]
pub(crate) struct Gathered {
    row_to_key: Arc<[u32]>,
    slots: Vec<u32>,
    /// Slots from here on were made for this call.
    slots_before: usize,
}

/// All keys of one operator with their state rows.
pub struct KeyedTable {
    first: RecordBatch,
    columns: Vec<StateColumn>,
    keys: Vec<Box<[u8]>>,
    slots: HashTable<u32>,
    hasher: ahash::RandomState,
    /// Per slot, its key's number in the call that is being gathered.
    number: Vec<u32>,
    /// Per slot: whether it is listed in `changed`, and in `stale`.
    is_changed: Vec<bool>,
    is_stale: Vec<bool>,
    changed: Vec<u32>,
    /// Slots whose part of `sum` is not up to date.
    stale: Vec<u32>,
    parts: Vec<u64>,
    sum: u64,
}

impl KeyedTable {
    /// An empty table. `first` is the one row every new key starts with; its columns are the declared state fields.
    ///
    /// # Panics
    /// If `first` is not one row of types an event may have: the runtime makes it from a checked declaration.
    pub fn new(first: RecordBatch) -> Self {
        assert_eq!(first.num_rows(), 1, "one first row");
        let columns = first
            .schema_ref()
            .fields()
            .iter()
            .map(|field| StateColumn::new(Field::from_arrow(field).unwrap_or_else(|| panic!("no state of type {field}")).ty))
            .collect();
        Self {
            first,
            columns,
            keys: Vec::new(),
            slots: HashTable::new(),
            hasher: ahash::RandomState::new(),
            number: Vec::new(),
            is_changed: Vec::new(),
            is_stale: Vec::new(),
            changed: Vec::new(),
            stale: Vec::new(),
            parts: Vec::new(),
            sum: 0,
        }
    }

    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys changed since [`Self::take_changes`].
    pub fn changed_len(&self) -> usize {
        self.changed.len()
    }

    /// What changed since this was last called, by key; for a checkpoint. From now on nothing has changed.
    pub fn take_changes(&mut self) -> Vec<KeyChange> {
        self.take_some(usize::MAX)
    }

    /// So many of the changes, by key; see [`StepState::take_some`].
    pub fn take_some(&mut self, most: usize) -> Vec<KeyChange> {
        let left = self.changed.len().saturating_sub(most);
        let mut changes: Vec<KeyChange> = Vec::with_capacity(self.changed.len() - left);
        for slot in self.changed.split_off(left) {
            self.is_changed[slot as usize] = false;
            let mut value = Vec::new();
            self.encode(slot as usize, &mut value);
            // Its bytes are here: whoever asks for the checksum next need not make them again.
            if std::mem::take(&mut self.is_stale[slot as usize]) {
                self.sum_up(slot as usize, &value);
            }
            changes.push(KeyChange { key: self.keys[slot as usize].clone(), value: Some(value.into()) });
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes
    }

    /// Puts stored rows back; they do not count as changed. A key that is there already gets the stored row.
    pub fn restore<K, V>(&mut self, rows: impl IntoIterator<Item = (K, V)>) -> Result<(), StateCorrupt>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        for (key, value) in rows {
            let (key, value) = (key.as_ref(), value.as_ref());
            let slot = self.slot(key) as usize;
            let mut rest = value;
            self.decode(slot, &mut rest).ok_or_else(|| StateCorrupt {
                key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
                fields: self.first.schema_ref().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
                at_byte: value.len() - rest.len(),
            })?;
            self.mark_stale(slot);
        }
        Ok(())
    }

    /// One number for all keys and their state rows: the same whatever the order in which they came, in every process. Costs a hash
    /// of each key that changed since the last time.
    pub fn checksum(&mut self) -> u64 {
        let mut bytes = Vec::new();
        for slot in std::mem::take(&mut self.stale) {
            let slot = slot as usize;
            if !std::mem::take(&mut self.is_stale[slot]) {
                continue;
            }
            bytes.clear();
            self.encode(slot, &mut bytes);
            self.sum_up(slot, &bytes);
        }
        self.sum
    }

    fn sum_up(&mut self, slot: usize, bytes: &[u8]) {
        let part = checksum(checksum(0, &self.keys[slot]), bytes);
        self.sum = self.sum.wrapping_sub(self.parts[slot]).wrapping_add(part);
        self.parts[slot] = part;
    }

    /// Finds the keys of a batch; keys without state get the first row for the time being. Ends with `scatter` or `abandon`.
    pub(crate) fn gather(&mut self, rows: &RecordBatch, by: &[Arc<str>]) -> Gathered {
        let slots_before = self.keys.len();
        let mut slots = Vec::new();
        let row_to_key: Arc<[u32]> = match by {
            [] => {
                self.numbered(&[], &mut slots);
                vec![0; rows.num_rows()].into()
            }
            [name] if matches!(rows.column_by_name(name).map(Array::data_type), Some(DataType::Dictionary(..))) => {
                self.gather_dictionary(rows, by, &mut slots)
            }
            _ => {
                let columns = KeyColumn::of(rows, by);
                let mut key = Vec::new();
                (0..rows.num_rows())
                    .map(|row| {
                        key.clear();
                        columns.iter().for_each(|column| column.write(row, &mut key));
                        self.numbered(&key, &mut slots)
                    })
                    .collect()
            }
        };
        slots.iter().for_each(|slot| self.number[*slot as usize] = NOT_SEEN);
        Gathered { row_to_key, slots, slots_before }
    }

    /// One key column that is a dictionary: a look-up per entry in use, not per row.
    fn gather_dictionary(&mut self, rows: &RecordBatch, by: &[Arc<str>], slots: &mut Vec<u32>) -> Arc<[u32]> {
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
                    numbers[entry] = self.numbered(&key, slots);
                }
                numbers[entry]
            })
            .collect()
    }

    /// The number of a key in this call.
    fn numbered(&mut self, key: &[u8], slots: &mut Vec<u32>) -> u32 {
        let slot = self.slot(key);
        let number = &mut self.number[slot as usize];
        if *number == NOT_SEEN {
            *number = slots.len() as u32;
            slots.push(slot);
        }
        *number
    }

    /// The slot of a key, new and with the first row if it has none.
    fn slot(&mut self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = self.slots.find(hash, |slot| *self.keys[*slot as usize] == *key) {
            return *slot;
        }
        let slot = self.keys.len() as u32;
        self.keys.push(key.into());
        self.number.push(NOT_SEEN);
        self.is_changed.push(false);
        self.is_stale.push(false);
        self.parts.push(0);
        for (column, first) in self.columns.iter_mut().zip(self.first.columns()) {
            column.push_null();
            column.store(&[slot], first.as_ref(), &mut [false]);
        }
        let (keys, hasher) = (&self.keys, &self.hasher);
        self.slots.insert_unique(hash, slot, |slot| hasher.hash_one(&*keys[*slot as usize]));
        slot
    }

    /// What a call is given.
    pub(crate) fn state(&self, gathered: &Gathered) -> KeyedState {
        let columns = self.columns.iter().map(|column| column.load(&gathered.slots)).collect();
        let fields = self.first.schema_ref().fields().iter().cloned().collect();
        KeyedState {
            row_to_key: gathered.row_to_key.clone(),
            rows: crate::batch::assemble(fields, columns, gathered.slots.len()),
        }
    }

    /// The call returned: its state rows count.
    ///
    /// # Panics
    /// If the rows are not one per key in the declared types: the runtime checks that.
    pub(crate) fn scatter(&mut self, gathered: Gathered, rows: &RecordBatch) {
        let Gathered { row_to_key: _, slots, slots_before } = gathered;
        assert_eq!((rows.num_rows(), rows.num_columns()), (slots.len(), self.columns.len()), "a state row per key");
        let mut changed: Vec<bool> = slots.iter().map(|slot| *slot as usize >= slots_before).collect();
        for (column, new) in self.columns.iter_mut().zip(rows.columns()) {
            column.store(&slots, new.as_ref(), &mut changed);
        }
        for (slot, _) in slots.into_iter().zip(changed).filter(|(_, changed)| *changed) {
            if !std::mem::replace(&mut self.is_changed[slot as usize], true) {
                self.changed.push(slot);
            }
            self.mark_stale(slot as usize);
        }
    }

    /// The call did not return, or said nothing about its state: keys that were new to it go again.
    pub(crate) fn abandon(&mut self, gathered: Gathered) {
        let before = gathered.slots_before;
        for slot in before..self.keys.len() {
            let hash = self.hasher.hash_one(&*self.keys[slot]);
            if let Ok(entry) = self.slots.find_entry(hash, |other| *other as usize == slot) {
                entry.remove();
            }
        }
        self.keys.truncate(before);
        self.number.truncate(before);
        self.is_changed.truncate(before);
        self.is_stale.truncate(before);
        self.parts.truncate(before);
        self.columns.iter_mut().for_each(|column| column.truncate(before));
    }

    fn mark_stale(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.is_stale[slot], true) {
            self.stale.push(slot as u32);
        }
    }

    fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        out.push(LAYOUT);
        self.columns.iter().for_each(|column| column.encode(slot, out));
    }

    fn decode(&mut self, slot: usize, bytes: &mut &[u8]) -> Option<()> {
        let (layout, rest) = bytes.split_first()?;
        if *layout != LAYOUT {
            return None;
        }
        *bytes = rest;
        self.columns.iter_mut().try_for_each(|column| column.decode(slot, bytes))?;
        bytes.is_empty().then_some(())
    }
}

impl StepState for KeyedTable {
    fn len(&self) -> usize {
        self.len()
    }

    fn changed_len(&self) -> usize {
        self.changed_len()
    }

    fn take_some(&mut self, most: usize) -> Vec<KeyChange> {
        self.take_some(most)
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        self.restore([(key, value)])
    }

    fn checksum(&mut self) -> u64 {
        self.checksum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::types::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::example::{all_types_first, counting_table, dictionary_batch, plain_batch};

    fn add_one(table: &mut KeyedTable, gathered: Gathered) {
        let state = table.state(&gathered);
        let mut counts: Vec<i64> = state.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        state.row_to_key.iter().for_each(|key| counts[*key as usize] += 1);
        let schema = state.rows.schema();
        let rows = RecordBatch::try_new(schema, vec![Arc::new(arrow_array::Int64Array::from(counts))]).expect("a count per key");
        table.scatter(gathered, &rows);
    }

    /// Batches of rows with keys, each with its form (plain or dictionary) and whether its call fails.
    type Step = (Vec<Option<u8>>, bool, bool);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let keys = proptest::collection::vec(proptest::option::of(0u8..6), 1..12);
        proptest::collection::vec((keys, any::<bool>(), any::<bool>()), 0..12)
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_map(steps in steps()) {
            let by: Vec<Arc<str>> = vec!["k".into()];
            let (mut table, mut model) = (counting_table(), BTreeMap::<Option<u8>, i64>::new());
            let mut stored: BTreeMap<Box<[u8]>, Box<[u8]>> = BTreeMap::new();
            for (keys, dictionary, fails) in steps {
                let texts: Vec<Option<String>> = keys.iter().map(|key| key.map(|key| format!("k{key}"))).collect();
                let rows = if dictionary { dictionary_batch(&texts) } else { plain_batch(&texts) };
                let gathered = table.gather(&rows, &by);
                let mut appeared: Vec<Option<u8>> = Vec::new();
                for (row, key) in keys.iter().enumerate() {
                    let number = appeared.iter().position(|seen| seen == key).unwrap_or_else(|| {
                        appeared.push(*key);
                        appeared.len() - 1
                    });
                    prop_assert_eq!(gathered.row_to_key[row] as usize, number);
                }
                if fails {
                    table.abandon(gathered);
                } else {
                    add_one(&mut table, gathered);
                    keys.iter().for_each(|key| *model.entry(*key).or_default() += 1);
                }
                if dictionary {
                    for KeyChange { key, value } in table.take_changes() {
                        stored.insert(key, value.expect("nothing is deleted"));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for KeyChange { key, value } in table.take_changes() {
                stored.insert(key, value.expect("nothing is deleted"));
            }
            let mut restored = counting_table();
            restored.restore(&stored).expect("what was stored");
            prop_assert_eq!(restored.checksum(), table.checksum());
            prop_assert_eq!(restored.changed_len(), 0);
            for (key, count) in model {
                let rows = plain_batch(&[key.map(|key| format!("k{key}"))]);
                let gathered = restored.gather(&rows, &by);
                let state = restored.state(&gathered);
                prop_assert_eq!(state.rows.column(0).as_primitive::<Int64Type>().value(0), count);
            }
        }
    }

    #[test]
    fn every_type_is_stored_and_read_back() {
        let first = all_types_first();
        let mut table = KeyedTable::new(first.clone());
        let gathered = table.gather(&plain_batch(&[Some("a".to_owned())]), &["k".into()]);
        let state = table.state(&gathered);
        assert_eq!(state.rows, first);
        table.scatter(gathered, &state.rows);
        let changes = table.take_changes();
        let mut restored = KeyedTable::new(first.clone());
        restored.restore(changes.iter().map(|change| (&change.key, change.value.as_ref().expect("a row")))).expect("read back");
        let gathered = restored.gather(&plain_batch(&[Some("a".to_owned())]), &["k".into()]);
        assert_eq!(restored.state(&gathered).rows, first);
    }

    /// `docs/formats/keyed-state.md`: what was stored once must read back in every later release.
    #[test]
    fn stored_bytes_never_change() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut table = KeyedTable::new(all_types_first());
        let gathered = table.gather(&plain_batch(&[Some("a".to_owned()), None]), &["k".into(), "v".into()]);
        let state = table.state(&gathered);
        table.scatter(gathered, &state.rows);
        let changes = table.take_changes();
        let value = changes[0].value.as_ref().expect("a row");
        expect_test::expect![[r#"
            0000 01010000006100
            010101010000000000000080010000000000000080012ef5e0147356ab54ffffffffffffffff0102000000c3a901020000007b7d0102000000ff0001070000000000000000"#]].assert_eq(&format!("{} {}\n{}", hex(&changes[0].key), hex(&changes[1].key), hex(value)));
    }

    #[test]
    fn damaged_rows_are_refused_at_their_byte() {
        let mut table = counting_table();
        let mut refused = |value: &[u8]| table.restore([(b"\x01k", value)]).expect_err("damaged").to_string();
        assert_eq!(refused(&[]), "the stored state of key 016b does not read as (count) at byte 0");
        assert_eq!(refused(&[2]), "the stored state of key 016b does not read as (count) at byte 0");
        assert_eq!(refused(&[1, 1, 5]), "the stored state of key 016b does not read as (count) at byte 2");
        assert_eq!(refused(&[1, 0, 9]), "the stored state of key 016b does not read as (count) at byte 2");
    }

    #[test]
    fn writing_back_the_same_is_no_change_but_a_new_key_is() {
        let mut table = counting_table();
        let rows = plain_batch(&[None]);
        for changes in [1, 0] {
            let gathered = table.gather(&rows, &["k".into()]);
            let state = table.state(&gathered);
            table.scatter(gathered, &state.rows);
            assert_eq!(table.take_changes().len(), changes);
        }
    }
}
