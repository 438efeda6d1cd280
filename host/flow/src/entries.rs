//! Which entries of an operator changed, by group: for checkpoints, and for the checksum of all state.
//!
//! An entry's bytes are made when somebody asks for them, not when a row touches it: touching costs a look at one byte. Of each entry it is
//! known under which checkpoint it was stored last, so that replacing it costs the store no look-up, and so that it may leave memory once
//! that checkpoint is true. Entries that left still count: for the number of all, and for the checksum.

use crate::checksum::checksum;
use crate::group::KeyIndex;
use crate::{InStore, KeyChange, Save};

/// It changed since the last `take_changes`.
const CHANGED: u8 = 1;
/// Its part of the checksum is not up to date.
const STALE: u8 = 2;
/// The store may have it.
const STORED: u8 = 4;
/// It is there.
const LIVE: u8 = 8;

/// The groups of an operator as entries.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    flags: Vec<u8>,
    parts: Vec<u64>,
    /// Under which checkpoint an entry that is stored was stored last.
    saves: Vec<Save>,
    changed: Vec<u32>,
    stale: Vec<u32>,
    /// Keys of entries that went and that the store may have.
    removed: Vec<(Box<[u8]>, Save)>,
    live: usize,
    /// Entries that are only in the store. While they are still listed, less those that came back before it was their turn.
    cold: isize,
    sum: u64,
}

impl Entries {
    /// How many there are, in memory or not.
    pub(crate) fn len(&self) -> usize {
        self.live.saturating_add_signed(self.cold)
    }

    /// How many of them are not in memory.
    pub(crate) fn cold_len(&self) -> usize {
        usize::try_from(self.cold).unwrap_or(0)
    }

    pub(crate) fn changed_len(&self) -> usize {
        self.changed.len() + self.removed.len()
    }

    /// The group has changed, or is new.
    #[inline]
    pub(crate) fn touch(&mut self, group: u32) {
        let at = group as usize;
        if self.flags.get(at).is_none_or(|flags| flags & (CHANGED | STALE | LIVE) != CHANGED | STALE | LIVE) {
            self.touch_first(group);
        }
    }

    fn touch_first(&mut self, group: u32) {
        self.grow(group);
        let flags = &mut self.flags[group as usize];
        if *flags & LIVE == 0 {
            self.live += 1;
        }
        if *flags & CHANGED == 0 {
            self.changed.push(group);
        }
        if *flags & STALE == 0 {
            self.stale.push(group);
        }
        *flags |= CHANGED | STALE | LIVE;
    }

    /// Whether the group is an entry.
    pub(crate) fn is_live(&self, group: u32) -> bool {
        self.flags.get(group as usize).is_some_and(|flags| flags & LIVE != 0)
    }

    fn grow(&mut self, group: u32) {
        let groups = group as usize + 1;
        if groups > self.flags.len() {
            self.flags.resize(groups, 0);
            self.parts.resize(groups, 0);
            self.saves.resize(groups, Save::UNKNOWN);
        }
    }

    /// The group was read from the store when the task began: these bytes.
    pub(crate) fn restored(&mut self, group: u32, key: &[u8], value: &[u8]) {
        self.grow(group);
        let at = group as usize;
        if self.flags[at] & LIVE == 0 {
            self.live += 1;
        }
        // It may have been touched on its way in.
        self.changed.pop_if(|last| *last == group);
        self.stale.pop_if(|last| *last == group);
        self.flags[at] = LIVE | STORED;
        self.saves[at] = Save::UNKNOWN;
        let part = checksum(checksum(0, key), value);
        self.sum = self.sum.wrapping_sub(std::mem::replace(&mut self.parts[at], part)).wrapping_add(part);
    }

    /// An entry stays in the store when the task begins: these bytes.
    pub(crate) fn restored_cold(&mut self, key: &[u8], value: &[u8]) {
        self.cold += 1;
        self.sum = self.sum.wrapping_add(checksum(checksum(0, key), value));
    }

    /// Under which checkpoint the store has the entry as it is now, if that is `saved` or one before: then it may leave memory.
    pub(crate) fn can_leave(&self, group: u32, saved: Save) -> Option<Save> {
        let (flags, save) = (*self.flags.get(group as usize)?, self.saves[group as usize]);
        (flags & (LIVE | STORED | CHANGED | STALE) == LIVE | STORED && save <= saved).then_some(save)
    }

    /// The entry leaves memory: its group is no entry any more.
    pub(crate) fn leave(&mut self, group: u32) {
        self.flags[group as usize] = 0;
        self.parts[group as usize] = 0;
        self.live -= 1;
        self.cold += 1;
    }

    /// An entry that left is in memory again, in this group: these bytes.
    pub(crate) fn come_back(&mut self, group: u32, key: &[u8], value: &[u8], save: Save) {
        self.grow(group);
        self.flags[group as usize] = LIVE | STORED;
        self.saves[group as usize] = save;
        self.parts[group as usize] = checksum(checksum(0, key), value);
        self.live += 1;
        self.cold -= 1;
    }

    /// The group is no entry any more. `key` is asked for only if the store may have it.
    pub(crate) fn remove(&mut self, group: u32, key: impl FnOnce() -> Vec<u8>) {
        let flags = std::mem::take(&mut self.flags[group as usize]);
        if flags & STORED != 0 {
            self.removed.push((key().into(), self.saves[group as usize]));
        }
        self.live -= 1;
        self.sum = self.sum.wrapping_sub(std::mem::take(&mut self.parts[group as usize]));
    }

    /// A key has changed: it has an entry called `tag key` as long as there is something of it (`is_there`), and the index holds it as long.
    /// Answers whether its entry has just gone.
    pub(crate) fn follow(&mut self, slot: u32, is_there: bool, tag: u8, index: &mut KeyIndex) -> bool {
        match (self.is_live(slot), is_there) {
            (was_there, true) => {
                if !was_there {
                    index.hold(slot);
                }
                self.touch(slot);
                false
            }
            (true, false) => {
                self.remove(slot, || index.tagged_key(tag, slot));
                index.release(slot);
                true
            }
            (false, false) => false,
        }
    }

    /// What changed, or so many of it, to be stored under `save`. `encode` writes a group's key and its value. Of several changes of a key the
    /// last one counts.
    pub(crate) fn take_some(
        &mut self,
        most: usize,
        save: Save,
        mut encode: impl FnMut(u32, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Vec<KeyChange> {
        // An entry that went may be there again: what is there counts, so it comes behind, also when it comes another time.
        let gone = self.removed.len().min(most);
        let removed = self.removed.drain(..gone);
        let mut changes: Vec<KeyChange> =
            removed.map(|(key, save)| KeyChange { key, value: None, stored: InStore::under(save) }).collect();
        let left = self.changed.len().saturating_sub(most - gone);
        changes.reserve_exact(self.changed.len() - left);
        // Of both there is one, and each entry is copied out at its length: what rows wait for is mostly the allocator.
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for group in self.changed.drain(left..) {
            let at = group as usize;
            let flags = &mut self.flags[at];
            if *flags & (CHANGED | LIVE) == CHANGED | LIVE {
                key.clear();
                value.clear();
                encode(group, &mut key, &mut value);
                // Its bytes are here: whoever asks for the checksum next need not make them again.
                if *flags & STALE != 0 {
                    let part = checksum(checksum(0, &key), &value);
                    let before = std::mem::replace(&mut self.parts[at], part);
                    self.sum = self.sum.wrapping_sub(before).wrapping_add(part);
                }
                let before = std::mem::replace(&mut self.saves[at], save);
                let stored = if *flags & STORED == 0 { InStore::Nothing } else { InStore::under(before) };
                *flags = *flags & !(CHANGED | STALE) | STORED;
                changes.push(KeyChange { key: Box::from(&key[..]), value: Some(Box::from(&value[..])), stored });
            }
        }
        if self.removed.is_empty() && self.removed.capacity() > 1024 {
            self.removed = Vec::new();
        }
        // Entries came onto both lists together, and go from the end of both: whoever asks for the checksum need not look at millions.
        while self.stale.pop_if(|last| self.flags[*last as usize] & (STALE | LIVE) != STALE | LIVE).is_some() {}
        changes
    }

    /// The checksum of all entries. `encode` as for changes.
    pub(crate) fn checksum(&mut self, mut encode: impl FnMut(u32, &mut Vec<u8>, &mut Vec<u8>)) -> u64 {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for group in std::mem::take(&mut self.stale) {
            let at = group as usize;
            if self.flags[at] & (STALE | LIVE) != STALE | LIVE {
                continue;
            }
            self.flags[at] &= !STALE;
            key.clear();
            value.clear();
            encode(group, &mut key, &mut value);
            let part = checksum(checksum(0, &key), &value);
            self.sum = self.sum.wrapping_sub(self.parts[at]).wrapping_add(part);
            self.parts[at] = part;
        }
        self.sum
    }
}
