//! `cargo xtask oracle streams DIR | nexmark DIR | patterns [--core] FILE…`: a real host, asked over HTTP, judged by answers that other programs computed.
//!
//! The judge is a program of the tests, built with the host.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{root, step, target_dir};

/// Every case of a folder of the form called `name`; whether all passed. What failed is said case by case.
pub(crate) fn oracle(name: &str, folder: &Path) -> Result<bool> {
    if !folder.is_dir() {
        bail!("`{}` is no folder", folder.display());
    }
    crate::build::host()?;
    let target = target_dir()?;
    // Beside our builds: a system's folder for short-lived files may be memory.
    let data = target.join("oracle");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make `{}`", data.display()))?;
    let mut judge = Command::new(target.join("release/tidemill-oracle"));
    judge.arg(name).arg(folder).env("TMPDIR", data);
    if name == "nexmark" {
        judge.arg(root().join("examples/nexmark"));
    }
    step(&format!("oracle {name}"));
    judged(judge)
}

/// Every vector of some files. With `--core` no host is asked: the matcher by itself says more (when a match leaves, and what stays alive).
pub(crate) fn patterns(typed: &[&str]) -> Result<bool> {
    let files = typed.iter().filter(|word| **word != "--core");
    let target = target_dir()?;
    crate::build::host()?;
    let mut judge = if typed.contains(&"--core") {
        Command::new(target.join("release/tidemill-pattern-core"))
    } else {
        let data = target.join("oracle");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make `{}`", data.display()))?;
        let mut judge = Command::new(target.join("release/tidemill-oracle"));
        judge.arg("patterns").env("TMPDIR", data);
        judge
    };
    step("oracle patterns");
    judge.args(files);
    judged(judge)
}

fn judged(mut judge: Command) -> Result<bool> {
    let status = judge.status().context("the judge does not run")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("the judge ended with {status}"),
    }
}
