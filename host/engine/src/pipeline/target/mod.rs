//! Where rows go, as the author wrote it: `to:`.

mod file;
mod read;
mod webhook;

use std::fmt;
use std::time::Duration;

use tidemill_connect::FileFormat;
use tidemill_event::StreamName;

pub(super) use read::targets;
pub(crate) use webhook::{OnRefused, WebhookTarget};

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// To a stream.
    Stream(StreamName),
    /// To files in a folder.
    File(FileTarget),
    /// To the host's standard output.
    Stdout,
    /// To a receiver of HTTP requests.
    Webhook(Box<WebhookTarget>),
}

/// Files in `files/{path}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileTarget {
    pub(crate) path: String,
    pub(crate) format: FileFormat,
    pub(crate) roll: Roll,
}

/// When a file is closed and the next one begins: at whichever comes first. What is not said is the host's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Roll {
    pub(crate) rows: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) every: Option<Duration>,
}

/// A value of the column `route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// This one.
    To(String),
    /// None: the row goes nowhere in particular.
    None,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    /// Of a stream: it takes rows of these routes alone; empty: every row.
    pub(crate) routes: Vec<Route>,
    pub(crate) path: String,
    pub(crate) line: usize,
    /// It takes rows of a step's side output; `None`: what comes out behind the last step.
    pub(crate) side: Option<SideOf>,
}

/// An output of a step beside its main one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SideOf {
    pub(crate) step: u32,
    pub(crate) output: String,
}

/// What a target is called in status, logs and marks: the place alone, so that two of one name lead to the same place.
impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(name) => write!(f, "stream: {name}"),
            Self::File(file) => write!(f, "file: {}", file.path),
            Self::Stdout => f.write_str("stdout"),
            Self::Webhook(webhook) => write!(f, "webhook: {}", webhook.settings.place()),
        }
    }
}
