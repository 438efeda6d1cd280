//! What a window query answers, computed the slow and obvious way: every row is looked at for every window there is.
//!
//! The judge of random queries; the answers of the real streams come from other programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::query::{OutOfOrder, Window, WindowQuery};

/// An answer, and how many (row, window) pairs came too late for it.
#[derive(Debug)]
pub struct Answered {
    /// One row a result.
    pub rows: Vec<Value>,
    /// Pairs of a row and a window that was closed.
    pub dropped_late: u64,
}

/// The answer over `rows` in order of arrival, each with `ts_ms`.
pub fn answer(query: &WindowQuery, out_of_order: Option<OutOfOrder>, rows: &[Value]) -> Answered {
    let mut dropped_late = 0;
    // Window (start, end) or number, then key: the rows in order of arrival.
    let mut results = BTreeMap::<(i64, i64, Vec<String>), Vec<&Value>>::new();
    let mut keys = BTreeMap::<Vec<String>, Vec<&Value>>::new();
    let mut greatest = None;
    for row in rows {
        let watermark = greatest.zip(out_of_order).map(|(greatest, out_of_order)| (greatest - out_of_order.lag_ms, out_of_order));
        greatest = greatest.max(row["ts_ms"].as_i64());
        if !query.filter.iter().all(|(field, operation, value)| holds(at(row, field), operation, value)) {
            continue;
        }
        let key: Vec<String> = query.key.iter().map(|field| at(row, field).to_string()).collect();
        match windows_of(query.window, time(row)) {
            Some(windows) => {
                for (start, end) in windows {
                    match watermark {
                        Some((watermark, out_of_order)) if end + out_of_order.allowed_lateness_ms <= watermark => {
                            dropped_late += 1
                        }
                        _ => results.entry((start, end, key.clone())).or_default().push(row),
                    }
                }
            }
            None => keys.entry(key).or_default().push(row),
        }
    }
    for (key, mut rows) in keys {
        match query.window {
            Window::Session { gap_ms } => {
                rows.sort_by_key(|row| time(row));
                for session in rows.chunk_by(|a, b| time(b) - time(a) <= gap_ms) {
                    let (first, last) = (time(session[0]), time(session[session.len() - 1]));
                    results.insert((first, last + gap_ms, key.clone()), session.to_vec());
                }
            }
            Window::Count { size } => {
                for (number, full) in rows.chunks_exact(size as usize).enumerate() {
                    results.insert((number as i64, 0, key.clone()), full.to_vec());
                }
            }
            Window::Tumbling { .. } | Window::Hopping { .. } => {}
        }
    }
    let rows = results.into_iter().map(|((start, end, _), rows)| result(query, start, end, rows)).collect();
    Answered { rows, dropped_late }
}

/// The windows an instant is in; `None` where windows depend on other rows.
fn windows_of(window: Window, time: i64) -> Option<Vec<(i64, i64)>> {
    let (size_ms, slide_ms, offset_ms) = match window {
        Window::Tumbling { size_ms, offset_ms } => (size_ms, size_ms, offset_ms),
        Window::Hopping { size_ms, slide_ms, offset_ms } => (size_ms, slide_ms, offset_ms),
        Window::Session { .. } | Window::Count { .. } => return None,
    };
    let mut start = offset_ms + (time - offset_ms).div_euclid(slide_ms) * slide_ms;
    let mut windows = Vec::new();
    while start + size_ms > time {
        windows.push((start, start + size_ms));
        start -= slide_ms;
    }
    Some(windows)
}

fn result(query: &WindowQuery, start: i64, end: i64, mut rows: Vec<&Value>) -> Value {
    let mut result = Map::new();
    if matches!(query.window, Window::Count { .. }) {
        result.insert("window_no".to_owned(), json!(start));
    } else {
        result.insert("window_start".to_owned(), json!(start));
        result.insert("window_end".to_owned(), json!(end));
    }
    for field in &query.key {
        result.insert(field.clone(), at(rows[0], field).clone());
    }
    // By time; rows of one time stay in order of arrival.
    rows.sort_by_key(|row| time(row));
    for (function, field) in &query.aggregates {
        let column = field.as_ref().map_or_else(|| function.clone(), |field| format!("{function}_{field}"));
        result.insert(column, aggregate(function, field.as_deref(), &rows));
    }
    Value::Object(result)
}

fn aggregate(function: &str, field: Option<&str>, rows: &[&Value]) -> Value {
    let Some(field) = field else { return json!(rows.len()) };
    let values: Vec<&Value> = rows.iter().map(|row| at(row, field)).filter(|value| !value.is_null()).collect();
    let is_whole = values.iter().all(|value| value.is_i64());
    let numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    let extreme = |is_greater: bool| {
        let compare = |a: &&&Value, b: &&&Value| match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.as_str().cmp(&b.as_str()),
        };
        let found = if is_greater { values.iter().max_by(compare) } else { values.iter().min_by(compare) };
        found.map_or(Value::Null, |value| (*value).clone())
    };
    match function {
        "count_distinct" => {
            let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            texts.sort_unstable();
            texts.dedup();
            json!(texts.len())
        }
        "count" => json!(values.len()),
        "first" => values.first().map_or(Value::Null, |value| (*value).clone()),
        "last" => values.last().map_or(Value::Null, |value| (*value).clone()),
        "min" => extreme(false),
        "max" => extreme(true),
        _ if numbers.is_empty() => Value::Null,
        "sum" if is_whole => json!(values.iter().filter_map(|value| value.as_i64()).sum::<i64>()),
        "sum" => json!(numbers.iter().sum::<f64>()),
        "avg" => json!(mean),
        "stddev_pop" => {
            let squares: f64 = numbers.iter().map(|number| (number - mean) * (number - mean)).sum();
            json!((squares / numbers.len() as f64).sqrt())
        }
        other => panic!("the model has no aggregate `{other}`"),
    }
}

fn holds(field: &Value, operation: &str, value: &Value) -> bool {
    if field.is_null() {
        return operation == "is_null";
    }
    let order = match (field, value) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match (operation, order) {
        ("=" | "==", Some(order)) => order.is_eq(),
        ("!=" | "<>", Some(order)) => order.is_ne(),
        ("<", Some(order)) => order.is_lt(),
        ("<=", Some(order)) => order.is_le(),
        (">", Some(order)) => order.is_gt(),
        (">=", Some(order)) => order.is_ge(),
        ("in", _) => value.as_array().is_some_and(|values| values.contains(field)),
        ("is_null", _) => false,
        ("is_not_null", _) => true,
        _ => panic!("the model does not know {field} {operation} {value}"),
    }
}

/// A value by the path of its members; null where there is none.
fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, name| value.get(name).unwrap_or(&Value::Null))
}

fn time(row: &Value) -> i64 {
    row["ts_ms"].as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::answer;
    use crate::Streams;
    use crate::api::lines;
    use crate::compare::compare;
    use crate::query::{Form, Query};

    /// What judges random queries must itself be right: other programs computed these.
    #[test]
    fn real_streams_by_the_model() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/streams");
        let streams = Streams::open(&folder).expect("the data");
        let mut compared = 0;
        for (id, query) in &streams.queries {
            let query = query.as_ref().expect("a query");
            let Form::Window(window) = &query.form else { continue };
            let text = std::str::from_utf8(&streams.files[&window.stream].body).expect("text");
            let answered = answer(window, query.out_of_order, &lines(text).expect("rows"));
            let expected = crate::folder::read(&folder.join("expected"), &format!("{id}.ndjson")).expect("an answer");
            assert_eq!(compare(&lines(&expected).expect("rows"), &answered.rows, &Default::default(), None), Ok(()), "{id}");
            assert_eq!(answered.dropped_late, query.dropped_late.unwrap_or(0), "{id}");
            compared += 1;
        }
        assert_eq!(compared, 11);
    }

    /// `k@5` is a row of key k at 5 ms; answers `[start,end) k n`.
    #[track_caller]
    fn check(window: Value, out_of_order: Value, rows: &str, expected: &str) {
        let query = json!({"id": "q", "stream": "s", "key": ["k"], "window": window, "aggregates": [["count"]], "out_of_order": out_of_order});
        let query = Query::parse(&query).expect("a query");
        let row = |text: &str| {
            let (key, time) = text.split_once('@').expect("k@5");
            json!({"k": key, "ts_ms": time.parse::<i64>().expect("a time")})
        };
        let rows: Vec<Value> = rows.split_whitespace().map(row).collect();
        let Form::Window(window) = &query.form else { panic!("a window") };
        let answered = answer(window, query.out_of_order, &rows);
        let told = |row: &Value| {
            let number = row.get("window_no").map(|number| format!("#{number}"));
            let window = number.unwrap_or_else(|| format!("[{},{})", row["window_start"], row["window_end"]));
            format!("{window} {} {}", row["k"].as_str().unwrap_or("-"), row["count"])
        };
        let mut told: Vec<String> = answered.rows.iter().map(told).collect();
        told.push(format!("late {}", answered.dropped_late));
        assert_eq!(told.join("; "), expected);
    }

    #[test]
    fn windows_by_hand() {
        let none = Value::Null;
        check(
            json!({"type": "tumbling", "size_ms": 10, "offset_ms": 3}),
            none.clone(),
            "a@2 a@3 b@12",
            "[-7,3) a 1; [3,13) a 1; [3,13) b 1; late 0",
        );
        check(json!({"type": "hopping", "size_ms": 10, "slide_ms": 4}), none.clone(), "a@-1", "[-8,2) a 1; [-4,6) a 1; late 0");
        check(json!({"type": "hopping", "size_ms": 2, "slide_ms": 4}), none.clone(), "a@1 a@2", "[0,2) a 1; late 0");
        check(
            json!({"type": "session", "gap_ms": 5}),
            none.clone(),
            "a@10 a@0 b@2 a@5 a@16",
            "[0,15) a 3; [2,7) b 1; [16,21) a 1; late 0",
        );
        check(json!({"type": "count", "size": 2}), none, "a@1 b@1 a@0 a@7", "#0 a 2; late 0");
    }

    #[test]
    fn late_rows_by_hand() {
        let of = |lag: i64, lateness: i64| json!({"lag_ms": lag, "allowed_lateness_ms": lateness});
        // 130 makes the watermark 110: `[100,110)` is closed for 109, not for what comes before.
        check(
            json!({"type": "tumbling", "size_ms": 10}),
            of(20, 0),
            "a@100 a@130 a@109 a@111",
            "[100,110) a 1; [110,120) a 1; [130,140) a 1; late 1",
        );
        check(
            json!({"type": "tumbling", "size_ms": 10}),
            of(20, 5),
            "a@130 a@109 a@135 a@109",
            "[100,110) a 1; [130,140) a 2; late 1",
        );
    }
}
