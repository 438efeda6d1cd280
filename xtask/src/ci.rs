//! `cargo xtask ci`: what has to hold before a change goes in.

use std::process::Command;

use anyhow::Result;

use crate::run::{cargo, is_there, root, run, step};

/// Cheap checks first; the tests last, so that their closing lines end the output.
pub(crate) fn ci() -> Result<()> {
    run("checking the formatting", cargo().args(["fmt", "--all", "--check"]))?;
    let guests = root().join(crate::guests::WORKSPACE);
    run("checking the formatting of the components", cargo().args(["fmt", "--all", "--check", "--manifest-path"]).arg(guests))?;
    run("linting", cargo().args(["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    licences()?;
    crate::links::check()?;
    crate::generate::generate(true)?;
    crate::test::test(false)
}

/// `deny.toml` by cargo-deny where it is installed: it is no small thing to build, and a machine without it can still test.
fn licences() -> Result<()> {
    if is_there("cargo-deny", &["--version"]) {
        let mut deny = Command::new("cargo-deny");
        return run(
            "checking licences and duplicates",
            deny.current_dir(root()).args(["--offline", "check", "bans", "licenses", "sources"]),
        );
    }
    step("skipped: licences and duplicates (cargo-deny is not installed)");
    Ok(())
}
