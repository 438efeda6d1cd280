//! What comes out of a join: which rows, with which columns, and under which condition.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Field as ArrowField;
use arrow_select::filter::prep_null_mask_filter;
use tidemill_event::batch::time_field;
use tidemill_event::{Field, FieldType, Reason};

use crate::batch::assemble;
use crate::group::KeyIndex;
use crate::join::Side;
use crate::rows::Rows;
use crate::where_step::without;
use crate::{FlowBatch, Outcome, Predicate, StepId, Tested, WINDOW_END, WINDOW_START};

/// The slot of rows whose key has a null.
pub(crate) const NO_KEY: u32 = u32::MAX;

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and left rows without a match.
    Left,
    /// Pairs, and right rows without a match.
    Right,
    /// Pairs, and all rows without a match.
    Full,
    /// Left rows with a match, once, with the first.
    Semi,
    /// Left rows without a match.
    Anti,
}

impl JoinKind {
    /// Whether rows of this side come out without a match.
    pub(crate) fn keeps(self, side: Side) -> bool {
        match side {
            Side::Left => matches!(self, Self::Left | Self::Full | Self::Anti),
            Side::Right => matches!(self, Self::Right | Self::Full),
        }
    }

    /// Whether it matters that a row of this side has had a match.
    pub(crate) fn remembers(self, side: Side) -> bool {
        self.keeps(side) || self == Self::Semi && side == Side::Left
    }

    pub(crate) fn has_right_columns(self) -> bool {
        !matches!(self, Self::Semi | Self::Anti)
    }
}

/// One input.
pub struct JoinSide {
    /// What its columns are called by behind the join: `a` makes `a.x`.
    pub alias: Arc<str>,
    /// Its columns, `_time` aside.
    pub fields: Vec<Field>,
    /// Those whose values must be equal to the other side's, in the same order; none: every pair belongs together.
    pub key: Vec<Field>,
}

/// A row that comes out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) left: Option<u32>,
    pub(crate) right: Option<u32>,
    pub(crate) time: i64,
    pub(crate) origin: u32,
    /// The window it is of; means nothing where there is none.
    pub(crate) window: (i64, i64),
}

/// Makes rows of what belongs together.
pub(crate) struct JoinOutput {
    pub(crate) step: StepId,
    pub(crate) kind: JoinKind,
    pub(crate) left: Arc<str>,
    pub(crate) right: Arc<str>,
    /// What else must hold of a pair, over the columns of both sides.
    pub(crate) condition: Option<Box<dyn Predicate>>,
    /// Rows carry the bounds of their window.
    pub(crate) has_window: bool,
}

impl JoinOutput {
    /// The columns that come out, `_time` aside.
    pub(crate) fn fields(&self, left: &Rows, right: &Rows) -> Vec<Field> {
        self.columns(left, right, self.kind.has_right_columns())
    }

    fn columns(&self, left: &Rows, right: &Rows, has_right: bool) -> Vec<Field> {
        let named = |alias: &str, rows: &Rows, may_miss: bool| -> Vec<Field> {
            let name = |field: &Field| Field::new(&format!("{alias}.{}", field.name), field.ty, field.nullable || may_miss);
            rows.fields().iter().map(name).collect()
        };
        let mut fields = named(&self.left, left, self.kind.keeps(Side::Right));
        if has_right {
            fields.extend(named(&self.right, right, self.kind.keeps(Side::Left)));
        }
        if self.has_window {
            fields.extend([WINDOW_START, WINDOW_END].map(|name| Field::new(name, FieldType::Timestamp(None), false)));
        }
        fields
    }

    /// Whether the condition holds of each pair; `None`: there is none. A pair on which it fails is a dead row.
    pub(crate) fn tested(&self, pairs: &[Made], left: &Rows, right: &Rows, output: &mut Outcome) -> Option<BooleanArray> {
        let condition = self.condition.as_ref()?;
        let rows = self.assembled(pairs, left, right, true);
        let Tested { passes, failed } = condition.test(&rows.rows);
        let passes = if passes.null_count() > 0 { prep_null_mask_filter(&passes) } else { passes };
        if failed.is_empty() {
            return Some(passes);
        }
        let keep = without(passes, failed.iter().map(|(row, _)| *row));
        output.bury(&rows, self.step, failed.into_iter().map(|(row, why)| (row, Reason::Expression, why)).collect());
        Some(keep)
    }

    /// Rows with the columns of the join's kind.
    pub(crate) fn rows(&self, made: &[Made], left: &Rows, right: &Rows) -> FlowBatch {
        self.assembled(made, left, right, self.kind.has_right_columns())
    }

    fn assembled(&self, made: &[Made], left: &Rows, right: &Rows, has_right: bool) -> FlowBatch {
        let times = |time: &dyn Fn(&Made) -> i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_iter_values(made.iter().map(time)).with_timezone("UTC"))
        };
        let mut columns = left.gather(made.iter().map(|made| made.left));
        if has_right {
            columns.extend(right.gather(made.iter().map(|made| made.right)));
        }
        if self.has_window {
            columns.extend([times(&|made| made.window.0), times(&|made| made.window.1)]);
        }
        columns.push(times(&|made| made.time));
        let fields = self.columns(left, right, has_right);
        let fields: Vec<Arc<ArrowField>> =
            fields.iter().map(|field| Arc::new(field.arrow())).chain([Arc::new(time_field())]).collect();
        FlowBatch { rows: assemble(fields, columns, made.len()), origin: made.iter().map(|made| made.origin).collect() }
    }
}

/// The slot of each row's key; rows whose key has a null have none.
pub(crate) fn key_slots(index: &mut KeyIndex, key: &[Field], rows: &RecordBatch) -> Vec<u32> {
    let columns: Vec<ArrayRef> = key
        .iter()
        .map(|field| rows.column_by_name(&field.name).unwrap_or_else(|| panic!("no key column `{}`", field.name)).clone())
        .collect();
    let fields = index
        .by()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Arc::new(field.arrow().with_data_type(column.data_type().clone()).with_nullable(true)));
    let keys = assemble(fields.collect(), columns.clone(), rows.num_rows());
    let mut slots = Vec::new();
    index.slots_of(&keys, &mut slots);
    for nulls in columns.iter().filter_map(|column| column.logical_nulls()) {
        let is_null = BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_null(row));
        for row in is_null.set_indices() {
            let slot = std::mem::replace(&mut slots[row], NO_KEY);
            if slot != NO_KEY {
                index.forget_unheld(&[slot]);
            }
        }
    }
    slots
}
