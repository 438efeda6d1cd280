//! How the log's operations fail, and what a caller can do about each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_event::{Offset, PartitionKey, SchemaVersion, StreamId};

/// A disk call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} `{}`: {source}", path.display())]
pub struct DiskError {
    /// What was tried: `write`, `sync`, `rename` ….
    pub operation: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: Arc<io::Error>,
}

impl DiskError {
    pub(crate) fn new(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { operation, path, source: Arc::new(source) }
    }

    /// Whether it failed for lack of space: the same call may succeed later.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The log takes nothing more: a write or sync failed, and what the kernel has of it is unknown. Nothing is acknowledged after it.
/// Restart the process: recovery starts from the last durable point. A retry in the same process cannot help.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Poisoned {
    /// A disk call failed.
    #[error("the log has stopped and must be reopened by a restart: {0}")]
    Disk(#[from] DiskError),
    /// A thread of the log ended by a bug of ours.
    #[error("the log has stopped and must be reopened by a restart: its {0}")]
    Thread(String),
    /// The log was closed before the entry was written; nothing of it is kept.
    #[error("the log is closed")]
    Closed,
    /// What a [`crate::Gathered`] source handed over cannot be appended: the log goes on, nothing of it is kept.
    #[error("what was gathered cannot be appended: {0}")]
    Refused(String),
}

/// Bytes that are not what was written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is damaged at byte {at_byte}: {what}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The first byte of what does not hold.
    pub at_byte: u64,
    /// What does not hold.
    pub what: String,
}

impl Damage {
    /// What to do about it, where it keeps the log from opening.
    fn remedy(&self) -> &'static str {
        if self.path.extension().is_some_and(|extension| extension == "journal") {
            "acknowledged entries may lie behind it, so nothing was cut: `tidemill repair` shows what a cut there would lose"
        } else {
            "the log cannot be read without this file, and no cut can mend it: copy the folder, then restore a backup"
        }
    }
}

/// Why the log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A disk call failed. Fix the cause (space, permissions) and retry.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A header below the durable mark is damaged, so that acknowledged entries behind it cannot be reached. The host does not
    /// start on its own: `tidemill repair` is for showing what a cut there would lose, and for cutting.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Damaged(Damage),
    /// The folder was written in another format.
    #[error("`{}` has log format {found}, this program reads format {known}: {}", path.display(), other_format(*found, *known))]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// The settings contradict each other.
    #[error("log settings: {0}")]
    Settings(String),
}

/// What to do about a format that is not ours.
fn other_format(found: u32, known: u32) -> &'static str {
    if found > known {
        "it is newer, upgrade to the version that wrote it"
    } else {
        "it is older and is not converted, open it with the version that wrote it or begin with a new folder"
    }
}

/// Why an append or a change was not taken. Nothing of it is kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting. Retry after a while, or slow the source down.
    #[error("the log is overloaded: {0}; retry later")]
    Overloaded(&'static str),
    /// The disk is nearly full. What was taken is finished with what is kept in reserve, reads go on, and deleting streams makes
    /// room; new rows are taken again by itself when there is some. Retry after a while.
    #[error(
        "the disk is nearly full, and new rows are refused until there is room: remove files or streams, or shorten a retention"
    )]
    DiskFull,
    /// An atomic append that fits in no journal file; or one row that does not. Make it smaller.
    #[error("an entry of {bytes} bytes is too large, at most {bytes_max} are possible")]
    TooLarge {
        /// Its encoded size, at most.
        bytes: u64,
        /// What is possible.
        bytes_max: u64,
    },
    /// A request's mark that is longer than what is kept; the caller's mistake.
    #[error("a request's {what} has {bytes} bytes, at most {bytes_max} are kept")]
    Request {
        /// `writer` or `answer`.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// What is possible.
        bytes_max: usize,
    },
    /// The stream was deleted. A stream that has its name now is another one: look it up again.
    #[error("stream `{0}` was deleted")]
    Deleted(StreamId),
    /// A partition the stream does not have.
    #[error("stream `{stream}` has no partition {partition}")]
    NoPartition {
        /// The stream.
        stream: StreamId,
        /// The number asked for.
        partition: u32,
    },
    /// Rows whose columns are not those of the named version; the caller's mistake.
    #[error("rows do not fit `{stream}` version {}: {what}", version.0)]
    Schema {
        /// The stream.
        stream: StreamId,
        /// The version named.
        version: SchemaVersion,
        /// The first difference.
        what: String,
    },
    /// The partition was stopped at start because a frame of it is damaged; others go on.
    #[error("partition {} of `{}` is stopped: {damage}", partition.partition, partition.stream)]
    Damaged {
        /// The partition.
        partition: PartitionKey,
        /// What is damaged.
        damage: Damage,
    },
    /// The log has stopped.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// Why a stream was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is one of that name already (or it is being made).
    #[error("stream `{0}` exists")]
    Exists(StreamId),
    /// There is none of that name.
    #[error("there is no stream `{0}`")]
    Missing(StreamId),
    /// A definition no stream can have: no partitions, or too many columns.
    #[error("stream `{stream}`: {what}")]
    Definition {
        /// The stream.
        stream: StreamId,
        /// What to change.
        what: String,
    },
    /// The change could not be noted.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Why rows cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The rows were removed. Start at the trim point, or stop and say so.
    #[error("offset {from} was removed, the first one kept is {trim_point}")]
    Trimmed {
        /// Where the read began.
        from: Offset,
        /// The first offset kept.
        trim_point: Offset,
    },
    /// The stream was deleted. A stream that has its name now is another one.
    #[error("stream `{0}` was deleted")]
    Deleted(StreamId),
    /// An offset behind the end.
    #[error("offset {from} is beyond the end {end}")]
    BeyondEnd {
        /// Where the read began.
        from: Offset,
        /// The end, as visible to the reader.
        end: Offset,
    },
    /// The rows are damaged; those before them can be read.
    #[error("rows from offset {from} cannot be read: {damage}")]
    Corrupt {
        /// Where the read began.
        from: Offset,
        /// The place.
        damage: Damage,
    },
    /// A disk call failed; a retry may help.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A close that could not write everything.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The log had stopped before, or stopped while closing.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}
