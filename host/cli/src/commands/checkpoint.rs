//! `tidemill checkpoint`: keep the state of a pipeline, begin a run with it, carry it elsewhere.
//!
//! A file gets its name when it is whole and on disk; until then it is `NAME.checkpoint.part`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::CheckpointCommand;
use crate::client::{Client, encoded};
use crate::commands::control::gone;
use crate::exit::Failure;
use crate::output::{Output, bytes};
use crate::table::{grouped, table};

/// Does what is asked.
pub(crate) fn run(command: &CheckpointCommand, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        CheckpointCommand::Create { pipeline, name, to } => create(pipeline, name, to.as_deref(), client, output),
        CheckpointCommand::List { pipeline } => {
            let listed = client.get(&folder(pipeline))?;
            output.result(&listed, || list_text(pipeline, &listed))
        }
        CheckpointCommand::Restore { pipeline, name, from } => {
            if let Some(from) = from {
                upload(&file_in(from, name), &format!("{}/{}/snapshot", folder(pipeline), encoded(name)), client)?;
            }
            let path = format!("{}/{}/restore", folder(pipeline), encoded(name));
            let restored = client.ask(Method::POST, &path, &[], SendBody::none())?.expect_success()?;
            output.result(&restored, || restored_text(pipeline, name, &restored))
        }
        CheckpointCommand::Delete { pipeline, names } => names.iter().try_for_each(|name| {
            gone(client, output, &format!("{}/{}", folder(pipeline), encoded(name)), &format!("checkpoint {name} of {pipeline}"))
        }),
    }
}

fn folder(pipeline: &str) -> String {
    format!("/v1/pipelines/{}/checkpoints", encoded(pipeline))
}

fn file_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.checkpoint"))
}

fn create(pipeline: &str, name: &str, to: Option<&Path>, client: &Client, output: Output) -> Result<(), Failure> {
    let file = to.map(|folder| file_in(folder, name));
    if let Some(file) = file.as_ref().filter(|file| file.exists()) {
        return Err(Failure::wrong_use(format!("`{}` exists: choose another name or folder", file.display())));
    }
    let body = json!({"name": name}).to_string();
    let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
    let mut taken =
        client.ask(Method::POST, &folder(pipeline), &headers, SendBody::from_reader(&mut body.as_bytes()))?.expect_success()?;
    if let Some(file) = &file {
        download(&format!("{}/{}/snapshot", folder(pipeline), encoded(name)), file, client)?;
        taken["file"] = file.display().to_string().into();
    }
    output.result(&taken, || {
        let size = taken.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        let keys = taken.get("keys").and_then(Value::as_u64).unwrap_or(0);
        let mut text = format!("checkpoint {name} of {pipeline}: {keys} keys, {}", bytes(size));
        if let Some(file) = &file {
            text.push_str(&format!(", also in {}", file.display()));
        }
        format!("{text}\n  begin a run with it    tidemill checkpoint restore {pipeline} {name}")
    })
}

fn download(path: &str, file: &Path, client: &Client) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::failed(format!("cannot write `{}`: {error}", file.display()));
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(cannot)?;
    let part = file.with_extension("checkpoint.part");
    let copied = File::create(&part).and_then(|mut to| {
        let mut from = client.stream(path).map_err(|failure| io::Error::other(failure.message))?;
        io::copy(&mut from, &mut to)?;
        to.flush()?;
        to.sync_all()
    });
    let named = copied.and_then(|()| fs::rename(&part, file)).and_then(|()| File::open(folder)?.sync_all());
    named.map_err(|error| {
        // Nothing that is not whole stays.
        let _ = fs::remove_file(&part);
        cannot(error)
    })
}

fn upload(file: &Path, path: &str, client: &Client) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::failed(format!("cannot read `{}`: {error}", file.display()));
    let mut opened = File::open(file).map_err(cannot)?;
    let length = opened.metadata().map_err(cannot)?.len().to_string();
    let headers = [("content-type", "application/octet-stream"), ("content-length", &length)];
    client.ask(Method::PUT, path, &headers, SendBody::from_reader(&mut opened))?.expect_success().map(drop)
}

fn restored_text(pipeline: &str, name: &str, restored: &Value) -> String {
    let run = restored.get("run").map(Value::to_string).unwrap_or_default();
    let mut text = format!("run {run} begins with checkpoint {name} of {pipeline}, into streams called …@{run}");
    for lost in restored.get("lost").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("\n  not used: state of {lost}"));
    }
    text.push_str(&format!(
        "\n  see how it does     tidemill replay {pipeline}\n  let it take over    tidemill replay {pipeline} promote\n  or forget it        tidemill replay {pipeline} discard"
    ));
    text
}

fn list_text(pipeline: &str, listed: &Value) -> String {
    let checkpoints = listed.get("checkpoints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if checkpoints.is_empty() {
        return format!("{pipeline} has no checkpoint: keep one with `tidemill checkpoint create {pipeline} NAME`");
    }
    let row = |checkpoint: &Value| {
        let text = |key: &str| checkpoint.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| checkpoint.get(key).and_then(Value::as_u64).unwrap_or(0);
        let keys = grouped(number("keys"));
        vec![text("name"), text("taken_at"), number("plan").to_string(), number("run").to_string(), keys, bytes(number("bytes"))]
    };
    let rows: Vec<Vec<String>> = checkpoints.iter().map(row).collect();
    table(&["NAME", "TAKEN", "PLAN", "RUN", "KEYS", "SIZE"], &rows).join("\n")
}
