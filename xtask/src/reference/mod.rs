//! The reference pages of the user book, made from the program itself: its help, its OpenAPI document, its schemas, the WIT.
//!
//! Each page is a pure function of its source, so that a check is: make them again and compare with what is checked in.

mod commands;
mod http;
mod interfaces;
mod pipeline;
mod settings;

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

/// The pages: their path from the repository's root, and their text. `binary` is asked for its help and schemas.
pub(crate) fn pages(binary: &Path, openapi: &Value) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("docs/book/src/reference/commands.md", commands::page(binary)?),
        ("docs/book/src/reference/http.md", http::page(openapi)),
        ("docs/book/src/reference/settings.md", settings::page(&schema(binary, "settings")?)),
        ("docs/book/src/reference/pipeline.md", pipeline::page(&schema(binary, "pipeline")?)),
        ("docs/book/src/reference/components.md", interfaces::page()?),
    ])
}

fn schema(binary: &Path, of: &str) -> Result<Value> {
    Ok(serde_json::from_str(&commands::output(binary, &["schema", of])?)?)
}

/// Under the title of every page: where its text comes from.
fn made_from(source: &str) -> String {
    format!("*Made from {source} by `cargo xtask generate`; changes belong there.*\n\n")
}

/// A text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
