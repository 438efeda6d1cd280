//! What a file holds: said, or known by its name or its beginning.

use std::io::BufRead;

use super::batch::Rows;
use crate::args::{SendArgs, SendFormat};
use crate::exit::Failure;

/// How a file is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In one request of this content type.
    Whole(&'static str),
    /// Some rows at a time, as this content type.
    Rows(Rows, &'static str),
}

pub(super) fn form(args: &SendArgs, input: &mut impl BufRead) -> Result<Form, Failure> {
    const JSON: Form = Form::Whole("application/json");
    const NDJSON: Form = Form::Rows(Rows::Lines, "application/x-ndjson");
    let format = args.text.then_some(SendFormat::Text).or(args.format);
    let extension = args.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let format = format.or(match extension {
        "json" => Some(SendFormat::Json),
        "csv" => Some(SendFormat::Csv),
        "arrow" | "arrows" => Some(SendFormat::Arrow),
        _ => None,
    });
    match format {
        Some(SendFormat::Text) => return Ok(Form::Rows(Rows::AllLines, "text/plain")),
        Some(SendFormat::Ndjson) => return Ok(NDJSON),
        Some(SendFormat::Json) => return Ok(JSON),
        Some(SendFormat::Csv) => return Ok(Form::Rows(Rows::Records, "text/csv")),
        Some(SendFormat::Arrow) => return Ok(Form::Whole("application/vnd.apache.arrow.stream")),
        Some(SendFormat::Cloudevents) | None => {}
    }
    let begin = input.fill_buf().map_err(|error| Failure::failed(format!("cannot read `{}`: {error}", args.file.display())))?;
    let first = begin.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_array = first == Some(&b'[');
    Ok(match format {
        Some(SendFormat::Cloudevents) if is_array => Form::Whole("application/cloudevents-batch+json"),
        Some(SendFormat::Cloudevents) => Form::Whole("application/cloudevents+json"),
        _ if is_array => JSON,
        _ => NDJSON,
    })
}
