//! Calls of functions that are not SQL's, taken out of an expression: somebody else computes their values, as columns.
//!
//! ```text
//! risk(lower(host), entropy(path)) > 4       calls: `entropy(path)` · `risk(lower(host), "entropy(path)")`
//!                                            rest:  "risk(lower(host), entropy(path))" > 4      each call is a column of its text
//! ```
//! An inner call stands before the one around it, so that each call's arguments name columns that are there.

use datafusion_sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned};

use crate::aggregates::Part;
use crate::error::ExpressionError;
use crate::expression::on_large_stack;
use crate::forms::{DEPTH_MAX, children};

type Result<T> = std::result::Result<T, ExpressionError>;

/// A call that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallText {
    /// The column that stands for its value: the call's text.
    pub name: String,
    /// Which function, as it was named by who asked.
    pub function: String,
    /// What stands in the parentheses.
    pub arguments: Vec<Part>,
    /// Line and column in the expression's text, from 1, where known.
    pub at: Option<(u32, u32)>,
}

impl Part {
    /// Takes the calls of `functions` (in lower case) out; answers them, each once, inner ones first, and what is left.
    pub fn without_calls(&self, functions: &[&str]) -> Result<(Vec<CallText>, Self)> {
        if functions.is_empty() {
            return Ok((Vec::new(), self.clone()));
        }
        on_large_stack(|| {
            let mut taking = Taking { functions, calls: Vec::new(), depth: 0 };
            let mut tree = self.0.clone();
            taking.expr(&mut tree)?;
            Ok((taking.calls, Self(tree)))
        })
    }
}

struct Taking<'a> {
    functions: &'a [&'a str],
    calls: Vec<CallText>,
    depth: usize,
}

impl Taking<'_> {
    fn expr(&mut self, tree: &mut Expr) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ExpressionError::new(
                format!("the expression is more than {DEPTH_MAX} operators deep"),
                "split it into several steps (`extend` first, then `where`)",
            ));
        }
        let text = if self.is_call(tree) { Some(tree.to_string()) } else { None };
        // What has no children here is refused when the rest is planned.
        children(tree).unwrap_or_default().into_iter().try_for_each(|child| self.expr(child))?;
        if let (Some(text), Expr::Function(function)) = (text, &*tree) {
            let span = function.name.span();
            let call = call(text, function).map_err(|error| error.at(span))?;
            let mut name = Ident::with_quote('"', &call.name);
            name.span = span;
            if self.calls.iter().all(|known| known.name != call.name) {
                self.calls.push(call);
            }
            *tree = Expr::Identifier(name);
        }
        self.depth -= 1;
        Ok(())
    }

    fn is_call(&self, tree: &Expr) -> bool {
        let Expr::Function(function) = tree else { return false };
        name_of(function).is_some_and(|name| self.functions.contains(&name.as_str()))
    }
}

/// The name of a function without a schema, in lower case.
fn name_of(function: &Function) -> Option<String> {
    match &function.name.0[..] {
        [part] => part.as_ident().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

/// A call whose inner calls are columns already; `text` is how it was written.
fn call(text: String, function: &Function) -> Result<CallText> {
    let name = name_of(function).unwrap_or_default();
    let is_plain = function.over.is_none()
        && function.filter.is_none()
        && function.within_group.is_empty()
        && function.null_treatment.is_none();
    let arguments = match &function.args {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::List(list) if is_plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            let value = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(Part(value.clone())),
                FunctionArg::Named { .. } | FunctionArg::Unnamed(_) | FunctionArg::ExprNamed { .. } => None,
            };
            list.args.iter().map(value).collect()
        }
        FunctionArguments::List(_) | FunctionArguments::Subquery(_) => None,
    };
    let Some(arguments) = arguments.filter(|_| is_plain) else {
        return Err(ExpressionError::new(
            format!("`{name}` takes values only, in order, no `distinct`, `*`, `filter` or the like"),
            format!("write `{name}(first, second)`"),
        ));
    };
    let at = ExpressionError::new("", "").at(function.name.span()).at;
    Ok(CallText { name: text, function: name, arguments, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(sql: &str, expected: Expect) {
        let told = Part::parse(sql).and_then(|part| part.without_calls(&["entropy", "risk"]));
        let told = match told {
            Ok((calls, rest)) => {
                let call = |call: &CallText| {
                    let arguments: Vec<String> = call.arguments.iter().map(Part::to_string).collect();
                    format!("{} = {}[{}]\n", call.name, call.function, arguments.join("; "))
                };
                format!("{}{rest}", calls.iter().map(call).collect::<String>())
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn calls_are_taken_out_inner_ones_first() {
        check("a > 1", expect!["a > 1"]);
        check(
            "risk(lower(host), Entropy(path)) > 4 and entropy(path) < 2",
            expect![[r#"
                Entropy(path) = entropy[path]
                risk(lower(host), Entropy(path)) = risk[lower(host); "Entropy(path)"]
                entropy(path) = entropy[path]
                "risk(lower(host), Entropy(path))" > 4 AND "entropy(path)" < 2"#]],
        );
        check(
            "case when entropy(a) > 1 then entropy(a) end",
            expect![[r#"
                entropy(a) = entropy[a]
                CASE WHEN "entropy(a)" > 1 THEN "entropy(a)" END"#]],
        );
        check(
            "risk()",
            expect![[r#"
            risk() = risk[]
            "risk()""#]],
        );
    }

    #[test]
    fn what_is_no_plain_call_is_refused() {
        let refused = "takes values only, in order, no `distinct`, `*`, `filter` or the like (line 1, column 1): write";
        for sql in ["risk(distinct a)", "risk(*)", "risk(a => 1)"] {
            let error = Part::parse(sql).and_then(|part| part.without_calls(&["risk"])).expect_err(sql).to_string();
            assert!(error.contains(refused), "{error}");
        }
    }
}
