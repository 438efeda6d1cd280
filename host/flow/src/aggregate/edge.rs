//! `first` and `last` by event time; of equal times the one that came first, or last. Nulls are skipped.
//!
//! Of a batch only the row that wins a group is stored, so a value of any type costs a comparison of times a row.

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::take::take;
use hashbrown::HashMap;
use tidemill_event::FieldType;

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::take_i64;
use crate::state_column::StateColumn;

/// Which edge of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    First,
    Last,
}

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Edges {
    edge: Edge,
    values: StateColumn,
    /// The time of the value; means nothing where there is none.
    times: Vec<i64>,
    is_there: Vec<bool>,
}

impl Edges {
    pub(crate) fn new(edge: Edge, of: FieldType) -> Self {
        Self { edge, values: StateColumn::new(of), times: Vec::new(), is_there: Vec::new() }
    }

    /// Whether a row that comes now takes the place of one at `old`.
    fn wins(&self, time: i64, old: i64) -> bool {
        match self.edge {
            Edge::First => time < old,
            Edge::Last => time >= old,
        }
    }

    /// Values of `column`, one per group of `slots`, are the winners.
    fn store(&mut self, slots: &[u32], column: &dyn Array) {
        self.values.store(slots, column, &mut vec![false; slots.len()]);
    }
}

impl Accumulators for Edges {
    fn grow(&mut self, groups: usize) {
        (self.times.len()..groups).for_each(|_| self.values.push_null());
        self.times.resize(groups, 0);
        self.is_there.resize(groups, false);
    }

    fn clear(&mut self, group: u32) {
        self.is_there[group as usize] = false;
    }

    fn update(&mut self, groups: &[u32], times: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("first and last have an argument");
        let nulls = column.logical_nulls();
        let mut winners: HashMap<u32, u32, ahash::RandomState> = HashMap::default();
        for (row, group) in groups.iter().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let at = *group as usize;
            if !self.is_there[at] || self.wins(times[row], self.times[at]) {
                self.is_there[at] = true;
                self.times[at] = times[row];
                winners.insert(*group, row as u32);
            }
        }
        if winners.is_empty() {
            return;
        }
        let (slots, rows): (Vec<u32>, Vec<u32>) = winners.into_iter().unzip();
        let column = take(column.as_ref(), &UInt32Array::from(rows), None).expect("rows of the batch");
        self.store(&slots, column.as_ref());
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let (at, other) = (*into as usize, *from as usize);
            if self.is_there[other] && (!self.is_there[at] || self.wins(self.times[other], self.times[at])) {
                self.is_there[at] = true;
                self.times[at] = self.times[other];
                let value = self.values.load(&[*from]);
                self.store(&[*into], value.as_ref());
            }
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = self.values.load(groups);
        let missing: arrow_array::BooleanArray = groups.iter().map(|group| Some(!self.is_there[*group as usize])).collect();
        let values = if missing.true_count() == 0 { values } else { nullified(&values, &missing) };
        Finished { values, failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let is_there = self.is_there[group as usize];
        out.push(u8::from(is_there));
        if is_there {
            out.extend_from_slice(&self.times[group as usize].to_le_bytes());
            self.values.encode(group as usize, out);
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let (is_there, rest) = bytes.split_first()?;
        *bytes = rest;
        self.is_there[group as usize] = *is_there == 1;
        match is_there {
            0 => {}
            1 => {
                self.times[group as usize] = take_i64(bytes)?;
                self.values.decode(group as usize, bytes)?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Null where `missing` says so.
fn nullified(values: &ArrayRef, missing: &arrow_array::BooleanArray) -> ArrayRef {
    arrow_select::nullif::nullif(values.as_ref(), missing).expect("a mask of the same length")
}
