//! The interfaces between host and component: the WIT files as they are, since their comments are the documentation.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::made_from;
use crate::run::root;

/// The package that only hosts under test grant; no author meets it.
const FOR_TESTS: &str = "testing";

pub(super) fn page() -> Result<String> {
    let mut text = format!("# Component interfaces\n\n{}", made_from("`wit/`"));
    text.push_str(
        "Every kind of component has its own package and world. A published version is never edited. \
         [The SDKs](../writing-a-rule.md) hide all of this; it is for whoever writes another one.\n\n",
    );
    let mut files = Vec::new();
    collect(&root().join("wit"), &mut files)?;
    files.sort();
    for file in files {
        let wit = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let name = wit.lines().find_map(|line| line.strip_prefix("package ")).unwrap_or_default().trim_end_matches(';');
        let _ = write!(text, "## `{name}`\n\n```wit\n{}\n```\n\n", wit.trim_end());
    }
    Ok(text)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != FOR_TESTS) {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "wit") {
            files.push(path);
        }
    }
    Ok(())
}
