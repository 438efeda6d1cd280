//! `cargo xtask generate`: files that are made from the code and checked in. `--check` compares instead of writing, so that they
//! cannot drift.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::host::Host;
use crate::reference;
use crate::run::{root, step};

/// Writes them all, or with `check` says which are not as the code would make them.
pub(crate) fn generate(check: bool) -> Result<()> {
    let binary = crate::build::host()?;
    let folder = crate::run::target_dir()?.join("generate");
    let _ = fs::remove_dir_all(&folder);
    let host = Host::start(&binary, &folder.join("data"))?;
    let openapi = host.must("GET", "/v1/openapi.json", "", b"")?;
    drop(host);
    let mut files = vec![
        ("docs/openapi.json", serde_json::to_string_pretty(&openapi)? + "\n"),
        ("sdk/rust/src/abi/bindings.rs", tidemill_build::bindings::generate()?),
    ];
    files.extend(reference::pages(&binary, &openapi)?);
    let mut differing = Vec::new();
    for (path, text) in files {
        let there = fs::read_to_string(root().join(path)).unwrap_or_default();
        if there == text {
            continue;
        }
        if check {
            differing.push(path);
        } else {
            write(path, &text)?;
        }
    }
    if !differing.is_empty() {
        bail!("not as the code makes them: {}; run `cargo xtask generate` and look at what changed", differing.join(", "));
    }
    Ok(())
}

fn write(path: &str, text: &str) -> Result<()> {
    step(&format!("writing {path}"));
    let path = root().join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
