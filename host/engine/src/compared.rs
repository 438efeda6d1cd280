//! What a replay wrote beside what the pipeline wrote: rows of one, of the other, and of both.
//!
//! ```text
//! matches     a b b c e        live alone: b e
//! matches@7   a b c d          replay alone: d         the same: a b c
//! ```
//! Rows are the same if their time and all columns are; neither order nor place counts. Only rows of a time are compared that both have come to:
//! before it the replay begins in the middle, behind it one of the two has still to say something.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tidemill_event::batch::times;
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Offset, PipelineName, StreamName, TenantName};
use tidemill_flow::Watermark;
use tidemill_log::{Partition, ReadLimit, Stream, Visibility};

use crate::ControlError;
use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::own_streams::output_name;
use crate::plan::{Plan, PlannedTarget};

/// So many rows of each side are compared at most: sixteen bytes of memory each.
const ROWS_MAX: u64 = 4_000_000;
/// The most examples of a side that are shown.
const EXAMPLES_MAX: usize = 1000;

/// Which rows of a replay and its pipeline are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompareReplay {
    /// Of this time and later; `None`: from where the replay has seen everything.
    pub since: Option<EventTime>,
    /// Before this time; `None`: how far both have come.
    pub until: Option<EventTime>,
    /// Rows of each side that are shown.
    pub examples: usize,
}

/// How they differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayCompared {
    /// The replay's run.
    pub run: u64,
    /// Rows of this time and later were compared, RFC 3339; absent: from the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// And before this; absent: to the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// For each stream that the replay writes.
    pub streams: Vec<StreamCompared>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamCompared {
    /// The pipeline's.
    pub stream: String,
    /// The replay's.
    pub of_replay: String,
    /// Rows that both have.
    pub same: u64,
    /// Rows of the pipeline alone.
    pub only_live: u64,
    /// Rows of the replay alone.
    pub only_replay: u64,
    /// The first of those of the pipeline, by partition and offset.
    pub live_rows: Vec<Value>,
    /// The first of those of the replay.
    pub replay_rows: Vec<Value>,
}

/// The times that are compared.
#[derive(Debug, Clone, Copy)]
struct Between {
    since: Option<i64>,
    until: Option<i64>,
}

impl Between {
    /// No row is of this time.
    const NONE: Self = Self { since: Some(i64::MAX), until: Some(i64::MIN) };

    fn has(self, time: i64) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

impl Deployments {
    pub(crate) fn compare_replay(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        query: &CompareReplay,
    ) -> Result<ReplayCompared, ControlError> {
        let main = self.get(tenant, name);
        let replay = self.get_replay(tenant, name).ok_or_else(|| match main {
            Some(_) => ControlError::Conflict(format!("`{name}` has no replay to compare with")),
            None => ControlError::Unknown(name.clone()),
        })?;
        let plan = replay.plan.as_ref().map_err(|error| ControlError::Conflict(error.clone()))?;
        let has_read = has_rows(plan, &replay);
        let between = Between {
            since: query.since.map(|since| since.0).or_else(|| seen_from(plan, &replay)),
            until: query.until.map(|until| until.0).or_else(|| said_until(main.as_deref(), &replay)),
        };
        // What began behind every row has come to no time at all; said to be compared, all would be of the pipeline alone.
        let between_or_none = if has_read || query.since.is_some() { between } else { Between::NONE };
        let streams = self.streams_of(tenant, plan, replay.stored.run).into_iter();
        let compared = streams.map(|(stream, of_replay)| {
            let live = main.as_ref().and_then(|_| self.stream(tenant, stream.clone()));
            let examples = query.examples.min(EXAMPLES_MAX);
            let rows = compare(live.as_deref(), self.stream(tenant, of_replay.clone()).as_deref(), between_or_none, examples)?;
            Ok(StreamCompared { stream: stream.to_string(), of_replay: of_replay.to_string(), ..rows })
        });
        let shown = |time: Option<i64>| time.map(|time| EventTime(time).to_rfc3339());
        Ok(ReplayCompared {
            run: replay.stored.run,
            since: shown(between.since),
            until: shown(between.until),
            streams: compared.collect::<Result<_, _>>().map_err(ControlError::Conflict)?,
        })
    }

    /// Streams with results: the targets, and what files and receivers get.
    fn streams_of(&self, tenant: &TenantName, plan: &Plan, run: u64) -> BTreeMap<StreamName, StreamName> {
        let targets = plan.targets.iter().filter_map(|target| match target {
            PlannedTarget::Stream { name, .. } => Some(name.clone()),
            PlannedTarget::File(_) | PlannedTarget::Webhook(_) | PlannedTarget::Stdout => None,
        });
        let output = plan.has_sinks().then(|| output_name(&plan.definition.name));
        let named = targets.chain(output).map(|name| (name.clone(), name.of_run(run)));
        named.filter(|(_, of_run)| self.stream(tenant, of_run.clone()).is_some()).collect()
    }
}

/// Whether there is a row for it where it began.
fn has_rows(plan: &Plan, replay: &Deployed) -> bool {
    plan.sources.list.iter().any(|source| {
        let starts = replay.stored.source(&source.input).map(|stored| stored.starts.clone()).unwrap_or_default();
        let mut partitions = source.stream.partitions().iter().zip(starts);
        partitions.any(|(partition, start)| start == 0 || first_time(partition, start).is_some())
    })
}

/// The time of the first row of a partition from an offset on.
fn first_time(partition: &Partition, start: u64) -> Option<i64> {
    let limit = ReadLimit { rows_max: 1, bytes_max: usize::MAX };
    let block = partition.read(Offset(start), limit, Visibility::Durable).ok().flatten()?;
    times(&block.rows).values().first().copied()
}

/// The time from which on a replay has seen every row, about: that of the first row of each partition that it does not read from the beginning.
fn seen_from(plan: &Plan, replay: &Deployed) -> Option<i64> {
    let of_source = |source: &crate::plan::PlannedSource| {
        let starts = replay.stored.source(&source.input).map(|stored| stored.starts.clone()).unwrap_or_default();
        let partitions = source.stream.partitions().iter().zip(starts);
        partitions.filter(|(_, start)| *start > 0).filter_map(|(partition, start)| first_time(partition, start)).max()
    };
    plan.sources.list.iter().filter_map(of_source).max()
}

/// The time up to which both have said everything; `None` where they have taken the same rows.
fn said_until(main: Option<&Deployed>, replay: &Deployed) -> Option<i64> {
    let sorted = |deployed: &Deployed| {
        let mut places = deployed.places();
        places.sort();
        places
    };
    if main.is_none_or(|main| sorted(main) == sorted(replay)) {
        return None;
    }
    let tasks = main.into_iter().chain([replay]).flat_map(|deployed| &deployed.tasks);
    let marks = tasks.filter(|task| task.seen().totals.rows_in > 0).map(|task| task.time().0.watermark);
    marks.min().filter(|watermark| *watermark > Watermark::NONE && *watermark < Watermark::END).map(|watermark| watermark.0)
}

/// Reads both streams: once to count, and once more for the rows that are shown.
fn compare(live: Option<&Stream>, replay: Option<&Stream>, between: Between, examples: usize) -> Result<StreamCompared, String> {
    let hasher = RandomState::new();
    let mut counts: HashMap<u64, i64> = HashMap::new();
    let mut rows = (0_u64, 0_u64);
    each(live, between, |time, text| {
        *counts.entry(hasher.hash_one((time, text))).or_default() += 1;
        rows.0 += 1;
        (rows.0 <= ROWS_MAX).then_some(()).ok_or_else(too_many)
    })?;
    each(replay, between, |time, text| {
        *counts.entry(hasher.hash_one((time, text))).or_default() -= 1;
        rows.1 += 1;
        (rows.1 <= ROWS_MAX).then_some(()).ok_or_else(too_many)
    })?;
    let only_live = counts.values().filter(|count| **count > 0).map(|count| count.unsigned_abs()).sum();
    let only_replay = counts.values().filter(|count| **count < 0).map(|count| count.unsigned_abs()).sum();
    // Read once more only where there is a row to show.
    let mut shown = |stream: Option<&Stream>, side: i64, alone: u64| {
        let mut found = Vec::new();
        if alone == 0 || examples == 0 {
            return Ok(found);
        }
        each(stream, between, |time, text| {
            let Some(left) = counts.get_mut(&hasher.hash_one((time, text))) else { return Ok(()) };
            if *left * side > 0 && found.len() < examples {
                *left -= side;
                let mut row: Value = serde_json::from_str(text).unwrap_or_default();
                row.as_object_mut().map(|row| row.insert("_time".to_owned(), EventTime(time).to_rfc3339().into()));
                found.push(row);
            }
            Ok(())
        })?;
        Ok::<_, String>(found)
    };
    let (live_rows, replay_rows) = (shown(live, 1, only_live)?, shown(replay, -1, only_replay)?);
    let (stream, of_replay) = (String::new(), String::new());
    Ok(StreamCompared { stream, of_replay, same: rows.0 - only_live, only_live, only_replay, live_rows, replay_rows })
}

fn too_many() -> String {
    format!("more than {ROWS_MAX} rows to compare: say `since` and `until`")
}

/// Tells of each row of that time, by partition and offset.
fn each(stream: Option<&Stream>, between: Between, mut told: impl FnMut(i64, &str) -> Result<(), String>) -> Result<(), String> {
    let partitions: Vec<Arc<Partition>> = stream.map(|stream| stream.partitions().to_vec()).unwrap_or_default();
    for partition in &partitions {
        let mut from = partition.trim_point();
        let limit = ReadLimit { rows_max: 65_536, bytes_max: 8 << 20 };
        while let Some(block) = partition.read(from, limit, Visibility::Durable).map_err(|error| error.to_string())? {
            let encoder = RowEncoder::new(&block.schema.schema, None);
            for (row, time) in times(&block.rows).values().iter().enumerate().filter(|(_, time)| between.has(**time)) {
                told(*time, &encoder.one(&block.rows, row))?;
            }
            from = block.start.plus(block.rows.num_rows());
        }
    }
    Ok(())
}
