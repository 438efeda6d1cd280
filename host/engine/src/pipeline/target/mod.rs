//! Where rows go, as the author wrote it: `to:`.

mod file;
mod read;
mod webhook;

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
    Webhook(WebhookTarget),
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

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    pub(crate) path: String,
    pub(crate) line: usize,
}

impl TargetKind {
    /// Whether both lead to the same place, whatever their settings.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stream(one), Self::Stream(other)) => one == other,
            (Self::File(one), Self::File(other)) => one.path == other.path,
            (Self::Stdout, Self::Stdout) => true,
            (Self::Webhook(one), Self::Webhook(other)) => one.name() == other.name(),
            (Self::Stream(_) | Self::File(_) | Self::Stdout | Self::Webhook(_), _) => false,
        }
    }
}
