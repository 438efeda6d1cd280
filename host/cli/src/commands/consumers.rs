//! `tidemill consumers`: how far the readers of a stream have committed; moves them, forgets them.

use serde_json::{Map, Value};
use ureq::SendBody;
use ureq::http::Method;

use crate::args::ConsumersCommand;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, outline};

/// Does one of the sub-commands.
pub(crate) fn run(command: &ConsumersCommand, client: &Client, output: Output) -> Result<(), Failure> {
    match command {
        ConsumersCommand::List { stream } => {
            let list = client.get(&format!("/v1/streams/{}/consumers", encoded(stream)))?;
            output.result(&list, || match list["consumers"].as_array().map(Vec::as_slice).unwrap_or_default() {
                [] => format!("no consumers of {stream}: the first commit makes one, such as with `tidemill tail {stream} --consumer NAME --commit`"),
                consumers => consumers.iter().map(line).collect::<Vec<_>>().join("\n"),
            })
        }
        ConsumersCommand::Show { stream, consumer } => {
            let shown = client.get(&path(stream, consumer))?;
            output.result(&shown, || outline(&shown))
        }
        ConsumersCommand::Commit { stream, consumer, offsets, force } => {
            let committed = commit(client, stream, consumer, &offsets.0, *force)?;
            output.result(&committed, || line(&committed))
        }
        ConsumersCommand::Delete { stream, consumer } => {
            client.ask(Method::DELETE, &path(stream, consumer), &[], SendBody::none())?.expect_success()?;
            let done = serde_json::json!({"stream": stream, "consumer": consumer, "deleted": true});
            output.result(&done, || format!("forgot {consumer} of {stream}"))
        }
    }
}

/// Commits for a consumer: by partition, the first offset that is not done.
pub(crate) fn commit(
    client: &Client,
    stream: &str,
    consumer: &str,
    offsets: &[(u32, u64)],
    force: bool,
) -> Result<Value, Failure> {
    let body: Map<String, Value> = offsets.iter().map(|(partition, offset)| (partition.to_string(), (*offset).into())).collect();
    let body = Value::Object(body).to_string();
    let path = format!("{}/commit{}", path(stream, consumer), if force { "?force=true" } else { "" });
    let headers = [("content-type", "application/json"), ("content-length", &body.len().to_string())];
    client.ask(Method::POST, &path, &headers, SendBody::from_reader(&mut body.as_bytes()))?.expect_success()
}

fn path(stream: &str, consumer: &str) -> String {
    format!("/v1/streams/{}/consumers/{}", encoded(stream), encoded(consumer))
}

/// `billing   lag 17   0:123,1:99   2026-11-21T00:00:00Z`
fn line(consumer: &Value) -> String {
    let text = |key: &str| consumer[key].as_str().unwrap_or("?");
    let offsets = consumer["offsets"].as_object().map(|offsets| {
        let mut places: Vec<(u32, &Value)> =
            offsets.iter().filter_map(|(partition, offset)| Some((partition.parse().ok()?, offset))).collect();
        places.sort_by_key(|(partition, _)| *partition);
        places.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
    });
    format!("{:30} lag {:<10} {:20} {}", text("consumer"), consumer["lag"], offsets.unwrap_or_default(), text("committed_at"))
}
