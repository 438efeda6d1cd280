//! Expressions over many rows, taken apart: the aggregate calls in them, and what is computed of their results.
//!
//! ```text
//! max(a * 2) - min(a) / count(*)     calls: `max(a * 2)` · `min(a)` · `count(*)`
//!                                    rest:  "max(a * 2)" - "min(a)" / "count(*)"      each call is a column of that name
//! ```
//! Which functions are aggregates, and what they answer, is for others to say. Arguments, filters and the rest are [`Part`]s: read, and
//! yet to be planned against the columns there are.

use std::fmt;

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Spanned,
    UnaryOperator, Value,
};

use crate::error::ExpressionError;
use crate::expression::{Expression, on_large_stack};
use crate::forms::{DEPTH_MAX, children};
use crate::functions::AGGREGATES;
use crate::scope::{Scope, nearest};
use crate::syntax;

type Result<T> = std::result::Result<T, ExpressionError>;

/// An expression that was read and is not planned yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part(pub(crate) Expr);

impl Part {
    /// Reads one.
    pub fn parse(sql: &str) -> Result<Self> {
        // What is too deep goes where it was read: others have no such stack, not even to drop it.
        on_large_stack(|| {
            let mut tree = syntax::parse(sql)?;
            refuse_deep(&mut tree, 1)?;
            Ok(Self(tree))
        })
    }

    /// Plans it against the columns of `scope`.
    pub fn plan(&self, scope: &Scope) -> Result<Expression> {
        on_large_stack(|| Expression::of_tree(self.0.clone(), scope))
    }

    /// Whether it is the name of a column and nothing else.
    pub fn is_name(&self) -> bool {
        matches!(self.0, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
    }

    /// The number it is, if it is one: as it was written.
    pub fn number(&self) -> Option<String> {
        match &self.0 {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => Some(digits.clone()),
                _ => None,
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(format!("-{}", Self((**expr).clone()).number()?)),
            _ => None,
        }
    }

    /// What an `and` at its top puts together; itself where there is none.
    pub fn conjuncts(&self) -> Vec<Self> {
        use datafusion_sql::sqlparser::ast::BinaryOperator::And;
        let (mut parts, mut open) = (Vec::new(), vec![&self.0]);
        while let Some(tree) = open.pop() {
            match tree {
                Expr::Nested(inner) => open.push(inner),
                Expr::BinaryOp { left, op: And, right } => open.extend([right.as_ref(), left.as_ref()]),
                other => parts.push(Self(other.clone())),
            }
        }
        parts
    }

    /// The two sides of `left = right`.
    pub fn equality(&self) -> Option<(Self, Self)> {
        use datafusion_sql::sqlparser::ast::BinaryOperator::Eq;
        match &self.0 {
            Expr::BinaryOp { left, op: Eq, right } => Some((Self((**left).clone()), Self((**right).clone()))),
            _ => None,
        }
    }

    /// All of them together, by `and`; `None` of none.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Option<Self> {
        use datafusion_sql::sqlparser::ast::BinaryOperator::And;
        let nested = |tree: Expr| Box::new(Expr::Nested(Box::new(tree)));
        parts.into_iter().reduce(|left, right| Self(Expr::BinaryOp { left: nested(left.0), op: And, right: nested(right.0) }))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn refuse_deep(tree: &mut Expr, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(ExpressionError::new(
            format!("the expression is more than {DEPTH_MAX} operators deep"),
            "use `in (…)` for long lists, or split it into several steps (`extend` first, then `where`)",
        ));
    }
    children(tree).unwrap_or_default().into_iter().try_for_each(|child| refuse_deep(child, depth + 1))
}

/// A call of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateText {
    /// The column that the rest has in its place: the call's text.
    pub name: String,
    /// In lower case.
    pub function: String,
    /// `count(distinct x)`.
    pub is_distinct: bool,
    /// None at all for `count(*)`.
    pub arguments: Vec<Part>,
    /// `filter (where …)`.
    pub filter: Option<Part>,
    /// Line and column in the expression's text, from 1, where known.
    pub at: Option<(u32, u32)>,
}

/// An expression over many rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregated {
    /// Each once, in the order of the text.
    pub calls: Vec<AggregateText>,
    /// What is computed of their results. [`Part::is_name`]: there is nothing to compute.
    pub rest: Part,
}

impl Aggregated {
    /// Takes an expression apart in which these functions, in lower case, are aggregates.
    pub fn parse(sql: &str, aggregates: &[&str]) -> Result<Self> {
        on_large_stack(|| Split::apart(syntax::parse(sql)?, aggregates))
    }
}

pub(crate) struct Split<'a> {
    aggregates: &'a [&'a str],
    calls: Vec<AggregateText>,
    depth: usize,
}

impl<'a> Split<'a> {
    /// Takes a tree apart. It recurses: see [`on_large_stack`].
    pub(crate) fn apart(mut tree: Expr, aggregates: &'a [&'a str]) -> Result<Aggregated> {
        let mut split = Self { aggregates, calls: Vec::new(), depth: 0 };
        split.expr(&mut tree)?;
        Ok(Aggregated { calls: split.calls, rest: Part(tree) })
    }

    fn expr(&mut self, tree: &mut Expr) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::new(
                format!("the expression is more than {DEPTH_MAX} operators deep"),
                "use `in (…)` for long lists, or split it into several steps (`extend` before, `select` behind)",
            ));
        }
        match self.call(tree)? {
            Some(call) => {
                let mut name = Ident::with_quote('"', &call.name);
                name.span = tree.span();
                *tree = Expr::Identifier(name);
                if self.calls.iter().all(|known| known.name != call.name) {
                    self.calls.push(call);
                }
            }
            // What has no children here is refused when the rest is planned.
            None => children(tree).unwrap_or_default().into_iter().try_for_each(|child| self.expr(child))?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// The call that the tree is, if it is one of an aggregate.
    fn call(&mut self, tree: &Expr) -> Result<Option<AggregateText>> {
        let Expr::Function(function) = tree else { return Ok(None) };
        let span = function.name.0.first().map_or_else(|| function.name.span(), Spanned::span);
        let Some(name) = self.aggregate(function).map_err(|error| error.at(span))? else { return Ok(None) };
        let place = ExpressionError::new("", "").at(span).at;
        let parts = parts(&name, function).map_err(|error| error.at(span))?;
        for part in parts.arguments.iter().chain(&parts.filter) {
            self.refuse_nested(&mut part.0.clone())?;
        }
        // `SUM(x)` and `sum(x)` are one.
        let named = Function { name: ObjectName::from(vec![Ident::new(&name)]), ..function.clone() };
        Ok(Some(AggregateText { name: named.to_string(), function: name, at: place, ..parts }))
    }

    /// Its name, if it is an aggregate.
    fn aggregate(&self, function: &Function) -> Result<Option<String>> {
        let [part] = &function.name.0[..] else { return Ok(None) };
        let Some(name) = part.as_ident().map(|name| name.value.to_lowercase()) else { return Ok(None) };
        if self.aggregates.contains(&name.as_str()) {
            return Ok(Some(name));
        }
        if AGGREGATES.contains(&name.as_str()) {
            let all = || self.aggregates.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let remedy = match nearest(&name, self.aggregates.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", all()),
            };
            return Err(ExpressionError::new(format!("there is no aggregate `{name}`"), remedy));
        }
        Ok(None)
    }

    fn refuse_nested(&mut self, tree: &mut Expr) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::new(
                format!("the expression is more than {DEPTH_MAX} operators deep"),
                "compute the argument in an `extend` step before",
            ));
        }
        if let Expr::Function(function) = tree
            && let Some(name) = self.aggregate(function)?
        {
            let error = format!("`{name}` inside another aggregate");
            return Err(ExpressionError::new(error, "aggregate in one `window` step, and its results in a second one behind it")
                .at(function.name.span()));
        }
        children(tree).unwrap_or_default().into_iter().try_for_each(|child| self.refuse_nested(child))?;
        self.depth -= 1;
        Ok(())
    }
}

/// What stands in the parentheses, and behind them.
pub(crate) fn parts(name: &str, function: &Function) -> Result<AggregateText> {
    if function.over.is_some() {
        let remedy = "leave `over (…)` out: the step says which rows";
        return Err(ExpressionError::new(format!("`{name}` has an `over` of its own"), remedy));
    }
    let plain = function.within_group.is_empty() && function.null_treatment.is_none();
    let (mut arguments, mut is_distinct, mut is_plain) = (Vec::new(), false, plain);
    if let FunctionArguments::List(list) = &function.args {
        is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        is_plain = plain && list.clauses.is_empty();
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => arguments.push(Part(value.clone())),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 && name.eq_ignore_ascii_case("count") => {
                    if is_distinct {
                        let remedy = "name a column, `count(distinct x)`, or count rows: `count(*)`";
                        return Err(ExpressionError::new("`count(distinct *)` does not say what is to differ", remedy));
                    }
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if list.args.len() == 1 => {
                    let remedy = format!("name a column: `{name}(amount)`; `*` is for `count(*)`");
                    return Err(ExpressionError::new(format!("`{name}(*)` does not say of which column"), remedy));
                }
                _ => {
                    return Err(ExpressionError::new(
                        format!("`{name}` does not take `{argument}`"),
                        "write `count(*)` or `sum(amount)`",
                    ));
                }
            }
        }
    }
    if !is_plain {
        let error = format!("`{name}` takes no `order by`, `within group`, `ignore nulls` or the like");
        return Err(ExpressionError::new(error, "leave it out; nulls are left out anyway, `first` and `last` are by event time"));
    }
    let filter = function.filter.as_deref().map(|filter| Part(filter.clone()));
    Ok(AggregateText { name: String::new(), function: name.to_owned(), is_distinct, arguments, filter, at: None })
}
