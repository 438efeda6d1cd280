//! Entries of which a step only knows that the store may have them: it began before all that is there was read.
//!
//! ```text
//! in the order of keys   ──── listed: a stub each, or in memory ────┤ listed up to here ├──── unlisted: whoever needs one asks the store ────
//! ```
//! The list goes on between batches. Of what was asked for meanwhile a hash stays, so that nothing is taken twice: what came back may have
//! changed, or gone, and the store does not know yet.

use std::collections::HashSet;

/// See the module's words.
#[derive(Default)]
pub(crate) struct Unlisted {
    is_open: bool,
    /// The last key that was listed; `None`: none was.
    up_to: Option<Vec<u8>>,
    /// Hashes of keys behind it that were asked for, whether there was an entry or not.
    asked: HashSet<u64>,
}

impl Unlisted {
    /// All entries behind `up_to` are unlisted.
    pub(crate) fn begin(&mut self, up_to: Option<&[u8]>) {
        *self = Self { is_open: true, up_to: up_to.map(<[u8]>::to_vec), asked: HashSet::new() };
    }

    /// Whether there may be unlisted entries at all.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether nobody knows if there is an entry of that key.
    pub(crate) fn may_have(&self, key: &[u8], hash: u64) -> bool {
        self.is_open && self.up_to.as_deref().is_none_or(|up_to| up_to < key) && !self.asked.contains(&hash)
    }

    /// The store is asked for that key now: it is asked once. Whether that is necessary.
    pub(crate) fn ask(&mut self, key: &[u8], hash: u64) -> bool {
        let may_have = self.may_have(key, hash);
        may_have && self.asked.insert(hash)
    }

    /// The list comes to that key. Whether the step does not know the entry yet.
    pub(crate) fn list(&mut self, key: &[u8], hash: u64) -> bool {
        if !self.is_open {
            return true;
        }
        let up_to = self.up_to.get_or_insert_default();
        up_to.clear();
        up_to.extend_from_slice(key);
        !self.asked.remove(&hash)
    }

    /// The list has come to its end.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }
}
