//! Names in the syntax tree become columns of the scope, and what an expression may not have is refused where it stands.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, Ident, Query, Spanned, Value, VisitMut, VisitorMut};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::error::ExpressionError;
use crate::functions::Functions;
use crate::scope::Scope;

/// How deep a tree may be; a deeper one is refused. `a and b and c …` is as deep as it is long.
const DEPTH_MAX: usize = 400;

/// Rewrites every name and path to the quoted name of its column in a batch.
pub(crate) fn resolve(tree: &mut Expr, scope: &Scope, functions: &Functions) -> Result<(), ExpressionError> {
    let mut visitor = Resolve { scope, functions, depth: 0 };
    match tree.visit(&mut visitor) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Resolve<'a> {
    scope: &'a Scope,
    functions: &'a Functions,
    depth: usize,
}

impl Resolve<'_> {
    fn column(&self, path: &[Ident]) -> Result<Expr, ExpressionError> {
        let name = path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let span = path.first().map_or(Span::empty(), |part| part.span);
        let index = self.scope.resolve(&name).map_err(|error| error.at(span))?;
        let mut ident = Ident::with_quote('"', self.scope.batch_name(index));
        ident.span = span;
        Ok(Expr::Identifier(ident))
    }

    fn enter(&mut self, tree: &mut Expr) -> Result<(), ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::new(
                format!("the expression is more than {DEPTH_MAX} operators deep"),
                "use `in (…)` for long lists, or split it into several steps (`extend` first, then `where`)",
            ));
        }
        let span = tree.span();
        match tree {
            Expr::Identifier(name) => *tree = self.column(std::slice::from_ref(name))?,
            Expr::CompoundIdentifier(path) => *tree = self.column(path)?,
            Expr::Function(function) => {
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
            }
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => return Err(subquery().at(span)),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                return Err(ExpressionError::new("placeholders have no value here", "write the value itself").at(span));
            }
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
            _ => {}
        }
        Ok(())
    }
}

impl VisitorMut for Resolve<'_> {
    type Break = Box<ExpressionError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        ControlFlow::Break(Box::new(subquery().at(query.span())))
    }

    fn pre_visit_expr(&mut self, tree: &mut Expr) -> ControlFlow<Self::Break> {
        match self.enter(tree) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    fn post_visit_expr(&mut self, _tree: &mut Expr) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn subquery() -> ExpressionError {
    ExpressionError::new(
        "an expression sees one row and can ask no other",
        "join streams in a `join` step, or look values up in a `lookup` step",
    )
}
