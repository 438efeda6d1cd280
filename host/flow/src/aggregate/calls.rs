//! The aggregates of one operator, over one set of groups.
//!
//! Groups are numbers handed out here and given back when nobody needs them; all aggregates have the same. What a group stands for — a key
//! in a slice, a session — is the operator's business.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::Field as ArrowField;
use arrow_select::filter::{filter, prep_null_mask_filter};
use arrow_select::take::{take, take_record_batch};
use tidemill_event::batch::times;
use tidemill_event::{Field, Reason};

use crate::aggregate::component::{ComponentAggregate, Components, Lost};
use crate::aggregate::{Accumulators, Aggregate, AggregateRefused};
use crate::batch::field_of;
use crate::{Outcome, StepId};

/// One aggregate of a step, as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateCall {
    /// The column it makes.
    pub name: Arc<str>,
    /// Which.
    pub aggregate: Aggregate,
    /// The column it is of; `None`: the rows themselves.
    pub argument: Option<Field>,
    /// A bool column: only rows in which it is true count. `None`: all do.
    pub filter: Option<Arc<str>>,
}

struct Call {
    field: Field,
    argument: Option<Arc<str>>,
    filter: Option<Arc<str>>,
    held: Held,
}

/// Where its accumulators are.
enum Held {
    Native(Box<dyn Accumulators>),
    /// In [`Components`], by number.
    Component(usize),
}

impl Call {
    /// The rows that count for it: their groups, their times, its argument.
    fn counted<'a>(&self, groups: &'a [u32], rows: &'a RecordBatch) -> (Cow<'a, [u32]>, Cow<'a, [i64]>, Option<ArrayRef>) {
        let column = |name: &Arc<str>| -> &ArrayRef {
            rows.column_by_name(name).unwrap_or_else(|| panic!("no column `{name}` in the batch"))
        };
        let times = times(rows).values();
        let argument = self.argument.as_ref().map(column);
        let Some(name) = &self.filter else { return (Cow::Borrowed(groups), Cow::Borrowed(times), argument.cloned()) };
        let mask = column(name).as_boolean();
        let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
        let counted: Vec<usize> = mask.values().set_indices().collect();
        let argument = argument.map(|argument| filter(argument.as_ref(), &mask).expect("a bit per row"));
        (counted.iter().map(|row| groups[*row]).collect(), counted.iter().map(|row| times[*row]).collect(), argument)
    }
}

/// Aggregates side by side.
pub struct Aggregates {
    calls: Vec<Call>,
    groups: u32,
    free: Vec<u32>,
    /// Those that are components. Calls change what they leave for the batch's outcome, also where nothing else changes.
    components: Option<RefCell<Components>>,
}

/// The values of all aggregates for some groups.
pub(crate) struct Results {
    /// One column per aggregate.
    pub(crate) columns: Vec<(ArrowField, ArrayRef)>,
    /// Places whose row cannot be said, ascending, each once, with the reason.
    pub(crate) failed: Vec<(usize, Reason, String)>,
    /// Places of which there is nothing to say, ascending: every row of theirs was at fault.
    pub(crate) unseen: Vec<usize>,
}

impl Aggregates {
    /// Without any group. Errors: an aggregate that does not go with its argument.
    pub fn new(calls: &[AggregateCall]) -> Result<Self, AggregateRefused> {
        Self::with_components(calls, Vec::new())
    }

    /// Likewise, with some that are components; each comes to stand at its place among the columns.
    pub fn with_components(calls: &[AggregateCall], mut components: Vec<ComponentAggregate>) -> Result<Self, AggregateRefused> {
        let call = |call: &AggregateCall| {
            let of = call.argument.as_ref().map(|field| field.ty);
            let (ty, nullable) = call.aggregate.output(of)?;
            Ok(Call {
                field: Field::new(&call.name, ty, nullable),
                argument: call.argument.as_ref().map(|field| field.name.clone()),
                filter: call.filter.clone(),
                held: Held::Native(call.aggregate.accumulators(of)?),
            })
        };
        let mut calls: Vec<Call> = calls.iter().map(call).collect::<Result<_, _>>()?;
        components.sort_by_key(|component| component.place);
        for (at, ComponentAggregate { place, value, .. }) in components.iter().enumerate() {
            let call = Call { field: value.clone(), argument: None, filter: None, held: Held::Component(at) };
            calls.insert((*place).min(calls.len()), call);
        }
        let components = (!components.is_empty()).then(|| RefCell::new(Components::new(components)));
        Ok(Self { calls, groups: 0, free: Vec::new(), components })
    }

    /// The step takes a batch. Ends with [`Self::end`].
    pub(crate) fn begin(&mut self, step: StepId, output: &mut Outcome) {
        if let Some(components) = &mut self.components {
            components.get_mut().begin(step, output);
        }
    }

    /// What was called since becomes part of the batch's outcome.
    pub(crate) fn end(&mut self, output: &mut Outcome) {
        if let Some(components) = &mut self.components {
            components.get_mut().end(output);
        }
    }

    fn natives(&mut self) -> impl Iterator<Item = &mut Box<dyn Accumulators>> {
        self.calls.iter_mut().filter_map(|call| match &mut call.held {
            Held::Native(accumulators) => Some(accumulators),
            Held::Component(_) => None,
        })
    }

    /// The columns that come out.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.calls.iter().map(|call| &call.field)
    }

    /// Arrays by group need room for so many.
    pub(crate) fn groups(&self) -> usize {
        self.groups as usize
    }

    /// A group that has seen nothing.
    pub(crate) fn allocate(&mut self) -> u32 {
        if let Some(group) = self.free.pop() {
            self.natives().for_each(|accumulators| accumulators.clear(group));
            if let Some(components) = &mut self.components {
                components.get_mut().clear(group);
            }
            return group;
        }
        let group = self.groups;
        self.groups += 1;
        self.natives().for_each(|accumulators| accumulators.grow(group as usize + 1));
        if let Some(components) = &mut self.components {
            components.get_mut().grow(group as usize + 1);
        }
        group
    }

    /// Nobody needs the group any more.
    pub(crate) fn release(&mut self, group: u32) {
        self.free.push(group);
    }

    /// Row i belongs to `groups[i]`. Answers the rows that a component did not survive: they count for nothing.
    #[must_use]
    pub(crate) fn update(&mut self, groups: &[u32], rows: &RecordBatch) -> Vec<Lost> {
        if groups.is_empty() {
            return Vec::new();
        }
        debug_assert_eq!(groups.len(), rows.num_rows());
        let lost = self.components.as_mut().map_or_else(Vec::new, |components| components.get_mut().update(groups, rows));
        if lost.is_empty() {
            self.update_natives(groups, rows);
        } else {
            let mut is_lost = vec![false; groups.len()];
            lost.iter().for_each(|lost| is_lost[lost.row] = true);
            let left: Vec<u32> = (0..groups.len() as u32).filter(|row| !is_lost[*row as usize]).collect();
            let groups: Vec<u32> = left.iter().map(|row| groups[*row as usize]).collect();
            self.update_natives(&groups, &take_record_batch(rows, &UInt32Array::from(left)).expect("rows of the batch"));
        }
        lost
    }

    fn update_natives(&mut self, groups: &[u32], rows: &RecordBatch) {
        for call in &mut self.calls {
            let (groups, times, argument) = call.counted(groups, rows);
            if let Held::Native(accumulators) = &mut call.held {
                accumulators.update(&groups, &times, argument.as_ref());
            }
        }
    }

    /// For each pair (into, from): `from` counts for `into` too, after what that has seen.
    pub(crate) fn merge(&mut self, pairs: &[(u32, u32)]) {
        if !pairs.is_empty() {
            self.natives().for_each(|accumulators| accumulators.merge(pairs));
            if let Some(components) = &mut self.components {
                components.get_mut().merge(pairs);
            }
        }
    }

    /// Whether all of them can forget.
    pub(crate) fn are_reversible(&mut self) -> bool {
        self.components.as_mut().is_none_or(|components| components.get_mut().retract())
            && self.natives().all(|accumulators| accumulators.as_reversible().is_some())
    }

    /// For each pair (of, from): what `from` has seen, `of` has not any more.
    ///
    /// # Panics
    /// If one of them cannot forget.
    pub(crate) fn subtract(&mut self, pairs: &[(u32, u32)]) {
        if !pairs.is_empty() {
            self.natives().for_each(|accumulators| accumulators.as_reversible().expect("asked before").subtract(pairs));
            if let Some(components) = &mut self.components {
                components.get_mut().retract_pairs(pairs);
            }
        }
    }

    /// The values of these groups.
    pub(crate) fn finish(&self, groups: &[u32]) -> Results {
        let (mut columns, mut failed) = (Vec::with_capacity(self.calls.len()), Vec::new());
        let unseen = self.unseen(groups);
        for call in &self.calls {
            let name = &call.field.name;
            let values = match &call.held {
                Held::Native(accumulators) => {
                    let finished = accumulators.finish(groups);
                    let why = |(place, why)| (place, Reason::Expression, format!("`{name}`: {why}"));
                    failed.extend(finished.failed.into_iter().map(why));
                    finished.values
                }
                Held::Component(at) => self.finish_component(*at, groups, &unseen, name, &mut failed),
            };
            columns.push((field_of(&call.field, &values), values));
        }
        // The first aggregate that fails speaks for its row.
        failed.sort_by_key(|(place, ..)| *place);
        failed.dedup_by_key(|(place, ..)| *place);
        Results { columns, failed, unseen }
    }

    /// Places whose group has seen no row, where components tell.
    fn unseen(&self, groups: &[u32]) -> Vec<usize> {
        let Some(components) = &self.components else { return Vec::new() };
        let components = components.borrow();
        (0..groups.len()).filter(|place| !components.has_seen(groups[*place])).collect()
    }

    fn finish_component(
        &self,
        at: usize,
        groups: &[u32],
        unseen: &[usize],
        name: &str,
        failed: &mut Vec<(usize, Reason, String)>,
    ) -> ArrayRef {
        let mut components = self.components.as_ref().expect("a component has its accumulators there").borrow_mut();
        let why = |place: usize, reason, why: Arc<str>| (place, reason, format!("`{name}`: {why}"));
        if unseen.is_empty() {
            let said = components.finish(at, groups);
            failed.extend(said.failed.into_iter().map(|(place, reason, words)| why(place, reason, words)));
            return said.values;
        }
        let seen: Vec<usize> = (0..groups.len()).filter(|place| unseen.binary_search(place).is_err()).collect();
        let asked: Vec<u32> = seen.iter().map(|place| groups[*place]).collect();
        let said = components.finish(at, &asked);
        failed.extend(said.failed.into_iter().map(|(place, reason, words)| why(seen[place], reason, words)));
        // A value for every place; those of the unseen mean nothing.
        let mut of = vec![0u32; groups.len()];
        seen.iter().zip(0..).for_each(|(place, row)| of[*place] = row);
        if seen.is_empty() {
            return components.nothing(at, groups.len());
        }
        take(&said.values, &UInt32Array::from(of), None).expect("rows of what was said")
    }

    /// Appends the accumulators of a group.
    pub(crate) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let components = self.components.as_ref().map(RefCell::borrow);
        for call in &self.calls {
            match (&call.held, &components) {
                (Held::Native(accumulators), _) => accumulators.encode(group, out),
                (Held::Component(at), Some(components)) => components.encode(*at, group, out),
                (Held::Component(_), None) => unreachable!("a component has its accumulators there"),
            }
        }
        if let Some(components) = components {
            components.encode_seen(group, out);
        }
    }

    /// Reads the accumulators of a group. `None`: these bytes are not theirs.
    pub(crate) fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let Self { calls, components, .. } = self;
        let mut components = components.as_mut().map(RefCell::get_mut);
        for call in calls {
            match (&mut call.held, &mut components) {
                (Held::Native(accumulators), _) => accumulators.decode(group, bytes)?,
                (Held::Component(at), Some(components)) => components.decode(*at, group, bytes)?,
                (Held::Component(_), None) => unreachable!("a component has its accumulators there"),
            }
        }
        components.map_or(Some(()), |components| components.decode_seen(group, bytes))
    }
}
