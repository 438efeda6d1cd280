//! Why a match was told, and what is open of a key.

use clap::{Args, Subcommand};

/// `tidemill explain`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainCommand {
    /// Show why a match was told: its events with their stages and times, where they stand, and how long it might have taken.
    Match(ExplainMatchArgs),
    /// Show what is open of a key: partial matches with their events, what they wait for, and until when; machines; correlations.
    Key(ExplainKeyArgs),
}

/// `tidemill explain match`.
#[derive(Debug, Args)]
#[command(
    after_help = "A step keeps what its matches are made of if it says `explain: true`; the id is their column `match_id`."
)]
pub(crate) struct ExplainMatchArgs {
    /// The pipeline.
    pub pipeline: String,
    /// The match's `match_id`.
    pub id: String,
}

/// `tidemill explain key`.
#[derive(Debug, Args)]
#[command(after_help = "What is shown is of the last commit: rows that wait for their time are not in it.")]
pub(crate) struct ExplainKeyArgs {
    /// The pipeline.
    pub pipeline: String,
    /// The key: of one column its value, of several an object of them, `{"shop": 3, "user": "ann"}`; none where all rows have one key.
    pub key: Option<String>,
}
