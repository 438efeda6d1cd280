//! `outputs` of a `process`: where the rows of its outputs beside the main one go.
//!
//! ```yaml
//! - process: session-cart@1
//!   by: [shopper]
//!   outputs: {abandoned: carts-left-behind}    # or {abandoned: {stream: carts-left-behind}}
//! ```
//! To everything else such a stream is one more target of the pipeline: it is made, looked after and read like the others.

use tidemill_event::StreamName;

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::{SideOf, Step, StepKind, Target, TargetKind, Text};

/// Names of outputs, and their streams.
pub(super) fn outputs(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Vec<(Text, StreamName)> {
    let Some(object) = Object::of(node, path, "{late: late-events}", faults) else { return Vec::new() };
    let NodeValue::Object(members) = &node.value else { return Vec::new() };
    let output = |(key, value): &(crate::pipeline::document::Key, Node)| {
        let path = object.member(&key.name);
        let stream = match &value.value {
            NodeValue::Object(_) => {
                let mut target = Object::of(value, &path, "{stream: late-events}", faults)?;
                let stream = target.text("stream", faults);
                target.finish(&["stream"], faults);
                stream?
            }
            NodeValue::Scalar { .. } | NodeValue::List(_) => text_of(value, &path, faults)?,
        };
        match stream.text.parse::<StreamName>() {
            Ok(name) if !stream.text.contains('.') => Some((Text { text: key.name.clone(), line: key.line }, name)),
            Ok(_) => {
                let error = format!("`{}` has a dot, and dotted names are the host's", stream.text);
                faults.push(Fault::new(path, stream.line, error, "name a stream of your own: `late-events`"));
                None
            }
            Err(error) => {
                faults.push(Fault::new(path, stream.line, error.to_string(), "name a stream: `late-events`"));
                None
            }
        }
    };
    members.iter().filter_map(output).collect()
}

/// The targets, and behind them those of side outputs.
pub(super) fn with_sides(mut targets: Vec<Target>, steps: &[Step], faults: &mut Vec<Fault>) -> Vec<Target> {
    for (at, step) in (0u32..).zip(steps) {
        let StepKind::Process { outputs, .. } = &step.kind else { continue };
        for (name, stream) in outputs {
            let kind = TargetKind::Stream(stream.clone());
            let path = format!("{}.outputs.{}", step.path, name.text);
            if targets.iter().any(|earlier| earlier.kind.to_string() == kind.to_string()) {
                faults.push(Fault::new(
                    &path,
                    name.line,
                    format!("`{stream}` is named twice"),
                    "give each output a stream of its own",
                ));
            }
            targets.push(Target {
                kind,
                routes: Vec::new(),
                path,
                line: name.line,
                side: Some(SideOf { step: at, output: name.text.clone() }),
            });
        }
    }
    targets
}
