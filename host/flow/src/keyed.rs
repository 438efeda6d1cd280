//! Keyed state as rows: one state row per key, kept as columns in memory, with what changed since the last checkpoint.
//!
//! ```text
//! batch rows ──gather──► row_to_key, one slot per distinct key ──state──► one row per key ──► call
//!                                                                                             │ returned        │ did not
//!                                                              slots ◄──scatter── new rows ◄──┘     abandon ◄───┘
//! ```
//! A slot is a place in the columns; slot 0 holds the declared first values and is no key's. Keys of a call that never had state get slots of
//! their own; `abandon` frees those again, so that a failing call leaves nothing behind. What happens around a call is in `gathered.rs`,
//! how long an entry lives in `ttl.rs`.
//!
//! ```text
//! stored value:  01 fields             each field as in `state_column.rs`, in declared order
//!                02 expiry(i64) fields in a table whose entries expire
//! ```
//! A stored key is as in `keys.rs`. Either form is read by either table: a step may get a time to live, or lose it.

mod spill;

use std::sync::Arc;

use arrow_array::RecordBatch;
use hashbrown::HashTable;
use tidemill_event::Field;

use crate::checksum::checksum;
use crate::cold::{Cold, Hand};
use crate::keys::KeyColumn;
use crate::state_column::StateColumn;
use crate::ttl::{Expiries, FRESH, Ttl, UNKNOWN};
use crate::{InStore, KeyChange, KeyState, Outcome, Save, Spills, StepState};

const LAYOUT: u8 = 1;
const LAYOUT_WITH_EXPIRY: u8 = 2;
pub(crate) const NOT_SEEN: u32 = u32::MAX;
/// The slot of the first values.
pub(crate) const FIRST: u32 = 0;

/// Keyed state of a step.
pub struct Keyed {
    /// The columns whose values are the key; none: one key for all.
    pub by: Vec<Arc<str>>,
    /// The state.
    pub table: KeyedTable,
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

/// All keys of one operator with their state rows.
pub struct KeyedTable {
    pub(crate) first: RecordBatch,
    pub(crate) columns: Vec<StateColumn>,
    /// Per slot; empty where nobody has it.
    pub(crate) keys: Vec<Box<[u8]>>,
    slots: HashTable<u32>,
    /// Slots that nobody has.
    free: Vec<u32>,
    hasher: ahash::RandomState,
    /// Per slot, its key's number in the call that is being gathered.
    pub(crate) number: Vec<u32>,
    flags: Vec<u8>,
    changed: Vec<u32>,
    /// Slots whose part of `sum` is not up to date.
    stale: Vec<u32>,
    parts: Vec<u64>,
    sum: u64,
    /// Per slot that is stored, under which checkpoint it was stored last.
    saves: Vec<Save>,
    /// Keys that went and that the store may have.
    removed: Vec<(Box<[u8]>, Save)>,
    cold: Cold,
    /// Keys that are only in the store. While they are still listed, less those that came back before it was their turn.
    cold_len: isize,
    hand: Hand,
    pub(crate) expiries: Option<Expiries>,
}

/// Flags of a slot: somebody has it; it is listed in `changed`; in `stale`; the store may have it.
const LIVE: u8 = 1;
const CHANGED: u8 = 2;
const STALE: u8 = 4;
const STORED: u8 = 8;

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
        let mut table = Self {
            first,
            columns,
            keys: Vec::new(),
            slots: HashTable::new(),
            free: Vec::new(),
            hasher: ahash::RandomState::new(),
            number: Vec::new(),
            flags: Vec::new(),
            changed: Vec::new(),
            stale: Vec::new(),
            parts: Vec::new(),
            sum: 0,
            saves: Vec::new(),
            removed: Vec::new(),
            cold: Cold::default(),
            cold_len: 0,
            hand: Hand::default(),
            expiries: None,
        };
        let first = table.new_slot();
        assert_eq!(first, FIRST, "nobody has a slot yet");
        table.set_first(first);
        table
    }

    /// The same, of entries that live so long after each write.
    pub fn living(self, ttl: Option<Ttl>) -> Self {
        let mut expiries = ttl.map(Expiries::new);
        if let Some(expiries) = &mut expiries {
            expiries.set(FIRST, FRESH);
        }
        Self { expiries, ..self }
    }

    /// How many keys have state, in memory or not.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_add_signed(self.cold_len)
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys changed since [`Self::take_changes`], about.
    pub fn changed_len(&self) -> usize {
        self.changed.len() + self.removed.len()
    }

    /// What changed since this was last called, by key; for a checkpoint. From now on nothing has changed.
    pub fn take_changes(&mut self) -> Vec<KeyChange> {
        self.take_some(usize::MAX, Save::UNKNOWN)
    }

    /// So many of the changes, by key; see [`StepState::take_some`].
    pub fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        // An entry that went may be there again: what is there counts, so it comes behind, also when it comes another time.
        let gone = self.removed.len().min(most);
        let removed = self.removed.drain(..gone);
        let mut changes: Vec<KeyChange> =
            removed.map(|(key, save)| KeyChange { key, value: None, stored: InStore::under(save) }).collect();
        let left = self.changed.len().saturating_sub(most - gone);
        changes.reserve(self.changed.len() - left);
        for slot in self.changed.split_off(left) {
            let at = slot as usize;
            if self.flags[at] & (CHANGED | LIVE) != CHANGED | LIVE {
                continue;
            }
            let mut value = Vec::new();
            self.encode(at, &mut value);
            // Its bytes are here: whoever asks for the checksum next need not make them again.
            if self.flags[at] & STALE != 0 {
                self.sum_up(at, &value);
            }
            let before = std::mem::replace(&mut self.saves[at], save);
            let stored = if self.flags[at] & STORED == 0 { InStore::Nothing } else { InStore::under(before) };
            self.flags[at] = self.flags[at] & !(CHANGED | STALE) | STORED;
            changes.push(KeyChange { key: self.keys[at].clone(), value: Some(value.into()), stored });
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
            let slot = match self.find(key) {
                Some(slot) => slot,
                None => self.insert(key),
            };
            self.read(slot, key, value)?;
            let at = slot as usize;
            self.flags[at] |= STORED;
            self.saves[at] = Save::UNKNOWN;
            // Its bytes are here: whoever asks for the checksum need not make them again.
            self.sum_up(at, value);
        }
        Ok(())
    }

    /// Puts a stored row into a slot.
    fn read(&mut self, slot: u32, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let mut rest = value;
        self.decode(slot, &mut rest).ok_or_else(|| StateCorrupt {
            key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
            fields: self.first.schema_ref().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
            at_byte: value.len() - rest.len(),
        })
    }

    /// One number for all keys and their state rows: the same whatever the order in which they came, in every process. Costs a hash
    /// of each key that changed since the last time.
    pub fn checksum(&mut self) -> u64 {
        let mut bytes = Vec::new();
        for slot in std::mem::take(&mut self.stale) {
            let at = slot as usize;
            if self.flags[at] & (STALE | LIVE) != STALE | LIVE {
                continue;
            }
            self.flags[at] &= !STALE;
            bytes.clear();
            self.encode(at, &mut bytes);
            self.sum_up(at, &bytes);
        }
        self.sum
    }

    fn sum_up(&mut self, slot: usize, bytes: &[u8]) {
        let part = checksum(checksum(0, &self.keys[slot]), bytes);
        self.sum = self.sum.wrapping_sub(self.parts[slot]).wrapping_add(part);
        self.parts[slot] = part;
    }

    /// The slot of a key that is there.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.slots.find(hash, |slot| *self.keys[*slot as usize] == *key).copied()
    }

    /// A slot for a key that is not there, with the first values.
    pub(crate) fn insert(&mut self, key: &[u8]) -> u32 {
        let slot = self.new_slot();
        self.set_first(slot);
        self.keys[slot as usize] = key.into();
        self.flags[slot as usize] = LIVE;
        let (keys, hasher) = (&self.keys, &self.hasher);
        self.slots.insert_unique(hasher.hash_one(key), slot, |slot| hasher.hash_one(&*keys[*slot as usize]));
        slot
    }

    /// The key has no entry any more.
    pub(crate) fn remove(&mut self, slot: u32) {
        let at = slot as usize;
        let (is_stored, save) = (self.flags[at] & STORED != 0, self.saves[at]);
        self.sum = self.sum.wrapping_sub(self.parts[at]);
        let key = self.free_slot(slot);
        if is_stored {
            self.removed.push((key, save));
        }
    }

    /// Nobody has the slot any more. The key that had it.
    fn free_slot(&mut self, slot: u32) -> Box<[u8]> {
        let at = slot as usize;
        let key = std::mem::take(&mut self.keys[at]);
        if let Ok(entry) = self.slots.find_entry(self.hasher.hash_one(&*key), |other| *other == slot) {
            entry.remove();
        }
        (self.flags[at], self.parts[at]) = (0, 0);
        self.columns.iter_mut().for_each(|column| column.clear(at));
        self.free.push(slot);
        key
    }

    fn new_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.keys.push(Box::default());
        self.number.push(NOT_SEEN);
        self.flags.push(0);
        self.parts.push(0);
        self.saves.push(Save::UNKNOWN);
        self.columns.iter_mut().for_each(StateColumn::push_null);
        (self.keys.len() - 1) as u32
    }

    fn set_first(&mut self, slot: u32) {
        for (column, first) in self.columns.iter_mut().zip(self.first.columns()) {
            column.store(&[slot], first.as_ref(), &mut [false]);
        }
    }

    /// The entry was written.
    pub(crate) fn touch(&mut self, slot: u32) {
        let flags = &mut self.flags[slot as usize];
        if *flags & CHANGED == 0 {
            *flags |= CHANGED;
            self.changed.push(slot);
        }
        self.mark_stale(slot);
    }

    fn mark_stale(&mut self, slot: u32) {
        let flags = &mut self.flags[slot as usize];
        if *flags & STALE == 0 {
            *flags |= STALE;
            self.stale.push(slot);
        }
    }

    /// Entries whose time is over behind the batch go; those of which it was not known get one.
    pub(crate) fn forget(&mut self, output: &Outcome) {
        let Some(expiries) = &mut self.expiries else { return };
        let now = expiries.ttl.passed(output);
        for slot in expiries.take_unknown() {
            if self.flags[slot as usize] & LIVE != 0 {
                let expiries = self.expiries.as_mut().expect("seen above");
                expiries.set(slot, now.saturating_add(expiries.ttl.micros).min(FRESH - 1));
                self.touch(slot);
            }
        }
        loop {
            let (expiries, flags) = (self.expiries.as_mut().expect("seen above"), &self.flags);
            let Some(slot) = expiries.pop(now, |slot| flags[slot as usize] & LIVE != 0) else { break };
            self.remove(slot);
        }
        self.shrink();
    }

    /// Gives memory back once most slots are free: entries move to the front.
    fn shrink(&mut self) {
        let slots = self.keys.len();
        if slots < SHRINK_MIN || self.slots.len() > slots / 8 {
            return;
        }
        let ttl = self.expiries.as_ref().map(|expiries| expiries.ttl);
        let mut small = Self::new(self.first.clone()).living(ttl);
        small.hasher = self.hasher.clone();
        let live: Vec<u32> = (0..slots as u32).filter(|slot| self.flags[*slot as usize] & LIVE != 0).collect();
        for old in live {
            let new = small.insert(&self.keys[old as usize]);
            for (column, from) in small.columns.iter_mut().zip(&self.columns) {
                column.copy_from(from, old as usize, new as usize);
            }
            let (at, flags) = (new as usize, self.flags[old as usize]);
            small.flags[at] = flags;
            small.parts[at] = self.parts[old as usize];
            small.saves[at] = self.saves[old as usize];
            if flags & CHANGED != 0 {
                small.changed.push(new);
            }
            if flags & STALE != 0 {
                small.stale.push(new);
            }
            if let (Some(to), Some(from)) = (&mut small.expiries, &self.expiries) {
                to.set(new, from.of(old));
            }
        }
        small.sum = self.sum;
        small.removed = std::mem::take(&mut self.removed);
        (small.cold, small.cold_len) = (std::mem::take(&mut self.cold), self.cold_len);
        *self = small;
    }

    fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        match &self.expiries {
            Some(expiries) => {
                out.push(LAYOUT_WITH_EXPIRY);
                out.extend_from_slice(&expiries.of(slot as u32).to_le_bytes());
            }
            None => out.push(LAYOUT),
        }
        self.columns.iter().for_each(|column| column.encode(slot, out));
    }

    fn decode(&mut self, slot: u32, bytes: &mut &[u8]) -> Option<()> {
        let (layout, rest) = bytes.split_first()?;
        let expiry = match *layout {
            LAYOUT => {
                *bytes = rest;
                UNKNOWN
            }
            LAYOUT_WITH_EXPIRY => {
                let (expiry, rest) = rest.split_first_chunk()?;
                *bytes = rest;
                i64::from_le_bytes(*expiry)
            }
            _ => return None,
        };
        if let Some(expiries) = &mut self.expiries {
            expiries.set(slot, expiry);
        }
        self.columns.iter_mut().try_for_each(|column| column.decode(slot as usize, bytes))?;
        bytes.is_empty().then_some(())
    }
}

impl KeyedTable {
    /// The declared fields of some slots, for people who ask.
    pub(crate) fn rows_of(&self, slots: &[u32]) -> KeyState {
        let field = |field| Field::from_arrow(field).unwrap_or_else(|| panic!("no state of type {field}"));
        let fields = self.first.schema_ref().fields().iter().map(|declared| field(declared));
        let columns = fields.zip(self.columns.iter().map(|column| column.load(slots))).collect();
        // Since when it is held is not known.
        KeyState::new(columns, vec![0; slots.len()])
    }
}

/// Tables of fewer slots keep what they have.
const SHRINK_MIN: usize = 4_096;

impl StepState for KeyedTable {
    fn len(&self) -> usize {
        self.len()
    }

    fn changed_len(&self) -> usize {
        self.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        self.take_some(most, save)
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        self.restore([(key, value)])
    }

    fn checksum(&mut self) -> u64 {
        self.checksum()
    }

    /// One row: the declared fields.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let own = key.schema_ref().fields().iter().map(|field| field.name().as_str().into());
        let by: Vec<Arc<str>> = own.take(key.num_columns() - 1).collect();
        self.warm(key, &by);
        let mut bytes = Vec::new();
        KeyColumn::of(key, &by).iter().for_each(|column| column.write(0, &mut bytes));
        let there: Vec<u32> = self.find(&bytes).into_iter().collect();
        Some(self.rows_of(&there))
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::example::{all_types_first, counting_table, dictionary_batch, plain_batch};
    use crate::gathered::Gathered;

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
                    for KeyChange { key, value, .. } in table.take_changes() {
                        stored.insert(key, value.expect("nothing is deleted"));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for KeyChange { key, value, .. } in table.take_changes() {
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
