//! From a resolved syntax tree to something that evaluates: planned, types coerced, constants folded, arithmetic checked.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::Expr as Tree;

use crate::checked::checked;
use crate::dictionary::on_dictionaries;
use crate::error::{ExpressionError, words};
use crate::functions::Functions;
use crate::output::type_name;
use crate::scope::{Scope, quoted};

/// A planned expression.
pub(crate) struct Plan {
    pub(crate) physical: Arc<dyn PhysicalExpr>,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// The column it is, if it is nothing else.
    pub(crate) bare: Option<usize>,
}

/// Plans a tree whose names are these columns of the scope.
pub(crate) fn plan(tree: Tree, scope: &Scope, columns: &[usize], functions: &Functions) -> Result<Plan, ExpressionError> {
    let bare = match (&tree, columns) {
        (Tree::Identifier(_), [index]) => Some(*index),
        _ => None,
    };
    let planned = df_schema(scope, columns).and_then(|schema| {
        let physical = lower(tree, &schema, functions)?;
        let field = physical.return_field(schema.as_arrow())?;
        let is_string = |index: usize| schema.as_arrow().field(index).data_type() == &DataType::Utf8;
        let physical = on_dictionaries(physical, &is_string)?;
        Ok(Plan { physical, data_type: field.data_type().clone(), nullable: field.is_nullable(), bare })
    });
    planned.map_err(|error| planning_error(&error, scope, columns))
}

/// Columns as the planner sees them: strings always plain (`dictionary.rs` is between them and a batch).
fn df_schema(scope: &Scope, columns: &[usize]) -> Result<Arc<DFSchema>, DataFusionError> {
    let fields: Vec<ArrowField> = columns
        .iter()
        .map(|index| {
            let field = &scope.columns()[*index].field;
            ArrowField::new(scope.batch_name(*index), field.ty.arrow(), field.nullable)
        })
        .collect();
    Ok(Arc::new(DFSchema::try_from(Schema::new(fields))?))
}

fn lower(tree: Tree, schema: &Arc<DFSchema>, functions: &Functions) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let options = ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false);
    let planned = SqlToRel::new_with_options(functions, options).sql_to_expr(tree, schema, &mut PlannerContext::new())?;
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(schema.clone()).build());
    let coerced = simplifier.coerce(planned, schema)?;
    check_constants(&coerced)?;
    let simplified = simplifier.simplify(coerced)?;
    checked(physical(&simplified, schema)?, schema.as_arrow())
}

fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
}

/// Refuses arithmetic on constants that fails (`1 / 0`), which folding would wrap or leave to every row.
fn check_constants(expr: &Expr) -> Result<(), DataFusionError> {
    let empty = DFSchema::empty();
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    expr.apply(|node| {
        if !is_constant_arithmetic(node) {
            return Ok(TreeNodeRecursion::Continue);
        }
        checked(physical(node, &empty)?, empty.as_arrow())?.evaluate(&one_row)?;
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

fn is_constant_arithmetic(node: &Expr) -> bool {
    match node {
        Expr::Literal(..) => true,
        Expr::Negative(inner) => is_constant_arithmetic(inner),
        Expr::Cast(cast) => is_constant_arithmetic(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => is_constant_arithmetic(left) && is_constant_arithmetic(right),
        _ => false,
    }
}

fn planning_error(error: &DataFusionError, scope: &Scope, columns: &[usize]) -> ExpressionError {
    let types: Vec<String> = columns
        .iter()
        .map(|index| format!("{} is {}", quoted(&scope.batch_name(*index)), type_name(scope.columns()[*index].field.ty)))
        .collect();
    let remedy = if types.is_empty() {
        "change the constants or the function's arguments".to_owned()
    } else {
        format!(
            "check types and arguments ({}); `cast(… as bigint | double | varchar | timestamp)` changes a type",
            types.join(", ")
        )
    };
    ExpressionError::new(words(error), remedy)
}
