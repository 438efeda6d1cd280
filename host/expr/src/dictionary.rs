//! Parts of an expression that read one string column: evaluated once per dictionary entry, not once per row.
//!
//! ```text
//! status:  entries [ok, error]   keys [0 0 1 0 …]        status = 'ok':  entries [true, false] ──keys──► [true true false true …]
//! ```
//! DataFusion sees plain strings only: every string column of a planned expression stands inside one of these nodes, which is as large a
//! part of the expression as reads that column alone. So there is one plan for both forms of a column, and both give the same.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, UInt32Array, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use arrow_select::concat::concat;
use arrow_select::take::take;
use datafusion_common::Result;
use datafusion_common::arrow::compute::kernels::cmp::{eq, neq};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

/// Wraps the largest parts that read one string column. `is_string` says which columns those are.
pub(crate) fn on_dictionaries(tree: Arc<dyn PhysicalExpr>, is_string: &dyn Fn(usize) -> bool) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(tree
        .transform_down(|node| {
            Ok(match the_column(&node)? {
                Some(index) if is_string(index) => {
                    Transformed::new(Arc::new(OnDictionary::new(node, index)?), true, TreeNodeRecursion::Jump)
                }
                Some(_) | None => Transformed::no(node),
            })
        })?
        .data)
}

/// The one column an expression reads.
fn the_column(tree: &Arc<dyn PhysicalExpr>) -> Result<Option<usize>> {
    let (mut first, mut is_only) = (None, true);
    tree.apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>() {
            is_only &= *first.get_or_insert(column.index()) == column.index();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(first.filter(|_| is_only))
}

/// A part that reads one string column.
#[derive(Debug)]
pub(crate) struct OnDictionary {
    inner: Arc<dyn PhysicalExpr>,
    index: usize,
    /// The same over a batch of that column alone.
    narrow: Arc<dyn PhysicalExpr>,
    narrow_schema: Arc<Schema>,
    /// What a null row gives: one value; `None` if null rows fail.
    of_null: Option<ArrayRef>,
}

impl OnDictionary {
    fn new(inner: Arc<dyn PhysicalExpr>, index: usize) -> Result<Self> {
        let narrow = inner
            .clone()
            .transform_down(|node| match node.downcast_ref::<Column>() {
                Some(column) => Ok(Transformed::yes(Arc::new(Column::new(column.name(), 0)) as _)),
                None => Ok(Transformed::no(node)),
            })?
            .data;
        let narrow_schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        let mut part = Self { inner, index, narrow, narrow_schema, of_null: None };
        part.of_null = part.over(new_null_array(&DataType::Utf8, 1)).ok();
        Ok(part)
    }

    fn over(&self, texts: ArrayRef) -> Result<ArrayRef> {
        let rows = texts.len();
        let batch = RecordBatch::try_new(self.narrow_schema.clone(), vec![texts])?;
        self.narrow.evaluate(&batch)?.into_array(rows)
    }

    /// Values per entry and, for each row, which entry it has; `None` if the column is no dictionary, if that would be more work than
    /// going by rows, or if an entry fails (it may be one that no row has).
    fn per_entry(&self, batch: &RecordBatch) -> Option<(ArrayRef, UInt32Array)> {
        let dictionary = batch.column(self.index).as_dictionary_opt::<UInt32Type>()?;
        let entries = dictionary.values();
        if entries.len() > batch.num_rows() {
            return None;
        }
        let (keys, values) = (dictionary.keys(), self.over(entries.clone()).ok()?);
        if keys.null_count() == 0 {
            return Some((values, keys.clone()));
        }
        let of_null = self.of_null.as_ref()?;
        if of_null.is_null(0) {
            return Some((values, keys.clone()));
        }
        // Null rows have a value: an entry of their own, at the end.
        let values = concat(&[values.as_ref(), of_null.as_ref()]).ok()?;
        let last = values.len() as u32 - 1;
        Some((values, keys.iter().map(|key| Some(key.unwrap_or(last))).collect()))
    }

    /// As a dictionary again, for text that goes out as it is.
    pub(crate) fn evaluate_as_dictionary(&self, batch: &RecordBatch) -> Option<ArrayRef> {
        if self.inner.is::<Column>() {
            let column = batch.column(self.index);
            return matches!(column.data_type(), DataType::Dictionary(..)).then(|| column.clone());
        }
        let (values, keys) = self.per_entry(batch)?;
        let values =
            if values.data_type() == &DataType::Utf8 { values } else { arrow_cast::cast(&values, &DataType::Utf8).ok()? };
        // A null entry is a null row: readers need only look at the keys.
        let keys = if values.null_count() == 0 {
            keys
        } else {
            keys.iter().map(|key| key.filter(|key| values.is_valid(*key as usize))).collect()
        };
        Some(Arc::new(DictionaryArray::<UInt32Type>::try_new(keys, values).ok()?))
    }
}

/// The entry whose answer differs from all others', and that answer, if there is one such.
fn single_answer(values: &ArrayRef) -> Option<(u32, bool)> {
    let answers = values.as_boolean_opt().filter(|answers| answers.null_count() == 0)?;
    let (trues, entries) = (answers.true_count(), answers.len());
    let answer = match (trues, entries - trues) {
        (1, _) => true,
        (_, 1) => false,
        _ => return None,
    };
    let entry = (0..entries).find(|entry| answers.value(*entry) == answer)?;
    Some((entry as u32, answer))
}

impl PhysicalExpr for OnDictionary {
    fn return_field(&self, _schema: &Schema) -> Result<FieldRef> {
        self.narrow.return_field(&self.narrow_schema)
    }

    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        self.narrow.data_type(&self.narrow_schema)
    }

    fn nullable(&self, _schema: &Schema) -> Result<bool> {
        self.narrow.nullable(&self.narrow_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let column = batch.column(self.index);
        if column.data_type() == &DataType::Utf8 {
            return self.over(column.clone()).map(ColumnarValue::Array);
        }
        let Some((values, keys)) = self.per_entry(batch) else {
            return self.over(arrow_cast::cast(column, &DataType::Utf8)?).map(ColumnarValue::Array);
        };
        Ok(ColumnarValue::Array(match single_answer(&values) {
            // `status = 'ok'` is true for one entry: comparing the keys is all there is to do.
            Some((entry, true)) => Arc::new(eq(&keys, &UInt32Array::new_scalar(entry))?),
            Some((entry, false)) => Arc::new(neq(&keys, &UInt32Array::new_scalar(entry))?),
            None => take(&values, &keys, None)?,
        }))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [inner]: [_; 1] = children.try_into().expect("as many children as before");
        // Somebody may have given the columns of the tree new places.
        let index = the_column(&inner)?.unwrap_or(self.index);
        Ok(Arc::new(Self::new(inner, index)?))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for OnDictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.inner)
    }
}

impl PartialEq for OnDictionary {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for OnDictionary {}

impl Hash for OnDictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}
