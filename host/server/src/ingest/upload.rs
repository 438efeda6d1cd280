//! A request with a decoder of its own: large bodies, bodies of unknown length, and undeclared streams.
//!
//! ```text
//! body ─ split ─ decode ─▶ chunk of ≤ 1 MiB ─▶ append ─▶ append ─▶ on disk ─▶ accepted
//!                          the next one decodes while the last ones sync: at most 4 MiB on their way
//! ```
//! `application/json` keeps its chunks until its syntax is known to hold to the end. An upload runs as a task of the service,
//! so that a client that goes away in the middle does not take back the complete lines before.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::arrow;
use tidemill_event::json::{self, RowFault};
use tidemill_event::{EventTime, PartitionId, SchemaVersion, StreamDefinition, StreamSchema};
use tidemill_log::{Append, AppendError, FrameRows, Pending, RequestMark, RequestSeen, StreamError};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::content::{Ack, Content};
use super::door::{Door, NotKept, Versioned};
use super::rejected::RejectedRows;
use super::retry::RequestName;
use super::rows::{Row, RowKind};
use super::verdict::Verdict;
use crate::bounds::{CHUNK_BYTES, CHUNK_ROWS, INFER_ROWS_MAX, OVERLOAD_WAIT, REQUEST_UNDURABLE_BYTES_MAX};
use crate::problem::{Kind, Problem};

/// Rows of a request that were appended: how many were good ones, and how many bytes wait.
struct InFlight {
    good_rows: u64,
    bytes: usize,
    pending: Pending,
}

/// A chunk on its way to the log: rows, rejected rows, or, for a named request, both, with what they decide.
#[derive(Default)]
struct Chunk {
    rows: Option<(SchemaVersion, RecordBatch)>,
    rejected: Option<RecordBatch>,
    mark: Option<RequestMark>,
}

/// A named request: which it is, and how far it got.
struct Named {
    name: RequestName,
    /// Its first rows that an earlier request of its name decided.
    skipped: u64,
    /// Rows decided, and how many of them were good, those of earlier requests among them.
    decided: u64,
    good: u64,
}

/// Rows of an undeclared stream that are not decoded yet, because its fields are not known.
#[derive(Default)]
struct Raw {
    bytes: Vec<u8>,
    rows: Vec<(u64, std::ops::Range<usize>)>,
    /// What kind of rows they are: those of one body are all of one.
    kind: Option<RowKind>,
}

/// One request's rows on their way.
pub(crate) struct Upload {
    door: Arc<Door>,
    content: Content,
    arrival: EventTime,
    decoder: Option<Versioned>,
    raw: Raw,
    /// Whether a table's columns were offered as the fields of an undeclared stream.
    adopted: bool,
    rejected: RejectedRows,
    chunks: VecDeque<Chunk>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    failed: Option<Problem>,
    ack: Ack,
    named: Option<Named>,
    pub(crate) verdict: Verdict,
}

impl Upload {
    pub(crate) fn new(door: Arc<Door>, content: Content, arrival: EventTime) -> Self {
        Self {
            decoder: Some(door.decoder()),
            door,
            content,
            arrival,
            raw: Raw::default(),
            adopted: false,
            rejected: RejectedRows::default(),
            chunks: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            failed: None,
            ack: Ack::Disk,
            named: None,
            verdict: Verdict::default(),
        }
    }

    /// Does not wait for the disk at its end. (A named request does: its retries are recognised by what is there.)
    pub(crate) fn acknowledged(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// As the request of that name, of which `seen` is on disk already.
    pub(crate) fn named(mut self, name: RequestName, seen: Option<&RequestSeen>) -> Self {
        if let Some(seen) = seen {
            self.verdict = Verdict::resumed(seen);
        }
        let (rows, good) = seen.map_or((0, 0), |seen| (seen.rows, seen.accepted));
        self.named = Some(Named { name, skipped: rows, decided: rows, good });
        self.ack = Ack::Disk;
        self
    }

    /// Takes the rows that come next as having arrived then.
    pub(crate) fn arrived(&mut self, now: EventTime) {
        self.arrival = now;
    }

    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// The next row.
    pub(crate) fn row(&mut self, row: Row<'_>) {
        let index = self.verdict.next_row();
        if self.named.as_ref().is_some_and(|named| index < named.skipped) {
            return;
        }
        if self.must_infer() {
            let Some((bytes, kind)) = row.parts() else {
                // Rows are decided in their order, so that their number says which.
                self.infer();
                if let Row::Table(table, _) = row
                    && !std::mem::replace(&mut self.adopted, true)
                {
                    self.widen(|definition| arrow::infer(definition, table));
                }
                return self.decode(index, row);
            };
            let start = self.raw.bytes.len();
            self.raw.bytes.extend_from_slice(&bytes);
            self.raw.rows.push((index, start..self.raw.bytes.len()));
            self.raw.kind.get_or_insert(kind);
            // A body that is taken at its end may still turn out to be none, and then must not have decided what the stream looks like.
            let full = self.raw.rows.len() >= INFER_ROWS_MAX || self.raw.bytes.len() >= CHUNK_BYTES;
            if full && !self.content.is_whole() {
                self.infer();
            }
            return;
        }
        self.decode(index, row);
    }

    /// Takes the lines of JSON that `lines` begins with, each of them the next row, as long as they are good; answers how many bytes.
    /// None are taken before a stream has its fields, nor before the rows of a named request that are decided already.
    pub(crate) fn lines(&mut self, lines: &str) -> usize {
        if self.named.as_ref().is_some_and(|named| self.verdict.rows() < named.skipped) || self.must_infer() {
            return 0;
        }
        let arrival = self.arrival;
        let mut taken = 0;
        loop {
            let decoder = &mut self.decoder().decoder;
            let (rows, room) = (decoder.rows(), CHUNK_ROWS.saturating_sub(decoder.rows()));
            let bytes = decoder.lines(&lines[taken..], arrival, room, CHUNK_BYTES);
            let (taken_rows, is_full) = (decoder.rows() - rows, decoder.rows() >= CHUNK_ROWS || decoder.bytes() >= CHUNK_BYTES);
            self.verdict.next_rows(taken_rows as u64);
            if let Some(named) = &mut self.named {
                named.decided += taken_rows as u64;
                named.good += taken_rows as u64;
            }
            taken += bytes;
            if !is_full {
                return taken;
            }
            self.seal();
        }
    }

    /// Whether rows wait that no append holds yet.
    pub(crate) fn has_rows(&self) -> bool {
        let decoded = self.decoder.as_ref().is_some_and(|rows| rows.decoder.rows() > 0);
        decoded || !self.raw.rows.is_empty() || self.rejected.rows() > 0 || !self.chunks.is_empty()
    }

    /// Whether appended rows are not known to be on disk.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    fn decoder(&mut self) -> &mut Versioned {
        let door = &self.door;
        self.decoder.get_or_insert_with(|| door.decoder())
    }

    /// An undeclared stream whose fields were not found yet; and, for a body taken at its end, any undeclared stream, because a row may widen it.
    fn must_infer(&mut self) -> bool {
        let whole = self.content.is_whole();
        let schema = &self.decoder().decoder.definition().schema;
        schema.infer && (whole || !schema.fields.iter().any(|field| field.inferred))
    }

    fn decode(&mut self, index: u64, row: Row<'_>) {
        let arrival = self.arrival;
        let mut answer = row.decode(&mut self.decoder().decoder, arrival);
        if answer.as_ref().is_err_and(|fault| self.may_widen(fault))
            && let json = row.json(&self.decoder().decoder.definition().schema)
            && self.widen(|definition| json::infer(definition, &[&json]))
        {
            answer = row.decode(&mut self.decoder().decoder, arrival);
        }
        if let Some(named) = &mut self.named {
            named.decided += 1;
            named.good += u64::from(answer.is_ok());
        }
        if let Err(fault) = answer {
            row.kept(|kept| self.rejected.push(arrival, &fault, kept));
            self.verdict.reject(index, fault);
            if self.rejected.size() >= CHUNK_BYTES {
                self.seal();
            }
        }
        let rows = &self.decoder().decoder;
        if rows.bytes() >= CHUNK_BYTES || rows.rows() >= CHUNK_ROWS {
            self.seal();
        }
    }

    /// Whether the fault is a value that does not fit an inferred field: those widen by themselves.
    fn may_widen(&mut self, fault: &RowFault) -> bool {
        let Some(field) = fault.field.clone() else { return false };
        let schema = &self.decoder().decoder.definition().schema;
        schema.infer && schema.field(&field).is_some_and(|field| field.inferred)
    }

    /// Finds the fields of an undeclared stream in the rows that wait, and decodes them.
    pub(crate) fn infer(&mut self) {
        if self.raw.rows.is_empty() {
            return;
        }
        let raw = std::mem::take(&mut self.raw);
        let Some(kind) = &raw.kind else { return };
        let definition = Arc::clone(self.decoder().decoder.definition());
        let json = |place: &std::ops::Range<usize>| kind.row(&raw.bytes[place.clone()]).json(&definition.schema);
        let json: Vec<_> = raw.rows.iter().map(|(_, place)| json(place)).collect();
        let json: Vec<&[u8]> = json.iter().map(|row| &**row).collect();
        self.widen(|definition| json::infer(definition, &json));
        for (index, place) in &raw.rows {
            self.decode(*index, kind.row(&raw.bytes[place.clone()]));
        }
    }

    /// Widens the stream's inferred fields as found, and decodes for the new schema from here on. False if there was nothing to widen, or
    /// it failed.
    fn widen(&mut self, found: impl Fn(&StreamDefinition) -> Option<StreamSchema>) -> bool {
        self.seal();
        let door = self.door.clone();
        // The change is a durable entry of the log: it blocks, but it happens a handful of times in the life of a stream.
        let widened = block_in_place(|| {
            let _one_at_a_time = door.widening.lock();
            let definition = door.stream().definition();
            match found(&definition) {
                Some(schema) => door.log().evolve_stream(door.stream().id(), schema).map(|_| true),
                // Another request may have widened it meanwhile.
                None => Ok(self.decoder.as_ref().is_none_or(|rows| rows.version != door.stream().version())),
            }
        });
        self.decoder = None;
        match widened {
            Ok(changed) => changed,
            Err(error) => {
                self.failed.get_or_insert_with(|| stream_problem(&error));
                false
            }
        }
    }

    /// What is decoded becomes chunks.
    fn seal(&mut self) {
        let rows = self.decoder.take_if(|rows| rows.decoder.rows() > 0).map(|mut rows| {
            let sealed = (rows.version, rows.decoder.finish());
            self.door.give_back(rows);
            sealed
        });
        let stream = self.door.stream().id().stream.as_str();
        let rejected = (self.rejected.rows() > 0).then(|| self.rejected.finish(stream));
        if rows.is_none() && rejected.is_none() {
            return;
        }
        match self.mark(None) {
            // What they decide is true when both are there: they land together.
            Some(mark) => self.chunks.push_back(Chunk { rows, rejected, mark: Some(mark) }),
            None => {
                let chunks = [Chunk { rows, ..Chunk::default() }, Chunk { rejected, ..Chunk::default() }];
                self.chunks.extend(chunks.into_iter().filter(|chunk| chunk.rows.is_some() || chunk.rejected.is_some()));
            }
        }
    }

    /// What is decided so far of a named request.
    fn mark(&self, answer: Option<Arc<[u8]>>) -> Option<RequestMark> {
        let named = self.named.as_ref()?;
        Some(RequestMark {
            stream: self.door.stream().clone(),
            writer: named.name.writer.clone(),
            sequence: named.name.sequence,
            rows: named.decided,
            accepted: named.good,
            answer,
        })
    }

    /// Appends what is full; waits only while more than the request's share is on its way.
    pub(crate) async fn submit(&mut self) -> Result<(), Problem> {
        if let Some(problem) = self.failed.take() {
            return Err(problem);
        }
        while let Some(chunk) = self.chunks.pop_front() {
            self.append(chunk).await?;
            while self.in_flight_bytes > REQUEST_UNDURABLE_BYTES_MAX {
                self.settle_oldest().await?;
            }
        }
        Ok(())
    }

    /// Appends everything there is.
    pub(crate) async fn flush(&mut self) -> Result<(), Problem> {
        self.infer();
        self.seal();
        self.submit().await
    }

    /// Ends the request: everything is appended, and, unless the client does not want to wait, on disk. What a named one is answered
    /// lands with its last rows.
    pub(crate) async fn end(&mut self) -> Result<(), Problem> {
        self.infer();
        self.seal();
        if let Some(named) = self.named.as_ref().filter(|named| self.verdict.rows() < named.skipped) {
            return Err(another_body(named.skipped, self.verdict.rows()));
        }
        if let Some(named) = &self.named
            && self.failed.is_none()
        {
            let mark = self.mark(Some(self.verdict.to_remember(named.good)));
            match self.chunks.back_mut() {
                Some(last) => last.mark = mark,
                None => self.chunks.push_back(Chunk { mark, ..Chunk::default() }),
            }
        }
        self.submit().await?;
        if self.ack == Ack::Memory {
            self.verdict.in_memory();
            self.in_flight.drain(..).for_each(|append| self.verdict.accept(append.good_rows));
            return Ok(());
        }
        self.settle().await
    }

    /// Waits until everything appended is on disk.
    pub(crate) async fn settle(&mut self) -> Result<(), Problem> {
        while self.is_waiting() {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    /// Waits for the oldest append. Dropping the future loses nothing.
    pub(crate) async fn settle_oldest(&mut self) -> Result<(), Problem> {
        let Some(oldest) = self.in_flight.front_mut() else { return Ok(()) };
        let answer = (&mut oldest.pending).await;
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        self.in_flight_bytes -= oldest.bytes;
        match answer {
            Ok(_) => self.verdict.accept(oldest.good_rows),
            Err(stopped) => {
                tracing::debug!(%stopped, "an upload ends because the log has stopped");
                return Err(NotKept::Stopped.problem());
            }
        }
        Ok(())
    }

    async fn append(&mut self, chunk: Chunk) -> Result<(), Problem> {
        let mut frames = Vec::new();
        let mut good_rows = 0;
        if let Some((version, rows)) = chunk.rows {
            good_rows = rows.num_rows() as u64;
            frames = self.door.frames(version, rows);
        }
        if let Some(rows) = chunk.rejected {
            let door = &self.door;
            let stream = block_in_place(|| door.rejected_stream()).map_err(|error| stream_problem(&error))?;
            frames.push(FrameRows { version: stream.version(), stream, partition: PartitionId(0), rows });
        }
        let requests: Vec<RequestMark> = chunk.mark.into_iter().collect();
        let atomic = !requests.is_empty();
        let bytes = frames.iter().map(|frame| tidemill_event::batch::bytes(&frame.rows)).sum();
        let give_up = Instant::now() + OVERLOAD_WAIT;
        loop {
            let append = Append { frames: frames.clone(), atomic, requests: requests.clone(), on_durable: None };
            match self.door.log().append(append) {
                Ok(pending) => {
                    self.in_flight_bytes += bytes;
                    self.in_flight.push_back(InFlight { good_rows, bytes, pending });
                    return Ok(());
                }
                // A full queue slows the upload down: first by its own appends, then by a short pause.
                Err(AppendError::Overloaded(_)) if self.is_waiting() => self.settle_oldest().await?,
                Err(AppendError::Overloaded(_)) if Instant::now() < give_up => sleep(OVERLOAD_WAIT / 100).await,
                Err(error) => return Err(append_problem(&error)),
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(decoder) = self.decoder.take() {
            self.door.give_back(decoder);
        }
    }
}

/// What a client is told whose retry ends before what is taken of the request already.
fn another_body(taken: u64, rows: u64) -> Problem {
    let detail =
        format!("{taken} rows of the request of this name are decided already, and this body has only {rows}: it is another one");
    Problem::new(Kind::Conflict, detail, "send the same body again, or this one under another name")
}

/// What a client is told when an append was refused.
pub(crate) fn append_problem(error: &AppendError) -> Problem {
    match error {
        AppendError::Overloaded(_) => NotKept::Overloaded.problem(),
        AppendError::DiskFull => NotKept::DiskFull.problem(),
        AppendError::Poisoned(_) => NotKept::Stopped.problem(),
        AppendError::Deleted(stream) => Problem::unknown_stream(stream.stream.as_str()),
        AppendError::TooLarge { .. } => Problem::new(Kind::TooLarge, error.to_string(), "send smaller events"),
        AppendError::Damaged { .. }
        | AppendError::NoPartition { .. }
        | AppendError::Schema { .. }
        | AppendError::Request { .. } => {
            tracing::error!(%error, "an append of decoded rows was refused");
            Problem::new(Kind::Internal, error.to_string(), "the host's log says more; other streams go on")
        }
    }
}

/// What a client is told when a stream could not be made or changed.
pub(crate) fn stream_problem(error: &StreamError) -> Problem {
    match error {
        StreamError::Append(error) => append_problem(error),
        StreamError::Definition { .. } => Problem::new(Kind::Invalid, error.to_string(), "correct the definition"),
        StreamError::Exists(_) | StreamError::Missing(_) => {
            Problem::new(Kind::Conflict, error.to_string(), "send the request again")
        }
    }
}
