//! Which rows a stream's retention lets go: whole runs of rows at a partition's start, never a held one.
//!
//! ```text
//!  trim point      ─ age: while the newest row of a run is older ─►         hold, durable end
//!  ────┬───────────┬───────────┬───────────┬────────────────────────────────┬──►  offsets
//!      │ segment   │ segment   │ segment   │ blocks of the tail             │
//!                  ─ size: while what stays behind is not less than the bound ─►  (segments only)
//! ```
//! A row's age counts from its event time, or from when it came, if that was earlier: a clock that is wrong by years must not keep its row,
//! and all behind it, for years. When it came is known to the next look at retention, and for rows that were in the journal when the
//! host started, to that start. Rows older than the age may stay: those in a segment or block with a younger one, and those behind one.

use tidemill_event::{EventTime, Retention};

use crate::change::Change;
use crate::partition::Partition;
use crate::stream::Stream;

/// Rows of one partition that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) end: u64,
    pub(crate) age_time: i64,
    /// In a segment file.
    pub(crate) bytes: u64,
}

/// The trim points that move.
pub(crate) fn trims(stream: &Stream, now: EventTime) -> Vec<Change> {
    let Retention { age, bytes } = stream.definition().retention;
    if age.is_none() && bytes.is_none() {
        return Vec::new();
    }
    let partitions = stream.partitions();
    let mut before = vec![0; partitions.len()];
    if let Some(age) = age {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let oldest = now.0.saturating_sub(age);
        for (before, partition) in before.iter_mut().zip(partitions) {
            *before = partition.older_than(oldest, now.0);
        }
    }
    if let Some(bytes_max) = bytes {
        beyond(bytes_max, partitions.iter().map(|partition| partition.segment_runs()).collect(), &mut before);
    }
    let moved = partitions.iter().zip(before).filter(|(partition, before)| *before > partition.trim_point().0);
    moved.map(|(partition, before)| trim(partition, before)).collect()
}

fn trim(partition: &Partition, before: u64) -> Change {
    let (stream, partition) = partition.numbers();
    Change::Trimmed { stream, partition, before }
}

/// Lets the oldest runs of all partitions go while at least `bytes_max` stays. Runs are given oldest first, with where what may go
/// ends.
fn beyond(bytes_max: u64, runs: Vec<(Vec<Run>, u64)>, before: &mut [u64]) {
    let mut total: u64 = runs.iter().flat_map(|(runs, _)| runs).map(|run| run.bytes).sum();
    let mut runs: Vec<_> = runs.into_iter().map(|(runs, limit)| (runs.into_iter().peekable(), limit)).collect();
    loop {
        let oldest = runs.iter_mut().enumerate().filter_map(|(index, (runs, limit))| {
            let run = runs.peek().filter(|run| run.end <= *limit)?;
            Some((run.age_time, index))
        });
        let Some((_, index)) = oldest.min() else { return };
        let Some(run) = runs[index].0.next() else { return };
        if total - run.bytes < bytes_max {
            return;
        }
        total -= run.bytes;
        before[index] = before[index].max(run.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `end@time:bytes …|limit` per partition.
    fn check(bytes_max: u64, partitions: &[&str], expected: &[u64]) {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let runs = partitions.iter().map(|text| {
            let (runs, limit) = text.split_once('|').expect("a limit");
            let runs = runs.split_whitespace().map(|run| {
                let (end, rest) = run.split_once('@').expect("a time");
                let (time, bytes) = rest.split_once(':').expect("bytes");
                Run { end: number(end), age_time: number(time) as i64, bytes: number(bytes) }
            });
            (runs.collect(), number(limit))
        });
        let mut before = vec![0; partitions.len()];
        beyond(bytes_max, runs.collect(), &mut before);
        assert_eq!(before, expected, "{partitions:?}");
    }

    #[test]
    fn the_oldest_go_while_enough_stays() {
        check(30, &["5@1:10 9@2:10 12@3:10|99"], &[0]);
        check(25, &["5@1:10 9@2:10 12@3:10|99"], &[0]);
        check(20, &["5@1:10 9@2:10 12@3:10|99"], &[5]);
        check(0, &["5@1:10 9@2:10 12@3:10|99"], &[12]);
        check(0, &["5@1:10 9@2:10 12@3:10|9"], &[9]);
        check(0, &["5@1:10 9@2:10 12@3:10|8"], &[5]);
        check(20, &["5@1:10 9@4:10|99", "7@2:10 8@3:10|99"], &[5, 7]);
        check(10, &["5@1:10 9@4:10|0", "7@2:10 8@3:10|99"], &[0, 8]);
    }
}
