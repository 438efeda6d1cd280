//! What conditions ask of a run, kept beside every link of its chain: a link's values are those of the link before it and one event more, so
//! that no chain is ever walked. Runs that part share what they have in common here, too.
//!
//! ```text
//! node        a1            b1            b2            conditions ask count(b), sum(b.amount), last(a.amount)
//! count(b)    0             1             2
//! sum         –             b1            b1 + b2       numbers are kept as numbers,
//! last        event a1      event a1      event a1      values of any type as the event that has them
//! ```
//! None of it is stored: chains are, and their values follow from them.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, new_null_array};
use arrow_schema::DataType;
use tidemill_event::{Field, FieldType};

use crate::aggregate::{Aggregate, AggregateRefused};
use crate::pattern::automaton::StageId;
use crate::pattern::buffer::{Buffer, NO_NODE};
use crate::pattern::conditions::FRESH;
use crate::rows::Rows;

/// A value that conditions ask of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunValue {
    /// Over its events of this stage; `None`: over all.
    pub stage: Option<Arc<str>>,
    aggregate: Aggregate,
    argument: Option<Field>,
    output: (FieldType, bool),
}

impl RunValue {
    /// One of `count`, `sum`, `avg`, `min`, `max`, `first`, `last`. Errors: another one, or one that does not go with its argument.
    pub fn new(stage: Option<Arc<str>>, aggregate: Aggregate, argument: Option<Field>) -> Result<Self, AggregateRefused> {
        use Aggregate::{Average, Count, First, Last, Max, Min, Sum};
        let output = aggregate.output(argument.as_ref().map(|field| field.ty))?;
        let is_decimal = matches!(argument, Some(Field { ty: FieldType::Decimal { .. }, .. }));
        match aggregate {
            Count | Min | Max | First | Last => Ok(Self { stage, aggregate, argument, output }),
            Sum | Average if !is_decimal => Ok(Self { stage, aggregate, argument, output }),
            Sum | Average => Err(AggregateRefused { aggregate, needs: "needs int64 or float64 in a condition" }),
            _ => Err(AggregateRefused {
                aggregate,
                needs: "is not kept for conditions: they ask count, sum, avg, min, max, first and last",
            }),
        }
    }

    /// The type of the value, and whether it may be null.
    pub fn output(&self) -> (FieldType, bool) {
        self.output
    }

    /// The column of an event it is made of.
    pub fn argument(&self) -> Option<&Field> {
        self.argument.as_ref()
    }
}

/// A value of one link.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Nothing,
    Whole(i64),
    /// A sum beyond what an int64 holds; it stays so.
    TooLarge,
    Real(f64),
    Mean {
        sum: f64,
        count: u32,
    },
    /// The value of that event.
    Event(u32),
}

/// Where the rows of events are.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// Those of the batch on its way.
    pub(crate) batch: Option<&'a RecordBatch>,
    pub(crate) kept: &'a Rows,
}

/// The values of all links.
#[derive(Debug, Default)]
pub(crate) struct Running {
    values: Vec<(RunValue, Option<StageId>)>,
    /// The argument of each value, among the columns that are kept and in the batch on its way.
    in_kept: Vec<usize>,
    in_batch: Vec<usize>,
    cells: Vec<Cell>,
}

impl Running {
    /// # Panics
    /// If an argument is not kept, or a stage not there: the plan checks both.
    pub(crate) fn new(values: Vec<RunValue>, kept: &[Field], stage: impl Fn(&str) -> Option<StageId>) -> Self {
        let place = |value: &RunValue| {
            let argument = value.argument.as_ref()?;
            Some(kept.iter().position(|field| field.name == argument.name).expect("an argument is kept"))
        };
        let in_kept = values.iter().map(|value| place(value).unwrap_or(0)).collect();
        let id = |value: &RunValue| value.stage.as_ref().map(|name| stage(name).expect("its stage is in the pattern"));
        let values = values.into_iter().map(|value| (id(&value), value)).map(|(stage, value)| (value, stage)).collect();
        Self { values, in_kept, in_batch: Vec::new(), cells: Vec::new() }
    }

    /// A batch is on its way.
    pub(crate) fn meet(&mut self, rows: &RecordBatch) {
        self.in_batch.clear();
        for (value, _) in &self.values {
            let place =
                value.argument.as_ref().map(|field| rows.schema_ref().index_of(&field.name).expect("a column of the batch"));
            self.in_batch.push(place.unwrap_or(0));
        }
    }

    /// A chain has become longer by its last link.
    pub(crate) fn took(&mut self, buffer: &Buffer, node: u32, places: Places<'_>) {
        let width = self.values.len();
        if width == 0 {
            return;
        }
        let (previous, stage, event) = (buffer.previous(node), buffer.stage(node), buffer.event_of(node));
        let first = node as usize * width;
        if self.cells.len() < first + width {
            self.cells.resize(first + width, Cell::Nothing);
        }
        for at in 0..width {
            let before = if previous == NO_NODE { Cell::Nothing } else { self.cells[previous as usize * width + at] };
            let is_of = self.values[at].1.is_none_or(|of| of == stage);
            self.cells[first + at] = if is_of { self.more(at, before, event, buffer, places) } else { before };
        }
    }

    fn more(&self, at: usize, before: Cell, event: u32, buffer: &Buffer, places: Places<'_>) -> Cell {
        let (value, _) = &self.values[at];
        let whole = |before: Cell, more: i64| match before {
            Cell::Whole(sum) => sum.checked_add(more).map_or(Cell::TooLarge, Cell::Whole),
            Cell::TooLarge => Cell::TooLarge,
            _ => Cell::Whole(more),
        };
        if value.argument.is_none() {
            return whole(before, 1);
        }
        let (column, row) = self.column(at, event, buffer, places);
        if column.is_null(row) {
            return before;
        }
        match value.aggregate {
            Aggregate::Count => whole(before, 1),
            Aggregate::Sum => match (number(column, row), before) {
                (Number::Whole(more), before) => whole(before, more),
                (Number::Real(more), Cell::Real(sum)) => Cell::Real(sum + more),
                (Number::Real(more), _) => Cell::Real(more),
            },
            Aggregate::Average => {
                let more = match number(column, row) {
                    Number::Whole(more) => more as f64,
                    Number::Real(more) => more,
                };
                match before {
                    Cell::Mean { sum, count } => Cell::Mean { sum: sum + more, count: count.saturating_add(1) },
                    _ => Cell::Mean { sum: more, count: 1 },
                }
            }
            Aggregate::First => {
                if let Cell::Event(_) = before {
                    before
                } else {
                    Cell::Event(event)
                }
            }
            Aggregate::Min | Aggregate::Max => {
                let Cell::Event(best) = before else { return Cell::Event(event) };
                let (of_best, best_row) = self.column(at, best, buffer, places);
                let order = compare((column, row), (of_best, best_row));
                let wins = if value.aggregate == Aggregate::Min { order.is_lt() } else { order.is_gt() };
                if wins { Cell::Event(event) } else { before }
            }
            _ => Cell::Event(event),
        }
    }

    /// The argument of a value in the row of an event.
    fn column<'a>(&self, at: usize, event: u32, buffer: &Buffer, places: Places<'a>) -> (&'a ArrayRef, usize) {
        let row = buffer.taken(event).row;
        match places.batch {
            Some(batch) if row & FRESH != 0 => (batch.column(self.in_batch[at]), (row & !FRESH) as usize),
            _ => {
                let (rows, row) = places.kept.at(row);
                (rows.column(self.in_kept[at]), row)
            }
        }
    }

    /// A value of a run, as a column of one row. Errors: there is none that could be said.
    pub(crate) fn value(&self, at: usize, node: u32, buffer: &Buffer, places: Places<'_>) -> Result<ArrayRef, String> {
        let (value, _) = &self.values[at];
        let cell = if node == NO_NODE { Cell::Nothing } else { self.cells[node as usize * self.values.len() + at] };
        Ok(match cell {
            Cell::Nothing if value.aggregate == Aggregate::Count => Arc::new(Int64Array::from(vec![0])),
            Cell::Nothing => new_null_array(&value.output.0.arrow(), 1),
            Cell::Whole(number) => Arc::new(Int64Array::from(vec![number])),
            Cell::TooLarge => return Err("a sum is beyond what an int64 holds".to_owned()),
            Cell::Real(number) => Arc::new(Float64Array::from(vec![number])),
            Cell::Mean { sum, count } => Arc::new(Float64Array::from(vec![sum / f64::from(count)])),
            Cell::Event(event) => {
                let (column, row) = self.column(at, event, buffer, places);
                column.slice(row, 1)
            }
        })
    }
}

enum Number {
    Whole(i64),
    Real(f64),
}

/// # Panics
/// If the column has no numbers: the plan checks the type.
fn number(column: &ArrayRef, row: usize) -> Number {
    match column.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Number::Whole(numbers.value(row)),
        None => Number::Real(column.as_primitive::<Float64Type>().value(row)),
    }
}

/// Two values of one type, neither of them null. Doubles as sorting orders them: NaN is the greatest.
fn compare((left, at): (&ArrayRef, usize), (right, beside): (&ArrayRef, usize)) -> Ordering {
    match left.data_type() {
        DataType::Int64 => left.as_primitive::<Int64Type>().value(at).cmp(&right.as_primitive::<Int64Type>().value(beside)),
        DataType::Timestamp(..) => {
            let times = |column: &ArrayRef, row| column.as_primitive::<TimestampMicrosecondType>().value(row);
            times(left, at).cmp(&times(right, beside))
        }
        DataType::Decimal128(..) => {
            left.as_primitive::<Decimal128Type>().value(at).cmp(&right.as_primitive::<Decimal128Type>().value(beside))
        }
        DataType::Float64 => {
            let (left, right) = (left.as_primitive::<Float64Type>().value(at), right.as_primitive::<Float64Type>().value(beside));
            left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
        }
        DataType::Binary => left.as_binary::<i32>().value(at).cmp(right.as_binary::<i32>().value(beside)),
        _ => text(left, at).cmp(text(right, beside)),
    }
}

fn text(column: &ArrayRef, row: usize) -> &str {
    match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => dictionary.values().as_string::<i32>().value(dictionary.keys().value(row) as usize),
        None => column.as_string::<i32>().value(row),
    }
}
