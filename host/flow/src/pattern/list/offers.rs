//! Which rows of a batch each pattern of a list is given, and those that anybody is given as one small batch that all of them share.
//!
//! ```text
//! (row, condition) ──► the patterns that have it          of a pattern that passes over rows that fit nothing: these
//! row ──► who has runs of its key (`holders`)             of any other: these too, and all rows where any may begin a run
//! ```

use crate::pattern::order::Ordered;

/// No row of the small batch.
const NOWHERE: u32 = u32::MAX;

/// Rows by pattern.
pub(super) struct Offers {
    /// Per pattern, the rows it is given and the predicates that hold of each; empty between two batches.
    rows: Vec<Vec<(u32, u64)>>,
    /// Patterns that are given some, each once.
    given: Vec<u32>,
    /// Per row of the batch, its number in the small one.
    places: Vec<u32>,
}

impl Offers {
    pub(super) fn new(patterns: usize) -> Self {
        Self { rows: (0..patterns).map(|_| Vec::new()).collect(), given: Vec::new(), places: Vec::new() }
    }

    /// A pattern is given a row of which these predicates hold. Rows of one pattern come in their order.
    #[inline]
    pub(super) fn add(&mut self, pattern: u32, row: u32, holds: u64) {
        let rows = &mut self.rows[pattern as usize];
        match rows.last_mut().filter(|(last, _)| *last == row) {
            Some((_, known)) => *known |= holds,
            None => {
                if rows.is_empty() {
                    self.given.push(pattern);
                }
                rows.push((row, holds));
            }
        }
    }

    /// The same for rows that come in another order than those before: to be followed by [`Self::put_in_order`].
    pub(super) fn add_behind(&mut self, pattern: u32, row: u32) {
        let rows = &mut self.rows[pattern as usize];
        if rows.is_empty() {
            self.given.push(pattern);
        }
        rows.push((row, 0));
    }

    /// The rows of such patterns in their order, each once.
    pub(super) fn put_in_order(&mut self, is_such: impl Fn(u32) -> bool) {
        for pattern in self.given.iter().filter(|pattern| is_such(**pattern)) {
            let rows = &mut self.rows[*pattern as usize];
            rows.sort_unstable_by_key(|(row, _)| *row);
            rows.dedup_by(|(row, holds), (before, known)| {
                let is_same = row == before;
                if is_same {
                    *known |= *holds;
                }
                is_same
            });
        }
    }

    /// The patterns that are given rows, in no order.
    pub(super) fn given(&self) -> &[u32] {
        &self.given
    }

    /// What a pattern is given.
    pub(super) fn of(&self, pattern: u32) -> &[(u32, u64)] {
        &self.rows[pattern as usize]
    }

    /// A pattern is given nothing after all.
    pub(super) fn withdraw(&mut self, is_withdrawn: impl Fn(u32, &[(u32, u64)]) -> bool) {
        let rows = &mut self.rows;
        self.given.retain(|pattern| {
            let own = &mut rows[*pattern as usize];
            let stays = !is_withdrawn(*pattern, own);
            if !stays {
                own.clear();
            }
            stays
        });
    }

    /// The rows that anybody is given, ascending; from now on patterns name rows by their place among these.
    pub(super) fn gather(&mut self, ordered: &Ordered) -> Vec<u32> {
        self.places.clear();
        self.places.resize(ordered.moments.len(), NOWHERE);
        for pattern in &self.given {
            self.rows[*pattern as usize].iter().for_each(|(row, _)| self.places[*row as usize] = 0);
        }
        let mut picked = Vec::new();
        for (row, place) in (0u32..).zip(&mut self.places).filter(|(_, place)| **place != NOWHERE) {
            *place = picked.len() as u32;
            picked.push(row);
        }
        for pattern in &self.given {
            self.rows[*pattern as usize].iter_mut().for_each(|(row, _)| *row = self.places[*row as usize]);
        }
        picked
    }

    /// The batch is over.
    pub(super) fn clear(&mut self) {
        for pattern in self.given.drain(..) {
            self.rows[pattern as usize].clear();
        }
    }
}
