//! The state of windows that are cut into slices: per slice the keys it has, per key a group of accumulators.
//!
//! ```text
//! slot ──► recent (the slice it was in last, and its group there)      nearly every row ends here
//!    └───► table of the slice ──► group                                a key that is new to the slice, or a row out of order
//! ```
//! A part of a slice counts for the windows that end at `from` or later: rows that missed some of their windows have a part of their own. Nothing here knows
//! of watermarks.

mod spill;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use hashbrown::HashTable;

use crate::aggregate::bytes::take;
use crate::aggregate::{Aggregates, Lost};
use crate::cold::Cold;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::state::corrupt;
use crate::{KeyChange, Save, StateCorrupt};

/// What the keys of slices begin with in the store.
pub(crate) const SLICE: u8 = 0;

/// A part of a slice: where it begins, and the end of the first window it counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartId {
    pub(crate) start: i64,
    pub(crate) from: i64,
}

/// A key in a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) slot: u32,
    pub(crate) group: u32,
}

#[derive(Debug, Default)]
struct Part {
    /// Tells parts apart for `recent`; never the same twice.
    number: u64,
    table: HashTable<Member>,
    members: Vec<Member>,
    /// How many more keys it has that are not in memory; while they are still listed, less those that came back before it was their turn.
    cold: isize,
    /// Entries of it may be in the store that were not listed.
    is_unlisted: bool,
}

/// All slices of a step.
pub(crate) struct Slices {
    pub(crate) index: KeyIndex,
    pub(crate) aggregates: Aggregates,
    parts: BTreeMap<PartId, Part>,
    /// Per slot the number of the part it was in last, and its group there.
    recent: Vec<(u64, u32)>,
    /// Per group, whose it is.
    owners: Vec<(PartId, u32)>,
    numbers: u64,
    hasher: ahash::RandomState,
    entries: Entries,
    cold: Cold,
    /// Where the next look for entries that may leave begins: a part, and how many of its members have not been looked at.
    hand: Option<(PartId, usize)>,
    slots: Vec<u32>,
    groups: Vec<u32>,
}

impl Slices {
    pub(crate) fn new(index: KeyIndex, aggregates: Aggregates) -> Self {
        Self {
            index,
            aggregates,
            parts: BTreeMap::new(),
            recent: Vec::new(),
            owners: Vec::new(),
            numbers: 0,
            hasher: ahash::RandomState::new(),
            entries: Entries::default(),
            cold: Cold::default(),
            hand: None,
            slots: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Takes rows. `runs`: how many rows in a row go to which part, in order; together they are all rows. Answers those that count for nothing.
    #[must_use]
    pub(crate) fn update(&mut self, rows: &RecordBatch, runs: &[(usize, PartId)]) -> Vec<Lost> {
        self.index.slots_of(rows, &mut self.slots);
        self.recent.resize(self.index.slots(), (0, 0));
        if !self.cold.is_empty() {
            self.warm(runs);
        }
        let Self { index, aggregates, parts, recent, owners, numbers, hasher, entries, slots, groups, .. } = self;
        groups.clear();
        let mut rest = &slots[..];
        for (count, id) in runs {
            let (run, behind) = rest.split_at(*count);
            rest = behind;
            let part = parts.entry(*id).or_insert_with(|| Part::new(numbers));
            for slot in run {
                let last = &mut recent[*slot as usize];
                if last.0 != part.number {
                    *last = (part.number, group_of(part, *id, *slot, index, aggregates, owners, hasher));
                }
                entries.touch(last.1);
                groups.push(last.1);
            }
        }
        aggregates.update(groups, rows)
    }

    /// The parts that begin in `[start, end)` and count for the window that ends at `end`, ascending.
    pub(crate) fn of_window(&self, start: i64, end: i64) -> impl Iterator<Item = &[Member]> {
        let range = PartId { start, from: i64::MIN }..PartId { start: end, from: i64::MIN };
        self.parts.range(range).filter(move |(id, _)| id.from <= end).map(|(_, part)| &part.members[..])
    }

    /// The parts that begin in `[from, to)` and count for the window that ends at `end`, ascending, with where they begin.
    pub(crate) fn parts_between(&self, from: i64, to: i64, end: i64) -> impl Iterator<Item = (i64, &[Member])> {
        let range = PartId { start: from, from: i64::MIN }..PartId { start: to.max(from), from: i64::MIN };
        self.parts.range(range).filter(move |(id, _)| id.from <= end).map(|(id, part)| (id.start, &part.members[..]))
    }

    /// Whether there are parts of slices in `[from, to)` that count only for windows that end after `end`, although their slices have ended.
    pub(crate) fn has_later_parts(&self, from: i64, to: i64, end: i64) -> bool {
        let range = PartId { start: from, from: i64::MIN }..PartId { start: to, from: i64::MIN };
        self.parts.range(range).any(|(id, _)| id.from > end)
    }

    /// The groups of one key in them.
    pub(crate) fn of_key(&self, start: i64, end: i64, slot: u32) -> impl Iterator<Item = u32> {
        let range = PartId { start, from: i64::MIN }..PartId { start: end, from: i64::MIN };
        let hash = self.hasher.hash_one(slot);
        let parts = self.parts.range(range).filter(move |(id, _)| id.from <= end);
        parts.filter_map(move |(_, part)| part.table.find(hash, |member| member.slot == slot).map(|member| member.group))
    }

    /// The parts that have a key.
    pub(crate) fn parts_of(&self, slot: u32) -> impl Iterator<Item = PartId> {
        let hash = self.hasher.hash_one(slot);
        let has = move |(_, part): &(&PartId, &Part)| part.table.find(hash, |member| member.slot == slot).is_some();
        self.parts.iter().filter(has).map(|(id, _)| *id)
    }

    /// Where parts begin, ascending; a slice of several parts more than once.
    pub(crate) fn starts(&self) -> impl Iterator<Item = i64> {
        self.parts.keys().map(|id| id.start)
    }

    /// The slot of a row's key in the rows last taken.
    pub(crate) fn last_slot(&self, row: usize) -> u32 {
        self.slots[row]
    }

    /// Takes away the first part. Its keys and groups are still there, for panes under way, until they are released.
    pub(crate) fn pop(&mut self) -> Vec<Member> {
        // Each of its keys has to be told to the store.
        if let Some(id) = self.parts.keys().next().copied() {
            self.thaw(id);
        }
        let Some((id, part)) = self.parts.pop_first() else { return Vec::new() };
        let Self { index, entries, .. } = self;
        part.members.iter().for_each(|member| entries.remove(member.group, || key_of(id, member.slot, index)));
        part.members
    }

    /// What was popped is needed no more.
    pub(crate) fn release(&mut self, member: Member) {
        self.index.release(member.slot);
        self.aggregates.release(member.group);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn changed_len(&self) -> usize {
        self.entries.changed_len()
    }

    pub(crate) fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, aggregates, owners, entries, .. } = self;
        entries.take_some(most, save, |group, key, value| encode(group, key, value, owners, index, aggregates))
    }

    pub(crate) fn checksum(&mut self) -> u64 {
        let Self { index, aggregates, owners, entries, .. } = self;
        entries.checksum(|group, key, value| encode(group, key, value, owners, index, aggregates))
    }

    /// Takes back an entry; its key begins behind [`SLICE`].
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        self.read(key, value).map_err(|at_byte| {
            let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
            corrupt(key, &fields.join(", "), at_byte)
        })
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), usize> {
        let (group, read) = self.place(key, value)?;
        self.entries.restored(group, key, value);
        read
    }

    /// Puts an entry's accumulators into a group; what they say is the second answer.
    fn place(&mut self, key: &[u8], value: &[u8]) -> Result<(u32, Result<(), usize>), usize> {
        let (id, rest) = part_of(key).ok_or(0usize)?;
        let slot = self.index.slot_of_key(rest).ok_or(0usize)?;
        let Self { index, aggregates, parts, owners, numbers, hasher, .. } = self;
        let part = parts.entry(id).or_insert_with(|| Part::new(numbers));
        let group = group_of(part, id, slot, index, aggregates, owners, hasher);
        let mut rest = value;
        let read = aggregates.decode(group, &mut rest).filter(|()| rest.is_empty());
        Ok((group, read.ok_or(value.len() - rest.len())))
    }
}

impl Part {
    fn new(numbers: &mut u64) -> Self {
        *numbers += 1;
        Self { number: *numbers, ..Self::default() }
    }
}

/// The part that a stored key is of, and its key.
fn part_of(key: &[u8]) -> Option<(PartId, &[u8])> {
    let mut rest = key.get(1..)?;
    let mut time = || Some(plain_int(u64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?)));
    let (start, from) = (time()?, time()?);
    Some((PartId { start, from }, rest))
}

/// The group of a key in a part; new if it has none there.
fn group_of(
    part: &mut Part,
    id: PartId,
    slot: u32,
    index: &mut KeyIndex,
    aggregates: &mut Aggregates,
    owners: &mut Vec<(PartId, u32)>,
    hasher: &ahash::RandomState,
) -> u32 {
    let hash = hasher.hash_one(slot);
    if let Some(member) = part.table.find(hash, |member| member.slot == slot) {
        return member.group;
    }
    let member = Member { slot, group: aggregates.allocate() };
    part.table.insert_unique(hash, member, |member| hasher.hash_one(member.slot));
    part.members.push(member);
    index.hold(slot);
    owners.resize(aggregates.groups(), (PartId { start: 0, from: 0 }, 0));
    owners[member.group as usize] = (id, slot);
    member.group
}

/// What the stored keys of a part begin with.
fn key_of_part(id: PartId) -> Vec<u8> {
    let mut key = Vec::new();
    put_key_of_part(id, &mut key);
    key
}

fn put_key_of_part(id: PartId, key: &mut Vec<u8>) {
    key.push(SLICE);
    key.extend_from_slice(&ordered_int(id.start).to_be_bytes());
    key.extend_from_slice(&ordered_int(id.from).to_be_bytes());
}

fn key_of(id: PartId, slot: u32, index: &KeyIndex) -> Vec<u8> {
    let mut key = key_of_part(id);
    index.put_key(slot, &mut key);
    key
}

fn encode(
    group: u32,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
    owners: &[(PartId, u32)],
    index: &KeyIndex,
    aggregates: &Aggregates,
) {
    let (id, slot) = owners[group as usize];
    put_key_of_part(id, key);
    index.put_key(slot, key);
    aggregates.encode(group, value);
}
