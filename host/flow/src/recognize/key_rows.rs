//! The rows of one key that may still be part of a match, in their order.
//!
//! ```text
//!   kept for PREV      the attempt's rows            waiting for NEXT, or not come yet
//! ├───────────────┤├──────────────────────────┤├──────────────────────────────────────┤
//! 0             start            start + attempt.length          arrived       rows.len()
//! ```

use std::collections::VecDeque;

use crate::pattern::Moment;
use crate::recognize::attempt::{Attempt, Taken};

/// A row of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) moment: Moment,
    /// Its number among the rows that are kept.
    pub(crate) row: u32,
    /// The variables whose conditions over the row itself and its neighbours hold; a bit each. Known once it is judged.
    pub(crate) holds: u64,
}

/// The rows, and how far the search is.
#[derive(Debug, Default)]
pub(crate) struct KeyRows {
    pub(crate) rows: VecDeque<KeyRow>,
    /// Where the next match may begin.
    pub(crate) start: usize,
    /// Rows that the search knows of; the others come later in the same batch.
    pub(crate) arrived: usize,
    /// Rows of which `holds` is known.
    pub(crate) judged: usize,
    /// Rows before this one are, or may have been, part of a match.
    pub(crate) matched: usize,
    /// Matches so far.
    pub(crate) matches: u64,
    /// The search behind `start`; made anew of the rows where there is none.
    pub(crate) attempt: Option<Box<Attempt>>,
}

impl KeyRows {
    /// Drops rows that nobody needs: those more than `before` in front of the start. Answers their numbers among the kept rows.
    pub(crate) fn trim(&mut self, before: usize, gone: &mut Vec<u32>) {
        let count = self.start.saturating_sub(before);
        gone.extend(self.rows.drain(..count).map(|row| row.row));
        for place in [&mut self.start, &mut self.arrived, &mut self.judged, &mut self.matched] {
            *place = place.saturating_sub(count);
        }
    }

    /// All rows are older than anything that may look at them.
    pub(crate) fn forget(&mut self, gone: &mut Vec<u32>) {
        debug_assert!(self.start == self.rows.len(), "the search waits for none of them");
        gone.extend(self.rows.drain(..).map(|row| row.row));
        (self.start, self.arrived, self.judged, self.matched) = (0, 0, 0, 0);
    }
}

/// A match, or a row that is part of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its first row; of an empty match the row it stands before.
    pub(crate) begun: Moment,
    /// Counted from 1 for each key; `None`: it is a row that no match has.
    pub(crate) number: Option<u64>,
    /// Rows by number and time: as many as expressions may look at before the first one, the match's, and as many behind it.
    pub(crate) rows: Vec<(u32, i64)>,
    /// How many of them are before the first one.
    pub(crate) before: usize,
    /// What each row of the match was taken for.
    pub(crate) taken: Vec<Taken>,
    /// There is no row to skip to.
    pub(crate) is_stuck: bool,
}
