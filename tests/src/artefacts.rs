//! Where the programs and files under test are. Nothing is built here: what is missing is named with the command that makes it.

use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "tests are their own rim: where the artefacts are is their only setting")]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder that holds `release/`: the one this test itself was built into.
///
/// # Panics
/// If this program is not in one.
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut folder = program.as_path();
    while let Some(parent) = folder.parent() {
        if folder.file_name().is_some_and(|name| name == "release" || name == "debug") {
            return parent.to_owned();
        }
        folder = parent;
    }
    panic!("`{}` is in no cargo target folder: set TIDEMILL_BIN", program.display());
}

fn built(path: PathBuf, by: &str) -> PathBuf {
    assert!(path.is_file(), "`{}` is missing: {by} makes it", path.display());
    path
}

/// The `tidemill` binary: `TIDEMILL_BIN`, or the one beside this test.
pub fn tidemill() -> PathBuf {
    let path = variable("TIDEMILL_BIN").unwrap_or_else(|| target_dir().join("release/tidemill"));
    built(path, "`cargo build --release --workspace`")
}

/// The `tidemill` binary, about to run without what the test's own environment says of hosts.
pub fn tidemill_command() -> Command {
    command(&tidemill())
}

pub(crate) fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("TIDEMILL_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The judge of the crash tests.
pub fn judge() -> PathBuf {
    built(target_dir().join("release/tidemill-judge"), "`cargo build --release --workspace`")
}

/// A `tidemill` built to be broken, for tests that show a check failing.
pub fn variant(name: &str) -> PathBuf {
    built(target_dir().join("variants").join(name), "`cargo xtask variants`")
}

/// A guest component built from this repository.
pub fn guest(name: &str) -> Vec<u8> {
    let path = built(target_dir().join("guests").join(format!("{name}.wasm")), "`cargo xtask guests`");
    std::fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// Data that may be used for tests but not be copied into the repository: `TIDEMILL_SHARED_DATA`, or `../shared/data` beside the
/// clone. `None`, with a line that names the skipped test, where it is not there.
pub fn shared_data(folder: &str, test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = variable("TIDEMILL_SHARED_DATA").unwrap_or(beside).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped {test}: there is no `{}`", path.display());
    None
}
