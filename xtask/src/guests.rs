//! Components: those that ship with the host and those that tests attack it with, built into `TARGET/guests/NAME.wasm`.

use std::path::PathBuf;

use anyhow::Result;

use crate::run::target_dir;

/// Builds them all and says where they are.
pub(crate) fn guests() -> Result<PathBuf> {
    let folder = target_dir()?.join("guests");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
