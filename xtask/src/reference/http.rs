//! The HTTP API, from its OpenAPI document.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, made_from};

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

pub(super) fn page(openapi: &Value) -> String {
    let mut text = format!("# HTTP API\n\n{}", made_from("the OpenAPI document"));
    let _ = write!(
        text,
        "{}\n\nThe host serves the same document at `/v1/openapi.json`.\n\n",
        openapi["info"]["description"].as_str().unwrap_or_default()
    );
    for (path, operations) in members(&openapi["paths"]) {
        for method in METHODS {
            if let Some(operation) = operations.get(method) {
                operation_text(method, path, operation, &mut text);
            }
        }
    }
    text
}

fn operation_text(method: &str, path: &str, operation: &Value, text: &mut String) {
    let said = |key: &str| operation[key].as_str().unwrap_or_default();
    let _ = write!(text, "## `{} {path}`\n\n{}\n\n", method.to_uppercase(), said("summary"));
    if !said("description").is_empty() {
        let _ = write!(text, "{}\n\n", said("description"));
    }
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        text.push_str("| parameter | in | |\n|---|---|---|\n");
        for parameter in parameters {
            let (name, place) = (parameter["name"].as_str().unwrap_or_default(), parameter["in"].as_str().unwrap_or_default());
            let _ = writeln!(text, "| `{name}` | {place} | {} |", cell(parameter["description"].as_str().unwrap_or_default()));
        }
        text.push('\n');
    }
    if let Some(body) = operation.get("requestBody") {
        let types: Vec<String> = members(&body["content"]).map(|(name, _)| format!("`{name}`")).collect();
        let described = body["description"].as_str().map(|said| format!(": {}", said.trim())).unwrap_or_default();
        let _ = write!(text, "Body, {}{described}\n\n", types.join(", "));
    }
    text.push_str("| answer | |\n|---|---|\n");
    for (status, answer) in members(&operation["responses"]) {
        let _ = writeln!(text, "| {status} | {} |", cell(answer["description"].as_str().unwrap_or_default()));
    }
    text.push('\n');
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_its_parameters_body_and_answers() {
        let openapi = serde_json::json!({"info": {"description": "d"}, "paths": {"/v1/x": {"post": {
            "summary": "Do x.", "parameters": [{"name": "a", "in": "query", "description": "one|two"}],
            "requestBody": {"content": {"text/csv": {}}, "description": "rows"},
            "responses": {"200": {"description": "done"}}}}}});
        let page = page(&openapi);
        assert!(page.contains("## `POST /v1/x`\n\nDo x."), "{page}");
        assert!(page.contains("| `a` | query | one\\|two |"), "{page}");
        assert!(page.contains("Body, `text/csv`: rows"), "{page}");
        assert!(page.contains("| 200 | done |"), "{page}");
    }
}
