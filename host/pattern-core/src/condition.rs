//! The conditions of vectors: comparisons of an event's fields with constants, and with what a run has taken.

use std::cmp::Ordering;

use serde_json::Value;

/// What a condition looks at: the event, and the events a run has in a stage.
pub(crate) trait Looks {
    /// The event's own object.
    fn data(&self) -> &Value;
    /// Its time, in ms.
    fn time(&self) -> i64;
    /// What the run has in a stage, the first one first.
    fn taken(&self, stage: &str) -> Vec<&Value>;
}

/// Whether its answer hangs on a run.
pub(crate) fn looks_at_runs(condition: &Value) -> bool {
    let of_operand = |operand: &Value| matches!(operand["expr"].as_str(), Some("sum" | "first" | "count"));
    match condition["op"].as_str() {
        Some("and" | "or") => condition["args"].as_array().is_some_and(|args| args.iter().any(looks_at_runs)),
        Some("not") => looks_at_runs(&condition["arg"]),
        _ => of_operand(&condition["left"]) || of_operand(&condition["right"]),
    }
}

/// Whether it holds. Errors: it is none of the form.
pub(crate) fn holds(condition: &Value, at: &dyn Looks) -> Result<bool, String> {
    let args = || condition["args"].as_array().ok_or_else(|| format!("no args in {condition}"));
    match condition["op"].as_str().ok_or_else(|| format!("no op in {condition}"))? {
        "true" => Ok(true),
        "and" => args()?.iter().try_fold(true, |all, arg| Ok(all && holds(arg, at)?)),
        "or" => args()?.iter().try_fold(false, |any, arg| Ok(any || holds(arg, at)?)),
        "not" => Ok(!holds(&condition["arg"], at)?),
        "has" => Ok(!field(at.data(), &condition["field"])?.is_null()),
        op => {
            let (left, right) = if condition.get("left").is_some() {
                (operand(&condition["left"], at)?, operand(&condition["right"], at)?)
            } else {
                (field(at.data(), &condition["field"])?.clone(), condition["value"].clone())
            };
            compare(op, &left, &right)
        }
    }
}

fn field<'a>(data: &'a Value, name: &Value) -> Result<&'a Value, String> {
    Ok(&data[name.as_str().ok_or_else(|| format!("no field's name: {name}"))?])
}

fn operand(operand: &Value, at: &dyn Looks) -> Result<Value, String> {
    let Some(expression) = operand["expr"].as_str() else {
        return if operand.is_object() { Err(format!("no operand: {operand}")) } else { Ok(operand.clone()) };
    };
    let taken = || at.taken(operand["stage"].as_str().unwrap_or_default());
    let with_current = operand["plus_current"] == Value::Bool(true);
    match expression {
        "current" => Ok(field(at.data(), &operand["field"])?.clone()),
        "timestamp" => Ok(at.time().into()),
        "count" => Ok((taken().len() + usize::from(with_current)).into()),
        "first" => match taken().first().copied().or(with_current.then(|| at.data())) {
            Some(first) => Ok(field(first, &operand["field"])?.clone()),
            None => Ok(Value::Null),
        },
        "sum" => {
            let mut all = taken();
            all.extend(with_current.then(|| at.data()));
            let mut sum = 0.0;
            for event in all {
                sum += field(event, &operand["field"])?.as_f64().unwrap_or(0.0);
            }
            Ok(sum.into())
        }
        other => Err(format!("no expression `{other}`")),
    }
}

fn compare(op: &str, left: &Value, right: &Value) -> Result<bool, String> {
    let texts = || left.as_str().zip(right.as_str());
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.partial_cmp(&right),
        _ => texts().map(|(left, right)| left.cmp(right)),
    };
    Ok(match op {
        "eq" => order.map_or(left == right, Ordering::is_eq),
        "ne" => !order.map_or(left == right, Ordering::is_eq),
        "lt" => order.is_some_and(Ordering::is_lt),
        "le" => order.is_some_and(Ordering::is_le),
        "gt" => order.is_some_and(Ordering::is_gt),
        "ge" => order.is_some_and(Ordering::is_ge),
        "contains" => texts().is_some_and(|(text, part)| text.contains(part)),
        "starts_with" => texts().is_some_and(|(text, part)| text.starts_with(part)),
        other => return Err(format!("no comparison `{other}`")),
    })
}
