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
    /// Where the components go, as `{package}.wasm`.
    pub output_dir: PathBuf,
    /// Only what `Cargo.lock` says.
    pub locked: bool,
}

/// Builds the crates, release, and writes a component for each library that came out. Cargo's own progress and errors go to
/// standard error. Returns the files, sorted.
pub fn build(toolchain: &Toolchain, request: &CrateBuild) -> Result<Vec<PathBuf>> {
    let folder_of_modules = request.target_dir.join(TARGET).join("release");
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
    let mut built = modules(&String::from_utf8_lossy(&output.stdout), &folder_of_modules);
    built.sort();
    built.dedup();
    if built.is_empty() {
        bail!("cargo built no library in {}; a component needs `[lib] crate-type = [\"cdylib\"]`", request.folder.display());
    }
    std::fs::create_dir_all(&request.output_dir).with_context(|| format!("could not make {}", request.output_dir.display()))?;
    built.iter().map(|module| write_component(module, &request.output_dir)).collect()
}

/// A core module that cargo made.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Module {
    /// The package's name; the file's has underscores for its hyphens.
    package: String,
    file: PathBuf,
}

/// The modules named in cargo's messages, a JSON object a line. What is looked for are strings with nothing to unescape but
/// backslashes in paths.
fn modules(messages: &str, folder: &Path) -> Vec<Module> {
    let artifact = |line: &str| {
        let mut strings = line.split('"').skip_while(|text| *text != "package_id").skip(2);
        let package = package_name(strings.next()?)?;
        let file = strings
            .map(|text| PathBuf::from(text.replace("\\\\", "\\")))
            .find(|path| path.extension().is_some_and(|extension| extension == "wasm") && path.parent() == Some(folder))?;
        Some(Module { package: package.to_owned(), file })
    };
    messages.lines().filter(|line| line.contains("\"reason\":\"compiler-artifact\"")).filter_map(artifact).collect()
}

/// The name in `path+file:///folder#name@1.0.0`, or in `path+file:///folder/name#1.0.0` where they are the same.
fn package_name(id: &str) -> Option<&str> {
    let (place, version) = id.rsplit_once('#')?;
    match version.split_once('@') {
        Some((name, _)) => Some(name),
        None => place.rsplit('/').next(),
    }
}

fn write_component(module: &Module, output_dir: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(&module.file).with_context(|| format!("could not read {}", module.file.display()))?;
    let (_, component) = componentize(&bytes).with_context(|| format!("{} is no component", module.file.display()))?;
    let file = output_dir.join(format!("{}.wasm", module.package));
    std::fs::write(&file, component).with_context(|| format!("could not write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_modules_in_cargos_messages_under_their_packages_names() {
        let messages = r#"{"reason":"compiler-artifact","package_id":"path+file:///x/my-rule#0.1.0","filenames":["/t/release/deps/x.wasm","/t/release/my_rule.wasm"]}
{"reason":"compiler-artifact","package_id":"path+file:///x/folder#other_rule@0.1.0","filenames":["/t/release/other_rule.wasm"]}
{"reason":"compiler-artifact","package_id":"path+file:///x/sdk#0.1.0","filenames":["/t/release/libsdk.rlib"]}
{"reason":"build-finished","success":true,"package_id":"x#1","note":"/t/release/no.wasm"}"#;
        let module = |package: &str, file: &str| Module { package: package.to_owned(), file: file.into() };
        let expected = [module("my-rule", "/t/release/my_rule.wasm"), module("other_rule", "/t/release/other_rule.wasm")];
        assert_eq!(modules(messages, Path::new("/t/release")), expected);
    }
}
