//! The streams that a pipeline keeps beside its targets: named after it, made with it, and of its own for each run.

use tidemill_event::{PipelineName, StreamDefinition, StreamName};

use crate::plan::{Plan, alert_definition};
use crate::task::{dead_letter_definition, late_definition, matches_definition};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnStream {
    /// Rows that a step or a sink could not use.
    DeadLetters,
    /// Rows that came too late for a step.
    Late,
    /// What `alert` steps tell.
    Alerts,
    /// What matches are made of.
    Matches,
}

impl OwnStream {
    pub(crate) const ALL: [Self; 4] = [Self::DeadLetters, Self::Late, Self::Alerts, Self::Matches];

    /// `{pipeline}.late`.
    pub(crate) fn name(self, pipeline: &PipelineName) -> StreamName {
        let suffix = match self {
            Self::DeadLetters => "dead-letters",
            Self::Late => "late",
            Self::Alerts => "alerts",
            Self::Matches => "matches",
        };
        StreamName::derived(pipeline.as_str(), suffix)
    }

    pub(crate) fn definition(self, partitions: u32) -> StreamDefinition {
        match self {
            Self::DeadLetters => dead_letter_definition(partitions),
            Self::Late => late_definition(partitions),
            Self::Alerts => alert_definition(partitions),
            Self::Matches => matches_definition(partitions),
        }
    }
}

/// `{pipeline}.output`: what files and receivers are given, if there are any. Its columns are those of the last step.
pub(crate) fn output_name(pipeline: &PipelineName) -> StreamName {
    StreamName::derived(pipeline.as_str(), "output")
}

impl Plan {
    /// Those that it writes.
    pub(crate) fn own_streams(&self) -> impl Iterator<Item = OwnStream> + '_ {
        OwnStream::ALL.into_iter().filter(|own| match own {
            OwnStream::DeadLetters => true,
            OwnStream::Late => self.has_late_rows(),
            OwnStream::Alerts => self.has_alerts(),
            OwnStream::Matches => self.has_explained(),
        })
    }
}
