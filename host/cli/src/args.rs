//! What the user typed. Nothing here reads a file or opens a connection; [`crate::settings`] turns it into what `serve` needs.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An event processing host: send events in, judge them with your own components, get results out.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong use, 3 host not reached, 4 host refused.")]
pub(crate) struct Tidemill {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The host to talk to.
    #[arg(long, global = true, value_name = "URL", env = "TIDEMILL_HOST", default_value = "http://127.0.0.1:8642")]
    pub host: String,
    /// Print one JSON document (or one a line) for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the host.
    Serve(ServeArgs),
    /// Make a component project of your own.
    New(NewArgs),
    /// Build a component project into one WebAssembly component.
    Build(BuildArgs),
    /// Run a component on a file of events, here, with the host's own sandbox and limits.
    Test(TestArgs),
    /// Upload a component under a name and a version.
    Push(PushArgs),
    /// Create or change pipelines from YAML or JSON files.
    Apply(ApplyArgs),
    /// Send a file of events to a stream.
    Send(SendArgs),
    /// Print a stream's events, one JSON object a line.
    Tail(TailArgs),
    /// Show how pipelines are doing.
    Status(StatusArgs),
    /// List streams.
    Streams,
    /// List components and their versions.
    Components,
}

/// `tidemill serve`. Each of these may stand in the settings file or the environment too; flags win over both.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Serve without credentials, on this machine only.
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
    /// Stop when standard input closes: for programs that start a host and must not leave it behind.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// `tidemill new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The component's name; a folder of that name is made.
    pub name: String,
    /// The folder of the SDK for Rust in a clone of Tidemill; found by itself when you are inside one.
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// `tidemill build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The project's folder.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where to put the component; NAME.wasm in the project's folder unless said.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `tidemill test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The component.
    pub component: PathBuf,
    /// The events, one JSON object a line.
    pub events: PathBuf,
    /// The step's config.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub config: String,
    /// The fields that key the component's state, as a step's `by`; repeat it or separate with commas.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub by: Vec<String>,
    /// Rows per call in the first cut.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub rows: usize,
    /// Print what came out, one JSON object a line.
    #[arg(long)]
    pub print: bool,
}

/// `tidemill push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The component, as `tidemill build` made it.
    pub file: PathBuf,
    /// The name pipelines call it by.
    #[arg(long)]
    pub name: String,
    /// Its semantic version; a published version never changes.
    #[arg(long)]
    pub version: semver::Version,
}

/// `tidemill apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Pipeline files, YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// `tidemill send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The stream.
    pub stream: String,
    /// The file: NDJSON, one JSON array, or lines of text; `-` reads standard input.
    pub file: PathBuf,
    /// Send each line as `{"line": …}`.
    #[arg(long)]
    pub text: bool,
}

/// `tidemill tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The stream, the host's own (`clicks.rejected`, `fraud.dead-letters`) too.
    pub stream: String,
    /// `earliest`, `latest`, an offset (with --partition where there are several) or an RFC 3339 time.
    #[arg(long, value_name = "PLACE", default_value = "earliest")]
    pub from: String,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Keep printing what arrives, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Stop after that many rows.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
}

/// `tidemill status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// One pipeline; all of them unless said.
    pub pipeline: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_of_the_command_line_holds() {
        Tidemill::command().debug_assert();
    }

    #[test]
    fn a_version_flag_means_the_components_version() {
        let args = Tidemill::try_parse_from(["tidemill", "push", "a.wasm", "--name", "a", "--version", "1.2.3"]).expect("parses");
        let Command::Push(push) = args.command else { panic!("not push: {args:?}") };
        assert_eq!(push.version.to_string(), "1.2.3");
    }
}
