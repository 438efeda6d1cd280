//! The grammar of pipelines, from its JSON Schema (`tidemill schema pipeline`).
//!
//! Knows of JSON Schema what that document uses: `$ref` into `$defs`, `properties`, `oneOf`, `items`, `enum`, `examples`.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, made_from};

pub(super) fn page(schema: &Value) -> String {
    let mut text = format!("# Pipeline grammar\n\n{}", made_from("`tidemill schema pipeline`"));
    text.push_str(
        "A pipeline is a YAML or JSON document. `tidemill schema pipeline` prints this page's source as JSON Schema, which editors can check \
         and complete with. What each step does is in [Pipelines](../pipelines.md).\n\n",
    );
    object("The document", schema, &mut text);
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        if definition.get("properties").is_some() {
            object(&format!("`{name}`"), definition, &mut text);
        }
    }
    text
}

fn object(title: &str, definition: &Value, text: &mut String) {
    let _ = write!(text, "## {title}\n\n");
    if let Some(said) = definition["description"].as_str() {
        let _ = write!(text, "{said}\n\n");
    }
    let required: Vec<&str> = definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    text.push_str("| key | value | |\n|---|---|---|\n");
    for (key, value) in definition["properties"].as_object().into_iter().flatten() {
        let needed = if required.contains(&key.as_str()) { "**needed.** " } else { "" };
        let said = cell(value["description"].as_str().unwrap_or_default());
        let _ = writeln!(text, "| `{key}` | {} | {needed}{said} |", cell(&form(value)));
    }
    text.push('\n');
    for example in definition["examples"].as_array().into_iter().flatten() {
        if let Ok(json) = serde_json::to_string(example) {
            let _ = write!(text, "```json\n{json}\n```\n\n");
        }
    }
}

/// What a value looks like, in a few words.
fn form(value: &Value) -> String {
    if let Some(reference) = value["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(choices) = value["enum"].as_array() {
        return choices
            .iter()
            .map(|choice| format!("`{}`", choice.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(choices) = value["oneOf"].as_array() {
        return choices.iter().map(form).collect::<Vec<_>>().join(" or ");
    }
    match value["type"].as_str() {
        Some("array") => format!("list of {}", form(&value["items"])),
        Some(simple) => simple.to_owned(),
        None => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_a_few_words() {
        let form = |text: &str| form(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(form(r##"{"$ref": "#/$defs/duration"}"##), "duration");
        assert_eq!(form(r#"{"enum": ["live", "once"]}"#), "`live` or `once`");
        assert_eq!(
            form(r##"{"oneOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/source"}}]}"##),
            "string or list of source"
        );
    }
}
