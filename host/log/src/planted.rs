//! Bugs planted on purpose, one at a time, so that the crash tests can show that they would find each of them.
//!
//! A test that no planted bug trips shows nothing. They are values and not builds: `LogSettings::planted` chooses one, and exists
//! only with feature `planted`, which no release has. Without it [`LogSettings::plants`] is a constant no.

use crate::settings::LogSettings;

/// An enum of bugs, each with its name on a command line; with feature `planted` of the crate that calls it, also the list of them.
/// Here for the crates above too: each has its own bugs, and all are asked for in the same way.
#[doc(hidden)]
#[macro_export]
macro_rules! planted_bugs {
    ($(#[$enum_words:meta])* pub enum Planted { $($(#[$words:meta])* $bug:ident $name:literal,)+ }) => {
        $(#[$enum_words])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(not(feature = "planted"), expect(unreachable_pub, reason = "reached from outside with the feature only"))]
        pub enum Planted {
            $($(#[$words])* $bug,)+
        }

        #[cfg(feature = "planted")]
        impl Planted {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug),+];

            /// Its name on a command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)+
                }
            }
        }
    };
}

planted_bugs! {
    /// A bug that is not there unless it is asked for.
    #[cfg_attr(not(feature = "planted"), expect(dead_code, reason = "what a disk forgets is planted with the feature only"))]
    pub enum Planted {
        /// A group is acknowledged when it is written, not when it is on disk.
        EarlyAcknowledgement "early-acknowledgement",
        /// A sync that failed counts as one that worked.
        SyncErrorIgnored "sync-error-ignored",
        /// The journal is written and never synced.
        JournalNotSynced "journal-not-synced",
        /// The name of a new journal file is never synced.
        JournalNameNotSynced "journal-name-not-synced",
        /// The run's number is used before it is on disk.
        RunNotSynced "run-not-synced",
        /// A segment is named in the journal before it is on disk.
        SegmentNotSynced "segment-not-synced",
        /// A segment's file is synced, and its name is not.
        SegmentNameNotSynced "segment-name-not-synced",
        /// The manifest is renamed before it is on disk.
        ManifestNotSynced "manifest-not-synced",
        /// The manifest's rename is not on disk when journal files are used again.
        ManifestNameNotSynced "manifest-name-not-synced",
        /// The manifest says what a crash may still take back.
        ManifestAhead "manifest-ahead",
        /// A roll gives journal files free before their rows are in segments.
        RollFreesEarly "roll-frees-early",
        /// What a kill left in the page cache is shown as durable without a sync.
        RecoveredNotSynced "recovered-not-synced",
        /// Which requests were taken is not known after a restart.
        RequestsForgotten "requests-forgotten",
        /// Groups of another run, or behind another group, join the chain.
        ChainUnchecked "chain-unchecked",
        /// Any group that holds by itself counts, whichever life of its file it is from.
        StaleGroupAccepted "stale-group-accepted",
        /// A frame is taken whatever its checksum.
        FrameUnchecked "frame-unchecked",
        /// A torn entry is taken as far as it goes.
        HalfEntryAccepted "half-entry-accepted",
        /// A break below the durable mark is cut off like a torn end.
        DamageCutOff "damage-cut-off",
    }
}

impl LogSettings {
    /// Whether this bug is planted.
    #[cfg(feature = "planted")]
    pub(crate) fn plants(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// Nothing is.
    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "asked in the same way with the feature")]
    pub(crate) const fn plants(&self, _: Planted) -> bool {
        false
    }
}

/// The disk of a log that forgets to sync something.
#[cfg(feature = "planted")]
pub(crate) fn forgetful(settings: &LogSettings, disk: std::sync::Arc<dyn crate::Disk>) -> std::sync::Arc<dyn crate::Disk> {
    use crate::simulated::{Call, HookedDisk};
    use std::path::Path;

    let Some(bug) = settings.planted else { return disk };
    let dir = settings.dir.clone();
    let ends = |path: &Path, name: &str| path.to_string_lossy().ends_with(name);
    let forgets = move |call: Call, path: &Path| match (bug, call) {
        (Planted::JournalNotSynced, Call::Sync) => ends(path, ".journal"),
        (Planted::JournalNameNotSynced, Call::SyncDir) => ends(path, "journal"),
        (Planted::RunNotSynced, Call::Sync) => ends(path, "mark"),
        (Planted::SegmentNotSynced, Call::Sync) => ends(path, ".segment"),
        (Planted::SegmentNameNotSynced, Call::SyncDir) => ends(path, "segments"),
        (Planted::ManifestNotSynced, Call::Sync) => ends(path, "manifest.new"),
        (Planted::ManifestNameNotSynced, Call::SyncDir) => path == dir,
        _ => false,
    };
    HookedDisk::forgetting(disk, forgets)
}
