//! `tidemill token`.

use std::path::PathBuf;

use clap::Subcommand;
use tidemill_server::Role;

/// `tidemill token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it: the way back in when the last one was lost.
    New {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
        /// What it allows: admin, developer (all but the host itself), ingest (send events) or reader.
        #[arg(long, default_value = "admin")]
        role: Role,
    },
    /// List the tokens there are: ids and roles, never the tokens themselves.
    List {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
    /// Take a token back.
    Revoke {
        /// Its id, as the list shows it.
        id: String,
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
}
