//! Running other programs: from the repository's root, announced, their output passed on, their failure named.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `cargo`, at the root: the one that runs this program, so that its toolchain is the repository's.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root());
    cargo
}

/// Where cargo builds into, whether settings or the environment say so.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let output =
        cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`cargo metadata` failed");
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("the output of `cargo metadata`")?;
    let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(PathBuf::from(target))
}

/// Announces a step, so that a long run says where it is.
pub(crate) fn step(what: &str) {
    eprintln!("── {what}");
}

/// Announces and runs a command; an error if it fails.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    step(what);
    let begin = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{what}: {} ended with {status}", shown(command));
    }
    eprintln!("   {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a program answers to `--version`.
pub(crate) fn is_there(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
