//! The way of refused rows to their receiver again: one parcel at a time, on the lane of its sink.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, FieldRef, Schema};
use tidemill_connect::{SinkError, WebhookTarget};
use tidemill_event::{Backoff, Offset, PartitionId};
use tidemill_log::{Append, Block, FrameRows, ReadLimit, RequestMark, Visibility};

use super::again::{Again, Parcel};
use super::refused::DeadLetters;

/// What a step did.
pub(super) enum Resent {
    /// Nothing waits.
    Nothing,
    /// Nothing to do before then.
    Waits(Instant),
    /// A parcel is at the target, with so many rows and bytes; or it was cut in two, or its row is refused for good: none.
    Sent { rows: u64, bytes: u64 },
    /// It is tried again; failures in a row.
    Failed(SinkError, u32),
}

/// Sends the parcels of one sink and partition.
pub(super) struct Resend {
    again: Arc<Again>,
    target: Arc<WebhookTarget>,
    letters: DeadLetters,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Resend {
    pub(super) fn new(again: Arc<Again>, target: Arc<WebhookTarget>, letters: DeadLetters, backoff: Backoff) -> Self {
        Self { again, target, letters, backoff, not_before: None }
    }

    /// One request, if a parcel waits. Blocking.
    pub(super) fn step(&mut self, now: Instant) -> Resent {
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return Resent::Waits(until);
        }
        let Some((parcel, life)) = self.again.first() else { return Resent::Nothing };
        match self.send(&parcel, &life) {
            Ok((rows, bytes)) => {
                self.backoff.succeeded();
                self.not_before = None;
                Resent::Sent { rows, bytes }
            }
            Err(error) => {
                let wait = match &error {
                    SinkError::LeftAlone { wait, .. } => *wait,
                    SinkError::NotTaken { asked, .. } => self.backoff.failed(*asked),
                    SinkError::Disk { .. }
                    | SinkError::Foreign { .. }
                    | SinkError::Format { .. }
                    | SinkError::Refused { .. }
                    | SinkError::Log(_) => self.backoff.failed(None),
                };
                self.not_before = Some(now + wait);
                Resent::Failed(error, self.backoff.failures())
            }
        }
    }

    /// When it wants to be asked again; `None`: when it is woken.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.not_before.or_else(|| (self.again.waiting() > 0).then_some(now))
    }

    fn send(&self, parcel: &Parcel, life: &str) -> Result<(u64, u64), SinkError> {
        let writer = format!("again-{life}-{}", self.letters.partition.key().partition);
        // Refused for good before a crash: a receiver that has changed its mind must not get the row as well.
        if self.letters.log.request(&self.letters.stream, &writer, Some(parcel.number)).seen().is_some() {
            self.again.done(parcel.number)?;
            return Ok((0, 0));
        }
        let mut lines = Vec::new();
        let mut rows = Vec::new();
        for offset in &parcel.letters {
            match self.letter(Offset(*offset))? {
                Some((block, line)) => {
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                    rows.push(block);
                }
                None => tracing::warn!(stream = %self.letters.stream.id(), offset, "a dead letter to be sent again is gone"),
            }
        }
        let id = format!("msg_{life}-{}-again-{}", self.letters.partition.key().partition, parcel.number);
        let sent = if rows.is_empty() { Ok(()) } else { self.target.send(&id, &lines) };
        match (sent, rows.as_slice()) {
            (Ok(()), _) => {
                self.again.done(parcel.number)?;
                Ok((rows.len() as u64, lines.len() as u64))
            }
            (Err(SinkError::Refused { what }), [letter]) => {
                self.bury(letter, &what, writer, parcel.number)?;
                self.again.done(parcel.number)?;
                Ok((0, 0))
            }
            (Err(SinkError::Refused { .. }), _) => {
                self.again.halve(parcel.number)?;
                Ok((0, 0))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// A letter and the row that was refused; `None`: retention took it.
    fn letter(&self, offset: Offset) -> Result<Option<(Block, String)>, SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError::Log(error.to_string());
        let partition = self.letters.place();
        let partition = self.letters.stream.partition(partition).ok_or_else(|| failed(&"the dead letters' partition is gone"))?;
        if offset < partition.trim_point() {
            return Ok(None);
        }
        let limit = ReadLimit { rows_max: 1, bytes_max: usize::MAX };
        let block = partition.read(offset, limit, Visibility::Durable).map_err(|error| failed(&error))?;
        let found = block.filter(|block| block.start == offset).and_then(|block| {
            let events = block.rows.column_by_name("event")?.as_string_opt::<i32>()?;
            let event = events.is_valid(0).then(|| events.value(0).to_owned())?;
            Some((block, event))
        });
        Ok(found)
    }

    /// The one row of a parcel is refused again: that is a letter of its own, as it is when a step fails again.
    fn bury(&self, letter: &Block, said: &str, writer: String, number: u64) -> Result<(), SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError::Log(error.to_string());
        let columns = letter.rows.schema_ref().fields().iter().zip(letter.rows.columns());
        let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = columns
            .map(|(field, column)| match field.name().as_str() {
                // Texts of the log may be dictionaries; this one is not.
                "error" => {
                    let field = Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8));
                    (field, Arc::new(StringArray::from(vec![said])) as ArrayRef)
                }
                _ => (field.clone(), column.clone()),
            })
            .unzip();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| failed(&error))?;
        let stream = self.letters.stream.clone();
        let request = RequestMark {
            stream: stream.clone(),
            writer: writer.into(),
            sequence: Some(number),
            rows: 1,
            accepted: 1,
            answer: None,
        };
        let frame = FrameRows { stream, version: letter.version, partition: self.letters.place(), rows };
        let append = Append { requests: vec![request], ..Append::atomic(vec![frame]) };
        let pending = self.letters.log.append_waiting(append).map_err(|error| failed(&error))?;
        pending.wait().map(drop).map_err(|error| failed(&error))
    }
}

impl DeadLetters {
    /// Which of the dead letters' partitions takes those of this sink. The stream may be older than the pipeline's partitions; its
    /// tasks do the same.
    pub(super) fn place(&self) -> PartitionId {
        PartitionId(self.partition.key().partition.0 % self.stream.definition().partitions)
    }
}
