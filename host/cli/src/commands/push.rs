//! `tidemill push`: uploads a component.

use serde_json::Value;
use ureq::http::Method;

use crate::args::PushArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, bytes};

/// Uploads the file; the host says what it is.
pub(crate) fn run(args: &PushArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let component = std::fs::read(&args.file)
        .map_err(|error| Failure::wrong_use(format!("cannot read `{}`: {error}", args.file.display())))?;
    let path = format!("/v1/components/{}/versions/{}", encoded(&args.name), encoded(&args.version.to_string()));
    let spinner = output.spinner(format!("the host checks and compiles {} …", bytes(component.len() as u64)));
    let headers = [("content-type", "application/wasm"), ("content-length", &component.len().to_string())];
    let answer = client.ask(Method::PUT, &path, &headers, ureq::SendBody::from_reader(&mut component.as_slice()));
    spinner.finish_and_clear();
    let answer = answer?;
    let created = answer.status == 201;
    let published = answer.expect_success()?;
    output.result(&published, || told(&published, created))
}

/// `name type`, with a `?` where it may be null.
fn field(field: &Value) -> String {
    // A state field may stand beside its first value.
    let field = field.get("field").unwrap_or(field);
    let text = |key: &str| field.get(key).and_then(Value::as_str).unwrap_or("?");
    let nullable = if field.get("nullable") == Some(&Value::Bool(true)) { "?" } else { "" };
    format!("{} {}{nullable}", text("name"), text("type"))
}

fn told(published: &Value, created: bool) -> String {
    let text = |key: &str| published.get(key).and_then(Value::as_str).unwrap_or("?");
    let mut lines = format!(
        "{} {}@{} ({}, {})",
        if created { "published" } else { "already there:" },
        text("name"),
        text("version"),
        text("kind"),
        text("digest")
    );
    let describe = published.get("describe").unwrap_or(&Value::Null);
    if let Some(doc) = describe.get("doc").and_then(Value::as_str) {
        lines.extend(doc.lines().map(|line| format!("\n  {line}")));
    }
    for (what, member) in [("reads", "columns"), ("adds", "outputs"), ("keeps per key", "state")] {
        let fields: Vec<String> = describe.get(member).and_then(Value::as_array).into_iter().flatten().map(field).collect();
        if !fields.is_empty() {
            lines.push_str(&format!("\n  {what}: {}", fields.join(", ")));
        }
    }
    lines
}
