//! What a command prints: text for people, or JSON for programs; results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::exit::Failure;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// The form `--json` asks for.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Prints a result: `text` for people, `value` for programs.
    pub(crate) fn result(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = match self {
            Self::Text => text(),
            Self::Json => value.to_string(),
        };
        line_out(&mut io::stdout().lock(), line.as_bytes())
    }

    /// Prints why a command did not succeed.
    pub(crate) fn failure(self, failure: &Failure) {
        // Standard error closed: there is nobody left to tell.
        let _ = match self {
            Self::Text => writeln!(io::stderr(), "error: {}", failure.message),
            Self::Json => {
                let mut document = serde_json::json!({"error": failure.message, "code": failure.code});
                if let Some(details) = &failure.details {
                    document["details"] = details.clone();
                }
                writeln!(io::stderr(), "{document}")
            }
        };
    }

    /// A bar over `total` bytes, drawn only on a terminal and only for people.
    pub(crate) fn bar(self, total_bytes: Option<u64>) -> ProgressBar {
        if self == Self::Json || !io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
        let template = match total_bytes {
            Some(_) => "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}",
            None => "{spinner} {bytes}, {bytes_per_sec}  {msg}",
        };
        bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// A spinner with a word about what takes long.
    pub(crate) fn spinner(self, message: String) -> ProgressBar {
        if self == Self::Json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(message);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }
}

/// One line to standard output. A reader that went away (`| head`) ends the program quietly.
pub(crate) fn line_out(out: &mut impl Write, line: &[u8]) -> Result<(), Failure> {
    let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| Failure::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// JSON as indented lines for people: `name: value`, objects and lists deeper by two spaces. Ends without a line feed.
pub(crate) fn outline(value: &Value) -> String {
    let mut out = String::new();
    write_outline(value, 0, &mut out);
    out.trim_matches('\n').to_owned()
}

fn write_outline(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                write_member(&format!("{indent}{name}:"), value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                write_member(&format!("{indent}-"), item, depth, out);
            }
        }
        scalar => out.push_str(&format!("{indent}{}\n", plain(scalar))),
    }
}

fn write_member(label: &str, value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push_str(&format!("{label}\n"));
            write_outline(value, depth + 1, out);
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            out.push_str(&format!("{label}\n"));
            write_outline(value, depth + 1, out);
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            out.push_str(&format!("{label} {}\n", if items.is_empty() { "none".to_owned() } else { items.join(", ") }));
        }
        value => out.push_str(&format!("{label} {}\n", plain(value))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Object(members) if members.is_empty() => "none".to_owned(),
        other => other.to_string(),
    }
}

/// A size for people.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..=1023 => format!("{bytes} B"),
        1024..=1_048_575 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn json_reads_as_an_outline() {
        let value = serde_json::json!({
            "pipeline": "fraud", "state": "running", "sources": ["a", "b"], "last_error": null,
            "tasks": [{"partition": 0, "lag": 3}], "divergence": {}
        });
        expect![[r#"
            divergence: none
            last_error: -
            pipeline: fraud
            sources: a, b
            state: running
            tasks:
              -
                lag: 3
                partition: 0"#]]
        .assert_eq(&outline(&value));
    }
}
