//! The commands, as `--help` of each prints them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::made_from;

/// How deep commands of commands go.
const DEPTH_MAX: usize = 3;

pub(super) fn page(binary: &Path) -> Result<String> {
    let mut text = format!("# Commands\n\n{}", made_from("the program's own help"));
    describe(binary, &[], &mut text)?;
    Ok(text)
}

fn describe(binary: &Path, words: &[&str], text: &mut String) -> Result<()> {
    let mut asked = words.to_vec();
    asked.push("--help");
    let help = output(binary, &asked)?;
    let name = std::iter::once("tidemill").chain(words.iter().copied()).collect::<Vec<_>>().join(" ");
    let level = if words.len() > 1 { "###" } else { "##" };
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "{level} `{name}`\n\n```text\n{}\n```\n\n", lines.join("\n").trim_end());
    if words.len() + 1 < DEPTH_MAX {
        for command in commands(&help) {
            let mut inner = words.to_vec();
            inner.push(command);
            describe(binary, &inner, text)?;
        }
    }
    Ok(())
}

/// The names listed under `Commands:`, each at the same indentation.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|name| *name != "help")
}

/// What the program prints, in an environment that says nothing, so that every machine prints the same.
pub(super) fn output(binary: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new(binary);
    command.args(words).env_clear().env("COLUMNS", "120");
    let output = command.output().with_context(|| format!("cannot run `{}`", binary.display()))?;
    if !output.status.success() {
        bail!("`tidemill {}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("the program's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_off_the_help() {
        let help = "About.\n\nUsage: tidemill [OPTIONS] <COMMAND>\n\nCommands:\n  serve       Run the host\n  dead-letters  Rows\n              that failed\n  help        Print\n\nOptions:\n  -h, --help\n";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["serve", "dead-letters"]);
    }
}
