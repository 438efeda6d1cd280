//! Components: those that ship with the host, and those that only tests need, built into `TARGET/guests/NAME.wasm`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tidemill_build::{CrateBuild, Installing, Toolchain, build};

use crate::run::{root, step, target_dir};

/// Their workspace, and its manifest.
pub(crate) const WORKSPACE: &str = "guests/Cargo.toml";

/// Gets a compiler for WebAssembly if there is none, builds them all, and says where they are.
pub(crate) fn guests() -> Result<PathBuf> {
    let target = target_dir()?;
    let (output_dir, target_dir) = (target.join("guests"), target.join("guests-build"));
    fs::create_dir_all(&output_dir).with_context(|| format!("cannot make `{}`", output_dir.display()))?;
    step("finding a compiler for WebAssembly");
    let toolchain = Toolchain::find(root(), Installing::Packages)?;
    step("building the components in guests/");
    let folder = root().join("guests");
    let request = CrateBuild { folder, packages: Vec::new(), target_dir, output_dir: output_dir.clone(), locked: true };
    for component in build(&toolchain, &request)? {
        println!("   {}", component.display());
    }
    Ok(output_dir)
}
