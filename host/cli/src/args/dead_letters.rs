//! `tidemill dead-letters`: which ones, and what to do with them.

use clap::{Args, Subcommand};

/// `tidemill dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// A line for each, the last ones.
    List {
        /// The pipeline.
        pipeline: String,
        /// Which.
        #[command(flatten)]
        filter: DeadLetterFilter,
    },
    /// One with its event, its component and the backtrace.
    Show {
        /// The pipeline.
        pipeline: String,
        /// `partition:offset`, as listed.
        id: String,
    },
    /// Send them through the step they failed in again, and on, by the pipeline as it is now. Each once.
    Replay {
        /// The pipeline.
        pipeline: String,
        /// `partition:offset`, as listed.
        ids: Vec<String>,
        /// Which.
        #[command(flatten)]
        filter: DeadLetterFilter,
        /// Every one.
        #[arg(long)]
        all: bool,
        /// Those too that were replayed before: what they do is done twice then.
        #[arg(long)]
        force: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterFilter {
    /// Only those with this reason, such as `trap`.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only those of this step, such as `steps[1].rule`.
    #[arg(long)]
    pub step: Option<String>,
    /// Only those of this component.
    #[arg(long)]
    pub component: Option<String>,
    /// Only those whose event has this time or a later one (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only those that were not replayed.
    #[arg(long)]
    pub open: bool,
    /// At most that many, the last ones.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
}

impl DeadLetterFilter {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.query().as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// What was said, as the host takes it.
    pub(crate) fn query(&self) -> serde_json::Value {
        let Self { reason, step, component, since, open, limit } = self;
        let mut members = serde_json::Map::new();
        for (name, value) in [("reason", reason), ("step", step), ("component", component), ("since", since)] {
            members.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
        }
        members.extend(limit.map(|limit| ("limit".to_owned(), limit.into())));
        members.extend(open.then(|| ("open".to_owned(), true.into())));
        serde_json::Value::Object(members)
    }
}
