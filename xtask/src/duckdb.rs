//! DuckDB beside a bench: installed from Python's registry into a folder of its own, so that the machine stays as it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{run, step, target_dir};

/// The version that figures in docs/benchmarks.md are of.
const VERSION: &str = "2.0.0";

/// Parses and filters a file of events.
pub(crate) const PARSE_AND_FILTER: (&str, &str) = ("parse-and-filter", include_str!("duckdb.py"));
/// Aggregates transactions per user and minute.
pub(crate) const TRANSACTIONS: (&str, &str) = ("transactions", include_str!("duckdb_transactions.py"));

/// A program that takes a file of events and prints the CPU seconds DuckDB took; `None`, said aloud, where it cannot be had.
pub(crate) fn script((name, text): (&str, &str)) -> Result<Option<PathBuf>> {
    let folder = target_dir()?.join("tools/duckdb");
    let python = folder.join("bin/python3");
    if let Err(error) = install(&folder, &python) {
        step(&format!("without DuckDB, which needs python3 with venv and its registry: {error:#}"));
        return Ok(None);
    }
    let script = folder.join(name);
    fs::write(&script, format!("#!{}\n{text}", python.display())).context("the script for DuckDB")?;
    run("making the script for DuckDB a program", Command::new("chmod").arg("+x").arg(&script))?;
    Ok(Some(script))
}

fn install(folder: &std::path::Path, python: &std::path::Path) -> Result<()> {
    if crate::run::is_there(&python.display().to_string(), &["-c", "import duckdb"]) {
        return Ok(());
    }
    run("making a folder for DuckDB", Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run("installing DuckDB", Command::new(python).args(["-m", "pip", "install", "--quiet", &format!("duckdb=={VERSION}")]))
}
