//! The keys of a pane in their order, kept from one pane to the next: most stay.

use crate::window::blocks::Gone;
use crate::window::slices::Slices;

/// Keys by slot; each is held while it is in the list.
#[derive(Debug, Default)]
pub(crate) struct KeyList {
    keys: Vec<u32>,
    is_listed: Vec<bool>,
    fresh: Vec<u32>,
}

impl KeyList {
    /// There are so many slots now.
    pub(crate) fn grow(&mut self, slots: usize) {
        self.is_listed.resize(slots, false);
    }

    /// The key is there.
    pub(crate) fn note(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.is_listed[slot as usize], true) {
            self.fresh.push(slot);
        }
    }

    /// Puts new keys into their places, and drops those that are there no more.
    pub(crate) fn settle(&mut self, slices: &mut Slices, is_there: impl Fn(u32) -> bool, gone: &mut Gone) -> &[u32] {
        let Self { keys, is_listed, fresh } = self;
        keys.retain(|slot| {
            let stays = is_there(*slot);
            if !stays {
                is_listed[*slot as usize] = false;
                gone.slots.push(*slot);
            }
            stays
        });
        if !fresh.is_empty() {
            fresh.iter().for_each(|slot| slices.index.hold(*slot));
            slices.index.sort(fresh, |slot| *slot);
            *keys = slices.index.merge_sorted(std::mem::take(keys), std::mem::take(fresh));
        }
        keys
    }

    /// All keys, settled or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        self.keys.iter().chain(&self.fresh).copied()
    }
}
