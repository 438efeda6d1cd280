//! Conditions that compare a column with constants and nothing else: whoever has many of them can look the column's value up instead.
//!
//! `status = 'ok'`, `5 = n`, `country in ('DE', 'AT')`, `is_vip`, `not is_vip`: such a condition is true exactly for rows with one of the values,
//! and never fails.

use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};
use tidemill_event::FieldType;

use crate::aggregates::Part;
use crate::scope::Scope;

/// A value that a column is compared with; of the column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// Of a text column.
    Text(String),
    /// Of an integer column.
    Int(i64),
    /// Of a column of true and false.
    Bool(bool),
}

/// A column and the values for which a condition is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The column, as batches have it.
    pub column: Arc<str>,
    /// At least one.
    pub any_of: Vec<Constant>,
}

impl Part {
    /// What it compares, if it is such a condition and the constants are of the column's type.
    pub fn membership(&self, scope: &Scope) -> Option<Membership> {
        let (name, constants) = compared(&self.0)?;
        let column = scope.resolve(&path(name)?).ok()?;
        let ty = scope.columns()[column].field.ty;
        let fits = |constant: &Constant| match constant {
            Constant::Text(_) => ty == FieldType::String,
            Constant::Int(_) => ty == FieldType::Int64,
            Constant::Bool(_) => ty == FieldType::Bool,
        };
        constants.iter().all(fits).then(|| Membership { column: scope.batch_name(column).into(), any_of: constants })
    }
}

fn compared(tree: &Expr) -> Option<(&Expr, Vec<Constant>)> {
    match tree {
        Expr::Nested(inner) => compared(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (constant(left), constant(right)) {
            (None, Some(constant)) => Some((left, vec![constant])),
            (Some(constant), None) => Some((right, vec![constant])),
            (Some(_), Some(_)) | (None, None) => None,
        },
        Expr::InList { expr, list, negated: false } if !list.is_empty() => {
            Some((expr, list.iter().map(constant).collect::<Option<_>>()?))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Some((expr, vec![Constant::Bool(false)])),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Some((tree, vec![Constant::Bool(true)])),
        _ => None,
    }
}

fn constant(tree: &Expr) -> Option<Constant> {
    match tree {
        Expr::Nested(inner) => constant(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(Constant::Text(text.clone())),
            Value::Number(digits, _) => digits.parse().ok().map(Constant::Int),
            Value::Boolean(bool) => Some(Constant::Bool(*bool)),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr)? {
            Constant::Int(int) => int.checked_neg().map(Constant::Int),
            Constant::Text(_) | Constant::Bool(_) => None,
        },
        _ => None,
    }
}

fn path(tree: &Expr) -> Option<String> {
    match tree {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(path) => Some(path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".")),
        Expr::Nested(inner) => path(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tidemill_event::Field;

    use super::*;
    use crate::ScopeColumn;

    fn check(sql: &str, expected: Expect) {
        let fields = [("s", FieldType::String), ("n", FieldType::Int64), ("f", FieldType::Float64), ("b", FieldType::Bool)];
        let column = |(name, ty)| ScopeColumn { qualifier: Some("a".to_owned()), field: Field::new(name, ty, true) };
        let scope = Scope::new(fields.map(column).into());
        let found = Part::parse(sql).expect("an expression").membership(&scope);
        expected.assert_eq(&found.map_or("none".to_owned(), |Membership { column, any_of }| format!("{column} {any_of:?}")));
    }

    #[test]
    fn a_column_compared_with_constants_of_its_type_is_one() {
        check("s = 'x'", expect![[r#"s [Text("x")]"#]]);
        check("(('it''s') = a.s)", expect![[r#"s [Text("it's")]"#]]);
        check("n in (1, -2)", expect!["n [Int(1), Int(-2)]"]);
        check("b", expect!["b [Bool(true)]"]);
        check("not (b)", expect!["b [Bool(false)]"]);
        check("b = false", expect!["b [Bool(false)]"]);
    }

    #[test]
    fn nothing_else_is() {
        let others = [
            "s = n",
            "s = lower('x')",
            "n = 1.5",
            "f = 1",
            "n not in (1)",
            "s in ('x', n)",
            "n > 1",
            "s = 5",
            "n = '5'",
            "1 = 1",
            "q = 1",
            "n = null",
            "not s",
            "s",
            "n = 99999999999999999999",
        ];
        for sql in others {
            check(sql, expect!["none"]);
        }
    }
}
