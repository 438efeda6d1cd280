//! The aggregates of one operator, over one set of groups.
//!
//! Groups are numbers handed out here and given back when nobody needs them; all aggregates have the same. What a group stands for — a key
//! in a slice, a session — is the operator's business.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Field as ArrowField;
use arrow_select::filter::{filter, prep_null_mask_filter};
use tidemill_event::Field;
use tidemill_event::batch::times;

use crate::aggregate::{Accumulators, Aggregate, AggregateRefused};
use crate::batch::field_of;

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
    accumulators: Box<dyn Accumulators>,
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
}

/// The values of all aggregates for some groups.
pub(crate) struct Results {
    /// One column per aggregate.
    pub(crate) columns: Vec<(ArrowField, ArrayRef)>,
    /// Places whose row cannot be said, ascending, each once, with the reason.
    pub(crate) failed: Vec<(usize, String)>,
}

impl Aggregates {
    /// Without any group. Errors: an aggregate that does not go with its argument.
    pub fn new(calls: &[AggregateCall]) -> Result<Self, AggregateRefused> {
        let call = |call: &AggregateCall| {
            let of = call.argument.as_ref().map(|field| field.ty);
            let (ty, nullable) = call.aggregate.output(of)?;
            Ok(Call {
                field: Field::new(&call.name, ty, nullable),
                argument: call.argument.as_ref().map(|field| field.name.clone()),
                filter: call.filter.clone(),
                accumulators: call.aggregate.accumulators(of)?,
            })
        };
        Ok(Self { calls: calls.iter().map(call).collect::<Result<_, _>>()?, groups: 0, free: Vec::new() })
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
            self.calls.iter_mut().for_each(|call| call.accumulators.clear(group));
            return group;
        }
        let group = self.groups;
        self.groups += 1;
        self.calls.iter_mut().for_each(|call| call.accumulators.grow(group as usize + 1));
        group
    }

    /// Nobody needs the group any more.
    pub(crate) fn release(&mut self, group: u32) {
        self.free.push(group);
    }

    /// Row i belongs to `groups[i]`.
    pub(crate) fn update(&mut self, groups: &[u32], rows: &RecordBatch) {
        if groups.is_empty() {
            return;
        }
        debug_assert_eq!(groups.len(), rows.num_rows());
        for call in &mut self.calls {
            let (groups, times, argument) = call.counted(groups, rows);
            call.accumulators.update(&groups, &times, argument.as_ref());
        }
    }

    /// For each pair (into, from): `from` counts for `into` too, after what that has seen.
    pub(crate) fn merge(&mut self, pairs: &[(u32, u32)]) {
        if !pairs.is_empty() {
            self.calls.iter_mut().for_each(|call| call.accumulators.merge(pairs));
        }
    }

    /// Whether all of them can forget.
    pub(crate) fn are_reversible(&mut self) -> bool {
        self.calls.iter_mut().all(|call| call.accumulators.as_reversible().is_some())
    }

    /// For each pair (of, from): what `from` has seen, `of` has not any more.
    ///
    /// # Panics
    /// If one of them cannot forget.
    pub(crate) fn subtract(&mut self, pairs: &[(u32, u32)]) {
        if !pairs.is_empty() {
            let reversible = |call: &mut Call| call.accumulators.as_reversible().expect("asked before").subtract(pairs);
            self.calls.iter_mut().for_each(reversible);
        }
    }

    /// The values of these groups.
    pub(crate) fn finish(&self, groups: &[u32]) -> Results {
        let (mut columns, mut failed) = (Vec::with_capacity(self.calls.len()), Vec::new());
        for call in &self.calls {
            let finished = call.accumulators.finish(groups);
            columns.push((field_of(&call.field, &finished.values), finished.values));
            let name = &call.field.name;
            failed.extend(finished.failed.into_iter().map(|(place, why)| (place, format!("`{name}`: {why}"))));
        }
        // The first aggregate that fails speaks for its row.
        failed.sort_by_key(|(place, _)| *place);
        failed.dedup_by_key(|(place, _)| *place);
        Results { columns, failed }
    }

    /// Appends the accumulators of a group.
    pub(crate) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.calls.iter().for_each(|call| call.accumulators.encode(group, out));
    }

    /// Reads the accumulators of a group. `None`: these bytes are not theirs.
    pub(crate) fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.calls.iter_mut().try_for_each(|call| call.accumulators.decode(group, bytes))
    }
}
