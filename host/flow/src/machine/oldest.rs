//! Who has been in a state longest, at any time, though keys come and go: what `status` says of those that are stuck.
//!
//! ```text
//! heap of (since, key)    one that is not there any more goes when it comes up, and all such go once they are more than those that are
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Entries that nobody minds, however few keys there are.
const IDLE_MIN: usize = 64;

/// The keys of a state by when they came.
#[derive(Debug, Default)]
pub(crate) struct Oldest {
    heap: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Oldest {
    /// A key came.
    pub(crate) fn came(&mut self, since: i64, slot: u32) {
        self.heap.push(Reverse((since, slot)));
    }

    /// Since when the first of `count` keys is there; `is_there` says whether a key is since then.
    pub(crate) fn since(&mut self, count: u64, is_there: impl Fn(i64, u32) -> bool) -> Option<i64> {
        if self.heap.len() > 2 * count as usize + IDLE_MIN {
            self.heap.retain(|Reverse((since, slot))| is_there(*since, *slot));
        }
        while let Some(Reverse((since, slot))) = self.heap.peek().copied() {
            if is_there(since, slot) {
                return Some(since);
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_left_are_forgotten_though_the_first_stays() {
        let mut oldest = Oldest::default();
        oldest.came(5, 1);
        for slot in 2..10_000 {
            oldest.came(10, slot);
            assert_eq!(oldest.since(1, |since, slot| (since, slot) == (5, 1)), Some(5));
        }
        assert!(oldest.heap.len() <= 2 + IDLE_MIN, "{} are kept", oldest.heap.len());
        assert_eq!(oldest.since(0, |_, _| false), None);
    }
}
