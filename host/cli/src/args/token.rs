//! `tidemill token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tidemill_server::Role;

/// `tidemill token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once: of the host that runs, or with --data of one that is stopped.
    #[command(alias = "new")]
    Create(CreateTokenArgs),
    /// List the tokens there are: what they are for and allow, never the tokens themselves.
    List {
        /// Only those of this tenant.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Where to look.
        #[command(flatten)]
        place: TokenPlace,
    },
    /// Take a token back: no request with it is answered from then on.
    Revoke {
        /// Its id, as the list shows it.
        id: String,
        /// Where to look.
        #[command(flatten)]
        place: TokenPlace,
    },
}

/// `tidemill token create`.
#[derive(Debug, Args)]
pub(crate) struct CreateTokenArgs {
    /// What it allows: admin, developer (all but tokens and the host itself), ingest (send events) or reader.
    #[arg(long, default_value = "admin")]
    pub role: Role,
    /// Whose streams, components and pipelines its bearer means; that of your own token unless said.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// What it is for, for those who read the list.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub label: String,
    /// Until when it is valid: a duration from now, such as 90d, or an RFC 3339 time; until it is revoked unless said.
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// Where to keep it.
    #[command(flatten)]
    pub place: TokenPlace,
}

/// Which host is meant.
#[derive(Debug, Args)]
pub(crate) struct TokenPlace {
    /// Work on the data directory of a host that is stopped, instead of asking one that runs: the way back in when the last token was lost.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}
