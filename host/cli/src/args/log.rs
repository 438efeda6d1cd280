//! The log of a data directory whose host is stopped: check it, and cut it where it is damaged.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `tidemill log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read everything and check every checksum; nothing is changed.
    Verify {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
}

/// `tidemill repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The data directory of the host, which must be stopped.
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
    pub data: PathBuf,
    /// Cut here, as it was shown, such as 000003.journal:8192. What lies behind is lost.
    #[arg(long, value_name = "FILE:BYTE")]
    pub cut_at: Option<CutPlace>,
    /// Set consumers and sinks back that stand behind the end of what they read: after a cut, offsets are given out again.
    #[arg(long)]
    pub reset_readers: bool,
}

/// A byte of a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutPlace {
    /// The file's name.
    pub file: PathBuf,
    /// Counted from 0.
    pub at_byte: u64,
}

impl std::str::FromStr for CutPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.rsplit_once(':').and_then(|(file, byte)| Some(Self { file: file.into(), at_byte: byte.parse().ok()? }));
        place.ok_or_else(|| format!("`{text}` is no place: write it as it was shown, such as 000003.journal:8192"))
    }
}
