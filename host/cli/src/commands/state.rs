//! `tidemill state`: what a step of a pipeline holds of a key.

use serde_json::Value;

use crate::args::StateArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::Output;

/// Asks, and shows the answer.
pub(crate) fn run(args: &StateArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let StateArgs { pipeline, step, key } = args;
    let key = key.as_ref().map_or_else(String::new, |key| format!("?key={}", encoded(key)));
    let held = client.get(&format!("/v1/pipelines/{}/steps/{}/state{key}", encoded(pipeline), encoded(step)))?;
    output.result(&held, || shown(&held))
}

/// Where it lies, then a block for each row that the step says.
fn shown(held: &Value) -> String {
    let text = |member: &str| held[member].as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("step        {}", text("step")),
        format!("key         {}", held["key"]),
        format!("partition   {}", held["partition"]),
        format!("event time  {}", text("watermark")),
    ];
    for row in held["state"].as_array().into_iter().flatten() {
        lines.push(String::new());
        members("", row, &mut lines);
    }
    lines.join("\n")
}

/// A line for each member; rows inside of it stand below, indented.
pub(super) fn members(indent: &str, row: &Value, lines: &mut Vec<String>) {
    let width = row.as_object().into_iter().flatten().map(|(name, _)| name.len()).max().unwrap_or(0).max(10);
    for (name, value) in row.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                lines.push(format!("{indent}{name}"));
                members(&format!("{indent}  "), value, lines);
            }
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                lines.push(format!("{indent}{name}"));
                lines.extend(rows.iter().map(|row| format!("{indent}  {row}")));
            }
            Value::String(text) => lines.push(format!("{indent}{name:width$}  {text}")),
            Value::Null => lines.push(format!("{indent}{name:width$}  -")),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Array(_) => {
                lines.push(format!("{indent}{name:width$}  {value}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_a_block_for_each_row() {
        let held = json!({
            "pipeline": "p", "step": "steps[0].machine", "key": {"order": "o-17"}, "partition": 3,
            "watermark": "2026-11-22T10:00:00.000000Z",
            "state": [{"state": "paid", "until": null, "variables": {"paid": 60.0}, "events": [{"at": 1}]}],
        });
        expect![[r#"
            step        steps[0].machine
            key         {"order":"o-17"}
            partition   3
            event time  2026-11-22T10:00:00.000000Z

            events
              {"at":1}
            state       paid
            until       -
            variables
              paid        60.0"#]]
        .assert_eq(&shown(&held));
    }
}
