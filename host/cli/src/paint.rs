//! Colours on a terminal, and nothing elsewhere: a program that reads our output reads text.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Added, well.
    Green,
    /// Removed, failed.
    Red,
    /// Changed, waiting.
    Yellow,
    /// Of less importance.
    Dim,
    /// A heading.
    Bold,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output: colours on a terminal, unless `NO_COLOR` is set to something.
    #[expect(clippy::disallowed_methods, reason = "what a terminal shows is no setting of ours: https://no-color.org")]
    pub(crate) fn for_stdout() -> Self {
        Self { on: io::stdout().is_terminal() && !is_set(std::env::var_os("NO_COLOR").as_deref()) }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self { on: false }
    }

    /// The text in that look. Its width is that of the text only without colours: pad first.
    pub(crate) fn text(self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Green => "32",
            Look::Red => "31",
            Look::Yellow => "33",
            Look::Dim => "2",
            Look::Bold => "1",
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn is_set(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_for_terminals() {
        assert_eq!(Paint::off().text(Look::Red, "no"), "no");
        assert_eq!(Paint { on: true }.text(Look::Red, "no"), "\x1b[31mno\x1b[0m");
        assert!(is_set(Some(OsStr::new("1"))) && !is_set(Some(OsStr::new(""))) && !is_set(None));
    }
}
