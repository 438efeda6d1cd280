//! What a task writes into `{pipeline}.progress`: commits and checkpoints, one JSON object a row.
//!
//! ```text
//! {"commit": {"run": 1, "plan": 2, "stream": "clicks", "start": 4096, "end": 8192, "rows": 17, "sum": "09af…", "dead": 0, "state": "0000…", …}}
//! {"checkpoint": {"run": 1, "plan": 2, "id": 3, "as_of": 120, "input": {"clicks": 8192}, "totals": {…}, "keys": 40, "gone": 2, "sum": "77c0…"}}
//! ```
//! A commit is a frame of the entry that also holds its outputs: both are there or neither. Of outputs that are too large for one entry a
//! part stands before the commit with as much of them as its entry holds. A checkpoint says that the state of
//! everything before the progress offset `as_of` is in the state store under `id`. Unknown members are refused: a record that a
//! newer host wrote is not half understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidemill_event::{
    Ending, EventTime, Field, FieldType, PartitionId, Retention, StreamDefinition, StreamSchema, UnknownFields,
};
use tidemill_flow::{RecordedEnding, StepId};
use tidemill_log::{Append, Log, Stream};
use tidemill_state::Written;

use crate::plan::Answer;
use crate::task::frames::Output;
use crate::task::totals::Totals;

/// The name of the one field.
const FIELD: &str = "record";

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Record {
    /// Outputs and progress became true.
    Commit(Commit),
    /// Some of the outputs became true, and the rest will with the commit.
    Part(Part),
    /// State is in the store.
    Checkpoint(Checkpoint),
}

/// A range of input rows was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commit {
    pub(crate) run: u64,
    /// The plan it ran with: names every component's bytes.
    pub(crate) plan: u64,
    /// The input rows: `[start, end)` of the task's partition of this stream.
    pub(crate) stream: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Instances were new before the first call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fresh: bool,
    /// Rows that came out, and their checksum over values.
    pub(crate) rows: u64,
    pub(crate) sum: Hex,
    /// Rows that went to the dead letters.
    pub(crate) dead: u64,
    /// Rows that came too late for a step.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) late: u64,
    /// Checksum of all state afterwards; not every commit has one, because it costs a look at each entry that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Hex>,
    /// The task's watermark afterwards, µs; absent before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watermark: Option<i64>,
    /// Time went by, and no row was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<TimeStep>,
    /// What each component call answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) answers: Vec<(u32, Hex)>,
    /// Calls that did not return.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) endings: Vec<StoredEnding>,
    /// The time at which the batch was taken, µs, if anything hung on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<i64>,
    /// Rows that had waited were taken, and none of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) back: Option<Back>,
    /// Somebody resumed the pipeline: open breakers were made half open before the batch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) probe: bool,
    /// Numbers of waiting groups that were buried because the plan has no place for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) homeless: Vec<i64>,
    /// Offsets of dead letters that were put among the waiting rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replayed: Vec<u64>,
    /// The version of each table that was looked up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tables: BTreeMap<String, u64>,
    /// Of a table that is kept from a stream, how far it was there: an end offset for each partition. Its version is the base it stands on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) cuts: BTreeMap<String, Vec<u64>>,
}

/// What a commit will say, and how much of its outputs is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) commit: Commit,
    /// Rows of its frames up to here, this entry's included, marks of lanes not counted.
    pub(crate) written: u64,
}

impl Commit {
    /// Rows that went through steps.
    pub(crate) fn rows_taken(&self) -> u64 {
        self.back.as_ref().map_or(self.end - self.start, |back| back.rows)
    }
}

/// What became of a task's time though no row came. Empty: event time stands still, and a step had waited for the clock of the commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeStep {
    /// Streams that hold nothing back from now on, until they have rows again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) idle: Vec<String>,
    /// Where a clock moved the watermark to, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<i64>,
    /// Streams of which a `once` has taken all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ended: Vec<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Rows that came back to a step: how many of the first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Back {
    pub(crate) step: u32,
    pub(crate) rows: u64,
    /// They stood in line before the step; else they were due.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) line: bool,
}

/// A call that did not return: the step, which of its calls for this batch, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredEnding(u32, u32, String);

/// State as of a commit is in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub(crate) run: u64,
    pub(crate) plan: u64,
    pub(crate) id: u64,
    /// Every record of the run below this progress offset is in it.
    pub(crate) as_of: u64,
    /// The next row of each stream.
    pub(crate) input: BTreeMap<String, u64>,
    /// Checksum of all state.
    pub(crate) state: Hex,
    pub(crate) totals: Totals,
    /// Keys it wrote to the store, keys it removed, and a checksum of those it wrote.
    pub(crate) keys: u64,
    pub(crate) gone: u64,
    pub(crate) sum: Hex,
}

impl Checkpoint {
    /// What it wrote, to be compared with what is found.
    pub(crate) fn written(&self) -> Written {
        Written { live: self.keys, gone: self.gone, sum: self.sum.0 }
    }

    /// Notes what it wrote.
    pub(crate) fn set_written(&mut self, written: Written) {
        (self.keys, self.gone, self.sum) = (written.live, written.gone, Hex(written.sum));
    }
}

/// A checksum: 16 hexadecimal digits, because JSON numbers end at 2^53 for many readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hex(pub(crate) u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

impl From<&Answer> for (u32, Hex) {
    fn from(answer: &Answer) -> Self {
        (answer.step, Hex(answer.sum))
    }
}

impl From<&RecordedEnding> for StoredEnding {
    fn from(ending: &RecordedEnding) -> Self {
        Self(ending.step.0, ending.call, ending.ending.as_str().to_owned())
    }
}

impl StoredEnding {
    /// As the operators take it. An ending this version does not know counts as a trap: the call is not repeated either way.
    pub(crate) fn recorded(&self) -> RecordedEnding {
        let Self(step, call, ending) = self;
        let ending = Ending::ALL.into_iter().find(|known| known.as_str() == *ending).unwrap_or(Ending::Trap);
        RecordedEnding { step: StepId(*step), call: *call, ending }
    }
}

/// The definition of every `.progress` stream.
pub(crate) fn progress_definition(partitions: u32) -> StreamDefinition {
    StreamDefinition {
        schema: StreamSchema {
            fields: vec![Field::new(FIELD, FieldType::Json, false)],
            unknown: UnknownFields::Drop,
            infer: false,
        },
        time: None,
        key: Vec::new(),
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

/// Makes these checkpoints the first records of a run's tasks. Blocking, until that is on disk.
pub(crate) fn begin_progress(
    log: &Log,
    progress: Arc<Stream>,
    checkpoints: Vec<(PartitionId, Checkpoint)>,
    now: EventTime,
) -> Result<(), String> {
    let output = Output::new(progress);
    let frame = |(partition, checkpoint)| output.frame(partition, encode(&Record::Checkpoint(checkpoint), output.schema(), now));
    let frames = checkpoints.into_iter().map(frame).collect();
    let pending = log.append_waiting(Append::atomic(frames)).map_err(|error| error.to_string())?;
    pending.wait().map(drop).map_err(|error| error.to_string())
}

/// A record as a row of the progress stream.
pub(crate) fn encode(record: &Record, schema: &StreamSchema, now: EventTime) -> RecordBatch {
    let text = serde_json::to_string(record).expect("records have only keys that are texts");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![text])),
        Arc::new(TimestampMicrosecondArray::from(vec![now.0]).with_timezone("UTC")),
    ];
    RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("the columns of the progress stream")
}

/// The records of a block, in order. The error names the first row that is none.
pub(crate) fn decode(rows: &RecordBatch) -> Result<Vec<Record>, String> {
    let column = rows.column_by_name(FIELD).ok_or("the progress stream has no column `record`")?;
    let texts = column.as_string_opt::<i32>().ok_or("the column `record` is no text")?;
    texts
        .iter()
        .enumerate()
        .map(|(row, text)| serde_json::from_str(text.unwrap_or("null")).map_err(|error| format!("row {row}: {error}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let definition = progress_definition(1);
        let records = [
            Record::Commit(Commit {
                run: 1,
                plan: 2,
                stream: "clicks".into(),
                start: 3,
                end: 9,
                fresh: true,
                rows: 4,
                sum: Hex(u64::MAX),
                dead: 2,
                late: 3,
                state: Some(Hex(7)),
                watermark: Some(i64::MAX),
                time: Some(TimeStep { idle: vec!["a".into()], clock: Some(-9), ended: vec!["b".into()] }),
                answers: vec![(1, Hex(0xabc))],
                endings: vec![StoredEnding(1, 0, "out_of_fuel".into())],
                clock: Some(-1),
                back: Some(Back { step: 1, rows: 7, line: true }),
                probe: true,
                homeless: vec![-3],
                replayed: vec![u64::MAX],
                tables: [("airports".into(), 3)].into(),
                cuts: [("prices".into(), vec![3, u64::MAX])].into(),
            }),
            Record::Part(Part { commit: Commit { run: 1, rows: 9, ..Commit::default() }, written: u64::MAX }),
            Record::Checkpoint(Checkpoint {
                run: 1,
                plan: 2,
                id: 3,
                as_of: 17,
                input: [("clicks".into(), 9)].into(),
                state: Hex(8),
                totals: Totals::default(),
                keys: 5,
                gone: 1,
                sum: Hex(9),
            }),
        ];
        for record in records {
            let rows = encode(&record, &definition.schema, EventTime(5));
            assert_eq!(decode(&rows), Ok(vec![record]));
        }
    }

    #[test]
    fn a_record_of_a_newer_host_is_not_half_understood() {
        assert!(
            serde_json::from_str::<Record>(
                r#"{"checkpoint": {"run": 1, "plan": 1, "id": 1, "as_of": 0, "input": {}, "state": "00", "totals": {}, "keys": 0, "gone": 0, "sum": "0000000000000000", "lanes": []}}"#
            )
            .is_err()
        );
    }
}
