//! Pipelines: apply, watch, pause, resume, delete, replay, and hear what their components say.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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

/// `tidemill status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// One pipeline; all of them unless said.
    pub pipeline: Option<String>,
    /// Ask again every two seconds, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
}

/// `tidemill state`.
#[derive(Debug, Args)]
#[command(after_help = "What is shown is of the last commit: rows that wait for their time are not in it.")]
pub(crate) struct StateArgs {
    /// The pipeline.
    pub pipeline: String,
    /// The step: its number from 0, its name (`steps[0].machine`), or its word (`machine`) if there is one of it.
    pub step: String,
    /// The key: of one column its value, of several an object of them, `{"shop": 3, "user": "ann"}`.
    #[arg(long, short)]
    pub key: Option<String>,
}

/// `tidemill pause` and `tidemill resume`.
#[derive(Debug, Args)]
pub(crate) struct PipelinesArgs {
    /// The pipelines.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<String>,
}

/// `tidemill delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The pipelines.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// `tidemill replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --from and --with it shows how the replay does. Its output goes to streams called like the pipeline's, with @RUN behind.\n\nA replay --with another text is a shadow: it runs beside the pipeline, `difference` shows what they make differently, and `promote` makes its text the pipeline's."
)]
pub(crate) struct ReplayArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Begin one: `earliest`, `latest`, an RFC 3339 time, so long ago (`-7d`), an offset, offsets with commas (one for each partition), or
    /// STREAM=PLACE for each stream.
    #[arg(long, value_name = "PLACE", conflicts_with = "action", allow_hyphen_values = true)]
    pub from: Vec<String>,
    /// Begin one with this text instead of the pipeline's own; from now on unless --from says otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "action")]
    pub with: Option<PathBuf>,
    #[command(flatten)]
    pub between: BetweenArgs,
    /// What to do with the one there is.
    #[arg(value_enum)]
    pub action: Option<ReplayAction>,
}

/// What to do with a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayAction {
    /// Show rows that it wrote and the pipeline did not, and the other way round.
    Difference,
    /// Put it in place of the pipeline's run: from there on it writes the pipeline's own targets.
    Promote,
    /// Forget it, and delete the streams it wrote.
    Discard,
}

/// Which rows of a replay and its pipeline are compared.
#[derive(Debug, Args)]
pub(crate) struct BetweenArgs {
    /// Compare rows of this event time and later: RFC 3339, or so long ago (`-1h`); from where the replay has seen everything unless said.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Compare rows before this event time; up to where both have come unless said.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Show so many rows of each side at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
}

/// `tidemill backtest`.
#[derive(Debug, Args)]
#[command(
    after_help = "It runs beside the pipeline of that name, which need not be there: its state and what it writes are its own, components say nothing, and files and receivers get nothing.\n\nRows with - are what the live version alone wrote, rows with + the new one alone."
)]
pub(crate) struct BacktestArgs {
    /// The pipeline's new text: YAML or JSON with `pipeline: NAME`.
    pub file: PathBuf,
    /// Where it begins: `earliest`, an RFC 3339 time, so long ago (`-7d`), an offset, offsets with commas, or STREAM=PLACE for each stream.
    #[arg(long, value_name = "PLACE", default_value = "earliest", allow_hyphen_values = true)]
    pub from: Vec<String>,
    /// Keep the run and its streams: `tidemill replay NAME` shows it, `promote` and `discard` end it.
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub between: BetweenArgs,
}

/// `tidemill logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Keep printing what they say, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only this step, such as `steps[2].rule`.
    #[arg(long)]
    pub step: Option<String>,
    /// Only this level and above: debug, info, warn or error.
    #[arg(long)]
    pub level: Option<String>,
    /// At most that many of the last lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub limit: usize,
}
