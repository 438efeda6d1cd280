//! Panes of windows of many slices, at a cost that does not grow with their number.
//!
//! ```text
//! blocks as long as a window      ├──────── B ────────┼─────── B + L ───────┤
//! window [s, e)                          s ▓▓▓▓▓▓▓▓▓▓▓░░░░░░░ e
//! suffix of B from s on, made when the first window leaves it ─┘       └─ prefix of B + L up to e, one slice more for each window
//! ```
//! Each (slice, key) is merged once into a prefix and once into a suffix; a pane is two merges a key. Blocks lie at fixed places, so what is merged
//! with what follows from the window alone: all of this can be thrown away and made again, as after a restart, and says the same.

use crate::window::key_list::KeyList;
use crate::window::slices::{Member, Slices};

const NONE: u32 = u32::MAX;

/// A key's rows from one of its slices to the end of the block.
#[derive(Debug, Clone, Copy)]
struct Suffix {
    start: i64,
    slot: u32,
    group: u32,
    /// The same key's from its next slice on, or `NONE`.
    next: u32,
}

/// The merges under way.
#[derive(Debug)]
pub(crate) struct Blocks {
    length: i64,
    offset: i64,
    /// Where the block of the prefix begins.
    base: Option<i64>,
    /// Slices before this are in the prefix.
    merged_until: i64,
    /// Per slot, its group in the prefix.
    prefix: Vec<u32>,
    /// Per slot, its suffix from the window's start on.
    front: Vec<u32>,
    /// Newest slice first, so that what leaves the window is at the end.
    suffixes: Vec<Suffix>,
    keys: KeyList,
}

/// What panes under way may still need, and nobody behind them.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    pub(crate) groups: Vec<u32>,
    pub(crate) slots: Vec<u32>,
    pub(crate) members: Vec<Member>,
}

impl Gone {
    /// Nobody needs it any more.
    pub(crate) fn release(&mut self, slices: &mut Slices) {
        self.groups.drain(..).for_each(|group| slices.aggregates.release(group));
        self.slots.drain(..).for_each(|slot| slices.index.release(slot));
        self.members.drain(..).for_each(|member| slices.release(member));
    }
}

impl Blocks {
    /// Blocks of this length, a multiple of the windows' slide and not shorter than a window, beginning at `offset` and every length from there.
    pub(crate) fn new(length: i64, offset: i64) -> Self {
        Self {
            length,
            offset,
            base: None,
            merged_until: 0,
            prefix: Vec::new(),
            front: Vec::new(),
            suffixes: Vec::new(),
            keys: KeyList::default(),
        }
    }

    /// Every key of a window with its group, in the order of keys. Windows come in the order of their ends.
    pub(crate) fn pane(&mut self, slices: &mut Slices, start: i64, end: i64, gone: &mut Gone) -> Vec<Member> {
        let slots = slices.index.slots();
        self.prefix.resize(slots, NONE);
        self.front.resize(slots, NONE);
        self.keys.grow(slots);
        let block = start - (start - self.offset).rem_euclid(self.length);
        let base = if start == block { block } else { block + self.length };
        if self.base != Some(base) {
            self.clear(gone);
            self.base = Some(base);
            self.merged_until = base;
            self.make_suffixes(slices, start, base, end);
        }
        while let Some(gone_suffix) = self.suffixes.pop_if(|suffix| suffix.start < start) {
            self.front[gone_suffix.slot as usize] = gone_suffix.next;
            gone.groups.push(gone_suffix.group);
        }
        self.extend_prefix(slices, end);
        self.combine(slices, gone)
    }

    /// Forgets all merges: rows came to slices that are in them.
    pub(crate) fn clear(&mut self, gone: &mut Gone) {
        self.base = None;
        gone.groups.extend(self.suffixes.drain(..).map(|suffix| suffix.group));
        for slot in self.keys.all() {
            self.front[slot as usize] = NONE;
            let group = std::mem::replace(&mut self.prefix[slot as usize], NONE);
            if group != NONE {
                gone.groups.push(group);
            }
        }
    }

    fn make_suffixes(&mut self, slices: &mut Slices, start: i64, base: i64, end: i64) {
        let parts: Vec<(i64, Vec<Member>)> =
            slices.parts_between(start, base, end).map(|(start, part)| (start, part.to_vec())).collect();
        for (start, part) in parts.into_iter().rev() {
            let mut merges = Vec::with_capacity(part.len() * 2);
            for Member { slot, group: own } in part {
                let group = slices.aggregates.allocate();
                merges.push((group, own));
                let next = self.front[slot as usize];
                if next != NONE {
                    merges.push((group, self.suffixes[next as usize].group));
                }
                self.front[slot as usize] = self.suffixes.len() as u32;
                self.suffixes.push(Suffix { start, slot, group, next });
                self.keys.note(slot);
            }
            slices.aggregates.merge(&merges);
        }
    }

    fn extend_prefix(&mut self, slices: &mut Slices, end: i64) {
        let from = std::mem::replace(&mut self.merged_until, end);
        let parts: Vec<Member> = slices.parts_between(from, end, end).flat_map(|(_, part)| part).copied().collect();
        let mut merges = Vec::with_capacity(parts.len());
        for Member { slot, group: own } in parts {
            let group = &mut self.prefix[slot as usize];
            if *group == NONE {
                *group = slices.aggregates.allocate();
                self.keys.note(slot);
            }
            merges.push((self.prefix[slot as usize], own));
        }
        slices.aggregates.merge(&merges);
    }

    fn combine(&mut self, slices: &mut Slices, gone: &mut Gone) -> Vec<Member> {
        let Self { keys, prefix, front, suffixes, .. } = self;
        let keys = keys.settle(slices, |slot| prefix[slot as usize] != NONE || front[slot as usize] != NONE, gone);
        let mut merges = Vec::with_capacity(keys.len() * 2);
        let members = keys.iter().map(|slot| {
            let (prefix, front) = (prefix[*slot as usize], front[*slot as usize]);
            if prefix == NONE {
                // A suffix stays as it is until it has left the window.
                return Member { slot: *slot, group: suffixes[front as usize].group };
            }
            let group = slices.aggregates.allocate();
            gone.groups.push(group);
            if front != NONE {
                merges.push((group, suffixes[front as usize].group));
            }
            merges.push((group, prefix));
            Member { slot: *slot, group }
        });
        let members = members.collect();
        slices.aggregates.merge(&merges);
        members
    }
}
