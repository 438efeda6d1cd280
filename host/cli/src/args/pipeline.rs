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
    after_help = "Without --from it shows how the replay does. Its output goes to streams called like the pipeline's, with @RUN behind."
)]
pub(crate) struct ReplayArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Begin one: `earliest`, an RFC 3339 time, an offset, offsets with commas (one for each partition), or STREAM=PLACE for each stream.
    #[arg(long, value_name = "PLACE", conflicts_with = "action")]
    pub from: Vec<String>,
    /// What to do with the one there is.
    #[arg(value_enum)]
    pub action: Option<ReplayAction>,
}

/// What to do with a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayAction {
    /// Put it in place of the pipeline's run: from there on it writes the pipeline's own targets.
    Promote,
    /// Forget it, and delete the streams it wrote.
    Discard,
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
