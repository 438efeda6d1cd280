//! What is wrong with a pipeline's text, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong. All of a text's faults are reported at once, in the order of their lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The place in the document: `steps[2].rule`; empty for the document itself.
    pub path: String,
    /// The line of the text, from 1.
    pub line: usize,
    /// What is wrong.
    pub error: String,
    /// What to change.
    pub remedy: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(path: impl Into<String>, line: usize, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), line, error: error.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {} ({})", self.line, self.path, self.error, self.remedy)
    }
}
