//! Trouble with a single row: what a component says about a row it could not handle.

use std::time::Duration;

/// Why a row could not be handled, and what shall happen to it. Return it as the error of a rule or transform; every other row
/// of the batch is answered as usual.
///
/// Any text becomes a rejection by `?`: `text.parse::<i64>().map_err(|e| e.to_string())?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub(crate) text: String,
    pub(crate) after: Option<Duration>,
}

impl Reject {
    /// To the dead letters, with this text. The host caps it at 1 KiB.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), after: None }
    }

    /// Again, not before `after`. The host caps the attempts.
    pub fn retry_after(after: Duration, text: impl Into<String>) -> Self {
        Self { text: text.into(), after: Some(after) }
    }

    pub(crate) fn note(self, row: u32) -> Note {
        Note { row, after: self.after, text: self.text }
    }
}

impl From<String> for Reject {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Reject {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// A [`Reject`] with its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The row of the batch.
    pub row: u32,
    /// `None`: to the dead letters; else again, not before that long.
    pub after: Option<Duration>,
    /// Why.
    pub text: String,
}
