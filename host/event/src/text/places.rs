//! Where each value of a dictionary is: a hash table made for short texts.

use ahash::RandomState;

use super::word::word;

/// What a look-up needs of a value in the dictionary; short ones need no more.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) head: u64,
    pub(super) hash: u64,
    pub(super) length: usize,
}

/// Which place has which hash: open addressing with linear probing, at most half full.
///
/// By hand because the general table compares through a call: without it decoding a whole row took a twentieth less.
#[derive(Debug)]
pub(super) struct Places {
    /// The hash's upper half and the place + 1; 0 and 0 where there is none. A power of two of them.
    slots: Vec<(u32, u32)>,
}

impl Places {
    const SLOTS_MIN: usize = 16;

    pub(super) fn new() -> Self {
        Self { slots: vec![(0, 0); Self::SLOTS_MIN] }
    }

    /// The place with this hash for which `is` says yes; else the slot where it would be.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let upper = (hash >> 32) as u32;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                (_, 0) => return Err(slot),
                (found, place) if found == upper && is(place as usize - 1) => return Ok(place - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Puts the newest place into the slot that [`Places::find`] answered; `entries` are all there are, it among them.
    pub(super) fn put(&mut self, slot: usize, entries: &[Entry]) {
        let upper = |entry: &Entry| (entry.hash >> 32) as u32;
        self.slots[slot] = (entries.last().map_or(0, upper), entries.len() as u32);
        if entries.len() * 2 <= self.slots.len() {
            return;
        }
        let length = self.slots.len() * 4;
        self.slots.clear();
        self.slots.resize(length, (0, 0));
        for (place, entry) in entries.iter().enumerate() {
            if let Err(slot) = self.find(entry.hash, |_| false) {
                self.slots[slot] = (upper(entry), place as u32 + 1);
            }
        }
    }

    /// Takes the newest place out again. Nothing came behind it, so no other place is found through its slot.
    pub(super) fn take_newest(&mut self, place: usize, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 as usize != place + 1 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (0, 0);
    }

    /// Forgets all `count` places. A table that is far too large for them is let go, so that small batches do not sweep it.
    pub(super) fn clear(&mut self, count: usize) {
        if self.slots.len() > 16 * count.max(Self::SLOTS_MIN) {
            *self = Self::new();
        } else {
            self.slots.fill((0, 0));
        }
    }
}

/// Whether two values of one length are equal behind their first eight bytes: in line, most are shorter than a call is worth.
#[inline(always)]
pub(super) fn same_tail(one: &[u8], other: &[u8]) -> bool {
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
pub(super) struct ShortHash {
    keys: [u64; 2],
    long: RandomState,
}

impl ShortHash {
    pub(super) fn new() -> Self {
        let long = RandomState::new();
        Self { keys: [long.hash_one(1u64), long.hash_one(2u64)], long }
    }

    /// The hash of a value with this [`super::head`].
    #[inline(always)]
    pub(super) fn of(&self, value: &[u8], head: u64) -> u64 {
        let length = value.len();
        let last = match length {
            0..=8 => 0,
            9..=16 => word(value, length - 8).unwrap_or(0),
            _ => return self.long.hash_one(value),
        };
        let product = u128::from(head ^ self.keys[0]) * u128::from(last ^ self.keys[1] ^ length as u64);
        let folded = product as u64 ^ (product >> 64) as u64;
        // Both halves are used, the lower one for the slot.
        folded ^ folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29
    }
}
