//! Pattern vectors (`tests/data/cep/README.md`) put to a host: each is a stream, a pipeline with a `pattern` step, and the matches it should find.
//!
//! ```text
//! {"pattern", "events", "expected"} ──translate──► PUT /v1/streams/vector-N, POST …/events, PUT /v1/pipelines/vector-N
//!                                   ──compare────► matches and timeouts as multisets of stages, by the numbers of their events
//! ```
//! Stages have names of our own, so that no vector's name is a word of SQL or a column. What has no `expected` must be refused.

mod condition;
mod judge;
mod translate;
mod vector;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::api::Api;
use crate::streams::Verdict;

/// Vectors of some files.
#[derive(Debug)]
pub struct Patterns {
    /// Each with its name; what cannot be read as one fails alone.
    vectors: Vec<(String, Result<vector::Vector, String>)>,
}

impl Patterns {
    /// Reads files: JSON lines, a vector each, or one array of queries over files of events beside it.
    pub fn open(files: &[PathBuf]) -> Result<Self> {
        let mut vectors = Vec::new();
        for file in files {
            vectors.extend(read(file).with_context(|| format!("`{}`", file.display()))?);
        }
        Ok(Self { vectors })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Asks a host every one, telling each verdict as it falls.
    pub fn run(&self, api: &impl Api, mut told: impl FnMut(&Verdict)) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(self.vectors.len());
        for (number, (id, vector)) in self.vectors.iter().enumerate() {
            let ask = |vector: &vector::Vector| judge::ask(api, vector, number).map_err(|error| format!("{error:#}"));
            let verdict = Verdict { id: id.clone(), outcome: vector.as_ref().map_err(String::clone).and_then(ask) };
            told(&verdict);
            verdicts.push(verdict);
        }
        verdicts
    }
}

fn read(file: &Path) -> Result<Vec<(String, Result<vector::Vector, String>)>> {
    let text = std::fs::read_to_string(file).context("cannot be read")?;
    let named = |number: usize, value: &serde_json::Value| {
        value["id"].as_str().map_or_else(|| format!("{}:{}", file.display(), number + 1), str::to_owned)
    };
    let told = |outcome: Result<vector::Vector>| outcome.map_err(|error| format!("{error:#}"));
    if text.trim_start().starts_with('[') {
        let queries: Vec<serde_json::Value> = serde_json::from_str(&text).context("is no list")?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let read =
            |(number, query): (usize, &serde_json::Value)| (named(number, query), told(vector::Vector::query(query, folder)));
        return Ok(queries.iter().enumerate().map(read).collect());
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(value) => (named(number, &value), told(vector::Vector::new(&value))),
        Err(error) => (format!("{}:{}", file.display(), number + 1), Err(error.to_string())),
    };
    Ok(lines.map(read).collect())
}
