//! `from`: a stream, an object, or a list of them. Several streams are one, by column name, so nothing can be said of one alone but
//! where it begins, how its time runs, and what happens when rows of it were removed.

use std::time::Duration;

use tidemill_event::{EventTime, StreamName};

use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::{Object, text_of};
use crate::pipeline::time::IDLE;
use crate::pipeline::{OnTrim, Source, Start, Text};

/// More streams are refused.
const SOURCES_MAX: usize = 16;

/// Reads `from`. `None` if one of its streams cannot be told.
/// `is_join`: the first step says that they are two sides.
pub(crate) fn sources(node: &Node, is_join: bool, faults: &mut Vec<Fault>) -> Option<Vec<Source>> {
    let NodeValue::List(items) = &node.value else { return source(node, "from", faults).map(|one| vec![one]) };
    match items.as_slice() {
        [] => {
            faults.push(Fault::new("from", node.line, "no stream is named", "write `from: clicks`"));
            None
        }
        [one] => {
            let path = if matches!(one.value, NodeValue::Scalar { .. }) { "from" } else { "from[0]" };
            source(one, path, faults).map(|one| vec![one])
        }
        several if several.len() > SOURCES_MAX => {
            let error = format!("{} streams", several.len());
            let remedy = "at most 16 are possible: let a pipeline bring some of them together, and read what it writes";
            faults.push(Fault::new("from", node.line, error, remedy));
            None
        }
        several => {
            let read: Vec<Option<Source>> =
                several.iter().enumerate().map(|(at, item)| source(item, &format!("from[{at}]"), faults)).collect();
            let read: Option<Vec<Source>> = read.into_iter().collect();
            match &read {
                Some(read) if is_join => check_sides(read, faults),
                Some(read) => refuse_joins(read, faults),
                None => {}
            }
            read
        }
    }
}

/// Sides of a join are told apart by the names that expressions have for them.
fn check_sides(sources: &[Source], faults: &mut Vec<Fault>) {
    for (at, source) in sources.iter().enumerate() {
        let path = format!("{}.as", source.path);
        let Some(alias) = &source.alias else {
            let error = format!("the columns of `{}` have no name in front", source.stream);
            faults.push(Fault::new(path, source.line, error, format!("name it: `{{stream: {}, as: a}}`", source.stream)));
            continue;
        };
        let is_plain = alias.starts_with(|first: char| first.is_ascii_alphabetic())
            && alias.chars().all(|any| any.is_ascii_alphanumeric() || any == '_');
        if !is_plain {
            let error = format!("`{alias}` cannot stand in front of a column");
            faults.push(Fault::new(&path, source.line, error, "write a letter, then letters, digits or `_`: `as: a`"));
        }
        if sources[..at].iter().any(|earlier| earlier.alias.as_ref() == Some(alias)) {
            faults.push(Fault::new(&path, source.line, format!("`{alias}` names two of them"), "give each a name of its own"));
        }
    }
}

/// What would only mean something with a join.
fn refuse_joins(sources: &[Source], faults: &mut Vec<Fault>) {
    for (at, source) in sources.iter().enumerate() {
        if sources[..at].iter().any(|earlier| earlier.stream == source.stream) {
            let error = format!("`{}` is named twice", source.stream);
            faults.push(Fault::new(&source.path, source.line, error, "remove one of the two"));
        }
        if let Some(alias) = &source.alias {
            let error = format!("`as: {alias}` among several streams: without a join they are one");
            let remedy = "remove `as`, and write columns without a name in front";
            faults.push(Fault::new(format!("{}.as", source.path), source.line, error, remedy));
        }
    }
}

fn source(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Source> {
    if let NodeValue::Scalar { .. } = node.value {
        let stream = stream_name(&text_of(node, path, faults)?, path, faults)?;
        return Some(Source {
            stream,
            alias: None,
            start: Start::Earliest,
            on_trim: OnTrim::Stop,
            out_of_orderness: Duration::ZERO,
            idle: Some(IDLE),
            path: path.to_owned(),
            line: node.line,
        });
    }
    let mut object = Object::of(node, path, "{stream: clicks}", faults)?;
    let stream = match object.text("stream", faults) {
        Some(text) => stream_name(&text, &object.member("stream"), faults),
        None => {
            object.missing("stream", "stream: clicks", faults);
            None
        }
    };
    let alias = object.text("as", faults).map(|text| text.text);
    let at = object.member("start");
    let start = object.take("start").and_then(|node| start(node, &at, faults));
    let on_trim = object.choice("on_trim", &[("stop", OnTrim::Stop), ("skip", OnTrim::Skip)], faults);
    let out_of_orderness = object.duration("out_of_orderness", faults);
    let idle = object.duration_or_off("idle", faults);
    object.finish(&["stream", "as", "start", "on_trim", "out_of_orderness", "idle"], faults);
    Some(Source {
        stream: stream?,
        alias,
        start: start.unwrap_or(Start::Earliest),
        on_trim: on_trim.unwrap_or(OnTrim::Stop),
        out_of_orderness: out_of_orderness.unwrap_or(Duration::ZERO),
        idle: idle.unwrap_or(Some(IDLE)),
        path: path.to_owned(),
        line: node.line,
    })
}

/// `earliest`, `latest`, an offset, a list of offsets, or a time.
fn start(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<Start> {
    if let NodeValue::List(items) = &node.value {
        let offsets: Option<Vec<u64>> = items.iter().map(|item| text_of(item, path, faults)?.text.parse().ok()).collect();
        if offsets.is_none() {
            let error = "a list with something else than offsets";
            faults.push(Fault::new(path, node.line, error, "write one offset for each partition: `[1200, 990]`"));
        }
        return offsets.map(Start::Offsets);
    }
    let text = text_of(node, path, faults)?;
    let start = Start::parse(&text.text);
    if start.is_none() {
        let error = format!("`{}` is no place in a stream", text.text);
        let remedy = "write `earliest`, `latest`, an offset (`1200`, or `[1200, 990]` for several partitions), or a time: `2026-01-31T12:00:00Z`";
        faults.push(Fault::new(path, text.line, error, remedy));
    }
    start
}

impl Start {
    /// One word: `earliest`, `latest`, an offset of the only partition, or an RFC 3339 time.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            _ => match text.parse() {
                Ok(offset) => Some(Self::Offsets(vec![offset])),
                Err(_) => EventTime::parse_rfc3339(text).map(Self::Time),
            },
        }
    }
}

/// Any stream can be read, the host's own too.
fn stream_name(text: &Text, path: &str, faults: &mut Vec<Fault>) -> Option<StreamName> {
    text.text
        .parse()
        .map_err(|error| faults.push(Fault::new(path, text.line, format!("{error}"), "name a stream: `clicks`")))
        .ok()
}
