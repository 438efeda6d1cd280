//! A query as a pipeline of the host: named, read once, into a stream of its own.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::query::{Form, Query, Window, WindowQuery};

/// The document of `query` as pipeline `name` into stream `result`. `disorder_ms` says how far rows of a stream are behind.
pub fn definition(query: &Query, name: &str, result: &str, disorder_ms: &dyn Fn(&str) -> i64) -> Result<Value> {
    let mut document = match &query.form {
        Form::Window(window) => of_window(query, window, disorder_ms)?,
        Form::Pipeline(pipeline) => of_pipeline(query, pipeline, disorder_ms)?,
    };
    document.insert("pipeline".to_owned(), json!(name));
    document.entry("run").or_insert(json!("once"));
    document.insert("to".to_owned(), json!([{"stream": result}]));
    Ok(Value::Object(document))
}

fn of_pipeline(query: &Query, pipeline: &Map<String, Value>, disorder_ms: &dyn Fn(&str) -> i64) -> Result<Map<String, Value>> {
    let mut document = pipeline.clone();
    let from = document.get("from").context("the pipeline has no `from`")?;
    let sources = from.as_array().cloned().unwrap_or_else(|| vec![from.clone()]);
    let sources: Vec<Value> = sources
        .into_iter()
        .map(|source| {
            let mut source = match source {
                Value::String(stream) => Map::from_iter([("stream".to_owned(), Value::String(stream))]),
                Value::Object(source) => source,
                other => bail!("a source is a name or an object, not {other}"),
            };
            let stream = source.get("stream").and_then(Value::as_str).context("a source without `stream`")?;
            let behind_ms = query.out_of_order.map_or_else(|| disorder_ms(stream), |out_of_order| out_of_order.lag_ms);
            source.entry("out_of_orderness").or_insert_with(|| duration(behind_ms));
            Ok(Value::Object(source))
        })
        .collect::<Result<_>>()?;
    document.insert("from".to_owned(), json!(sources));
    Ok(document)
}

fn of_window(query: &Query, asked: &WindowQuery, disorder_ms: &dyn Fn(&str) -> i64) -> Result<Map<String, Value>> {
    let behind_ms = query.out_of_order.map_or_else(|| disorder_ms(&asked.stream), |out_of_order| out_of_order.lag_ms);
    let mut steps = Vec::new();
    if !asked.filter.is_empty() {
        let conditions: Vec<String> =
            asked.filter.iter().map(|(field, operation, value)| condition(field, operation, value)).collect::<Result<_>>()?;
        steps.push(json!({"where": conditions.join(" and ")}));
    }
    let mut window = match asked.window {
        Window::Tumbling { size_ms, .. } => json!({"tumbling": duration(size_ms)}),
        Window::Hopping { size_ms, slide_ms, .. } => {
            json!({"hopping": {"size": duration(size_ms), "every": duration(slide_ms)}})
        }
        Window::Session { gap_ms } => json!({"session": duration(gap_ms)}),
        Window::Count { size } => json!({"count": size}),
    };
    match asked.window {
        Window::Tumbling { size_ms: every_ms, offset_ms } | Window::Hopping { slide_ms: every_ms, offset_ms, .. } => {
            // The same windows: one more or less of what they begin apart changes none.
            let offset_ms = offset_ms.rem_euclid(every_ms);
            if offset_ms != 0 {
                window["offset"] = duration(offset_ms);
            }
        }
        Window::Session { .. } | Window::Count { .. } => {}
    }
    window["by"] = json!(asked.key);
    let columns: Map<String, Value> =
        asked.aggregates.iter().map(|(function, field)| aggregate(function, field.as_deref())).collect();
    window["select"] = Value::Object(columns);
    let lateness_ms = query.out_of_order.map_or(0, |out_of_order| out_of_order.allowed_lateness_ms);
    if lateness_ms > 0 {
        window["lateness"] = duration(lateness_ms);
    }
    steps.push(json!({ "window": window }));
    let source = json!({"stream": asked.stream, "out_of_orderness": duration(behind_ms)});
    Ok(Map::from_iter([("from".to_owned(), json!([source])), ("steps".to_owned(), json!(steps))]))
}

/// A column called `function` or `function_field`, and what computes it.
fn aggregate(function: &str, field: Option<&str>) -> (String, Value) {
    match field {
        None => (function.to_owned(), json!(format!("{function}(*)"))),
        Some(field) if function == "count_distinct" => {
            (format!("{function}_{field}"), json!(format!("count(distinct {})", quoted(field))))
        }
        Some(field) => (format!("{function}_{field}"), json!(format!("{function}({})", quoted(field)))),
    }
}

/// A condition in SQL; null is no.
fn condition(field: &str, operation: &str, value: &Value) -> Result<String> {
    let field = quoted(field);
    let lower = operation.to_lowercase().replace('_', " ");
    Ok(match lower.as_str() {
        "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" => {
            let operation = match lower.as_str() {
                "==" => "=",
                "!=" => "<>",
                other => other,
            };
            // With null nothing compares, whatever the operation.
            if value.is_null() { "false".to_owned() } else { format!("{field} {operation} {}", literal(value)?) }
        }
        "in" | "not in" => {
            let values = value.as_array().with_context(|| format!("`{operation}` needs a list, not {value}"))?;
            let values: Vec<String> = values.iter().map(literal).collect::<Result<_>>()?;
            format!("{field} {lower} ({})", values.join(", "))
        }
        "between" => {
            let Some([low, high]) = value.as_array().map(Vec::as_slice) else { bail!("`between` needs two values, not {value}") };
            format!("{field} between {} and {}", literal(low)?, literal(high)?)
        }
        "like" | "not like" => format!("{field} {lower} {}", literal(value)?),
        "starts with" | "ends with" => format!("{}({field}, {})", lower.replace(' ', "_"), literal(value)?),
        "contains" => format!("strpos({field}, {}) > 0", literal(value)?),
        "is null" => format!("{field} is null"),
        "is not null" | "not null" => format!("{field} is not null"),
        _ => bail!("there is no operation `{operation}`"),
    })
}

fn literal(value: &Value) -> Result<String> {
    Ok(match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Number(number) if number.to_string().starts_with('-') => format!("({number})"),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
        Value::Array(_) | Value::Object(_) => bail!("{value} is nothing to compare with"),
    })
}

/// A field's name in an expression, also where SQL would read another word.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn duration(ms: i64) -> Value {
    json!(format!("{ms}ms"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{condition, definition};
    use crate::query::Query;

    #[track_caller]
    fn check(query: Value, expected: Value) {
        let query = Query::parse(&query).expect("a query");
        assert_eq!(definition(&query, "q", "r", &|_| 59_000).expect("a pipeline"), expected);
    }

    #[test]
    fn window_fields_become_a_window_step() {
        check(
            json!({"id": "q", "stream": "web", "where": [["bytes", ">", 60], ["agent", "!=", "it's"]], "key": ["status"],
                "window": {"type": "hopping", "size_ms": 3_600_000, "slide_ms": 900_000, "offset_ms": -1},
                "aggregates": [["count"], ["count_distinct", "ip"], ["stddev_pop", "bytes"]]}),
            json!({"pipeline": "q", "run": "once", "from": [{"stream": "web", "out_of_orderness": "59000ms"}],
                "steps": [{"where": "\"bytes\" > 60 and \"agent\" <> 'it''s'"}, {"window": {
                    "hopping": {"size": "3600000ms", "every": "900000ms"}, "offset": "899999ms", "by": ["status"],
                    "select": {"count": "count(*)", "count_distinct_ip": "count(distinct \"ip\")", "stddev_pop_bytes": "stddev_pop(\"bytes\")"}}}],
                "to": [{"stream": "r"}]}),
        );
    }

    #[test]
    fn lag_and_lateness_stand_where_the_grammar_has_them() {
        check(
            json!({"id": "q", "stream": "web", "window": {"type": "tumbling", "size_ms": 10}, "aggregates": [["count"]],
                "out_of_order": {"lag_ms": 20, "allowed_lateness_ms": 5}}),
            json!({"pipeline": "q", "run": "once", "from": [{"stream": "web", "out_of_orderness": "20ms"}], "steps": [{"window": {
                "tumbling": "10ms", "by": [], "select": {"count": "count(*)"}, "lateness": "5ms"}}], "to": [{"stream": "r"}]}),
        );
    }

    #[test]
    fn a_given_pipeline_gets_a_name_a_target_and_the_disorder_of_its_files() {
        check(
            json!({"id": "q", "pipeline": {"from": [{"stream": "a", "as": "x", "out_of_orderness": "1s"}, "b"], "steps": []}}),
            json!({"pipeline": "q", "run": "once", "from": [{"stream": "a", "as": "x", "out_of_orderness": "1s"},
                {"stream": "b", "out_of_orderness": "59000ms"}], "steps": [], "to": [{"stream": "r"}]}),
        );
    }

    #[test]
    fn conditions() {
        let check = |operation: &str, value: Value, expected: &str| {
            assert_eq!(condition("a", operation, &value).expect("a condition"), expected);
        };
        check("==", json!(true), "\"a\" = true");
        check("<=", json!(-2.5), "\"a\" <= (-2.5)");
        check("=", Value::Null, "false");
        check("in", json!(["x", 1]), "\"a\" in ('x', 1)");
        check("not_in", json!([1]), "\"a\" not in (1)");
        check("between", json!([1, 2]), "\"a\" between 1 and 2");
        check("starts_with", json!("x"), "starts_with(\"a\", 'x')");
        check("is_null", Value::Null, "\"a\" is null");
        assert!(condition("a", "~", &json!(1)).is_err());
    }
}
