//! Which functions expressions may call: DataFusion's scalar library, less what is not a function of its arguments.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::arrow::datatypes::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;

use crate::error::ExpressionError;
use crate::scope::nearest;

/// Functions of a window, which people reach for in a `where`.
pub(crate) const AGGREGATES: [&str; 31] = [
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "first_value",
    "increase",
    "lag",
    "last_value",
    "lead",
    "max",
    "mean",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "rank",
    "rate",
    "ratio",
    "row_number",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "variance",
];
/// What tells the time by other names.
const CLOCKS: [&str; 9] = [
    "now",
    "current_date",
    "current_time",
    "current_timestamp",
    "today",
    "localtime",
    "localtimestamp",
    "clock_timestamp",
    "getdate",
];
/// Answers that hang on the release or on how a column happens to stand, not on values.
const INTERNAL: [&str; 8] = [
    "arrow_typeof",
    "arrow_metadata",
    "arrow_field",
    "with_metadata",
    "version",
    "file_row_index",
    "input_file_name",
    "get_field",
];

/// Whether SQL has a function or an aggregate of that name, in any case.
pub fn is_function(name: &str) -> bool {
    let lower = name.to_lowercase();
    let reserved = [&AGGREGATES[..], &CLOCKS, &INTERNAL, &["count", "first", "last", "top_k", "count_distinct"]];
    reserved.iter().any(|names| names.contains(&lower.as_str())) || Functions::new().by_name.contains_key(&lower)
}

/// The functions, and the planner's door to them. Made anew per expression: a table of some two hundred shared pointers.
pub(crate) struct Functions {
    by_name: HashMap<String, Arc<ScalarUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl Functions {
    pub(crate) fn new() -> Self {
        let mut by_name = HashMap::new();
        for function in datafusion_functions::all_default_functions() {
            for alias in function.aliases() {
                by_name.insert(alias.to_lowercase(), function.clone());
            }
            by_name.insert(function.name().to_lowercase(), function);
        }
        let planners: Vec<Arc<dyn ExprPlanner>> =
            vec![Arc::new(CoreFunctionPlanner::default()), Arc::new(DatetimeFunctionPlanner), Arc::new(UnicodeFunctionPlanner)];
        Self { by_name, planners, options: ConfigOptions::default() }
    }

    /// Whether an expression may call `name`, in any case.
    pub(crate) fn check(&self, name: &str) -> Result<(), ExpressionError> {
        let lower = name.to_lowercase();
        if CLOCKS.contains(&lower.as_str()) {
            return Err(ExpressionError::new(
                format!(
                    "`{name}` reads a clock, and an expression must give the same for the same row, also when it is replayed"
                ),
                "use `_time`, the event's own time, or a field",
            ));
        }
        if INTERNAL.contains(&lower.as_str()) {
            return Err(ExpressionError::new(format!("`{name}` says nothing about a row"), "use functions of the row's values"));
        }
        match self.by_name.get(&lower) {
            Some(function) if function.signature().volatility == Volatility::Immutable => Ok(()),
            Some(_) => Err(ExpressionError::new(
                format!(
                    "`{name}` gives something else each time, and an expression must give the same for the same row, also when it is replayed"
                ),
                "put what it should give into the event where it is made, or derive it from fields",
            )),
            None if AGGREGATES.contains(&lower.as_str()) => Err(ExpressionError::new(
                format!("`{name}` is over many rows, and an expression sees one"),
                "aggregate in a `window` step, or keep state in a rule component",
            )),
            None => {
                let meant = nearest(name, self.by_name.keys().map(String::as_str).filter(|name| self.check(name).is_ok()));
                let remedy = match meant {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "use SQL's scalar functions (text, numbers, dates, regular expressions, coalesce, case)".to_owned(),
                };
                let error = ExpressionError::new(format!("there is no function `{name}`"), remedy);
                Err(ExpressionError { unknown_function: Some(lower), ..error })
            }
        }
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("there is no table `{name}` in an expression")
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.by_name.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
