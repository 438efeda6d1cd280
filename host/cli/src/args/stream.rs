//! Streams: send events to one, print one, look at and delete those there are.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tidemill_event::units;

use crate::commands::send::Packing;

/// `tidemill send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The stream.
    pub stream: String,
    /// The file: NDJSON, one JSON array, CSV, an Arrow stream, or lines of text; `-` reads standard input.
    pub file: PathBuf,
    /// Send each line as `{"line": …}`.
    #[arg(long, conflicts_with = "format")]
    pub text: bool,
    /// What the file holds; by its name (`.json`, `.csv`, `.arrow`, `.arrows`) or its beginning unless said.
    #[arg(long, value_enum)]
    pub format: Option<SendFormat>,
    /// How bodies are packed on their way: zstd unless said, and not at all to a host on this machine.
    #[arg(long, value_enum)]
    pub compress: Option<Packing>,
    /// Goes on with an earlier run of this name: what the host has taken of the file is not sent again, rows that were added to its end
    /// are. A run without it has a name of its own, which it says when it fails.
    #[arg(long, value_name = "NAME")]
    pub producer: Option<String>,
    /// How long a request is sent again while the host has no room, or is away. Nothing is taken twice.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    pub retry_for: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "write an integer and `ms`, `s`, `m`, `h` or `d`".to_owned())
}

/// What a file of events holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SendFormat {
    /// One event a line.
    Ndjson,
    /// One event or an array of them.
    Json,
    /// A table whose first line names the columns.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A CloudEvent in JSON, or an array of them.
    Cloudevents,
    /// Lines of text.
    Text,
}

/// `tidemill tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The stream, the host's own (`clicks.rejected`, `fraud.dead-letters`) too.
    pub stream: String,
    /// `earliest`, `latest`, an offset (with --partition where there are several) or an RFC 3339 time.
    #[arg(long, value_name = "PLACE", default_value = "earliest")]
    pub from: String,
    /// Where to end: `latest`, an offset or an RFC 3339 time, exclusive; the end as it is now unless said.
    #[arg(long, value_name = "PLACE", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Keep printing what arrives, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Stop after that many rows.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
    /// Begin where this consumer's commits ended; --from counts where it has none.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Commit for the consumer what was printed: a crash prints rows again, never skips one.
    #[arg(long, requires = "consumer")]
    pub commit: bool,
}

/// `tidemill streams`.
#[derive(Debug, Args)]
pub(crate) struct StreamsArgs {
    /// What to do; list them unless said.
    #[command(subcommand)]
    pub action: Option<StreamsAction>,
}

/// What to do with streams.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamsAction {
    /// Show one: its columns, its partitions, where they begin and end.
    Show {
        /// The stream.
        stream: String,
    },
    /// Delete one with its rows, and what was rejected at its door.
    Delete {
        /// The stream.
        stream: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}
