//! Links between the repository's own pages: each must lead to a file that is there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{root, step};

/// Checks every Markdown page outside of build folders.
pub(crate) fn check() -> Result<()> {
    step("checking the links of the documentation");
    let mut pages = Vec::new();
    collect(root(), &mut pages)?;
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
        let folder = page.parent().unwrap_or(root());
        for target in targets(&text).filter(|target| !folder.join(target).exists()) {
            broken.push(format!("{}: there is no `{target}`", page.strip_prefix(root()).unwrap_or(page).display()));
        }
    }
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !path.is_symlink() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, pages)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// The files that `[text](target)` names, without anchors; links to elsewhere are not ours to check.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let target = target.split_once('#').map_or(target, |(file, _)| file);
        let elsewhere = target.contains("://") || target.starts_with("mailto:") || target.contains(char::is_whitespace);
        (!target.is_empty() && !elsewhere).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_our_own_files_are_checked() {
        let text = "[a](docs/a.md#top) [b](https://example.org) [c](#here) [d](../b.md)";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["docs/a.md", "../b.md"]);
    }
}
