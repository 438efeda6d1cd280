//! Stream definitions as JSON (contract §2): what `PUT /v1/streams/{stream}` takes, what `GET` answers, and what the log stores.
//!
//! ```text
//! bytes ─► read (shape: keys, types, units) ─► check (meaning: names, paths, key, time) ─► StreamDefinition ─► to_json
//! ```
//! [`parse`] does both and is for clients. [`read`] alone is for what was stored: a later rule must not make an old stream
//! unreadable. Every fault is found at once, each with its path and what to change.

mod check;
mod compare;
mod read;
mod write;

use std::fmt;

use crate::{StreamDefinition, StreamName};

pub use check::check;
pub use compare::{Compatibility, compare};
pub use read::read;
pub use write::to_json;

/// One thing wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFault {
    /// Where: `fields[2].type`; empty for the whole.
    pub path: String,
    /// What was found and what to change.
    pub error: String,
}

/// Everything wrong with a definition; never empty. The definition must change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFaults(pub Vec<DefinitionFault>);

impl fmt::Display for DefinitionFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if !fault.path.is_empty() {
                write!(f, "{}: ", fault.path)?;
            }
            f.write_str(&fault.error)?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionFaults {}

/// Collects faults while reading goes on.
#[derive(Debug, Default)]
struct Faults(Vec<DefinitionFault>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, error: impl Into<String>) {
        self.0.push(DefinitionFault { path: path.into(), error: error.into() });
    }

    fn into_result<T>(self, value: T) -> Result<T, DefinitionFaults> {
        if self.0.is_empty() { Ok(value) } else { Err(DefinitionFaults(self.0)) }
    }
}

/// A definition that a client sent: its shape and its meaning are checked.
pub fn parse(json: &[u8]) -> Result<StreamDefinition, DefinitionFaults> {
    let definition = read(json)?;
    check(&definition)?;
    Ok(definition)
}

/// As [`parse`], for the stream `name`: a body that names another one is a fault.
pub fn parse_for(json: &[u8], name: &StreamName) -> Result<StreamDefinition, DefinitionFaults> {
    let definition = parse(json)?;
    match read::name(json) {
        Some(other) if other != name.as_str() => Err(DefinitionFaults(vec![DefinitionFault {
            path: "name".to_owned(),
            error: format!("the body names `{other}` and the path `{name}`: make them the same, or leave it out of the body"),
        }])),
        Some(_) | None => Ok(definition),
    }
}
