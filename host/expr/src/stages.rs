//! Expressions over the events of a pattern, taken apart: what is said of a stage's events, and what is computed of that.
//!
//! ```text
//! amount > 2 * a.amount and count(b) < 5     calls: `last(a.amount)`: last of amount, of stage a · `count(b)`: of stage b
//!                                            rest:  amount > 2 * "last(a.amount)" and "count(b)" < 5
//! ```
//! A stage's column outside of an aggregate is that of its last event. An aggregate without a stage is over all events.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Spanned,
};

use crate::aggregates::{AggregateText, Aggregated, Part, Split};
use crate::error::ExpressionError;
use crate::expression::on_large_stack;
use crate::forms::{DEPTH_MAX, children};
use crate::syntax;

type Result<T> = std::result::Result<T, ExpressionError>;

/// An aggregate over the events of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCall {
    /// The stage; `None`: all events.
    pub stage: Option<String>,
    /// The call, its arguments over the columns of one event.
    pub call: AggregateText,
}

/// An expression over the events of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Each once, in the order of the text.
    pub calls: Vec<StageCall>,
    /// What is computed of their values.
    pub rest: Part,
}

impl Staged {
    /// Takes an expression apart in which these names are stages, and these functions, in lower case, aggregates.
    pub fn parse(sql: &str, stages: &[&str], aggregates: &[&str]) -> Result<Self> {
        on_large_stack(|| {
            let mut tree = syntax::parse(sql)?;
            say_last(&mut tree, stages, aggregates, 1)?;
            let Aggregated { calls, rest } = Split::apart(tree, aggregates)?;
            let calls = calls.into_iter().map(|call| of_stage(call, stages)).collect::<Result<_>>()?;
            Ok(Self { calls, rest })
        })
    }
}

/// `a.amount` becomes `last(a.amount)` where no aggregate is around it.
fn say_last(tree: &mut Expr, stages: &[&str], aggregates: &[&str], depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(ExpressionError::new(
            format!("the expression is more than {DEPTH_MAX} operators deep"),
            "use `in (…)` for long lists, or compute parts of it in an `extend` step before",
        ));
    }
    let span = tree.span();
    match tree {
        Expr::Function(function) if is_aggregate(function, aggregates) => Ok(()),
        Expr::Identifier(name) if stages.contains(&name.value.as_str()) => {
            let error = format!("`{0}` is a stage, and has no value of its own", name.value);
            Err(ExpressionError::new(
                error,
                format!("name a column, `{0}.amount`, or count its events: `count({0})`", name.value),
            )
            .at(span))
        }
        Expr::CompoundIdentifier(path) if stage_of(path, stages).is_some() => {
            let argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(std::mem::take(path))));
            *tree = Expr::Function(last(argument));
            Ok(())
        }
        // What has no children here is refused when the rest is planned.
        other => {
            let inner = children(other).unwrap_or_default();
            inner.into_iter().try_for_each(|child| say_last(child, stages, aggregates, depth + 1))
        }
    }
}

fn is_aggregate(function: &Function, aggregates: &[&str]) -> bool {
    let [part] = &function.name.0[..] else { return false };
    part.as_ident().is_some_and(|name| aggregates.contains(&name.value.to_lowercase().as_str()))
}

fn stage_of<'a>(path: &[Ident], stages: &[&'a str]) -> Option<&'a str> {
    let first = path.first().filter(|_| path.len() > 1)?;
    stages.iter().find(|stage| **stage == first.value).copied()
}

fn last(argument: FunctionArg) -> Function {
    Function {
        name: ObjectName::from(vec![Ident::new("last")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// Which stage a call is of; its argument loses the stage's name.
fn of_stage(mut call: AggregateText, stages: &[&str]) -> Result<StageCall> {
    let at = call.at;
    let refused = |error: String, remedy: String| {
        let mut error = ExpressionError::new(error, remedy);
        error.at = at;
        Err(error)
    };
    if call.filter.is_some() {
        return refused(
            format!("`{}` takes no `filter` here", call.function),
            format!("say it in the argument: `{}(case when … then b.amount end)`", call.function),
        );
    }
    // `count(b)`: the events of a stage.
    if let [Part(Expr::Identifier(name))] = &call.arguments[..]
        && stages.contains(&name.value.as_str())
    {
        let stage = name.value.clone();
        if call.function != "count" || call.is_distinct {
            return refused(
                format!("`{stage}` is a stage: `{}` needs one of its columns", call.function),
                format!("write `{}({stage}.amount)`", call.function),
            );
        }
        call.arguments.clear();
        return Ok(StageCall { stage: Some(stage), call });
    }
    let mut named = Named::default();
    for part in &mut call.arguments {
        named.take(&mut part.0, stages);
    }
    match (&named.stages[..], named.others) {
        ([], _) => Ok(StageCall { stage: None, call }),
        ([stage], false) => Ok(StageCall { stage: Some(stage.clone()), call }),
        ([stage], true) => refused(
            format!("`{}` names columns of stage `{stage}` and others: they are not of one event", call.name),
            format!("write `{stage}.` in front of every column"),
        ),
        ([first, second, ..], _) => refused(
            format!("`{}` names stages `{first}` and `{second}`: an aggregate is over the events of one", call.name),
            format!("write two: `sum({first}.x) + sum({second}.y)`"),
        ),
    }
}

/// What an argument names.
#[derive(Default)]
struct Named {
    stages: Vec<String>,
    /// A column without a stage in front.
    others: bool,
}

impl Named {
    /// Notes every name, and takes the stages' away. The tree is not deep: it was walked before.
    fn take(&mut self, tree: &mut Expr, stages: &[&str]) {
        match tree {
            Expr::CompoundIdentifier(path) => match stage_of(path, stages) {
                Some(stage) => {
                    if self.stages.iter().all(|known| known != stage) {
                        self.stages.push(stage.to_owned());
                    }
                    path.remove(0);
                    if let [only] = &path[..] {
                        *tree = Expr::Identifier(only.clone());
                    }
                }
                None => self.others = true,
            },
            Expr::Identifier(_) => self.others = true,
            other => children(other).unwrap_or_default().into_iter().for_each(|child| self.take(child, stages)),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(sql: &str, expected: Expect) {
        let told = match Staged::parse(sql, &["a", "b"], &["count", "sum", "first", "last"]) {
            Ok(Staged { calls, rest }) => {
                let call = |StageCall { stage, call }: &StageCall| {
                    let arguments: Vec<String> = call.arguments.iter().map(Part::to_string).collect();
                    format!(
                        "{} = {}[{}] of {}\n",
                        call.name,
                        call.function,
                        arguments.join("; "),
                        stage.as_deref().unwrap_or("all")
                    )
                };
                format!("{}{rest}", calls.iter().map(call).collect::<String>())
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn names_find_their_stages() {
        check("amount > 5", expect!["amount > 5"]);
        check(
            "amount > 2 * a.amount and count(b) < 5 and SUM(b.amount * b.rate) > sum(amount)",
            expect![[r#"
                last(a.amount) = last[amount] of a
                count(b) = count[] of b
                sum(b.amount * b.rate) = sum[amount * rate] of b
                sum(amount) = sum[amount] of all
                amount > 2 * "last(a.amount)" AND "count(b)" < 5 AND "sum(b.amount * b.rate)" > "sum(amount)""#]],
        );
        check(
            "first(a.user.name) = user.name and count(*) = 3",
            expect![[r#"
                first(a.user.name) = first[user.name] of a
                count(*) = count[] of all
                "first(a.user.name)" = user.name AND "count(*)" = 3"#]],
        );
    }

    #[test]
    fn what_is_of_no_one_stage_is_refused() {
        check(
            "b > 3",
            expect![
                "`b` is a stage, and has no value of its own (line 1, column 1): name a column, `b.amount`, or count its events: `count(b)`"
            ],
        );
        check("sum(b) > 3", expect!["`b` is a stage: `sum` needs one of its columns (line 1, column 1): write `sum(b.amount)`"]);
        check(
            "sum(a.x * b.x) > 3",
            expect![
                "`sum(a.x * b.x)` names stages `a` and `b`: an aggregate is over the events of one (line 1, column 1): write two: `sum(a.x) + sum(b.y)`"
            ],
        );
        check(
            "1 < sum(a.x * y)",
            expect![
                "`sum(a.x * y)` names columns of stage `a` and others: they are not of one event (line 1, column 5): write `a.` in front of every column"
            ],
        );
        check(
            "count(*) filter (where x > 1) > 2",
            expect![
                "`count` takes no `filter` here (line 1, column 1): say it in the argument: `count(case when … then b.amount end)`"
            ],
        );
    }
}
