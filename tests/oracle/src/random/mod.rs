//! Folders of the streams' form made of chance: streams, queries, and the answers of slow and obvious models.

mod aggregates;
mod chance;
mod joins;
mod pipelines;
mod windows;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

pub use chance::Chance;

/// Writes a folder of random queries in the fields of a window, over one stream of `rows`. The same seed, the same folder.
pub fn write_windows(folder: &Path, seed: u64, rows: usize, queries: usize) -> Result<()> {
    windows::write(folder, &mut Chance::new(seed), rows, queries)
}

/// The same of random pipelines: joins, rankings, rows over rows, windows behind windows, over two streams of `rows` each.
pub fn write_pipelines(folder: &Path, seed: u64, rows: usize, queries: usize) -> Result<()> {
    pipelines::write(folder, &mut Chance::new(seed), rows, queries)
}

/// A folder on its way.
struct Folder<'a> {
    folder: &'a Path,
    queries: Vec<Value>,
}

impl<'a> Folder<'a> {
    fn new(folder: &'a Path) -> Result<Self> {
        let expected = folder.join("expected");
        fs::create_dir_all(&expected).with_context(|| format!("cannot make `{}`", expected.display()))?;
        Ok(Self { folder, queries: Vec::new() })
    }

    fn file(&self, name: &str, rows: &[Value]) -> Result<()> {
        Ok(fs::write(self.folder.join(format!("{name}.ndjson")), ndjson(rows))?)
    }

    /// A query with the rows it must give.
    fn ask(&mut self, mut query: Value, answer: &[Value]) -> Result<()> {
        query["rows"] = json!(answer.len());
        let id = query["id"].as_str().context("a query without a name")?;
        fs::write(self.folder.join("expected").join(format!("{id}.ndjson")), ndjson(answer))?;
        self.queries.push(query);
        Ok(())
    }

    fn finish(self) -> Result<()> {
        Ok(fs::write(self.folder.join("queries.json"), Value::from(self.queries).to_string())?)
    }
}

fn ndjson(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}
