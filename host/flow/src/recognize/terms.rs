//! What an expression looks at in a match: the value of a column at a row, what a row was taken for, the number of the match, an aggregate.
//!
//! ```text
//! taken    A  B  B  C            price              LAST of all, the row itself
//!             │  │               LAST(B.price, 1)   ─┘ one back among the rows of B
//!             └──┴─ B            PREV(B.price, 2)   from the last row of B two rows back, whatever they are
//! ```

use std::sync::Arc;

use crate::AggregateCall;
use crate::recognize::attempt::Taken;
use crate::recognize::key_rows::{Found, KeyRows};
use crate::recognize::shape::{VariableId, VariableSet};

/// From which end rows of a variable are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// `FIRST`.
    First,
    /// `LAST`.
    Last,
}

/// One row of a match, or near it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Of which rows.
    pub of: VariableSet,
    /// Counted from which end.
    pub end: End,
    /// How many of those rows further on from that end.
    pub logical: u32,
    /// Then so many rows on (`NEXT`), or back (`PREV`).
    pub physical: i32,
    /// Of all rows of the match, not only of those up to the row that comes out: `FINAL`.
    pub is_final: bool,
}

impl Place {
    /// The row itself: the last one that was taken.
    pub const ITSELF: Self = Self { of: VariableSet::ALL, end: End::Last, logical: 0, physical: 0, is_final: false };
}

/// One thing an expression looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// A column of a row; null where there is no such row.
    Column {
        /// Which; it is among those that are kept.
        name: Arc<str>,
        /// Of which row.
        place: Place,
    },
    /// The name of the variable that a row was taken for.
    Classifier(Place),
    /// `MATCH_NUMBER()`.
    MatchNumber,
    /// Over the rows of a match, or those up to the row that comes out.
    Aggregate {
        /// Which; it has no filter of its own.
        call: AggregateCall,
        /// Over which rows.
        of: VariableSet,
        /// Over all of the match.
        is_final: bool,
    },
}

/// Where rows of a match are looked up.
#[derive(Clone, Copy)]
pub(crate) enum Surroundings<'a> {
    /// From the start on.
    Key(&'a KeyRows),
    /// From this row on.
    Row(&'a KeyRows, usize),
    Found(&'a Found),
}

/// A match, or what there is of it, as expressions see it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) rows: Surroundings<'a>,
    /// What rows were taken for, from the first one to the row itself.
    pub(crate) taken: &'a [VariableId],
    /// Likewise, to the end of the match.
    pub(crate) all: &'a [VariableId],
    pub(crate) number: u64,
    /// Views of the same match have the same.
    pub(crate) of: usize,
}

impl View<'_> {
    /// The row so many behind the first one: its number among those that are kept, and its time.
    pub(crate) fn row(&self, at: isize) -> Option<(u32, i64)> {
        match self.rows {
            Surroundings::Key(key) => row_of(key, key.start.checked_add_signed(at)?),
            Surroundings::Row(key, row) => row_of(key, row.checked_add_signed(at)?),
            Surroundings::Found(found) => found.rows.get(found.before.checked_add_signed(at)?).copied(),
        }
    }

    pub(crate) fn taken(&self, is_final: bool) -> &[VariableId] {
        if is_final { self.all } else { self.taken }
    }

    /// Which row of the match a place means, before `PREV` and `NEXT`.
    pub(crate) fn anchor(&self, place: Place) -> Option<usize> {
        let taken = self.taken(place.is_final);
        let logical = place.logical as usize;
        let is_of = |(_, variable): &(usize, &VariableId)| place.of.has(**variable);
        match place.end {
            End::First => taken.iter().enumerate().filter(is_of).nth(logical),
            End::Last => taken.iter().enumerate().rev().filter(is_of).nth(logical),
        }
        .map(|(at, _)| at)
    }

    /// The row a place means. `PREV` and `NEXT` do not look further than `within`.
    pub(crate) fn locate(&self, place: Place, within: Option<i64>) -> Option<u32> {
        let anchor = self.anchor(place)? as isize;
        let (row, time) = self.row(anchor)?;
        if place.physical == 0 {
            return Some(row);
        }
        let (row, other) = self.row(anchor + place.physical as isize)?;
        within.is_none_or(|within| other.abs_diff(time) < within as u64).then_some(row)
    }
}

fn row_of(key: &KeyRows, at: usize) -> Option<(u32, i64)> {
    key.rows.get(at).map(|row| (row.row, row.moment.time))
}

/// What each row was taken for, without the rest.
pub(crate) fn variables(taken: &[Taken]) -> Vec<VariableId> {
    taken.iter().map(|taken| taken.variable).collect()
}
