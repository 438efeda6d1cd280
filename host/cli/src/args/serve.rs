//! `tidemill serve`: what may stand in the settings file or the environment too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ConnectionArgs;

/// `tidemill serve`. Each of these may stand in the settings file or the environment too; flags win over both.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Serve without asking for tokens, to this machine only.
    #[arg(long)]
    pub dev: bool,
    /// Where the host keeps everything; made if missing.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Worker threads for pipelines; as many as processors unless said.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How long a stop may take to finish what was begun, such as 10s.
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
    /// How log lines look; text on a terminal and JSON elsewhere unless said.
    #[arg(long, value_name = "FORM")]
    pub log: Option<LogForm>,
    /// Which log lines to write, such as `info` or `info,tidemill_engine=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Let webhooks go to addresses and ports that are not public; with --dev they may.
    #[arg(long)]
    pub webhooks_private: bool,
    /// Room on the disk that is kept to finish what was taken, such as 64MiB: new events are refused (507) before it is needed.
    #[arg(long, value_name = "SIZE")]
    pub disk_reserve: Option<String>,
    /// Memory that the state of all pipelines may take together, such as 2GiB; half of the machine's unless said. Beyond it what can leave memory
    /// does, and a pipeline that needs more is held.
    #[arg(long, value_name = "SIZE")]
    pub state_memory: Option<String>,
    /// What of it one tenant's pipelines may take together; all of it unless said.
    #[arg(long, value_name = "SIZE")]
    pub tenant_state_memory: Option<String>,
    /// Connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// Stop when standard input closes: for programs that start a host and must not leave it behind.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
    /// A bug to have, by name: in a build for tests.
    #[cfg(feature = "planted")]
    #[arg(long, hide = true, value_name = "NAME")]
    pub planted: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}
