//! `tidemill streams` and `tidemill components`: what is there, a line each; one in full; one that goes.

use serde_json::Value;

use super::control::{gone, sure};
use crate::args::{ComponentsAction, ComponentsArgs, StreamsAction, StreamsArgs};
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, outline};

/// Lists streams, shows one, or deletes one.
pub(crate) fn streams(args: &StreamsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    match &args.action {
        Some(StreamsAction::Show { stream }) => {
            let shown = client.get(&format!("/v1/streams/{}", encoded(stream)))?;
            return output.result(&shown, || outline(&shown));
        }
        Some(StreamsAction::Delete { stream, yes }) => {
            sure(*yes, &format!("delete the stream {stream} with all its rows?"))?;
            return gone(client, output, &format!("/v1/streams/{}", encoded(stream)), stream);
        }
        None => {}
    }
    let list = client.get("/v1/streams")?;
    output.result(&list, || match names(&list, "streams", "name").as_slice() {
        [] => "no streams: make one with PUT /v1/streams/NAME".to_owned(),
        names => names.join("\n"),
    })
}

/// Lists components with their versions, shows one, or deletes one.
pub(crate) fn components(args: &ComponentsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let path = |name: &str, version: &semver::Version| {
        format!("/v1/components/{}/versions/{}", encoded(name), encoded(&version.to_string()))
    };
    match &args.action {
        Some(ComponentsAction::Show { name, of }) => {
            let shown = client.get(&path(name, of))?;
            return output.result(&shown, || outline(&shown));
        }
        Some(ComponentsAction::Delete { name, of, yes }) => {
            sure(*yes, &format!("delete {name} {of}?"))?;
            return gone(client, output, &path(name, of), &format!("{name} {of}"));
        }
        None => {}
    }
    let list = client.get("/v1/components")?;
    output.result(&list, || {
        let lines: Vec<String> = items(&list, "components").iter().map(component_line).collect();
        if lines.is_empty() { "no components: upload one with `tidemill push`".to_owned() } else { lines.join("\n") }
    })
}

/// The objects of a list answer, which is an array or an object with one.
fn items<'a>(list: &'a Value, member: &str) -> &'a [Value] {
    list.as_array().or_else(|| list.get(member)?.as_array()).map_or(&[], Vec::as_slice)
}

/// The names in a list answer: of texts, or of objects with the member `key` or `name`.
pub(crate) fn names(list: &Value, member: &str, key: &str) -> Vec<String> {
    let name = |item: &Value| {
        let name = item.as_str().or_else(|| item.get(key)?.as_str()).or_else(|| item.get("name")?.as_str());
        name.map(str::to_owned)
    };
    items(list, member).iter().filter_map(name).collect()
}

fn component_line(item: &Value) -> String {
    let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or("?");
    let version = match item.get("versions").and_then(Value::as_array) {
        Some(versions) => {
            let of = |version: &Value| version.as_str().or_else(|| version.get("version")?.as_str()).unwrap_or("?").to_owned();
            versions.iter().map(of).collect::<Vec<_>>().join(", ")
        }
        None => text("version").to_owned(),
    };
    format!("{:30} {}", text("name"), version)
}
