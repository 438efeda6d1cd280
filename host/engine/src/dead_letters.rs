//! Dead letters of a pipeline, read out of their stream. What sends them through again is in `letter_replays.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidemill_event::json::RowEncoder;
use tidemill_event::{EventTime, Offset, PartitionId, PipelineName, TenantName};
use tidemill_log::{Partition, ReadLimit, Stream, Visibility};

use crate::ControlError;
use crate::deployments::Deployments;
use crate::own_streams::OwnStream;
use crate::task::Replayed;

/// Dead letters listed unless said otherwise.
const LISTED: usize = 100;

/// Where a dead letter stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterId {
    /// The partition of `{pipeline}.dead-letters`.
    pub partition: PartitionId,
    /// Its offset there.
    pub offset: Offset,
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition.0, self.offset.0)
    }
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a dead letter")]
pub struct DeadLetterIdError(String);

impl FromStr for DeadLetterId {
    type Err = DeadLetterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = || {
            let (partition, offset) = text.split_once(':')?;
            Some(Self { partition: PartitionId(partition.parse().ok()?), offset: Offset(offset.parse().ok()?) })
        };
        id().ok_or_else(|| DeadLetterIdError(text.to_owned()))
    }
}

/// Which dead letters. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// `trap`.
    pub reason: Option<String>,
    /// `steps[1].rule`.
    pub step: Option<String>,
    /// The component's name.
    pub component: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Events of this time or later.
    pub since: Option<EventTime>,
    /// Events before this time.
    pub until: Option<EventTime>,
    /// Only those that were not replayed.
    pub open: bool,
    /// At most so many, the last ones; when listed 100 unless said.
    pub limit: Option<usize>,
}

/// What to replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterChoice {
    /// These.
    Ids(Vec<DeadLetterId>),
    /// Those that fit.
    Query(DeadLetterQuery),
}

/// A dead letter that is not replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLetter {
    /// Which.
    pub id: DeadLetterId,
    /// Why not.
    pub why: String,
}

/// What a replay did; it is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayedLetters {
    /// How many go through their step again.
    pub replayed: usize,
    /// Which do not, by id.
    pub refused: Vec<RefusedLetter>,
}

impl DeadLetterQuery {
    fn fits(&self, letter: &Value) -> bool {
        let is = |wanted: &Option<String>, member: &str| {
            wanted.as_deref().is_none_or(|wanted| letter.get(member).and_then(Value::as_str) == Some(wanted))
        };
        let time = letter.get("time").and_then(Value::as_str).and_then(EventTime::parse_rfc3339);
        is(&self.reason, "reason")
            && is(&self.step, "step")
            && is(&self.component, "component")
            && is(&self.version, "version")
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time < until))
            && !(self.open && letter["replayed"] == true)
    }
}

impl Deployments {
    /// Those that fit, in order of partition and offset.
    pub(crate) fn dead_letters(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        query: &DeadLetterQuery,
    ) -> Result<Vec<Value>, ControlError> {
        let limit = query.limit.unwrap_or(LISTED);
        let mut letters = VecDeque::new();
        self.each_letter(tenant, name, |letter| {
            if query.fits(&letter) {
                letters.push_back(letter);
            }
            if letters.len() > limit {
                letters.pop_front();
            }
        })?;
        Ok(letters.into())
    }

    /// One of them; `None` if it is not there.
    pub(crate) fn dead_letter(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        id: DeadLetterId,
    ) -> Result<Option<Value>, ControlError> {
        let stream = self.letters_of(tenant, name)?;
        let Some(partition) = stream.partition(id.partition) else { return Ok(None) };
        let mut found = None;
        let replayed = self.replayed(tenant, name);
        read(partition, id.offset, Some(1), &replayed, &mut |letter| found = Some(letter))?;
        Ok(found.filter(|letter| letter["id"] == json!(id.to_string())))
    }

    fn letters_of(&self, tenant: &TenantName, name: &PipelineName) -> Result<Arc<Stream>, ControlError> {
        let stream = OwnStream::DeadLetters.name(name);
        self.stream(tenant, stream).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    /// All of them, in order of partition and offset.
    pub(crate) fn each_letter(
        &self,
        tenant: &TenantName,
        name: &PipelineName,
        mut take: impl FnMut(Value),
    ) -> Result<(), ControlError> {
        let stream = self.letters_of(tenant, name)?;
        let replayed = self.replayed(tenant, name);
        for partition in stream.partitions() {
            read(partition, partition.trim_point(), None, &replayed, &mut take)?;
        }
        Ok(())
    }

    /// What its tasks and sinks say they have replayed.
    fn replayed(&self, tenant: &TenantName, name: &PipelineName) -> Vec<Arc<(PartitionId, Replayed)>> {
        let Some(deployed) = self.get(tenant, name) else { return Vec::new() };
        let of_tasks = deployed.tasks.iter().filter_map(|task| task.seen().replayed);
        let receivers = deployed.sinks.iter().filter_map(|sink| sink.receiver.as_ref());
        of_tasks.chain(receivers.map(|receiver| Arc::new(receiver.again.replayed()))).collect()
    }
}

/// Durable letters from an offset on, as JSON with `id` and `replayed`.
fn read(
    partition: &Partition,
    mut from: Offset,
    limit: Option<usize>,
    replayed: &[Arc<(PartitionId, Replayed)>],
    take: &mut dyn FnMut(Value),
) -> Result<(), ControlError> {
    let cannot = |error: &dyn fmt::Display| ControlError::Unavailable(format!("the dead letters cannot be read: {error}"));
    let place = partition.key().partition;
    let wanted = ReadLimit { rows_max: limit.unwrap_or(1024), bytes_max: 4 << 20 };
    from = from.max(partition.trim_point());
    while from < partition.end(Visibility::Durable) {
        let Some(block) = partition.read(from, wanted, Visibility::Durable).map_err(|error| cannot(&error))? else { break };
        let encoder = RowEncoder::new(&block.schema.schema, None);
        for row in 0..block.rows.num_rows() {
            let offset = block.start.plus(row);
            let letter: Map<String, Value> =
                serde_json::from_str(&encoder.one(&block.rows, row)).map_err(|error| cannot(&error))?;
            let id = DeadLetterId { partition: place, offset };
            let again = replayed.iter().any(|of_task| of_task.0 == place && of_task.1.contains(offset));
            let head = [("id".to_owned(), json!(id.to_string())), ("replayed".to_owned(), json!(again))];
            take(head.into_iter().chain(letter).collect::<Map<_, _>>().into());
        }
        from = block.start.plus(block.rows.num_rows());
        if limit.is_some() {
            break;
        }
    }
    Ok(())
}
