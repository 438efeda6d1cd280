//! Conditions of vectors as SQL. Theirs are yes or no of whatever is there; SQL's are null where something is missing, so each comparison is
//! made whole before `not` can meet it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::translate::Names;
use crate::pipeline::quoted;

/// A condition.
pub(super) fn sql(condition: &Value, names: &Names) -> Result<String> {
    let args = || -> Result<Vec<String>> {
        let args = condition["args"].as_array().with_context(|| format!("no args in {condition}"))?;
        args.iter().map(|arg| Ok(format!("({})", sql(arg, names)?))).collect()
    };
    let op = condition["op"].as_str().with_context(|| format!("no op in {condition}"))?;
    Ok(match op {
        "true" => "true".to_owned(),
        "and" => args()?.join(" and "),
        "or" => args()?.join(" or "),
        "not" => format!("not ({})", sql(&condition["arg"], names)?),
        "has" => {
            let field = field(&condition["field"])?;
            if names.has(field) { format!("{} is not null", quoted(field)) } else { "false".to_owned() }
        }
        _ if condition.get("left").is_some() => {
            compared(op, &operand(&condition["left"], names)?, &operand(&condition["right"], names)?)?
        }
        _ => {
            let left = column(field(&condition["field"])?, names);
            compared(op, &left, &constant(&condition["value"])?)?
        }
    })
}

/// One side of a comparison, and what it is.
struct Operand {
    sql: String,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    Number,
    Text,
    Bool,
    Missing,
}

fn field(name: &Value) -> Result<&str> {
    name.as_str().with_context(|| format!("no field's name: {name}"))
}

fn column(field: &str, names: &Names) -> Operand {
    let kind = match names.type_of(field) {
        Some("int64" | "float64") => Kind::Number,
        Some("bool") => Kind::Bool,
        Some(_) => Kind::Text,
        None => Kind::Missing,
    };
    Operand { sql: quoted(field), kind }
}

fn constant(value: &Value) -> Result<Operand> {
    let (sql, kind) = match value {
        Value::Number(number) => (number.to_string(), Kind::Number),
        Value::String(text) => (format!("'{}'", text.replace('\'', "''")), Kind::Text),
        Value::Bool(is) => (is.to_string(), Kind::Bool),
        Value::Null => ("null".to_owned(), Kind::Missing),
        Value::Array(_) | Value::Object(_) => bail!("no constant: {value}"),
    };
    Ok(Operand { sql, kind })
}

fn operand(operand: &Value, names: &Names) -> Result<Operand> {
    let Some(expression) = operand["expr"].as_str() else { return constant(operand) };
    let with_current = operand["plus_current"] == Value::Bool(true);
    let stage = || names.stage(operand["stage"].as_str().unwrap_or_default());
    let number = |sql: String| Operand { sql, kind: Kind::Number };
    Ok(match expression {
        "timestamp" => number(names.time().to_owned()),
        "count" => number(format!("(count({}) + {})", stage(), u8::from(with_current))),
        "current" => column(field(&operand["field"])?, names),
        "first" | "sum" => {
            let of = column(field(&operand["field"])?, names);
            if of.kind == Kind::Missing {
                return Ok(if expression == "sum" { number("0".to_owned()) } else { of });
            }
            let call = format!("{expression}({}.{})", stage(), of.sql);
            match (expression, with_current) {
                ("sum", false) => number(format!("coalesce({call}, 0)")),
                ("sum", true) => number(format!("(coalesce({call}, 0) + coalesce({}, 0))", of.sql)),
                (_, false) => Operand { sql: call, kind: of.kind },
                (_, true) => Operand { sql: format!("coalesce({call}, {})", of.sql), kind: of.kind },
            }
        }
        other => bail!("no expression `{other}`"),
    })
}

fn compared(op: &str, left: &Operand, right: &Operand) -> Result<String> {
    let (a, b) = (&left.sql, &right.sql);
    let is_missing = left.kind == Kind::Missing || right.kind == Kind::Missing;
    let both_missing = left.kind == Kind::Missing && right.kind == Kind::Missing;
    let alike = left.kind == right.kind;
    let ordered = |sign: &str| if alike && !is_missing { format!("coalesce({a} {sign} {b}, false)") } else { "false".to_owned() };
    let texts = |of: String| if alike && left.kind == Kind::Text { format!("coalesce({of}, false)") } else { "false".to_owned() };
    Ok(match op {
        "eq" if both_missing => "true".to_owned(),
        "ne" if both_missing => "false".to_owned(),
        // What is not there equals nothing but null.
        "eq" if is_missing => format!("{} is null", if left.kind == Kind::Missing { b } else { a }),
        "ne" if is_missing => format!("{} is not null", if left.kind == Kind::Missing { b } else { a }),
        "eq" if alike => format!("{a} is not distinct from {b}"),
        "ne" if alike => format!("{a} is distinct from {b}"),
        "eq" => "false".to_owned(),
        "ne" => "true".to_owned(),
        "lt" => ordered("<"),
        "le" => ordered("<="),
        "gt" => ordered(">"),
        "ge" => ordered(">="),
        "contains" => texts(format!("strpos({a}, {b}) > 0")),
        "starts_with" => texts(format!("starts_with({a}, {b})")),
        other => bail!("no comparison `{other}`"),
    })
}
