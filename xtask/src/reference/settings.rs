//! The settings of `serve`, from `tidemill schema settings`.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, made_from};

pub(super) fn page(schema: &Value) -> String {
    let mut text = format!("# Settings\n\n{}", made_from("`tidemill schema settings`"));
    text.push_str(
        "`tidemill serve` takes each setting from a file (`--config tidemill.toml`), from the environment, or as a flag; \
         the later one wins. An unknown key or variable is refused with its place.\n\n\
         | key in the file | variable | flag | |\n|---|---|---|---|\n",
    );
    for setting in schema["settings"].as_array().into_iter().flatten() {
        let said = |key: &str| setting[key].as_str().unwrap_or_default();
        let _ =
            writeln!(text, "| `{}` | `{}` | `{}` | {} |", said("key"), said("variable"), said("flag"), cell(said("description")));
    }
    text
}
