//! When something is over for each key: the next of all keys, as they come to mean other times.
//!
//! A deadline that is not its key's any more stays in the queue until it would be the next: nothing has to be looked for there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No deadline.
const NEVER: i64 = i64::MAX;

/// At most one deadline of each slot.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// `NEVER`: it has none.
    of: Vec<i64>,
    /// (deadline, slot); one that is not its slot's any more means nothing.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Deadlines {
    /// The slot's deadline is this one; `None`: it has none.
    pub(crate) fn set(&mut self, slot: u32, deadline: Option<i64>) {
        let at = slot as usize;
        if at >= self.of.len() {
            self.of.resize(at + 1, NEVER);
        }
        let deadline = deadline.unwrap_or(NEVER);
        if std::mem::replace(&mut self.of[at], deadline) != deadline && deadline < NEVER {
            self.queue.push(Reverse((deadline, slot)));
        }
    }

    /// The least, if there is one.
    pub(crate) fn next(&mut self) -> Option<i64> {
        while let Some(Reverse((deadline, slot))) = self.queue.peek().copied() {
            if self.of[slot as usize] == deadline {
                return Some(deadline);
            }
            self.queue.pop();
        }
        None
    }

    /// The least, for whoever cannot change anything: [`Self::next`] was asked since the last change.
    pub(crate) fn seen(&self) -> Option<i64> {
        self.queue.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// A slot whose deadline is not after `until`, the least first. It has none then.
    pub(crate) fn pop(&mut self, until: i64) -> Option<u32> {
        self.next().filter(|deadline| *deadline <= until)?;
        let Reverse((_, slot)) = self.queue.pop()?;
        self.of[slot as usize] = NEVER;
        Some(slot)
    }

    /// How many places the queue takes.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_due_once_and_by_its_last_word() {
        let mut deadlines = Deadlines::default();
        for (slot, deadline) in [(1, Some(5)), (0, Some(7)), (1, Some(9)), (2, Some(6)), (2, None), (0, Some(7)), (3, Some(7))] {
            deadlines.set(slot, deadline);
        }
        assert_eq!((deadlines.next(), deadlines.seen()), (Some(7), Some(7)));
        assert_eq!([6, 7, 7, 7].map(|until| deadlines.pop(until)), [None, Some(0), Some(3), None]);
        deadlines.set(0, Some(8));
        assert_eq!([9, 9, 9].map(|until| deadlines.pop(until)), [Some(0), Some(1), None]);
        assert_eq!((deadlines.next(), deadlines.queued()), (None, 0));
    }
}
