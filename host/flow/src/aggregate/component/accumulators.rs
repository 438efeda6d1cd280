//! The accumulators of one component aggregate: a column per declared field, a row per group.
//!
//! Row 0 is that of a group that has seen nothing; group g is row g + 1. A group whose accumulator was lost in a `merge` or a `retract` that
//! failed says so when it is asked for its value.
//!
//! ```text
//! stored:   00 fields…                an accumulator (`state_column.rs`)
//!           01 ending fields…         one that was lost, with how: its place in `Ending::ALL`
//! ```

use std::sync::Arc;

use ahash::AHashMap;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, make_array, new_null_array};
use arrow_schema::SchemaRef;
use arrow_select::take::take;
use tidemill_event::{Ending, Field, KeyedState, Reason, RuleCall};

use crate::aggregate::component::arguments::Arguments;
use crate::aggregate::component::halving::Halving;
use crate::aggregate::component::{AggregateCalls, AggregateGuest, ComponentAggregate, Failed, Lost};
use crate::state_column::StateColumn;

const NONE: u32 = u32::MAX;

/// What is done to accumulators with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combining {
    Merge,
    Retract,
}

/// What was said of groups.
pub(crate) struct Said {
    /// In the order asked for.
    pub(crate) values: ArrayRef,
    /// Places without a value, ascending.
    pub(crate) failed: Vec<(usize, Reason, Arc<str>)>,
}

/// One aggregate for all groups of a step.
pub(crate) struct ComponentAccumulators {
    value: Field,
    arguments: Arguments,
    pub(crate) retracts: bool,
    schema: SchemaRef,
    columns: Vec<StateColumn>,
    lost: AHashMap<u32, Failed>,
    guest: Box<dyn AggregateGuest>,
    /// Per group its number in the call being put together.
    number: Vec<u32>,
}

impl ComponentAccumulators {
    pub(crate) fn new(planned: ComponentAggregate) -> Self {
        let ComponentAggregate { place: _, value, arguments, filter, first, retracts, guest } = planned;
        let column = |(field, first): (&Arc<arrow_schema::Field>, &ArrayRef)| {
            let ty = Field::from_arrow(field).unwrap_or_else(|| panic!("no state of type {field}")).ty;
            let mut column = StateColumn::new(ty);
            column.push_null();
            column.store(&[0], first.as_ref(), &mut [false]);
            column
        };
        let columns = first.schema_ref().fields().iter().zip(first.columns()).map(column).collect();
        let schema = first.schema();
        let arguments = Arguments::new(arguments, filter);
        Self { value, arguments, retracts, schema, columns, lost: AHashMap::new(), guest, number: Vec::new() }
    }

    pub(crate) fn grow(&mut self, groups: usize) {
        for group in self.number.len()..groups {
            self.columns.iter_mut().for_each(|column| column.push_null());
            self.number.push(NONE);
            self.clear(group as u32);
        }
    }

    pub(crate) fn clear(&mut self, group: u32) {
        self.copy_row(0, group as usize + 1);
        self.lost.remove(&group);
    }

    /// `into` is what `from` is.
    pub(crate) fn copy(&mut self, from: u32, into: u32) {
        self.copy_row(from as usize + 1, into as usize + 1);
        match self.lost.get(&from).cloned() {
            Some(failed) => drop(self.lost.insert(into, failed)),
            None => drop(self.lost.remove(&into)),
        }
    }

    fn copy_row(&mut self, from: usize, into: usize) {
        self.columns.iter_mut().for_each(|column| column.copy(from, into));
    }

    fn rows(&self, groups: &[u32]) -> RecordBatch {
        let slots: Vec<u32> = groups.iter().map(|group| group + 1).collect();
        let columns = self.columns.iter().map(|column| column.load(&slots)).collect();
        RecordBatch::try_new(self.schema.clone(), columns).expect("accumulators have the declared types")
    }

    fn store(&mut self, groups: &[u32], rows: &RecordBatch) {
        let slots: Vec<u32> = groups.iter().map(|group| group + 1).collect();
        let mut changed = vec![false; slots.len()];
        for (column, values) in self.columns.iter_mut().zip(rows.columns()) {
            column.store(&slots, values.as_ref(), &mut changed);
        }
    }

    /// The accumulators as they are, to be put back by [`Self::put_back`].
    pub(crate) fn snapshot(&self, groups: &[u32]) -> (Vec<u32>, RecordBatch) {
        let mut distinct = groups.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let rows = self.rows(&distinct);
        (distinct, rows)
    }

    pub(crate) fn put_back(&mut self, (groups, rows): &(Vec<u32>, RecordBatch)) {
        self.store(groups, rows);
    }

    /// The groups of a call, each once by first appearance, and the number of each row's.
    fn numbered(&mut self, groups: impl Iterator<Item = u32>) -> (Vec<u32>, Arc<[u32]>) {
        let mut distinct = Vec::new();
        let numbers = groups
            .map(|group| {
                let number = &mut self.number[group as usize];
                if *number == NONE {
                    *number = distinct.len() as u32;
                    distinct.push(group);
                }
                *number
            })
            .collect();
        distinct.iter().for_each(|group| self.number[*group as usize] = NONE);
        (distinct, numbers)
    }

    /// Row i counts for `groups[i]`, unless a filter or a null says that it does not. Answers the rows at fault, ascending.
    pub(crate) fn update(&mut self, groups: &[u32], rows: &RecordBatch, calls: &mut AggregateCalls) -> Vec<Lost> {
        let (arguments, counted) = self.arguments.of(rows);
        let Some(counted) = counted else { return self.update_all(groups, &arguments, calls) };
        let groups: Vec<u32> = counted.iter().map(|row| groups[*row as usize]).collect();
        let lost = self.update_all(&groups, &arguments, calls);
        lost.into_iter().map(|lost| Lost { row: counted[lost.row] as usize, ..lost }).collect()
    }

    fn update_all(&mut self, groups: &[u32], arguments: &RecordBatch, calls: &mut AggregateCalls) -> Vec<Lost> {
        let mut lost = Vec::new();
        let mut halving = Halving::of(groups.len());
        while let Some((range, tries)) = halving.next() {
            let columns = arguments.slice(range.start, range.len());
            let (distinct, row_to_key) = self.numbered(groups[range.clone()].iter().copied());
            let state = Some(KeyedState { row_to_key, rows: self.rows(&distinct) });
            let call = RuleCall { columns, state };
            match calls.update(range.len(), &mut *self.guest, |guest| guest.update(&call), |answer| answer.usage) {
                Ok(answer) => {
                    self.store(&distinct, &answer.state);
                    lost.extend(answer.notes.into_iter().map(|note| Lost {
                        row: range.start + note.row as usize,
                        reason: Reason::RejectedByComponent,
                        error: note.text.into(),
                        backtrace: "".into(),
                    }));
                }
                Err(failed) => {
                    if halving.failed(&range, tries, failed.ending) {
                        lost.extend(range.map(|row| Lost {
                            row,
                            reason: failed.reason(),
                            error: failed.error.clone(),
                            backtrace: failed.backtrace.clone(),
                        }));
                    }
                }
            }
        }
        lost
    }

    /// For each pair (into, from): `from` counts for `into` too, or does not any more.
    pub(crate) fn combine(&mut self, how: Combining, pairs: &[(u32, u32)], calls: &mut AggregateCalls) {
        // By group, each with its others in their order: what fails is a group.
        let mut pairs: Vec<(u32, u32)> = pairs.iter().copied().filter(|(into, _)| !self.lost.contains_key(into)).collect();
        if pairs.is_empty() {
            return;
        }
        pairs.sort_by_key(|(into, _)| *into);
        let mut starts: Vec<usize> = Vec::new();
        for (at, (into, _)) in pairs.iter().enumerate() {
            if at == 0 || pairs[at - 1].0 != *into {
                starts.push(at);
            }
        }
        let groups = starts.len();
        starts.push(pairs.len());
        if !self.lost.is_empty() {
            for group in starts.windows(2) {
                let members = &pairs[group[0]..group[1]];
                if let Some(failed) = members.iter().find_map(|(_, from)| self.lost.get(from).cloned()) {
                    self.lost.insert(members[0].0, failed);
                }
            }
        }
        let mut halving = Halving::of(groups);
        while let Some((range, tries)) = halving.next() {
            let part = &pairs[starts[range.start]..starts[range.end]];
            let from: Vec<u32> = part.iter().map(|(_, from)| *from).collect();
            let (distinct, row_to_key) = self.numbered(part.iter().map(|(into, _)| *into));
            let call = RuleCall { columns: self.rows(&from), state: Some(KeyedState { row_to_key, rows: self.rows(&distinct) }) };
            let make = |guest: &mut dyn AggregateGuest| match how {
                Combining::Merge => guest.merge(&call),
                Combining::Retract => guest.retract(&call),
            };
            match calls.call(from.len(), &mut *self.guest, make, |answer| answer.usage) {
                Ok(answer) => {
                    self.store(&distinct, &answer.state);
                    for note in answer.notes {
                        let failed = Failed { error: note.text.into(), ..Failed::without_words(Ending::GuestError) };
                        self.lost.insert(part[note.row as usize].0, failed);
                    }
                }
                Err(failed) => {
                    if halving.failed(&range, tries, failed.ending) {
                        self.lost.extend(distinct.into_iter().map(|group| (group, failed.clone())));
                    }
                }
            }
        }
    }

    /// The values of these groups, all of which have seen something.
    pub(crate) fn finish(&mut self, groups: &[u32], calls: &mut AggregateCalls) -> Said {
        let mut failed: Vec<(usize, Reason, Arc<str>)> = Vec::new();
        let mut asked: Vec<usize> = Vec::with_capacity(groups.len());
        for (place, group) in groups.iter().enumerate() {
            match self.lost.get(group) {
                Some(lost) => failed.push((place, lost.reason(), lost.error.clone())),
                None => asked.push(place),
            }
        }
        // What was said, and for each place where.
        let (mut said, mut at, mut length) = (Vec::new(), vec![NONE; groups.len()], 0);
        let mut halving = Halving::of(asked.len());
        while let Some((range, tries)) = halving.next() {
            let places = &asked[range.clone()];
            let columns = self.rows(&places.iter().map(|place| groups[*place]).collect::<Vec<_>>());
            let call = RuleCall { columns, state: None };
            match calls.call(places.len(), &mut *self.guest, |guest| guest.finish(&call), |answer| answer.usage) {
                Ok(answer) => {
                    places.iter().zip(length..).for_each(|(place, row)| at[*place] = row);
                    length += places.len() as u32;
                    let notes = answer.notes.into_iter();
                    failed.extend(notes.map(|note| (places[note.row as usize], Reason::RejectedByComponent, note.text.into())));
                    said.push(answer.values);
                }
                Err(ended) => {
                    if halving.failed(&range, tries, ended.ending) {
                        failed.extend(places.iter().map(|place| (*place, ended.reason(), ended.error.clone())));
                    }
                }
            }
        }
        failed.sort_by_key(|(place, ..)| *place);
        Said { values: spread(&self.value, said, &at), failed }
    }

    /// So many values that mean nothing.
    pub(crate) fn nothing(&self, places: usize) -> ArrayRef {
        spread(&self.value, Vec::new(), &vec![NONE; places])
    }

    pub(crate) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        match self.lost.get(&group) {
            Some(failed) => {
                let ending = Ending::ALL.iter().position(|ending| *ending == failed.ending).expect("it is one of them");
                out.extend([1, ending as u8]);
            }
            None => out.push(0),
        }
        self.columns.iter().for_each(|column| column.encode(group as usize + 1, out));
    }

    pub(crate) fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        match bytes.split_off_first()? {
            0 => drop(self.lost.remove(&group)),
            1 => {
                let ending = *Ending::ALL.get(usize::from(*bytes.split_off_first()?))?;
                self.lost.insert(group, Failed::without_words(ending));
            }
            _ => return None,
        }
        self.columns.iter_mut().try_for_each(|column| column.decode(group as usize + 1, bytes))
    }
}

/// A value per place: that which was said there; where nothing was, any.
fn spread(field: &Field, said: Vec<ArrayRef>, at: &[u32]) -> ArrayRef {
    let plain = |values: ArrayRef| arrow_cast::cast(&values, &field.ty.arrow()).expect("a dictionary casts to its values");
    let said: Vec<ArrayRef> = said.into_iter().map(plain).collect();
    match said.as_slice() {
        [] => {
            // Nulls without their nulls: whatever is shortest.
            let nothing = new_null_array(&field.ty.arrow(), at.len()).to_data().into_builder().nulls(None);
            make_array(nothing.build().expect("the values behind nulls are values"))
        }
        [whole] if whole.len() == at.len() => whole.clone(),
        parts => {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            let all = arrow_select::concat::concat(&parts).expect("values of one type");
            let at: UInt32Array = at.iter().map(|at| if *at == NONE { 0 } else { *at }).collect();
            take(&all, &at, None).expect("rows of what was said")
        }
    }
}
