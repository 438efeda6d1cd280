//! Makes a planned expression's arithmetic checked, and its `and` and `or` go from left to right.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_schema::{DataType, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NegativeExpr, NotExpr, TryCastExpr,
};

use crate::output::finite;
use crate::short_circuit::ShortCircuit;

/// The same expression, checked: DataFusion's own arithmetic wraps on overflow.
pub(crate) fn checked(tree: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(tree.transform_up(|node| check(node, schema))?.data)
}

fn check(node: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    if let Some(negative) = node.downcast_ref::<NegativeExpr>() {
        let ty = negative.arg().data_type(schema)?;
        if ty.is_integer() {
            let zero = Arc::new(Literal::new(ScalarValue::new_zero(&ty)?));
            let difference = BinaryExpr::new(zero, Operator::Minus, negative.arg().clone()).with_fail_on_overflow(true);
            return Ok(Transformed::yes(Arc::new(difference)));
        }
        return Ok(Transformed::no(node));
    }
    let Some(binary) = node.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(node)) };
    let (left, right) = (binary.left().clone(), binary.right().clone());
    match binary.op() {
        // What costs much per row and cannot fail is left to DataFusion, which picks rows out when they are few.
        Operator::And | Operator::Or => match cost(&right) {
            Cost::Comparison | Cost::CanFail => {
                let open_only = cost(&right) == Cost::CanFail;
                let is_and = *binary.op() == Operator::And;
                Ok(Transformed::yes(Arc::new(ShortCircuit { is_and, open_only, left, right })))
            }
            Cost::Search => Ok(Transformed::no(node)),
        },
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            let ty = node.data_type(schema)?;
            let binary: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true));
            Ok(Transformed::yes(if ty == DataType::Float64 { Arc::new(Finite { inner: binary }) } else { binary }))
        }
        _ => Ok(Transformed::no(node)),
    }
}

/// What evaluating a condition takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// Comparisons of columns and constants: cannot fail, next to nothing per row.
    Comparison,
    /// Looking through texts or lists: cannot fail.
    Search,
    /// Some row could make it fail.
    CanFail,
}

fn cost(node: &Arc<dyn PhysicalExpr>) -> Cost {
    let itself = if let Some(binary) = node.downcast_ref::<BinaryExpr>() {
        match binary.op() {
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => Cost::Comparison,
            _ => Cost::CanFail,
        }
    } else if node.is::<InListExpr>() || node.is::<LikeExpr>() || node.is::<TryCastExpr>() {
        Cost::Search
    } else if node.is::<Column>()
        || node.is::<Literal>()
        || node.is::<NotExpr>()
        || node.is::<IsNullExpr>()
        || node.is::<IsNotNullExpr>()
        || node.is::<ShortCircuit>()
    {
        Cost::Comparison
    } else {
        Cost::CanFail
    };
    node.children().into_iter().map(cost).fold(itself, Cost::max)
}

/// Floats whose rows fail where they are not finite.
#[derive(Debug)]
struct Finite {
    inner: Arc<dyn PhysicalExpr>,
}

impl PhysicalExpr for Finite {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.inner.evaluate(batch)?;
        match &values {
            ColumnarValue::Array(array) => finite(array.as_primitive::<Float64Type>())?,
            ColumnarValue::Scalar(value) => finite(value.to_array()?.as_primitive::<Float64Type>())?,
        }
        Ok(values)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [inner]: [_; 1] = children.try_into().expect("as many children as before");
        Ok(Arc::new(Self { inner }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "finite({})", self.inner)
    }
}

impl PartialEq for Finite {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Finite {}

impl Hash for Finite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}
