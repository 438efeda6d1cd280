//! `tidemill backup` and `tidemill restore`.

use std::path::PathBuf;

use clap::Args;

/// `tidemill backup`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, which must not exist; `-` is standard output.
    #[arg(value_name = "FILE.tar")]
    pub file: PathBuf,
    /// Replace the file if it exists, once the new backup is whole.
    #[arg(long)]
    pub force: bool,
}

/// `tidemill restore`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreArgs {
    /// The backup; `-` is standard input.
    #[arg(value_name = "FILE.tar")]
    pub file: PathBuf,
    /// The data directory to make: an empty folder, or none yet.
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
    pub data: PathBuf,
}
