//! Where a task stands when it starts: the last true checkpoint and the commits after it, and the checkpoint before in case that is damaged.

use std::collections::{BTreeMap, VecDeque};

use tidemill_event::{Offset, PartitionId};
use tidemill_log::{Partition, ReadLimit, Stream, Visibility};
use tidemill_state::CheckpointId;

use crate::task::record::{Checkpoint, Commit, Part, Record, decode};

/// What the progress stream says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recovered {
    /// The last checkpoint of the run.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The one before it.
    before: Option<Checkpoint>,
    /// Commits that the last one covers and the one before does not, in order.
    older: VecDeque<Commit>,
    /// The commits it does not cover, in order.
    pub(crate) commits: VecDeque<Commit>,
    /// The last of them is not complete: so many rows of what it made are there.
    pub(crate) written: Option<u64>,
    /// The offset behind the last record.
    pub(crate) end: Offset,
}

impl Recovered {
    /// The checkpoint that is loaded if the last one is damaged; 0 is the empty state before the first.
    pub(crate) fn before_id(&self) -> CheckpointId {
        self.before.as_ref().map_or(CheckpointId::EMPTY, |before| CheckpointId(before.id))
    }

    /// Rows that the checkpoint before still needs: the next of each stream. `None`: everything from where the run begins.
    pub(crate) fn kept_from(&self) -> Option<&BTreeMap<String, u64>> {
        self.before.as_ref().map(|before| &before.input)
    }

    /// Goes on from the checkpoint before. `false`: there is none.
    pub(crate) fn fall_back(&mut self) -> bool {
        let Some(last) = &self.checkpoint else { return false };
        // A run that began with state has nothing before its first checkpoint, and that one covers no record.
        if self.before.is_none() && (last.id != 1 || last.as_of == 0) {
            return false;
        }
        self.checkpoint = self.before.take();
        self.older.append(&mut self.commits);
        self.commits = std::mem::take(&mut self.older);
        true
    }
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
    let covered = last_two(&records).last().map_or(0, |(_, checkpoint)| checkpoint.as_of);
    let mut unfinished = None;
    for (at, record) in records {
        if !matches!(record, Record::Checkpoint(_)) {
            unfinished = None;
        }
        match record {
            Record::Part(part) => unfinished = Some(part),
            Record::Checkpoint(checkpoint) => recovered.before = recovered.checkpoint.replace(checkpoint),
            Record::Commit(commit) if at.0 < covered => recovered.older.push_back(commit),
            Record::Commit(commit) => recovered.commits.push_back(commit),
        }
    }
    if let Some(Part { commit, written }) = unfinished {
        recovered.commits.push_back(commit);
        recovered.written = Some(written);
    }
    Ok(recovered)
}

/// The last checkpoint of a task that is named in the log. Blocking.
pub(crate) fn last_checkpoint(progress: &Stream, task: PartitionId, run: u64) -> Result<Option<Checkpoint>, String> {
    let partition = progress.partition(task).ok_or_else(|| format!("its progress stream has no partition {task}"))?;
    Ok(recover(partition, run)?.checkpoint)
}

/// Drops other runs, checkpoints before the last two, and commits that both cover.
fn keep_needed(records: &mut Vec<(Offset, Record)>, run: u64) {
    records.retain(|(_, record)| match record {
        Record::Commit(commit) | Record::Part(Part { commit, .. }) => commit.run == run,
        Record::Checkpoint(checkpoint) => checkpoint.run == run,
    });
    let needed: Vec<Offset> = last_two(records).iter().map(|(at, _)| *at).collect();
    let as_of = match last_two(records)[..] {
        [(_, before), _] => before.as_of,
        _ => 0,
    };
    records.retain(|(at, record)| match record {
        Record::Commit(_) | Record::Part(_) => at.0 >= as_of,
        Record::Checkpoint(_) => needed.contains(at),
    });
}

/// The last checkpoint, and in front of it the last one with a smaller number: a number that came again is of one that was damaged.
fn last_two(records: &[(Offset, Record)]) -> Vec<(Offset, &Checkpoint)> {
    let mut two: Vec<(Offset, &Checkpoint)> = Vec::with_capacity(2);
    for (at, record) in records.iter().rev() {
        if let Record::Checkpoint(checkpoint) = record
            && two.last().is_none_or(|(_, later)| checkpoint.id < later.id)
        {
            two.push((*at, checkpoint));
            if two.len() == 2 {
                break;
            }
        }
    }
    two.reverse();
    two
}
