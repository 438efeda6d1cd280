//! Dead letters of a replay that is promoted, brought among the pipeline's: so they can be looked at and sent through again.
//!
//! ```text
//! p.dead-letters     of run 1 …  0:0  0:1(replayed)  0:2 │ 0:3 …   of run 7: what it adopts, then what it adds
//! p.dead-letters@7   of run 7 …  0:0  0:1                └── all of them, but where run 1 has made good for the same event
//! ```
//! An event that failed in both runs and was sent through run 1 since has its outcome in the targets already: its letter of run 7 stays in
//! `p.dead-letters@7`, or it would have two.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use serde_json::Value;
use tidemill_event::json::RowEncoder;
use tidemill_event::{PartitionId, PipelineName, StreamSchema, TenantName};
use tidemill_log::{Append, FrameRows, Partition, ReadLimit, Stream, Visibility};

use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::own_streams::OwnStream;

/// Rows and bytes that are brought over at a time.
const READ: ReadLimit = ReadLimit { rows_max: 1_024, bytes_max: 512 << 10 };

/// An event: its stream, partition and offset.
type Event = (String, i64, i64);

impl Deployments {
    /// Per partition of a pipeline's dead letters, where the next one will stand.
    pub(crate) fn letters_end(&self, tenant: &TenantName, name: &PipelineName) -> Vec<u64> {
        let letters = self.stream(tenant, OwnStream::DeadLetters.name(name));
        letters.map_or_else(Vec::new, |letters| {
            letters.partitions().iter().map(|partition| partition.end(Visibility::Sequenced).0).collect()
        })
    }

    /// Brings the letters of run `run` over. Nothing runs of either. What does not come, because the log or the host stops, is in the
    /// run's own stream.
    pub(crate) fn adopt_letters(&self, main: &Deployed, run: u64) {
        let name = OwnStream::DeadLetters.name(&main.name);
        let (of_run, all) = (self.stream(&main.tenant, name.of_run(run)), self.stream(&main.tenant, name));
        let Some((of_run, all)) = of_run.zip(all) else { return };
        let adopted = self
            .made_good(main)
            .and_then(|made_good| of_run.partitions().iter().try_for_each(|partition| self.adopt(partition, &all, &made_good)));
        if let Err(error) = adopted {
            tracing::warn!(pipeline = %main.name, "dead letters of the replay stay in `{}`: {error}", of_run.id().stream);
        }
    }

    /// Events whose letters were all replayed.
    fn made_good(&self, main: &Deployed) -> Result<BTreeSet<Event>, String> {
        let (mut replayed, mut open) = (BTreeSet::new(), BTreeSet::new());
        let read = self.each_letter(&main.tenant, &main.name, |letter| {
            if let Some(event) = event_of(&letter) {
                let events = if letter["replayed"] == true { &mut replayed } else { &mut open };
                events.insert(event);
            }
        });
        read.map_err(|error| error.to_string())?;
        Ok(replayed.difference(&open).cloned().collect())
    }

    fn adopt(&self, partition: &Partition, all: &Arc<Stream>, made_good: &BTreeSet<Event>) -> Result<(), String> {
        let (version, definition) = all.current();
        let place = PartitionId(partition.key().partition.0 % definition.partitions);
        let mut from = partition.trim_point();
        while let Some(block) = partition.read(from, READ, Visibility::Durable).map_err(|error| error.to_string())? {
            from = block.start.plus(block.rows.num_rows());
            let rows = without(&block.rows, &block.schema.schema, made_good)?;
            if rows.num_rows() == 0 {
                continue;
            }
            let frame = FrameRows { stream: all.clone(), version, partition: place, rows };
            let pending = self.threads.log.append_waiting(Append::atomic(vec![frame])).map_err(|error| error.to_string())?;
            pending.wait().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The event a letter is about.
fn event_of(letter: &Value) -> Option<Event> {
    let number = |member: &str| letter.get(member)?.as_i64();
    Some((letter.get("stream")?.as_str()?.to_owned(), number("partition")?, number("offset")?))
}

/// Letters of other events than these.
fn without(letters: &RecordBatch, schema: &StreamSchema, events: &BTreeSet<Event>) -> Result<RecordBatch, String> {
    if events.is_empty() {
        return Ok(letters.clone());
    }
    let encoder = RowEncoder::new(schema, None);
    let is_other = |row: usize| {
        let letter: Value = serde_json::from_str(&encoder.one(letters, row)).map_err(|error| error.to_string())?;
        Ok(event_of(&letter).is_none_or(|event| !events.contains(&event)))
    };
    let others = (0..letters.num_rows()).map(is_other).collect::<Result<Vec<bool>, String>>()?;
    filter_record_batch(letters, &BooleanArray::from(others)).map_err(|error| error.to_string())
}
