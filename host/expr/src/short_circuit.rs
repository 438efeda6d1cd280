//! `and` and `or`. Where the right side can fail, it is evaluated only for rows that the left side leaves open.
//!
//! DataFusion does that too, but by the share of such rows in the batch, so that `b <> 0 and a / b > 1` would fail or not by a row's
//! neighbours. Where the right side is a plain comparison, taking all rows costs less than picking some out and putting them back.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema};
use datafusion_common::Result;
use datafusion_common::arrow::compute::{and_kleene, or_kleene};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;

/// `left and right`, or `left or right`.
#[derive(Debug)]
pub(crate) struct ShortCircuit {
    pub(crate) is_and: bool,
    /// Whether the right side is for open rows only; else for all rows if any is open.
    pub(crate) open_only: bool,
    pub(crate) left: Arc<dyn PhysicalExpr>,
    pub(crate) right: Arc<dyn PhysicalExpr>,
}

impl PhysicalExpr for ShortCircuit {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(schema)? || self.right.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let left = self.left.evaluate(batch)?.into_array(batch.num_rows())?;
        let left = left.as_boolean();
        // Open is whatever is not settled: null too, for `null and false` is false.
        let open: BooleanArray = match (self.is_and, left.nulls()) {
            (true, None) => left.clone(),
            (true, Some(valid)) => BooleanArray::new(left.values() | &!valid.inner(), None),
            (false, None) => BooleanArray::new(!left.values(), None),
            (false, Some(valid)) => BooleanArray::new(&!left.values() | &!valid.inner(), None),
        };
        if open.true_count() == 0 {
            return Ok(ColumnarValue::Array(Arc::new(left.clone())));
        }
        let right = if self.open_only { self.right.evaluate_selection(batch, &open)? } else { self.right.evaluate(batch)? };
        let right = right.into_array(batch.num_rows())?;
        let right = right.as_boolean();
        let both = if self.is_and { and_kleene(left, right)? } else { or_kleene(left, right)? };
        Ok(ColumnarValue::Array(Arc::new(both)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [left, right]: [_; 2] = children.try_into().expect("as many children as before");
        Ok(Arc::new(Self { is_and: self.is_and, open_only: self.open_only, left, right }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ShortCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, if self.is_and { "and" } else { "or" }, self.right)
    }
}

impl PartialEq for ShortCircuit {
    fn eq(&self, other: &Self) -> bool {
        self.is_and == other.is_and
            && self.open_only == other.open_only
            && self.left.eq(&other.left)
            && self.right.eq(&other.right)
    }
}

impl Eq for ShortCircuit {}

impl Hash for ShortCircuit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_and.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}
