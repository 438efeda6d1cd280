//! Why a match was told: its row of `{pipeline}.matches`, with each event read again where it stands.
//!
//! ```text
//! id ─► its partition, by the hash that placed the row ─► the first block that may have its time ─► block by block, to the row or the end
//! ```
//! The row says what the step saw. What the streams have is read beside it: an event that is gone, or whose place another one has now, is said to be.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_cast::cast;
use arrow_schema::DataType;
use serde::Serialize;
use serde_json::{Map, Value};
use tidemill_event::batch::times;
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Offset, PartitionId, PipelineName, StreamName, TenantName, partition_of};
use tidemill_flow::{MATCH_ID, MatchId};
use tidemill_log::{Partition, ReadLimit, Visibility};

use crate::ControlError;
use crate::deployments::Deployments;
use crate::own_streams::OwnStream;

/// Events that are read again; of a match with more, the others are shown as the step saw them.
const READ_AGAIN_MAX: usize = 1_000;
const READ: ReadLimit = ReadLimit { rows_max: 4_096, bytes_max: 4 << 20 };

/// Why a match was told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedMatch {
    /// Its id.
    pub match_id: String,
    /// The pipeline.
    pub pipeline: String,
    /// Only its replay told it, the run of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<u64>,
    /// `steps[1].pattern`.
    pub step: String,
    /// The key's columns.
    pub key: Value,
    /// What was looked for, as the pipeline said it then.
    pub sought: String,
    /// It is a partial match whose time was over.
    pub timed_out: bool,
    /// The time of its row.
    pub told: String,
    /// `event`: one let it out; `time`: the clock did.
    pub told_by: &'static str,
    /// When its first event was.
    pub match_start: String,
    /// When its last one was.
    pub match_end: String,
    /// From the first to the last.
    pub took_ms: i64,
    /// How long it might have taken; `None`: as long as it liked.
    pub within_ms: Option<i64>,
    /// What was left of that.
    pub left_ms: Option<i64>,
    /// What a match discards; `None`: the step knows no such choice.
    pub skip: Option<String>,
    /// How many events there are; more than `events` has if those were too long to be kept.
    pub count: u64,
    /// They, in their order.
    pub events: Vec<Value>,
}

impl Deployments {
    /// Why a match was told; `None`: there is no such match. Blocking.
    pub(crate) fn explain_match(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        id: MatchId,
    ) -> Result<Option<ExplainedMatch>, ControlError> {
        let own = OwnStream::Matches.name(name);
        // What a replay beside it finds is told in a stream of its own. The same match has the same id in both.
        let replay = self.get_replay(tenant, name).map(|replay| (Some(replay.stored.run), own.clone().of_run(replay.stored.run)));
        let streams = [(None, own)].into_iter().chain(replay);
        let streams: Vec<_> = streams.filter_map(|(run, stream)| Some((run, self.stream(tenant, stream)?))).collect();
        if streams.is_empty() {
            // The stream outlives the pipeline; without either there is nothing to ask.
            self.find(tenant, name)?;
        }
        for (run, stream) in streams {
            let place = partition_of(id.to_string().as_bytes(), stream.partitions().len() as u32);
            let Some(partition) = stream.partition(place) else { continue };
            if let Some(row) = row_of(partition, id)? {
                return Ok(Some(ExplainedMatch { replay: run, ..self.explained(tenant, &row) }));
            }
        }
        Ok(None)
    }

    fn explained(&self, tenant: &TenantName, row: &Map<String, Value>) -> ExplainedMatch {
        let text = |member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is = |member: &str| row.get(member).and_then(Value::as_bool).unwrap_or_default();
        let time = |member: &str| EventTime::parse_rfc3339(&text(member)).unwrap_or(EventTime(0));
        let between = |from: EventTime, to: EventTime| to.0.saturating_sub(from.0).div_euclid(1_000);
        let took_ms = between(time("match_start"), time("match_end"));
        let within_ms = row.get("within_ms").and_then(Value::as_i64);
        let (first, mut previous) = (time("match_start"), None);
        let events = row.get("events").and_then(Value::as_array).into_iter().flatten().enumerate().map(|(number, event)| {
            let mut event = event.as_object().cloned().unwrap_or_default();
            let at = event.get("at").and_then(Value::as_str).and_then(EventTime::parse_rfc3339).unwrap_or(EventTime(0));
            event.insert("since_first_ms".to_owned(), between(first, at).into());
            event.insert("since_previous_ms".to_owned(), previous.map(|previous| between(previous, at)).into());
            previous = Some(at);
            if let Some(places) = row.get("places").and_then(Value::as_object) {
                self.add_place(tenant, &mut event, places, at, number < READ_AGAIN_MAX);
            }
            Value::Object(event)
        });
        ExplainedMatch {
            match_id: text(MATCH_ID),
            pipeline: text("pipeline"),
            replay: None,
            step: text("step"),
            key: row.get("key").cloned().unwrap_or_default(),
            sought: text("sought"),
            timed_out: is("timed_out"),
            told: text("time"),
            told_by: if is("by_time") { "time" } else { "event" },
            match_start: text("match_start"),
            match_end: text("match_end"),
            took_ms,
            within_ms,
            left_ms: within_ms.map(|within| (within - took_ms).max(0)),
            skip: row.get("skip").and_then(Value::as_str).map(str::to_owned),
            count: row.get("count").and_then(Value::as_u64).unwrap_or_default(),
            events: events.collect(),
        }
    }

    /// Where an event stands, and the event as it is there; or why it is not.
    fn add_place(
        &self,
        tenant: &TenantName,
        event: &mut Map<String, Value>,
        places: &Map<String, Value>,
        at: EventTime,
        is_read: bool,
    ) {
        let value = |of: &str| {
            let column = places.get(of)?.as_str()?;
            column.split('.').try_fold(event.get("row")?, |row, member| row.get(member)).cloned()
        };
        let place = [value("stream"), value("partition"), value("offset")];
        let names = ["stream", "partition", "offset"];
        event.extend(names.into_iter().zip(&place).filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
        let [Some(stream), Some(partition), Some(offset)] = place else { return };
        let read = match (stream.as_str(), partition.as_u64(), offset.as_u64()) {
            _ if !is_read => Err(format!("not read again: the first {READ_AGAIN_MAX} events of a match are")),
            (Some(stream), Some(partition), Some(offset)) => self.read_again(tenant, stream, (partition, offset), at),
            _ => Err("the columns of its place do not say one".to_owned()),
        };
        match read {
            Ok(found) => event.insert("event".to_owned(), found),
            Err(gone) => event.insert("gone".to_owned(), gone.into()),
        };
    }

    fn read_again(&self, tenant: &TenantName, stream: &str, place: (u64, u64), at: EventTime) -> Result<Value, String> {
        let name: StreamName = stream.parse().map_err(|_| format!("`{stream}` is no stream"))?;
        let found = self.stream(tenant, name).ok_or_else(|| format!("the stream `{stream}` was deleted"))?;
        let partition = u32::try_from(place.0).ok().and_then(|partition| found.partition(PartitionId(partition)));
        let partition = partition.ok_or_else(|| format!("`{stream}` has no partition {} any more", place.0))?;
        let offset = Offset(place.1);
        if offset < partition.trim_point() {
            return Err(format!("removed by retention: partition {} begins at {} now", place.0, partition.trim_point()));
        }
        let one = ReadLimit { rows_max: 1, ..READ };
        let block = partition.read(offset, one, Visibility::Durable).map_err(|error| format!("it cannot be read: {error}"))?;
        let block = block.filter(|block| block.start == offset && block.rows.num_rows() > 0);
        let Some(block) = block else { return Err("the stream was made anew, and has no such event".to_owned()) };
        if times(&block.rows).value(0) != at.0 {
            return Err("another event stands there now: the stream was made anew".to_owned());
        }
        let text = RowEncoder::new(&block.schema.schema, None).one(&block.rows, 0);
        serde_json::from_str(&text).map_err(|error| format!("it cannot be read: {error}"))
    }
}

/// The row of a match.
fn row_of(partition: &Arc<Partition>, id: MatchId) -> Result<Option<Map<String, Value>>, ControlError> {
    let cannot = |error: &dyn std::fmt::Display| ControlError::Unavailable(format!("the matches cannot be read: {error}"));
    let wanted = id.to_string();
    let mut from = partition.seek(id.since());
    while from < partition.end(Visibility::Durable) {
        let Some(block) = partition.read(from, READ, Visibility::Durable).map_err(|error| cannot(&error))? else { break };
        let ids = block.rows.column_by_name(MATCH_ID).ok_or_else(|| cannot(&"they have no ids"))?;
        let ids = cast(ids, &DataType::Utf8).map_err(|error| cannot(&error))?;
        if let Some(row) = ids.as_string::<i32>().iter().position(|id| id == Some(&wanted)) {
            let text = RowEncoder::new(&block.schema.schema, None).one(&block.rows, row);
            return serde_json::from_str(&text).map(Some).map_err(|error| cannot(&error));
        }
        from = block.start.plus(ids.len());
    }
    Ok(None)
}
