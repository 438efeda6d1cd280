//! Names in the syntax tree become columns of the scope, and what an expression may not have is refused where it stands.
//!
//! A form that an expression may not have (`forms.rs`) is refused.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Spanned, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::error::ExpressionError;
use crate::forms::{DEPTH_MAX, children};
use crate::functions::Functions;
use crate::scope::Scope;

type Result<T> = std::result::Result<T, ExpressionError>;

/// Rewrites every name and path to the quoted name of its column in a batch, and answers which columns of the scope those are,
/// ascending.
pub(crate) fn resolve(tree: &mut Expr, scope: &Scope, functions: &Functions) -> Result<Vec<usize>> {
    let mut walk = Resolve { scope, functions, depth: 0, columns: BTreeSet::new() };
    walk.expr(tree)?;
    Ok(walk.columns.into_iter().collect())
}

struct Resolve<'a> {
    scope: &'a Scope,
    functions: &'a Functions,
    depth: usize,
    columns: BTreeSet<usize>,
}

impl Resolve<'_> {
    fn expr(&mut self, tree: &mut Expr) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::new(
                format!("the expression is more than {DEPTH_MAX} operators deep"),
                "use `in (…)` for long lists, or split it into several steps (`extend` first, then `where`)",
            ));
        }
        self.form(tree)?;
        self.depth -= 1;
        Ok(())
    }

    fn form(&mut self, tree: &mut Expr) -> Result<()> {
        let span = tree.span();
        match tree {
            Expr::Identifier(name) => *tree = self.column(std::slice::from_ref(name))?,
            Expr::CompoundIdentifier(path) => *tree = self.column(path)?,
            Expr::Value(value) => {
                if matches!(value.value, Value::Placeholder(_)) {
                    return Err(ExpressionError::new("placeholders have no value here", "write the value itself").at(span));
                }
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                self.expr(expr)?;
                self.all(substring_from.iter_mut().chain(&mut *substring_for).map(AsMut::as_mut))?;
                let from = substring_from.take().unwrap_or_else(|| Box::new(Expr::value(Value::Number("1".to_owned(), false))));
                let arguments = [std::mem::replace(expr, from.clone()), from].into_iter().chain(substring_for.take());
                *tree = substr(arguments.map(|argument| *argument).collect());
            }
            Expr::Function(function) => self.call(function, span)?,
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => return Err(subquery().at(span)),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => {
                return Err(ExpressionError::new("`*` is no value", "name the columns").at(span));
            }
            Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::Array(_)
            | Expr::Struct { .. }
            | Expr::Dictionary(_) => {
                return Err(ExpressionError::new(
                    "there are no arrays and objects in expressions",
                    "declare what is inside as a field of its own (`user.country`); json is read as text",
                )
                .at(span));
            }
            other => {
                if let Some(children) = children(other) {
                    return self.all(children);
                }
                return Err(ExpressionError::new(
                    format!("`{other}` is SQL that expressions do not have"),
                    "use operators, `case`, `in`, `between`, `like`, `cast` and functions",
                )
                .at(span));
            }
        }
        Ok(())
    }

    fn all<'t>(&mut self, trees: impl IntoIterator<Item = &'t mut Expr>) -> Result<()> {
        trees.into_iter().try_for_each(|tree| self.expr(tree))
    }

    fn column(&mut self, path: &[Ident]) -> Result<Expr> {
        let name = path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let span = path.first().map_or(Span::empty(), |part| part.span);
        let index = self.scope.resolve(&name).map_err(|error| error.at(span))?;
        self.columns.insert(index);
        let mut ident = Ident::with_quote('"', self.scope.batch_name(index));
        ident.span = span;
        Ok(Expr::Identifier(ident))
    }

    fn call(&mut self, function: &mut Function, span: Span) -> Result<()> {
        let span = function.name.0.first().map_or(span, Spanned::span);
        if function.over.is_some() {
            return Err(ExpressionError::new(
                "`over` is over many rows, and an expression sees one",
                "aggregate in a `window` step, or keep state in a rule component",
            )
            .at(span));
        }
        let name = match &function.name.0[..] {
            [part] => part.as_ident().map_or_else(|| part.to_string(), |name| name.value.clone()),
            _ => function.name.to_string(),
        };
        self.functions.check(&name).map_err(|error| error.at(span))?;
        let is_plain = function.filter.is_none() && function.within_group.is_empty() && function.null_treatment.is_none();
        match &mut function.args {
            FunctionArguments::None => Ok(()),
            FunctionArguments::Subquery(_) => Err(subquery().at(span)),
            FunctionArguments::List(list) if is_plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
                list.args.iter_mut().try_for_each(|argument| match argument {
                    FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
                    | FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.expr(value),
                    FunctionArg::Named { .. } | FunctionArg::Unnamed(_) | FunctionArg::ExprNamed { .. } => {
                        Err(ExpressionError::new("`*` is no value", "name the columns").at(span))
                    }
                })
            }
            FunctionArguments::List(_) => Err(ExpressionError::new(
                format!("`{name}` takes values only, no `distinct`, `order by`, `filter` or the like"),
                "leave it out; what is over many rows belongs in a `window` step",
            )
            .at(span)),
        }
    }
}

/// `substr(text, from, for)`: the planner has the function, but not the words `from` and `for`.
fn substr(arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("substr")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn subquery() -> ExpressionError {
    ExpressionError::new(
        "an expression sees one row and can ask no other",
        "join streams in a `join` step, or look values up in a `lookup` step",
    )
}
