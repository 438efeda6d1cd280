//! Every bound of the log in one place, each with what happens when it is met.

use std::path::PathBuf;
use std::time::Duration;

/// Where the log lives and how much it may hold.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The log's folder; made if it is missing (its parent must exist).
    pub dir: PathBuf,
    /// Size of one journal file. No entry is larger than what fits in one: [`crate::AppendError::TooLarge`].
    pub journal_file_bytes: u64,
    /// So much of a new journal file is filled with zeros ahead of what is written into it (see `journal.rs`); 0: nothing, and no file
    /// is prepared before it is needed.
    pub journal_ahead_bytes: u64,
    /// Size of all journal files together. Near it appends are refused ([`crate::AppendError::Overloaded`]) until the roller has
    /// freed a file.
    pub journal_bytes_max: u64,
    /// Rows start to roll into segments when the journal files that hold unrolled rows reach this size.
    pub journal_roll_bytes: u64,
    /// Memory of all partitions' tails together. Rolled rows are dropped from it, oldest first; when rows that are not yet rolled
    /// fill it, appends are refused.
    pub tail_bytes_max: usize,
    /// What of it one tenant's rows may take that are not yet rolled; beyond it, that tenant's appends are refused.
    pub tenant_tail_bytes_max: usize,
    /// A file of this size is kept in reserve, and given up when the disk is full, so that what was taken can be finished. New
    /// rows are refused ([`crate::AppendError::DiskFull`]) already when the disk has less room than rolling needs. 0: no reserve.
    pub reserve_bytes: u64,
    /// A group takes no further entry beyond this size.
    pub group_bytes_max: usize,
    /// An append that is not atomic is cut into entries of about this size.
    pub entry_bytes_max: usize,
    /// Memory of appends waiting for their group. Beyond it: [`crate::AppendError::Overloaded`], or [`crate::Log::append_waiting`] waits.
    pub queue_bytes_max: usize,
    /// What of it one tenant's appends may take: others find room beside one that sends more than the disk takes.
    pub tenant_queue_bytes_max: usize,
    /// The most rows in one block of a segment, and in one block of a tail after small appends were joined.
    pub block_rows: usize,
    /// A partition with at least this much to roll gets a segment file of its own; smaller remainders share one.
    pub segment_own_bytes: usize,
    /// Decoded segment blocks and indexes kept in memory; the least recently used go first.
    pub cache_bytes_max: usize,
    /// Segment files kept open at once.
    pub open_segments_max: usize,
    /// How long a client's request is remembered, so that a retry is answered and not appended again. Time is what
    /// [`crate::Log::retain`] is told; without it only the bounds below forget.
    pub requests_age: Duration,
    /// Memory of the requests remembered for one tenant (about 300 bytes each); the oldest go first.
    pub tenant_requests_bytes_max: usize,
    /// Memory of all remembered requests together; those of the tenant that has most go first.
    pub requests_bytes_max: usize,
    /// How long after its last request it is known of a writer which numbers were forgotten; from then on they are new again.
    pub writers_age: Duration,
    /// Writers of one tenant of which nothing else is remembered (about 300 bytes each); the longest silent go first.
    pub tenant_writers_max: usize,
    /// Such writers of all tenants together; those of the tenant that has most go first.
    pub writers_max: usize,
    /// After this long without an append the durable mark is noted beside the journal, once.
    pub mark_idle: Duration,
    /// While a group is being synced, the next one is written already (and not only gathered) when this much waits. A group smaller
    /// than this is not expected to be followed by so much, and synced by the thread that wrote it.
    pub overlap_bytes: usize,
    /// A bug to have, for tests that show that it would be found.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::Planted>,
}

impl LogSettings {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            journal_file_bytes: 64 << 20,
            journal_ahead_bytes: 1 << 20,
            journal_bytes_max: 1 << 30,
            journal_roll_bytes: 256 << 20,
            tail_bytes_max: 256 << 20,
            tenant_tail_bytes_max: 192 << 20,
            reserve_bytes: 64 << 20,
            group_bytes_max: 4 << 20,
            entry_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            tenant_queue_bytes_max: 32 << 20,
            block_rows: 4096,
            segment_own_bytes: 1 << 20,
            cache_bytes_max: 64 << 20,
            open_segments_max: 64,
            requests_age: Duration::from_secs(24 * 3600),
            tenant_requests_bytes_max: 32 << 20,
            requests_bytes_max: 128 << 20,
            writers_age: Duration::from_secs(7 * 24 * 3600),
            tenant_writers_max: 16 << 10,
            writers_max: 64 << 10,
            mark_idle: Duration::from_secs(1),
            overlap_bytes: 256 << 10,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}
