//! `cargo xtask generate`: files that are made from the code and checked in. Tests compare them, so that they cannot drift.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::Host;
use crate::run::{root, step};

/// Writes them all.
pub(crate) fn generate() -> Result<()> {
    let binary = crate::build::host()?;
    let folder = crate::run::target_dir()?.join("generate");
    let _ = fs::remove_dir_all(&folder);
    let host = Host::start(&binary, &folder.join("data"))?;
    let openapi = host.must("GET", "/v1/openapi.json", "", b"")?;
    drop(host);
    write("docs/openapi.json", &openapi)
}

fn write(path: &str, document: &Value) -> Result<()> {
    step(&format!("writing {path}"));
    let path = root().join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(document)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
