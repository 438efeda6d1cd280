//! Bugs planted on purpose, one at a time, so that the crash tests can show that they would find each of them.
//!
//! They are values and not builds: `EngineSettings::planted` chooses one, and exists only with feature `planted`, which no release
//! has. Without it [`Plants::has`] is a constant no.

tidemill_log::planted_bugs! {
    /// A bug that is not there unless it is asked for.
    pub enum Planted {
        /// A checkpoint says that it covers commits that came behind its state, and that may not be on disk.
        CheckpointAhead "checkpoint-ahead",
        /// A checkpoint is called true before its state is on disk.
        StateNotSynced "state-not-synced",
        /// What the checkpoint before needs is removed before the new one is true.
        RetiredEarly "retired-early",
        /// The newest state in the store counts, whatever the log says of it.
        StoreDecides "store-decides",
        /// Outputs and the range they came of are two entries.
        CommitWithoutRange "commit-without-range",
        /// Outputs of a replay are appended once more.
        ReplayedOutputs "replayed-outputs",
        /// A start does not know how much of a commit in parts was written.
        PartsForgotten "parts-forgotten",
        /// Commits behind the checkpoint are not taken again.
        ReplaySkipped "replay-skipped",
        /// What a clock decided is done and not recorded.
        ClockNotRecorded "clock-not-recorded",
        /// A checkpoint does not keep how far time is.
        TimeNotKept "time-not-kept",
        /// A replay lets no time go by along the rows it takes again.
        ReplayWithoutTime "replay-without-time",
        /// A task tells the next stage how far time is before the rows that came before.
        HeadTooEarly "head-too-early",
        /// A backup takes the state some time after the log, and nobody waits with removing what the log still names.
        StateBehindCut "state-behind-cut",
    }
}

/// The bug that is planted, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plants(#[cfg(feature = "planted")] pub(crate) Option<Planted>);

impl Plants {
    /// Whether this one is.
    #[cfg(feature = "planted")]
    pub(crate) fn has(self, bug: Planted) -> bool {
        self.0 == Some(bug)
    }

    /// None is.
    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "asked in the same way with the feature")]
    pub(crate) const fn has(self, _: Planted) -> bool {
        false
    }
}
