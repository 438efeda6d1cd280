//! A parsed expression, and its evaluation: whole batches at once, single rows only where a batch has failing ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field as ArrowField, Schema};
use arrow_select::concat::concat;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::sqlparser::ast::Expr as Tree;
use tidemill_event::FieldType;

use crate::dictionary::OnDictionary;
use crate::error::{ExpressionError, words};
use crate::functions::Functions;
use crate::output::{conform, field_type, nulls, type_name};
use crate::plan::{Plan, plan};
use crate::resolve::resolve;
use crate::scope::Scope;
use crate::syntax;

/// Parsing and planning recurse; an expression within its bounds needs a part of this.
const PLANNING_STACK_BYTES: usize = 64 << 20;

/// An SQL expression over rows of one scope. Cheap to clone; any thread may evaluate it.
#[derive(Debug, Clone)]
pub struct Expression {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    physical: Arc<dyn PhysicalExpr>,
    columns: Vec<Arc<str>>,
    ty: FieldType,
    nullable: bool,
}

/// Does what recurses as deep as an expression is.
pub(crate) fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, ExpressionError> + Send) -> Result<T, ExpressionError> {
    std::thread::scope(|threads| {
        let builder = std::thread::Builder::new().name("expression".to_owned()).stack_size(PLANNING_STACK_BYTES);
        let planning = builder.spawn_scoped(threads, work).map_err(|error| {
            ExpressionError::new(format!("no thread to plan on: {error}"), "try again when the machine has more memory")
        })?;
        planning.join().unwrap_or_else(|_| {
            Err(ExpressionError::new(
                "the planner gave up on this expression",
                "write it another way, and tell us: it is our fault",
            ))
        })
    })
}

/// What an expression made of a batch.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// One value per row, of the expression's type; text may be `Dictionary(UInt32, Utf8)` where its column was. Null where it failed.
    pub values: ArrayRef,
    /// Rows that failed, ascending, with the reason in words.
    pub failed: Vec<(usize, String)>,
}

impl Expression {
    /// Parses and plans `sql` against the columns of `scope`. Takes milliseconds; not for every batch.
    pub fn parse(sql: &str, scope: &Scope) -> Result<Self, ExpressionError> {
        on_large_stack(|| Self::of_tree(syntax::parse(sql)?, scope))
    }

    /// Parses a condition: an expression that answers yes or no (or null, which is no).
    pub fn parse_condition(sql: &str, scope: &Scope) -> Result<Self, ExpressionError> {
        let parsed = Self::parse(sql, scope)?;
        if parsed.field_type() == FieldType::Bool {
            return Ok(parsed);
        }
        let ty = type_name(parsed.field_type());
        Err(ExpressionError::new(
            format!("a condition must be true or false, this is {ty}"),
            "compare it with something: `… > 0`, `… is not null`",
        ))
    }

    /// Plans what was read. It recurses: see [`on_large_stack`].
    pub(crate) fn of_tree(mut tree: Tree, scope: &Scope) -> Result<Self, ExpressionError> {
        let functions = Functions::new();
        let columns = resolve(&mut tree, scope, &functions)?;
        let Plan { physical, data_type, nullable, bare } = plan(tree, scope, &columns, &functions)?;
        let ty = match bare {
            // Keeps what Arrow does not know: json, the unit of a timestamp.
            Some(index) => scope.columns()[index].field.ty,
            None => field_type(&data_type)?,
        };
        let columns = columns.into_iter().map(|index| scope.batch_name(index).into()).collect();
        Ok(Self { parts: Arc::new(Parts { physical, columns, ty, nullable }) })
    }

    /// The type of its values.
    pub fn field_type(&self) -> FieldType {
        self.parts.ty
    }

    /// Whether a value may be null.
    pub fn nullable(&self) -> bool {
        self.parts.nullable
    }

    /// The names of the columns it reads, as batches have them.
    pub fn columns(&self) -> &[Arc<str>] {
        &self.parts.columns
    }

    /// Evaluates every row. Strings may be plain or dictionaries, batch by batch; columns it does not read are not looked at.
    ///
    /// # Panics
    /// If a column it reads is not in the batch, or of another type than the scope said: both were checked when the pipeline was applied.
    pub fn evaluate(&self, rows: &RecordBatch) -> Evaluated {
        let rows = self.narrowed(rows);
        if let (FieldType::String, Some(part)) = (self.parts.ty, self.parts.physical.downcast_ref::<OnDictionary>())
            && let Some(values) = part.evaluate_as_dictionary(&rows)
            && (self.parts.nullable || values.null_count() == 0)
        {
            return Evaluated { values, failed: Vec::new() };
        }
        match self.values(&rows) {
            Ok(values) => Evaluated { values, failed: Vec::new() },
            Err(error) => self.isolated(&rows, error),
        }
    }

    /// The columns it reads, in the order it was planned with.
    fn narrowed(&self, rows: &RecordBatch) -> RecordBatch {
        let columns: Vec<ArrayRef> = self
            .parts
            .columns
            .iter()
            .map(|name| rows.column_by_name(name).unwrap_or_else(|| panic!("no column `{name}` in the batch")).clone())
            .collect();
        let fields: Vec<ArrowField> = self
            .parts
            .columns
            .iter()
            .zip(&columns)
            .map(|(name, column)| ArrowField::new(name.as_ref(), column.data_type().clone(), true))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).expect("columns of one batch")
    }

    fn values(&self, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        if rows.num_rows() == 0 {
            return Ok(nulls(self.parts.ty, 0));
        }
        // A kernel that panics on some value must not take the host along: it fails those rows.
        let values = catch_unwind(AssertUnwindSafe(|| self.parts.physical.evaluate(rows)))
            .unwrap_or_else(|_| Err(DataFusionError::Execution("the function gave up on this value".to_owned())))?;
        conform(values.into_array(rows.num_rows())?, self.parts.ty, self.parts.nullable)
    }

    /// Halves a failing range until the failing rows are alone. A row fails here exactly if it fails on its own.
    fn isolated(&self, rows: &RecordBatch, error: DataFusionError) -> Evaluated {
        let (mut pieces, mut failed) = (Vec::new(), Vec::new());
        let mut ranges = vec![(0, rows.num_rows(), Some(error))];
        while let Some((start, length, error)) = ranges.pop() {
            let result = match error {
                Some(error) => Err(error),
                None => self.values(&rows.slice(start, length)),
            };
            match result {
                Ok(values) => pieces.push(values),
                Err(error) if length == 1 => {
                    failed.push((start, words(&error)));
                    pieces.push(nulls(self.parts.ty, 1));
                }
                Err(_) => {
                    let half = length / 2;
                    ranges.push((start + half, length - half, None));
                    ranges.push((start, half, None));
                }
            }
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        Evaluated { values: concat(&pieces).expect("pieces of one type"), failed }
    }
}
