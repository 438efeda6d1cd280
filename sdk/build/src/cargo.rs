//! One `cargo build` for any number of crates, and a component file for each.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::component::componentize;
use crate::toolchain::{TARGET, Toolchain};

/// What to build and where to.
#[derive(Debug, Clone)]
pub struct CrateBuild {
    /// The folder of the crate, or of the workspace.
    pub folder: PathBuf,
    /// The packages of a workspace; empty: what cargo builds there by default.
    pub packages: Vec<String>,
    /// Cargo's target directory, apart from the host's (the flags differ).
    pub target_dir: PathBuf,
    /// Where the components go, as `{crate}.wasm`.
    pub output_dir: PathBuf,
    /// Only what `Cargo.lock` says.
    pub locked: bool,
}

/// Builds the crates, release, and writes a component for each library that came out. Cargo's own progress and errors go to
/// standard error. Returns the files, sorted.
pub fn build(toolchain: &Toolchain, request: &CrateBuild) -> Result<Vec<PathBuf>> {
    let modules = request.target_dir.join(TARGET).join("release");
    let mut command = toolchain.cargo_build();
    command.args(["--release", "--target", TARGET, "--message-format", "json-render-diagnostics", "--target-dir"]);
    command.arg(&request.target_dir).current_dir(&request.folder).stdin(Stdio::null()).stderr(Stdio::inherit());
    for package in &request.packages {
        command.args(["--package", package]);
    }
    if request.locked {
        command.arg("--locked");
    }
    let output = command.output().with_context(|| format!("could not start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("cargo build failed in {}", request.folder.display());
    }
    let mut built = wasm_files(&String::from_utf8_lossy(&output.stdout), &modules);
    built.sort();
    built.dedup();
    if built.is_empty() {
        bail!("cargo built no library in {}; a component needs `[lib] crate-type = [\"cdylib\"]`", request.folder.display());
    }
    std::fs::create_dir_all(&request.output_dir).with_context(|| format!("could not make {}", request.output_dir.display()))?;
    let mut components = Vec::new();
    for module in built {
        components.push(write_component(&module, &request.output_dir)?);
    }
    Ok(components)
}

/// The modules named in cargo's messages. Paths in them are JSON strings; ours have nothing to unescape but backslashes.
fn wasm_files(messages: &str, folder: &Path) -> Vec<PathBuf> {
    messages
        .lines()
        .filter(|line| line.contains("\"reason\":\"compiler-artifact\""))
        .flat_map(|line| line.split('"'))
        .filter(|text| text.ends_with(".wasm"))
        .map(|text| PathBuf::from(text.replace("\\\\", "\\")))
        .filter(|path| path.parent() == Some(folder))
        .collect()
}

fn write_component(module: &Path, output_dir: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(module).with_context(|| format!("could not read {}", module.display()))?;
    let (_, component) = componentize(&bytes).with_context(|| format!("{} is no component", module.display()))?;
    let name = module.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
    let file = output_dir.join(format!("{name}.wasm"));
    std::fs::write(&file, component).with_context(|| format!("could not write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_modules_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/t/release/deps/x.wasm","/t/release/my_rule.wasm"]}
{"reason":"build-finished","success":true,"note":"/t/release/other.wasm"}"#;
        assert_eq!(wasm_files(messages, Path::new("/t/release")), [PathBuf::from("/t/release/my_rule.wasm")]);
    }
}
