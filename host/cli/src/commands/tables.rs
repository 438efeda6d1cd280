//! `tidemill table`: puts, lists, shows and deletes tables.

use std::io::{Read, copy};
use std::path::Path;

use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use super::control::{gone, sure};
use crate::args::{TableCommand, TableForm};
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, bytes, outline};

/// Does one of the sub-commands.
pub(crate) fn run(command: &TableCommand, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        TableCommand::Put { table, file, format, key, schema } => {
            put(client, output, table, file, *format, (key, schema.as_deref()))
        }
        TableCommand::Keep { table, from, key, delete } => keep(client, output, table, from, key, delete.as_deref()),
        TableCommand::List => {
            let list = client.get("/v1/tables")?;
            output.result(&list, || match list["tables"].as_array().map(Vec::as_slice).unwrap_or_default() {
                [] => "no tables: make one with `tidemill table put NAME FILE`".to_owned(),
                tables => tables.iter().map(line).collect::<Vec<_>>().join("\n"),
            })
        }
        TableCommand::Show { table } => {
            let shown = client.get(&path(table))?;
            output.result(&shown, || outline(&shown))
        }
        TableCommand::Rows { table, limit, offset } => {
            let mut rows = client.stream(&format!("{}/rows?limit={limit}&offset={offset}", path(table)))?;
            copy(&mut rows, &mut std::io::stdout().lock())
                .map_err(|error| Failure::failed(format!("the rows broke off: {error}")))?;
            Ok(())
        }
        TableCommand::Delete { table, yes } => {
            sure(*yes, &format!("delete the table {table}?"))?;
            gone(client, output, &path(table), table)
        }
    }
}

fn put(
    client: &Client,
    output: Output,
    table: &str,
    file: &Path,
    format: Option<TableForm>,
    (key, schema): (&[String], Option<&Path>),
) -> Result<(), Failure> {
    let unreadable =
        |file: &Path, error: &std::io::Error| Failure::wrong_use(format!("cannot read `{}`: {error}", file.display()));
    let format = format.or_else(|| TableForm::of(file)).ok_or_else(|| {
        Failure::wrong_use(format!("`{}` does not say what it is by its ending: say it with --format", file.display()))
    })?;
    let mut body = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut body).map_err(|error| unreadable(file, &error))?;
    } else {
        body = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    }
    let mut query = Vec::new();
    if !key.is_empty() {
        query.push(format!("key={}", encoded(&key.join(","))));
    }
    if let Some(schema) = schema {
        let text = std::fs::read_to_string(schema).map_err(|error| unreadable(schema, &error))?;
        query.push(format!("schema={}", encoded(text.trim())));
    }
    let address = if query.is_empty() { path(table) } else { format!("{}?{}", path(table), query.join("&")) };
    let spinner = output.spinner(format!("the host reads {} …", bytes(body.len() as u64)));
    let headers = [("content-type", format.content_type()), ("content-length", &body.len().to_string())];
    let answer = client.ask(Method::PUT, &address, &headers, SendBody::from_reader(&mut body.as_slice()));
    spinner.finish_and_clear();
    let put = answer?.expect_success()?;
    output.result(&put, || told("put", &put))
}

fn keep(client: &Client, output: Output, table: &str, from: &str, key: &[String], delete: Option<&str>) -> Result<(), Failure> {
    let mut wanted = json!({"stream": from});
    if !key.is_empty() {
        wanted["key"] = json!(key);
    }
    if let Some(delete) = delete {
        wanted["delete"] = json!(delete);
    }
    let spinner = output.spinner(format!("the host reads `{from}` …"));
    let body = json!({"from_stream": wanted}).to_string();
    let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
    let answer = client.ask(Method::PUT, &path(table), &headers, SendBody::from_reader(&mut body.as_bytes()));
    spinner.finish_and_clear();
    let kept = answer?.expect_success()?;
    output.result(&kept, || told("kept from now on:", &kept))
}

/// A table that was put, with its columns.
fn told(what: &str, put: &Value) -> String {
    let what = if put["changed"] == Value::Bool(true) { what } else { "already there:" };
    let name = |field: &Value| format!("{} {}", field["name"].as_str().unwrap_or("?"), field["type"].as_str().unwrap_or("?"));
    let fields: Vec<String> = put["fields"].as_array().into_iter().flatten().map(name).collect();
    format!("{what} {}\n  columns: {}", line(put), fields.join(", "))
}

fn path(table: &str) -> String {
    format!("/v1/tables/{}", encoded(table))
}

/// `airports   version 3   224 rows   12 KiB   kept from flights   used by onward`
fn line(table: &Value) -> String {
    let users: Vec<&str> = table["used_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let users = if users.is_empty() { String::new() } else { format!("   used by {}", users.join(", ")) };
    let from = table["from_stream"]["stream"].as_str().map_or_else(String::new, |stream| format!("   kept from {stream}"));
    format!(
        "{:30} version {:<6} {:>10} rows   {}{from}{users}",
        table["name"].as_str().unwrap_or("?"),
        table["version"],
        table["rows"],
        bytes(table["size_bytes"].as_u64().unwrap_or(0)),
    )
}
