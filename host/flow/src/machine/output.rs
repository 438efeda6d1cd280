//! The rows that tell what machines did: the key, where it went from and to, what moved it, and the columns that were said.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow_cast::cast;
use arrow_schema::Field as ArrowField;
use arrow_select::interleave::interleave;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType};

use crate::FlowBatch;
use crate::batch::{assemble, field_of};
use crate::group::KeyIndex;
use crate::machine::{FROM, KIND, MachineState, TO};

/// What moved a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    ByEvent,
    ByTime,
    /// Nothing: the row was illegal.
    Not,
}

/// Where a row goes among the others: the input row that let it out, the instant, time before events, the event.
pub(crate) type Rank = (u32, i64, bool, u64);

/// A row to be.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) rank: Rank,
    pub(crate) slot: u32,
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) moved: Moved,
    pub(crate) time: i64,
    /// For each column, which array of its [`Sources`] and which place in it.
    pub(crate) values: Vec<(u32, u32)>,
}

/// The arrays that columns are made of; the first of each is a null.
pub(crate) struct Sources {
    of: Vec<Vec<ArrayRef>>,
    columns: Vec<Field>,
}

impl Sources {
    pub(crate) fn new(columns: &[Field]) -> Self {
        let of = columns.iter().map(|field| vec![new_null_array(&field.ty.arrow(), 1)]).collect();
        Self { of, columns: columns.to_vec() }
    }

    /// What a row says of columns that nobody fills.
    pub(crate) fn nulls(&self) -> Vec<(u32, u32)> {
        vec![(0, 0); self.of.len()]
    }

    /// Values of a column; answers which array they are.
    pub(crate) fn add(&mut self, column: u32, values: &ArrayRef) -> u32 {
        let field = &self.columns[column as usize];
        let plain = cast(values, &field.ty.arrow()).expect("a column of its own type, a dictionary of it perhaps");
        let of = &mut self.of[column as usize];
        of.push(plain);
        of.len() as u32 - 1
    }
}

/// The columns that come out, `_time` aside.
pub(crate) fn fields(by: &[Field], columns: &[Field]) -> Vec<Field> {
    let text = |name: &str| Field::new(name, FieldType::String, false);
    by.iter().cloned().chain([FROM, TO, KIND].map(text)).chain(columns.iter().cloned()).collect()
}

/// The rows, in the order of their ranks.
pub(crate) fn rows(mut told: Vec<Told>, sources: &Sources, index: &KeyIndex, states: &[MachineState]) -> FlowBatch {
    told.sort_by_key(|told| told.rank);
    let mut columns: Vec<(ArrowField, ArrayRef)> = Vec::new();
    for (field, column) in index.by().iter().zip(index.columns(told.iter().map(|told| told.slot))) {
        columns.push((field_of(field, &column), column));
    }
    let mut text = |name: &str, of: &dyn Fn(&Told) -> String| {
        let column: StringArray = told.iter().map(|told| Some(of(told))).collect();
        columns.push((Field::new(name, FieldType::String, false).arrow(), Arc::new(column)));
    };
    let name = |state: u16| states[usize::from(state)].name.to_string();
    text(FROM, &|told| name(told.from));
    text(TO, &|told| name(told.to));
    text(KIND, &|told| match told.moved {
        Moved::ByEvent => "event".to_owned(),
        Moved::ByTime => "timeout".to_owned(),
        Moved::Not => "illegal".to_owned(),
    });
    for (at, field) in sources.columns.iter().enumerate() {
        let arrays: Vec<&dyn Array> = sources.of[at].iter().map(AsRef::as_ref).collect();
        let picks: Vec<(usize, usize)> =
            told.iter().map(|told| told.values[at]).map(|(array, place)| (array as usize, place as usize)).collect();
        columns.push((field.arrow(), interleave(&arrays, &picks).expect("arrays of one type")));
    }
    let times = TimestampMicrosecondArray::from_iter_values(told.iter().map(|told| told.time)).with_timezone("UTC");
    columns.push((time_field(), Arc::new(times)));
    let (fields, columns) = columns.into_iter().map(|(field, column)| (Arc::new(field), column)).unzip();
    FlowBatch { rows: assemble(fields, columns, told.len()), origin: told.iter().map(|told| told.rank.0).collect() }
}
