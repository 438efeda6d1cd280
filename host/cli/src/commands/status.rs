//! `tidemill status`: how pipelines are doing.

use serde_json::Value;

use crate::args::StatusArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, outline};

/// One pipeline in full, or a line for each.
pub(crate) fn run(args: &StatusArgs, client: &Client, output: Output) -> Result<(), Failure> {
    if let Some(pipeline) = &args.pipeline {
        let status = client.get(&format!("/v1/pipelines/{}/status", encoded(pipeline)))?;
        return output.result(&status, || outline(&status));
    }
    let list = client.get("/v1/pipelines")?;
    let mut statuses = Vec::new();
    for name in super::list::names(&list, "pipelines", "pipeline") {
        let mut status = client.get(&format!("/v1/pipelines/{}/status", encoded(&name)))?;
        if let Some(members) = status.as_object_mut() {
            members.entry("pipeline").or_insert(Value::String(name));
        }
        statuses.push(status);
    }
    let text = || match statuses.as_slice() {
        [] => "no pipelines: apply one with `tidemill apply FILE`".to_owned(),
        statuses => statuses.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    output.result(&Value::Array(statuses.clone()), text)
}

fn line(status: &Value) -> String {
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("?");
    format!("{:30} {}", text("pipeline"), text("state"))
}
