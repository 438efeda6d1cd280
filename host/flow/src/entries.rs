//! Which entries of an operator changed, by group: for checkpoints, and for the checksum of all state.
//!
//! An entry's bytes are made when somebody asks for them, not when a row touches it: touching costs a look at one byte.

use crate::KeyChange;
use crate::checksum::checksum;

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
    changed: Vec<u32>,
    stale: Vec<u32>,
    /// Keys of entries that went and that the store may have.
    removed: Vec<Box<[u8]>>,
    live: usize,
    sum: u64,
}

impl Entries {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live
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
        let at = group as usize;
        if at >= self.flags.len() {
            self.flags.resize(at + 1, 0);
            self.parts.resize(at + 1, 0);
        }
        let flags = &mut self.flags[at];
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

    /// The group was read from the store.
    pub(crate) fn restored(&mut self, group: u32) {
        self.touch(group);
        if self.changed.last() == Some(&group) {
            self.changed.pop();
        }
        let flags = &mut self.flags[group as usize];
        *flags = *flags & !CHANGED | STORED;
    }

    /// The group is no entry any more. `key` is asked for only if the store may have it.
    pub(crate) fn remove(&mut self, group: u32, key: impl FnOnce() -> Vec<u8>) {
        let flags = std::mem::take(&mut self.flags[group as usize]);
        if flags & STORED != 0 {
            self.removed.push(key().into());
        }
        self.live -= 1;
        self.sum = self.sum.wrapping_sub(std::mem::take(&mut self.parts[group as usize]));
    }

    /// What changed, or so many of it. `encode` writes a group's key and its value. Of several changes of a key the last one counts.
    pub(crate) fn take_some(&mut self, most: usize, mut encode: impl FnMut(u32, &mut Vec<u8>, &mut Vec<u8>)) -> Vec<KeyChange> {
        // An entry that went may be there again: what is there counts, so it comes behind, also when it comes another time.
        let gone = self.removed.len().min(most);
        let mut changes: Vec<KeyChange> = self.removed.drain(..gone).map(|key| KeyChange { key, value: None }).collect();
        let left = self.changed.len().saturating_sub(most - gone);
        for group in self.changed.drain(left..) {
            let flags = &mut self.flags[group as usize];
            if *flags & (CHANGED | LIVE) == CHANGED | LIVE {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                encode(group, &mut key, &mut value);
                // Its bytes are here: whoever asks for the checksum next need not make them again.
                if *flags & STALE != 0 {
                    let part = checksum(checksum(0, &key), &value);
                    let before = std::mem::replace(&mut self.parts[group as usize], part);
                    self.sum = self.sum.wrapping_sub(before).wrapping_add(part);
                }
                *flags = *flags & !(CHANGED | STALE) | STORED;
                changes.push(KeyChange { key: key.into(), value: Some(value.into()) });
            }
        }
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
