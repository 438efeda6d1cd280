//! Reads a file target.

use std::path::{Component, Path};

use tidemill_connect::FileFormat;

use super::{FileTarget, Roll, TargetKind};
use crate::Fault;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;

/// Smaller bounds would make a file of nearly every row.
const ROLL_BYTES_MIN: u64 = 1 << 10;

/// `file: {path, format, roll}`.
pub(super) fn file(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<TargetKind> {
    let mut object = Object::of(node, path, "file: {path: results}", faults)?;
    let folder = object.text("path", faults);
    if folder.is_none() && object.keys().all(|key| key.name != "path") {
        object.missing("path", "path: results", faults);
    }
    let member = object.member("path");
    let formats = [("ndjson", FileFormat::Ndjson), ("parquet", FileFormat::Parquet)];
    let format = object.choice("format", &formats, faults).unwrap_or(FileFormat::Ndjson);
    let roll = object.take("roll").map_or_else(Roll::default, |node| roll(node, &object.member("roll"), faults));
    object.finish(&["path", "format", "roll"], faults);
    let folder = folder?;
    // The one place where a pipeline names a place on the disk: plain names below `files/`, nothing that climbs out of it.
    let plain = Path::new(&folder.text).components().all(|part| match part {
        Component::Normal(name) => name.to_str().is_some_and(is_plain_file_name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    });
    if !plain || folder.text.ends_with('/') || folder.text.len() > 255 {
        faults.push(Fault::new(
            member,
            folder.line,
            format!("`{}` is no folder inside `files/`", folder.text),
            "write names of letters, digits, `.`, `_`, `-` with `/` between them: `reports/daily`",
        ));
        return None;
    }
    Some(TargetKind::File(FileTarget { path: folder.text, format, roll }))
}

fn roll(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Roll {
    let Some(mut object) = Object::of(node, path, "{bytes: 64MiB, every: 1m}", faults) else { return Roll::default() };
    let roll = Roll {
        rows: object.number("rows", faults),
        bytes: object.size("bytes", faults),
        every: object.duration("every", faults),
    };
    let too_small = roll.rows == Some(0) || roll.bytes.is_some_and(|bytes| bytes < ROLL_BYTES_MIN);
    if too_small {
        faults.push(Fault::new(path, node.line, "a file would hold nothing", "use at least `rows: 1` and `bytes: 1KiB`"));
    }
    object.finish(&["rows", "bytes", "every"], faults);
    roll
}

/// Letters, digits, `.`, `_`, `-`, and no dot in front.
pub(super) fn is_plain_file_name(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
