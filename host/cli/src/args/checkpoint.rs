//! `tidemill checkpoint`.

use std::path::PathBuf;

use clap::Subcommand;

/// What to do with named checkpoints of a pipeline.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Keep the state of a pipeline as it is now, under a name, until it is deleted.
    Create {
        /// The pipeline.
        pipeline: String,
        /// What the checkpoint is called.
        name: String,
        /// Write it into this folder too, as NAME.checkpoint.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// List the checkpoints of a pipeline.
    List {
        /// The pipeline.
        pipeline: String,
    },
    /// Begin a run with a checkpoint, beside the pipeline's own: `tidemill replay PIPELINE promote` lets it take over.
    Restore {
        /// The pipeline, as it is applied.
        pipeline: String,
        /// The checkpoint.
        name: String,
        /// Take it from this folder first, where `create --to` wrote it.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Forget checkpoints, and let go of the rows they kept.
    Delete {
        /// The pipeline.
        pipeline: String,
        /// The checkpoints.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}
