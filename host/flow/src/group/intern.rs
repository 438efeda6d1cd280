//! Values to dense numbers: each distinct value has a slot as long as somebody holds on to it.
//!
//! Slots are reused; nothing hangs on which slot a value has. A value is an integer or bytes, and the table behind is one flat hash table with
//! part of the value in it, so that a look-up touches one or two cache lines.

use hashbrown::HashTable;

/// Short bytes lie in the table, longer ones beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stored {
    Short(u8, [u8; 22]),
    Long(Box<[u8]>),
}

impl Stored {
    fn new(bytes: &[u8]) -> Self {
        if bytes.len() > 22 {
            return Self::Long(bytes.into());
        }
        let mut short = [0; 22];
        short[..bytes.len()].copy_from_slice(bytes);
        Self::Short(bytes.len() as u8, short)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// The values, by slot.
#[derive(Debug)]
enum Values {
    Ints(Vec<i64>),
    Bytes(Vec<Stored>),
}

/// An entry of the table: enough of the value's hash to tell nearly all others apart without looking at them.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    slot: u32,
}

/// Distinct values and their slots.
#[derive(Debug)]
pub(crate) struct Intern {
    values: Values,
    table: HashTable<Entry>,
    hasher: ahash::RandomState,
    /// How often each slot is held.
    holders: Vec<u32>,
    free: Vec<u32>,
}

impl Intern {
    pub(crate) fn ints() -> Self {
        Self::new(Values::Ints(Vec::new()))
    }

    pub(crate) fn bytes() -> Self {
        Self::new(Values::Bytes(Vec::new()))
    }

    fn new(values: Values) -> Self {
        // Nothing hangs on the order of the table, so its seeds may be random: keys chosen by a stranger do not collide.
        Self { values, table: HashTable::new(), hasher: ahash::RandomState::new(), holders: Vec::new(), free: Vec::new() }
    }

    /// Slots there are, held or free: what arrays by slot must have room for.
    pub(crate) fn slots(&self) -> usize {
        self.holders.len()
    }

    /// How many values there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The slot of an integer; a new one is held by nobody yet.
    #[inline]
    pub(crate) fn int(&mut self, value: i64) -> u32 {
        let hash = self.hasher.hash_one(value);
        if let Some(slot) = self.int_of(hash, value) {
            return slot;
        }
        let slot = self.new_slot();
        let Values::Ints(values) = &mut self.values else { panic!("just looked") };
        put(values, slot, value);
        self.insert(hash, slot);
        slot
    }

    /// The slot of bytes; a new one is held by nobody yet.
    #[inline]
    pub(crate) fn text(&mut self, value: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(value);
        if let Some(slot) = self.text_of(hash, value) {
            return slot;
        }
        let slot = self.new_slot();
        let Values::Bytes(values) = &mut self.values else { panic!("just looked") };
        put(values, slot, Stored::new(value));
        self.insert(hash, slot);
        slot
    }

    /// The slot of an integer, if it has one.
    #[inline]
    pub(crate) fn known_int(&self, value: i64) -> Option<u32> {
        self.int_of(self.hasher.hash_one(value), value)
    }

    /// The slot of bytes, if they have one.
    #[inline]
    pub(crate) fn known_text(&self, value: &[u8]) -> Option<u32> {
        self.text_of(self.hasher.hash_one(value), value)
    }

    #[inline]
    fn int_of(&self, hash: u64, value: i64) -> Option<u32> {
        let Values::Ints(values) = &self.values else { panic!("integers in a table of bytes") };
        let tag = tag(hash);
        let is_it = |entry: &Entry| entry.tag == tag && values[entry.slot as usize] == value;
        self.table.find(hash, is_it).map(|entry| entry.slot)
    }

    #[inline]
    fn text_of(&self, hash: u64, value: &[u8]) -> Option<u32> {
        let Values::Bytes(values) = &self.values else { panic!("bytes in a table of integers") };
        let tag = tag(hash);
        let is_it = |entry: &Entry| entry.tag == tag && values[entry.slot as usize].bytes() == value;
        self.table.find(hash, is_it).map(|entry| entry.slot)
    }

    /// The integer of a slot.
    pub(crate) fn int_at(&self, slot: u32) -> i64 {
        let Values::Ints(values) = &self.values else { panic!("integers in a table of bytes") };
        values[slot as usize]
    }

    /// The bytes of a slot.
    pub(crate) fn text_at(&self, slot: u32) -> &[u8] {
        let Values::Bytes(values) = &self.values else { panic!("bytes in a table of integers") };
        values[slot as usize].bytes()
    }

    /// One more holder.
    pub(crate) fn hold(&mut self, slot: u32) {
        self.holders[slot as usize] += 1;
    }

    /// One holder less; without one the value goes, and its slot is another's.
    pub(crate) fn release(&mut self, slot: u32) {
        let holders = &mut self.holders[slot as usize];
        *holders -= 1;
        if *holders == 0 {
            self.remove(slot);
        }
    }

    /// A slot that was found or made and is held by nobody goes again.
    pub(crate) fn forget_if_unheld(&mut self, slot: u32) {
        if self.holders[slot as usize] == 0 {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        let hash = self.hash_of(slot);
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.slot == slot) {
            entry.remove();
            self.free.push(slot);
            if let Values::Bytes(values) = &mut self.values {
                values[slot as usize] = Stored::new(&[]);
            }
        }
    }

    fn hash_of(&self, slot: u32) -> u64 {
        match &self.values {
            Values::Ints(values) => self.hasher.hash_one(values[slot as usize]),
            Values::Bytes(values) => self.hasher.hash_one(values[slot as usize].bytes()),
        }
    }

    fn new_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.holders.push(0);
            self.holders.len() as u32 - 1
        })
    }

    fn insert(&mut self, hash: u64, slot: u32) {
        let tag = tag(hash);
        let Self { values, table, hasher, .. } = self;
        let values = &*values;
        table.insert_unique(hash, Entry { tag, slot }, |entry| match values {
            Values::Ints(values) => hasher.hash_one(values[entry.slot as usize]),
            Values::Bytes(values) => hasher.hash_one(values[entry.slot as usize].bytes()),
        });
    }
}

/// What an entry has of its hash.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn put<T>(values: &mut Vec<T>, slot: u32, value: T) {
    match values.get_mut(slot as usize) {
        Some(old) => *old = value,
        None => values.push(value),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Values keep their slot while held, distinct values have distinct slots, and slots of those that went are used again.
        #[test]
        fn slots_are_those_of_a_map(steps in proptest::collection::vec((any::<bool>(), 0i64..12), 0..200)) {
            let (mut ints, mut texts) = (Intern::ints(), Intern::bytes());
            let mut model: HashMap<i64, (u32, u32, u32)> = HashMap::new();
            let text = |value: i64| b"long enough to lie beside the table "[..value as usize * 3].to_vec();
            let mut most = 0;
            for (hold, value) in steps {
                if hold {
                    let slots = (ints.int(value), texts.text(&text(value)));
                    ints.hold(slots.0);
                    texts.hold(slots.1);
                    let known = model.entry(value).or_insert((slots.0, slots.1, 0));
                    prop_assert_eq!((known.0, known.1), slots);
                    known.2 += 1;
                } else if let Some(known) = model.get_mut(&value) {
                    ints.release(known.0);
                    texts.release(known.1);
                    known.2 -= 1;
                    if known.2 == 0 {
                        model.remove(&value);
                    }
                }
                most = most.max(model.len());
                prop_assert_eq!((ints.len(), texts.len()), (model.len(), model.len()));
                for (value, (int, bytes, _)) in &model {
                    prop_assert_eq!(ints.int_at(*int), *value);
                    prop_assert_eq!(texts.text_at(*bytes), &text(*value)[..]);
                }
            }
            prop_assert_eq!(ints.slots(), most);
        }
    }
}
