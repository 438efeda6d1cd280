//! Panes of windows that overlap, of aggregates that can forget: one group a key, which slices join and leave.
//!
//! ```text
//! window [s, e)        the group of a key has what its slices in [s, e) have
//! behind its pane      slices that no later window has are taken away again
//! ```
//! Each (slice, key) is merged once and subtracted once. An accumulator is a function of the rows it has seen, so nothing of it depends on the slices that
//! came and went: all of this can be thrown away and made again.

use crate::window::blocks::Gone;
use crate::window::key_list::KeyList;
use crate::window::slices::{Member, Slices};

const NONE: u32 = u32::MAX;

/// The groups of the window that comes next.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// Slices in `[from, until)` are in the groups.
    until: Option<i64>,
    /// Per slot its group, and how many slices have the key.
    groups: Vec<u32>,
    slices: Vec<u32>,
    keys: KeyList,
}

impl Running {
    /// Every key of a window with its group, in the order of keys. Windows come in the order of their ends; the groups are to be used before [`Self::leave`].
    pub(crate) fn pane(&mut self, slices: &mut Slices, start: i64, end: i64, gone: &mut Gone) -> Vec<Member> {
        let slots = slices.index.slots();
        self.groups.resize(slots, NONE);
        self.slices.resize(slots, 0);
        self.keys.grow(slots);
        let from = self.until.replace(end).map_or(start, |until| until.max(start));
        let parts: Vec<Member> = slices.parts_between(from, end, end).flat_map(|(_, part)| part).copied().collect();
        let mut merges = Vec::with_capacity(parts.len());
        for Member { slot, group: own } in parts {
            let group = &mut self.groups[slot as usize];
            if *group == NONE {
                *group = slices.aggregates.allocate();
                self.keys.note(slot);
            }
            self.slices[slot as usize] += 1;
            merges.push((*group, own));
        }
        slices.aggregates.merge(&merges);
        let Self { groups, keys, .. } = self;
        let keys = keys.settle(slices, |slot| groups[slot as usize] != NONE, gone);
        keys.iter().map(|slot| Member { slot: *slot, group: groups[*slot as usize] }).collect()
    }

    /// The next window begins at `next`: what lies before it in the window `[start, end)` leaves.
    pub(crate) fn leave(&mut self, slices: &mut Slices, start: i64, end: i64, next: i64, gone: &mut Gone) {
        if next >= end {
            return self.clear(gone);
        }
        let parts: Vec<Member> = slices.parts_between(start, next, end).flat_map(|(_, part)| part).copied().collect();
        let mut subtractions = Vec::with_capacity(parts.len());
        for Member { slot, group: own } in parts {
            let at = slot as usize;
            self.slices[at] -= 1;
            if self.slices[at] == 0 {
                gone.groups.push(std::mem::replace(&mut self.groups[at], NONE));
            } else {
                subtractions.push((self.groups[at], own));
            }
        }
        slices.aggregates.subtract(&subtractions);
    }

    /// Forgets all of it: rows came to slices that are in it.
    pub(crate) fn clear(&mut self, gone: &mut Gone) {
        self.until = None;
        for slot in self.keys.all() {
            self.slices[slot as usize] = 0;
            let group = std::mem::replace(&mut self.groups[slot as usize], NONE);
            if group != NONE {
                gone.groups.push(group);
            }
        }
    }
}
