//! Links between the repository's own pages: each must lead to a file that is there, and to a heading that is in it.

use std::collections::BTreeSet;
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
        let text = read(page)?;
        let folder = page.parent().unwrap_or(root());
        for link in links(&text) {
            if let Some(fault) = fault(folder, page, &link)? {
                broken.push(format!("{}: {fault}", page.strip_prefix(root()).unwrap_or(page).display()));
            }
        }
    }
    broken.extend(forgotten_chapters()?);
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// A page of the book that its table of contents does not name is one nobody finds.
fn forgotten_chapters() -> Result<Vec<String>> {
    let source = root().join("docs/book/src");
    let summary = read(&source.join("SUMMARY.md"))?;
    let named: BTreeSet<PathBuf> = links(&summary).map(|link| source.join(link.file)).collect();
    let mut chapters = Vec::new();
    collect(&source, &mut chapters)?;
    chapters.retain(|chapter| !chapter.ends_with("SUMMARY.md") && !named.contains(chapter));
    Ok(chapters.iter().map(|chapter| format!("{}: SUMMARY.md does not name it", chapter.display())).collect())
}

fn fault(folder: &Path, page: &Path, link: &Link<'_>) -> Result<Option<String>> {
    let target = if link.file.is_empty() { page.to_owned() } else { folder.join(link.file) };
    if !target.exists() {
        return Ok(Some(format!("there is no `{}`", link.file)));
    }
    let Some(anchor) = link.anchor.filter(|_| target.extension().is_some_and(|extension| extension == "md")) else {
        return Ok(None);
    };
    let there = anchors(&read(&target)?).any(|heading| heading == anchor);
    Ok((!there).then(|| format!("`{}` has no heading `#{anchor}`", target.strip_prefix(root()).unwrap_or(&target).display())))
}

fn read(page: &Path) -> Result<String> {
    fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))
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

/// Where a `[text](file#anchor)` leads inside the repository.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    file: &'a str,
    anchor: Option<&'a str>,
}

/// The links of a page, outside of code; links to elsewhere are not ours to check.
fn links(text: &str) -> impl Iterator<Item = Link<'_>> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let elsewhere = target.contains("://") || target.starts_with("mailto:") || target.contains(char::is_whitespace);
        let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
        (!target.is_empty() && !elsewhere).then_some(Link { file, anchor })
    })
}

/// The anchors that headings get, as GitHub and mdBook make them: lower case, spaces to hyphens, everything else but letters,
/// digits, hyphens and underscores left out.
fn anchors(text: &str) -> impl Iterator<Item = String> + '_ {
    prose(text).filter(|line| line.starts_with('#')).map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The lines that are not inside a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_our_own_files_are_checked() {
        let text = "[a](docs/a.md#top) [b](https://example.org) [c](#here) [d](../b.md)\n```\n[e](nowhere.md)\n```\n";
        let link = |file, anchor| Link { file, anchor };
        let expected = [link("docs/a.md", Some("top")), link("", Some("here")), link("../b.md", None)];
        assert_eq!(links(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn headings_have_anchors() {
        let text = "# A `tidemill serve`\n```sh\n# no heading\n```\n## What is promised, and what is not\n";
        assert_eq!(anchors(text).collect::<Vec<_>>(), ["a-tidemill-serve", "what-is-promised-and-what-is-not"]);
    }
}
