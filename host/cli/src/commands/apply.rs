//! `tidemill apply`: creates or changes pipelines. The host judges the text; here it is only asked for its name.

use std::path::Path;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;
use ureq::http::Method;

use crate::args::ApplyArgs;
use crate::client::{Client, encoded};
use crate::difference::lines;
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::Paint;

/// Applies every file, in order; the first one refused ends it.
pub(crate) fn run(args: &ApplyArgs, client: &Client, output: Output) -> Result<(), Failure> {
    // All names first: a typing mistake in the last file should not leave the first ones applied.
    let mut pipelines = Vec::new();
    for file in &args.files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::wrong_use(format!("cannot read `{}`: {error}", file.display())))?;
        let name = pipeline_name(file, &text)?;
        pipelines.push((file, name, text));
    }
    for (file, name, text) in pipelines {
        let content_type = if text.trim_start().starts_with('{') { "application/json" } else { "application/yaml" };
        let query = if args.dry_run { "?dry_run=true" } else { "" };
        let path = format!("/v1/pipelines/{}{query}", encoded(&name));
        let mut bytes = text.as_bytes();
        let body = ureq::SendBody::from_reader(&mut bytes);
        let headers = [("content-type", content_type), ("content-length", &text.len().to_string())];
        let answer = client.ask(Method::PUT, &path, &headers, body)?;
        let mut answer = answer.expect_success().map_err(|failure| in_file(file, failure))?;
        if let Some(members) = answer.as_object_mut() {
            members.entry("pipeline").or_insert_with(|| Value::String(name.clone()));
        }
        output.result(&answer, || told(&name, &answer, args.dry_run))?;
    }
    Ok(())
}

fn told(name: &str, answer: &Value, dry_run: bool) -> String {
    let flag = |key: &str| answer.get(key) == Some(&Value::Bool(true));
    let changes = answer.get("changes").map(|changes| lines(changes, Paint::for_stdout())).unwrap_or_default();
    let warnings = answer.get("plan").map(crate::plan::warnings).unwrap_or_default();
    let under = |head: String| {
        [head, changes.clone(), warnings.clone()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    };
    match (dry_run, flag("created"), flag("changed")) {
        (true, true, _) => {
            let plan = answer.get("plan").map(crate::plan::lines).unwrap_or_default();
            format!("{name} would be made; nothing was changed\n{plan}")
        }
        (true, false, true) => under(format!("{name} would change; nothing was changed")),
        (_, false, false) => format!("{name} is as it was"),
        (false, true, _) => {
            let created = format!("created {name}: see how it does with `tidemill status {name}`");
            if warnings.is_empty() { created } else { format!("{created}\n{warnings}") }
        }
        (false, false, true) => under(format!("changed {name}")),
    }
}

fn in_file(file: &Path, failure: Failure) -> Failure {
    Failure { message: format!("{}: {}", file.display(), failure.message), ..failure }
}

/// The pipeline's name, from the member `pipeline` of YAML or JSON (JSON is YAML).
pub(super) fn pipeline_name(file: &Path, text: &str) -> Result<String, Failure> {
    let wrong = |why: String| Failure::wrong_use(format!("{}: {why}", file.display()));
    let documents = Yaml::load_from_str(text).map_err(|error| wrong(format!("this is no YAML: {error}")))?;
    let [document] = documents.as_slice() else {
        return Err(wrong(format!("{} YAML documents: write one pipeline per file", documents.len())));
    };
    let name = document.as_mapping_get("pipeline").and_then(|name| name.as_str());
    name.map(str::to_owned).ok_or_else(|| wrong("no name: begin the file with `pipeline: NAME`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_from_yaml_and_json() {
        let name = |text: &str| pipeline_name(Path::new("p"), text).map_err(|failure| failure.message);
        assert_eq!(name("# first\npipeline: onward # why\nfrom: a\n"), Ok("onward".to_owned()));
        assert_eq!(name(r#"{"pipeline": "onward", "from": "a"}"#), Ok("onward".to_owned()));
        assert!(name("from: a\n").expect_err("no name").contains("pipeline: NAME"));
        assert!(name("a: [\n").expect_err("no YAML").contains("no YAML"));
        assert!(name("pipeline: a\n---\npipeline: b\n").expect_err("two").contains("2 YAML documents"));
    }
}
