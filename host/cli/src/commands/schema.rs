//! `tidemill schema`: what documents and settings may say, for editors, programs and the reference pages of the user book.

use clap::CommandFactory;
use serde_json::{Value, json};

use crate::args::{SchemaArgs, SchemaOf, Tidemill};
use crate::exit::Failure;
use crate::output::Output;
use crate::settings::VARIABLES;

/// Prints one document, for people and programs alike.
pub(crate) fn run(args: &SchemaArgs, output: Output) -> Result<(), Failure> {
    let schema = match args.of {
        SchemaOf::Pipeline => serde_json::from_str(tidemill_engine::PIPELINE_SCHEMA)
            .map_err(|error| Failure::failed(format!("the schema built into this program is no JSON: {error}")))?,
        SchemaOf::Settings => settings(),
    };
    output.result(&schema, || format!("{schema:#}"))
}

/// Every setting of `serve`: its key in the file, its variable, its flag, and what the flag's help says.
fn settings() -> Value {
    let command = Tidemill::command();
    let serve = command.find_subcommand("serve");
    let described = |key: &str| {
        let flag = serve.and_then(|serve| serve.get_arguments().find(|argument| argument.get_id() == key));
        flag.and_then(|flag| flag.get_help()).map(ToString::to_string).unwrap_or_default()
    };
    let settings: Vec<Value> = VARIABLES
        .iter()
        .map(|(variable, key)| {
            let flag = format!("--{}", key.replace('_', "-"));
            json!({"key": key, "variable": variable, "flag": flag, "description": described(key)})
        })
        .collect();
    json!({ "settings": settings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_described() {
        for setting in settings()["settings"].as_array().expect("a list") {
            assert!(!setting["description"].as_str().expect("a text").is_empty(), "{setting}");
        }
    }
}
