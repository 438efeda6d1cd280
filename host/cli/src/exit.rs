//! How the program ends: exit codes, and the failure that carries one to `main`.
//!
//! | code | meaning | a retry can help |
//! |---|---|---|
//! | 0 | done | – |
//! | 1 | failed: the work was tried and did not succeed | after what is named is mended |
//! | 2 | wrong use: arguments, settings or files that cannot be meant | no |
//! | 3 | host not reached | when the host is up |
//! | 4 | host refused: it answered, and the answer is no | no, except where it says so |

use std::fmt;

/// The work was tried and did not succeed.
pub(crate) const FAILED: u8 = 1;
/// Arguments, settings or files that cannot be meant.
pub(crate) const WRONG_USE: u8 = 2;
/// No host answered, or it went away before its answer was complete.
pub(crate) const NOT_REACHED: u8 = 3;
/// The host answered, and the answer is no.
pub(crate) const REFUSED: u8 = 4;

/// Why a command did not succeed: the code for the shell, the text for the person.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One of the constants of this file.
    pub code: u8,
    /// Lowercase, says what to change; may have several lines.
    pub message: String,
    /// For `--json`: what the host answered, if it did.
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// The work was tried and did not succeed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into(), details: None }
    }

    /// Arguments, settings or files that cannot be meant.
    pub(crate) fn wrong_use(message: impl Into<String>) -> Self {
        Self { code: WRONG_USE, message: message.into(), details: None }
    }

    /// No host answered.
    pub(crate) fn not_reached(message: impl Into<String>) -> Self {
        Self { code: NOT_REACHED, message: message.into(), details: None }
    }

    /// The host answered no.
    pub(crate) fn refused(message: impl Into<String>, details: Option<serde_json::Value>) -> Self {
        Self { code: REFUSED, message: message.into(), details }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Errors that arrive with context from below are failures of the work.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}
