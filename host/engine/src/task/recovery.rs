//! Where a task stands when it starts: the last true checkpoint, and the commits after it.

use std::collections::VecDeque;

use tidemill_event::Offset;
use tidemill_log::{Partition, ReadLimit, Visibility};

use crate::task::record::{Checkpoint, Commit, Record, decode};

/// What the progress stream says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recovered {
    /// The last checkpoint of the run.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The commits it does not cover, in order.
    pub(crate) commits: VecDeque<Commit>,
    /// The offset behind the last record.
    pub(crate) end: Offset,
}

/// Reads the progress of `run`. Blocking.
pub(crate) fn recover(progress: &Partition, run: u64) -> Result<Recovered, String> {
    let mut records = Vec::new();
    let mut from = progress.trim_point();
    let limit = ReadLimit { rows_max: 4096, bytes_max: 4 << 20 };
    // Commits of the task before this one may still be on their way to the disk: they are in the journal's order, and that is what counts
    // for whoever appends behind them.
    while let Some(block) = progress.read(from, limit, Visibility::Sequenced).map_err(|error| format!("progress: {error}"))? {
        let decoded = decode(&block.rows).map_err(|error| format!("progress from offset {}: {error}", block.start))?;
        records.extend(decoded.into_iter().enumerate().map(|(row, record)| (block.start.plus(row), record)));
        from = block.start.plus(block.rows.num_rows());
        keep_needed(&mut records, run);
    }
    let mut recovered = Recovered { end: from, ..Recovered::default() };
    for (_, record) in records {
        match record {
            Record::Checkpoint(checkpoint) => recovered.checkpoint = Some(checkpoint),
            Record::Commit(commit) => recovered.commits.push_back(commit),
        }
    }
    Ok(recovered)
}

/// Drops other runs, checkpoints before the last one, and commits that it covers.
fn keep_needed(records: &mut Vec<(Offset, Record)>, run: u64) {
    records.retain(|(_, record)| match record {
        Record::Commit(commit) => commit.run == run,
        Record::Checkpoint(checkpoint) => checkpoint.run == run,
    });
    let last = records.iter().rev().find_map(|(at, record)| match record {
        Record::Checkpoint(checkpoint) => Some((*at, checkpoint.as_of)),
        Record::Commit(_) => None,
    });
    if let Some((last_at, as_of)) = last {
        records.retain(|(at, record)| match record {
            Record::Commit(_) => at.0 >= as_of,
            Record::Checkpoint(_) => *at == last_at,
        });
    }
}
