//! Reads `to:`.

use tidemill_event::StreamName;

use super::file::file;
use super::webhook::webhook;
use super::{Target, TargetKind};
use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::Object;
use crate::pipeline::parse::list;

const TARGET_WORDS: [&str; 4] = ["stream", "file", "webhook", "stdout"];
/// More targets are refused.
const TARGETS_MAX: usize = 16;

/// The targets that can be read.
pub(in crate::pipeline) fn targets(node: &Node, faults: &mut Vec<Fault>) -> Vec<Target> {
    let items = list(node, "to", "to: [{stream: results}]", faults);
    if items.is_empty() {
        faults.push(Fault::new(
            "to",
            node.line,
            "no target is named",
            "add `- stream: results`, `- file: {path: results}`, `- webhook: {url: …}` or `- stdout`",
        ));
    }
    if items.len() > TARGETS_MAX {
        let error = format!("{} targets", items.len());
        faults.push(Fault::new(
            "to",
            node.line,
            error,
            "at most 16 are possible: let another pipeline read the first one's stream",
        ));
        return Vec::new();
    }
    let targets: Vec<Target> =
        items.iter().enumerate().filter_map(|(at, item)| target(item, format!("to[{at}]"), faults)).collect();
    for (at, target) in targets.iter().enumerate() {
        if targets[..at].iter().any(|earlier| earlier.kind.to_string() == target.kind.to_string()) {
            faults.push(Fault::new(&target.path, target.line, "this target is named twice", "remove one of the two"));
        }
    }
    targets
}

fn target(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<Target> {
    let line = node.line;
    if let NodeValue::Scalar { text, .. } = &node.value {
        if text == "stdout" {
            return Some(Target { kind: TargetKind::Stdout, path, line });
        }
        let remedy = format!("write `- stream: {text}`, `- file: {{path: {text}}}` or `- stdout`");
        faults.push(Fault::new(path, line, format!("`{text}` is no target"), remedy));
        return None;
    }
    let mut object = Object::of(node, &path, "stream: results", faults)?;
    let mut kind = None;
    if let Some(text) = object.text("stream", faults) {
        let member = object.member("stream");
        match StreamName::from_client(&text.text) {
            Ok(stream) => kind = Some(TargetKind::Stream(stream)),
            Err(error) => faults.push(Fault::new(member, text.line, error.to_string(), "name a stream of your own: `results`")),
        }
    } else if let Some(node) = object.take("file") {
        kind = file(node, &object.member("file"), faults);
    } else if let Some(node) = object.take("webhook") {
        kind = webhook(node, &object.member("webhook"), faults);
    } else if let Some(node) = object.take("stdout") {
        faults.push(Fault::new(object.member("stdout"), node.line, "`stdout` takes no settings", "write `- stdout`"));
    } else if object.keys().next().is_none() {
        object.missing("stream", "stream: results", faults);
    }
    object.finish(&TARGET_WORDS, faults);
    Some(Target { kind: kind?, path, line })
}
