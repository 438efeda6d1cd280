//! `cargo xtask book`: the user book as HTML, by mdBook. Its pages read well without it, and its links are checked by `ci` without it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{cargo, is_there, root, run, target_dir};

/// The version our pages are written for.
const MDBOOK: &str = "0.5.4";

/// Builds the book and says where it is. mdBook is built from the registry's source the first time, unless the machine has one.
pub(crate) fn book() -> Result<()> {
    let mdbook = mdbook()?;
    let out = target_dir()?.join("book");
    let mut build = Command::new(mdbook);
    build.arg("build").arg(root().join("docs/book")).arg("--dest-dir").arg(&out);
    run("building the book", &mut build)?;
    println!("{}", out.join("index.html").display());
    Ok(())
}

fn mdbook() -> Result<PathBuf> {
    if is_there("mdbook", &["--version"]) {
        return Ok(PathBuf::from("mdbook"));
    }
    let tools = target_dir()?.join("tools");
    let ours = tools.join("bin/mdbook");
    if !ours.exists() {
        let mut install = cargo();
        install.args([
            "install",
            "mdbook",
            "--version",
            MDBOOK,
            "--locked",
            "--no-default-features",
            "--features",
            "search",
            "--root",
        ]);
        // Apart from our own builds: its dependencies have other features.
        install.arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
        run("building mdBook (once)", &mut install)
            .context("mdBook cannot be built; install it by hand (`cargo install mdbook`)")?;
    }
    Ok(ours)
}
