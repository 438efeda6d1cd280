//! YAML or JSON text as a tree of nodes that know their lines. JSON is YAML to the one parser used, so both report alike.
//!
//! Anchors, aliases and tags are refused: nothing in a pipeline needs them, and an alias can blow up a small text.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use crate::Fault;
use crate::pipeline::scalar::resolve;

/// The longest text. Longer ones are refused.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting. Deeper ones are refused.
const DEPTH_MAX: usize = 64;

/// A piece of the document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: NodeValue,
    pub(crate) line: usize,
}

/// A key of an object, with its line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) line: usize,
}

/// What it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeValue {
    /// A word or text; `plain` if it was not quoted.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

impl Node {
    /// The value in JSON.
    pub(crate) fn json(&self) -> Value {
        match &self.value {
            NodeValue::Scalar { text, plain: true } => resolve(text),
            NodeValue::Scalar { text, plain: false } => Value::String(text.clone()),
            NodeValue::List(items) => items.iter().map(Self::json).collect(),
            NodeValue::Object(members) => {
                Value::Object(members.iter().map(|(key, node)| (key.name.clone(), node.json())).collect::<Map<_, _>>())
            }
        }
    }

    /// `an object`, `a list`, `a text`, ….
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            NodeValue::List(_) => "a list",
            NodeValue::Object(_) => "an object",
            NodeValue::Scalar { .. } => match self.json() {
                Value::Null => "nothing",
                Value::Bool(_) => "true or false",
                Value::Number(_) => "a number",
                Value::String(_) | Value::Array(_) | Value::Object(_) => "a text",
            },
        }
    }
}

/// An open list or object.
enum Open {
    List { line: usize, items: Vec<Node> },
    Object { line: usize, members: Vec<(Key, Node)>, key: Option<Key> },
}

/// Reads one document. Syntax faults stop at the first: what follows one cannot be trusted.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let fault = |line: usize, error: String, remedy: &str| Fault::new("", line, error, remedy);
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(1, format!("the text has {} bytes", text.len()), "a pipeline's text has at most 1 MiB"));
    }
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            fault(error.marker().line(), format!("not YAML or JSON: {}", error.info()), "check indentation, brackets and quotes")
        })?;
        let line = span.start.line();
        refuse_decoration(&event, &span)?;
        let node = match event {
            Event::Scalar(text, style, ..) => {
                Node { value: NodeValue::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }, line }
            }
            Event::SequenceStart(..) => {
                open.push(Open::List { line, items: Vec::new() });
                if open.len() > DEPTH_MAX {
                    return Err(fault(line, "nested too deep".into(), "at most 64 levels are possible"));
                }
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Object { line, members: Vec::new(), key: None });
                if open.len() > DEPTH_MAX {
                    return Err(fault(line, "nested too deep".into(), "at most 64 levels are possible"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List { line, items }) => Node { value: NodeValue::List(items), line },
                Some(Open::Object { line, members, .. }) => Node { value: NodeValue::Object(members), line },
                None => continue,
            },
            Event::DocumentStart(_) if root.is_some() => {
                return Err(fault(line, "a second document begins".into(), "one text is one pipeline: send the other by itself"));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Alias(_) => continue,
        };
        place(&mut open, &mut root, node)?;
    }
    root.ok_or_else(|| fault(1, "the text is empty".into(), "write a pipeline: `from: …`, `steps: […]`, `to: […]`"))
}

fn refuse_decoration(event: &Event<'_>, span: &Span) -> Result<(), Fault> {
    let decorated = match event {
        Event::Alias(_) => Some("an alias (`*name`)"),
        Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if *anchor > 0 => {
            Some("an anchor (`&name`)")
        }
        Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
            Some("a tag (`!name`)")
        }
        Event::Scalar(..)
        | Event::SequenceStart(..)
        | Event::MappingStart(..)
        | Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::SequenceEnd
        | Event::MappingEnd => None,
    };
    match decorated {
        Some(what) => Err(Fault::new("", span.start.line(), format!("{what} is not taken here"), "write the value out")),
        None => Ok(()),
    }
}

fn place(open: &mut [Open], root: &mut Option<Node>, node: Node) -> Result<(), Fault> {
    match open.last_mut() {
        None => *root = Some(node),
        Some(Open::List { items, .. }) => items.push(node),
        Some(Open::Object { members, key, .. }) => match key.take() {
            Some(key) => members.push((key, node)),
            None => match node.value {
                NodeValue::Scalar { text, .. } => *key = Some(Key { name: text, line: node.line }),
                NodeValue::List(_) | NodeValue::Object(_) => {
                    return Err(Fault::new("", node.line, "a key is a list or an object", "keys are names"));
                }
            },
        },
    }
    Ok(())
}
