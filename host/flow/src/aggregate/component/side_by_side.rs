//! The component aggregates of one step, over the same groups as its native ones.
//!
//! A row that one of them does not survive counts for none: those that had it already get back what they were, and all of them go on with the
//! rows that are left. How many rows a group has seen is counted beside them: a group without any is no result, and merging into one is a copy.

use std::borrow::Cow;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;

use crate::aggregate::bytes::take_i64;
use crate::aggregate::component::accumulators::{Combining, ComponentAccumulators, Said};
use crate::aggregate::component::{AggregateCalls, ComponentAggregate, Lost};
use crate::{Outcome, StepId};

/// Them all.
pub(crate) struct Components {
    list: Vec<ComponentAccumulators>,
    /// Per group, how many rows it has seen.
    seen: Vec<i64>,
    calls: AggregateCalls,
}

impl Components {
    pub(crate) fn new(planned: Vec<ComponentAggregate>) -> Self {
        let list = planned.into_iter().map(ComponentAccumulators::new).collect();
        Self { list, seen: Vec::new(), calls: AggregateCalls::new() }
    }

    /// The step takes a batch.
    pub(crate) fn begin(&mut self, step: StepId, output: &mut Outcome) {
        self.calls.begin(step, output);
    }

    /// It has taken it.
    pub(crate) fn end(&mut self, output: &mut Outcome) {
        self.calls.end(output);
    }

    pub(crate) fn grow(&mut self, groups: usize) {
        self.seen.resize(groups, 0);
        self.list.iter_mut().for_each(|own| own.grow(groups));
    }

    pub(crate) fn clear(&mut self, group: u32) {
        self.seen[group as usize] = 0;
        self.list.iter_mut().for_each(|own| own.clear(group));
    }

    /// Whether all of them can take accumulators away again.
    pub(crate) fn retract(&self) -> bool {
        self.list.iter().all(|own| own.retracts)
    }

    /// Whether the group has seen a row.
    pub(crate) fn has_seen(&self, group: u32) -> bool {
        self.seen[group as usize] > 0
    }

    /// Row i belongs to `groups[i]`. Answers the rows that count for no aggregate, ascending.
    pub(crate) fn update(&mut self, groups: &[u32], rows: &RecordBatch) -> Vec<Lost> {
        let is_one = self.list.len() == 1;
        let before: Vec<_> = if is_one { Vec::new() } else { self.list.iter().map(|own| own.snapshot(groups)).collect() };
        let (mut groups, mut rows) = (Cow::Borrowed(groups), Cow::Borrowed(rows));
        // Which row of the batch each of them is, once some are lost.
        let mut numbers: Option<Vec<u32>> = None;
        let mut lost: Vec<Lost> = Vec::new();
        loop {
            let calls = &mut self.calls;
            let here = self.list.iter_mut().map(|own| own.update(&groups, &rows, calls)).find(|here| !here.is_empty());
            let Some(here) = here else { break };
            let left = without(rows.num_rows(), &here);
            let number = |row: usize| numbers.as_ref().map_or(row as u32, |of| of[row]);
            lost.extend(here.into_iter().map(|one| Lost { row: number(one.row) as usize, ..one }));
            numbers = Some(left.iter().map(|row| number(*row as usize)).collect());
            groups = Cow::Owned(left.iter().map(|row| groups[*row as usize]).collect());
            rows = Cow::Owned(take_record_batch(&rows, &UInt32Array::from(left)).expect("rows of the batch"));
            // Of one alone, what failed left nothing behind, and the others are counted.
            self.put_back(&before);
            if is_one || groups.is_empty() {
                break;
            }
        }
        groups.iter().for_each(|group| self.seen[*group as usize] += 1);
        lost.sort_by_key(|one| one.row);
        lost
    }

    fn put_back(&mut self, before: &[(Vec<u32>, RecordBatch)]) {
        self.list.iter_mut().zip(before).for_each(|(own, before)| own.put_back(before));
    }

    /// For each pair (into, from): `from` counts for `into` too, after what that has seen.
    pub(crate) fn merge(&mut self, pairs: &[(u32, u32)]) {
        let mut rest = Vec::with_capacity(pairs.len());
        for (into, from) in pairs.iter().copied() {
            if self.seen[from as usize] == 0 {
                continue;
            }
            if self.seen[into as usize] == 0 {
                self.list.iter_mut().for_each(|own| own.copy(from, into));
            } else {
                rest.push((into, from));
            }
            self.seen[into as usize] += self.seen[from as usize];
        }
        if !rest.is_empty() {
            let Self { list, calls, .. } = self;
            list.iter_mut().for_each(|own| own.combine(Combining::Merge, &rest, calls));
        }
    }

    /// For each pair (of, from): what `from` has seen, `of` has not any more.
    pub(crate) fn retract_pairs(&mut self, pairs: &[(u32, u32)]) {
        let pairs: Vec<(u32, u32)> = pairs.iter().copied().filter(|(_, from)| self.seen[*from as usize] > 0).collect();
        pairs.iter().for_each(|(of, from)| self.seen[*of as usize] -= self.seen[*from as usize]);
        if !pairs.is_empty() {
            let Self { list, calls, .. } = self;
            list.iter_mut().for_each(|own| own.combine(Combining::Retract, &pairs, calls));
        }
    }

    /// What one of them says of these groups, which have seen something.
    pub(crate) fn finish(&mut self, which: usize, groups: &[u32]) -> Said {
        self.list[which].finish(groups, &mut self.calls)
    }

    /// So many values of one of them that mean nothing.
    pub(crate) fn nothing(&self, which: usize, places: usize) -> ArrayRef {
        self.list[which].nothing(places)
    }

    /// Appends what one of them remembers of a group.
    pub(crate) fn encode(&self, which: usize, group: u32, out: &mut Vec<u8>) {
        self.list[which].encode(group, out);
    }

    pub(crate) fn decode(&mut self, which: usize, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.list[which].decode(group, bytes)
    }

    /// Appends how many rows a group has seen; it stands behind everything else of the group.
    pub(crate) fn encode_seen(&self, group: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seen[group as usize].to_le_bytes());
    }

    pub(crate) fn decode_seen(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.seen[group as usize] = take_i64(bytes)?;
        Some(())
    }
}

/// The rows that are not lost.
fn without(rows: usize, lost: &[Lost]) -> Vec<u32> {
    let mut is_lost = vec![false; rows];
    lost.iter().for_each(|one| is_lost[one.row] = true);
    (0..rows as u32).filter(|row| !is_lost[*row as usize]).collect()
}
