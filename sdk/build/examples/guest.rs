//! Builds the crates of a folder and prints the components: `cargo run -p tidemill-build --example guest -- FOLDER TARGET_DIR
//! [PACKAGE …]`.

use anyhow::Context as _;
use tidemill_build::{CrateBuild, Installing, Toolchain, build};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder: std::path::PathBuf = arguments.next().context("FOLDER is missing")?.into();
    let target_dir: std::path::PathBuf = arguments.next().context("TARGET_DIR is missing")?.into();
    let packages: Vec<String> = arguments.map(|package| package.to_string_lossy().into_owned()).collect();
    let toolchain = Toolchain::find(&folder, Installing::Nothing)?;
    println!("{toolchain}");
    let output_dir = target_dir.join("components");
    for file in build(&toolchain, &CrateBuild { folder, packages, target_dir, output_dir, locked: false })? {
        println!("{} {} bytes", file.display(), std::fs::metadata(&file)?.len());
    }
    Ok(())
}
