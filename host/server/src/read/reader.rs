//! A request to read, on its way through the partitions: one read of the log at a time, when the client takes it.
//!
//! A reader holds the rows of one read and nothing else: a client that stops taking them holds no more memory than that, and is
//! closed by its connection's deadline for writing. Without `follow`, partitions come one after the other and end where they ended
//! when the request came; with it, whichever has rows is read next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use tidemill_event::{EventTime, Offset};
use tidemill_log::{Partition, ReadError, ReadLimit, Stream, Visibility};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use super::cut::Places;
use super::form::RowWriter;
use super::query::{Place, Query};
use crate::problem::{Kind, Problem};

/// Where a reader stands in every partition it reads.
pub(crate) struct Reader {
    cursors: Vec<Cursor>,
    /// The ends of the followed partitions, in the order of the cursors; empty without `follow`.
    ends: Vec<watch::Receiver<Offset>>,
    /// The cursor that is looked at next.
    turn: usize,
    left: u64,
    limit: ReadLimit,
    stop: CancellationToken,
    /// Moves into the thread that reads and back; gone after a panic there.
    writer: Option<Box<dyn RowWriter>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Rows,
    Over,
}

/// What a reader gives: bytes for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// How many rows those are.
    pub(crate) rows: u64,
}

impl Reader {
    /// A reader of what `query` asks for, from `resume` on in the partitions that it names. Ends early when `stop` says so.
    pub(crate) fn open(
        stream: &Stream,
        query: &Query,
        resume: &Places,
        limit: ReadLimit,
        stop: CancellationToken,
        writer: impl FnOnce(Places) -> Box<dyn RowWriter>,
    ) -> Result<Self, Problem> {
        let chosen: Vec<&Arc<Partition>> = query.partitions.iter().filter_map(|partition| stream.partition(*partition)).collect();
        // Subscribed before the ends are read: no row can come in between unseen.
        let ends = if query.follow {
            chosen.iter().map(|partition| partition.subscribe(Visibility::Durable)).collect()
        } else {
            Vec::new()
        };
        let open = |partition: &Arc<Partition>| cursor(partition, query, resume.get(partition.key().partition));
        let cursors: Vec<Cursor> = chosen.into_iter().map(open).collect::<Result<_, _>>()?;
        let places = Places(cursors.iter().map(|cursor| (cursor.partition(), cursor.next())).collect());
        let left = query.limit.unwrap_or(u64::MAX);
        Ok(Self { cursors, ends, turn: 0, left, limit, stop, writer: Some(writer(places)), state: State::New })
    }

    /// Whether it would end without a row.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.next_turn().is_none()
    }

    /// The next bytes; `None` at the end. Dropping the future loses at most what a client that is gone would have got.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece, io::Error>> {
        self.next_of(u64::MAX).await
    }

    /// The next bytes, with at most that many rows (at least one).
    pub(crate) async fn next_of(&mut self, rows_max: u64) -> Option<Result<Piece, io::Error>> {
        loop {
            // New => Rows | Rows => (Rows | Over) | Over => Over
            match self.state {
                State::New => {
                    self.state = State::Rows;
                    if let Some(piece) = self.write(|writer, out| writer.begin(out)) {
                        return Some(piece);
                    }
                }
                State::Rows => {
                    if self.left > 0
                        && let Some(turn) = self.next_turn()
                    {
                        match self.read(turn, rows_max).await {
                            Ok(piece) if piece.bytes.is_empty() => {}
                            piece => return Some(piece),
                        }
                        continue;
                    }
                    match self.wait().await {
                        Woken::Grown => {}
                        Woken::Quiet(comment) => return Some(Ok(Piece { bytes: Bytes::from_static(comment), rows: 0 })),
                        Woken::End => {
                            self.state = State::Over;
                            if let Some(piece) = self.write(|writer, out| writer.end(out)) {
                                return Some(piece);
                            }
                        }
                    }
                }
                State::Over => return None,
            }
        }
    }

    /// What the writer writes without rows, if anything.
    fn write(
        &mut self,
        write: impl FnOnce(&mut dyn RowWriter, &mut Vec<u8>) -> io::Result<()>,
    ) -> Option<Result<Piece, io::Error>> {
        let mut out = Vec::new();
        match write(self.writer.as_deref_mut()?, &mut out) {
            Ok(()) if out.is_empty() => None,
            Ok(()) => Some(Ok(Piece { bytes: out.into(), rows: 0 })),
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads the next rows of one cursor and writes them.
    async fn read(&mut self, turn: usize, rows_max: u64) -> Result<Piece, io::Error> {
        let broken = || io::Error::other("reading failed");
        let mut cursor = self.cursors.swap_remove(turn);
        let mut writer = self.writer.take().ok_or_else(broken)?;
        let (limit, left) = (self.limit, self.left.min(rows_max));
        let read = move || {
            let mut out = Vec::new();
            let rows = match cursor.read(limit, left) {
                Ok(Some(taken)) if taken.rows > 0 => writer.rows(&taken, &mut out).map(|()| taken.rows),
                Ok(_) => Ok(0),
                Err(error) => Err(io::Error::other(error)),
            };
            (cursor, writer, rows, out)
        };
        // Reading may wait for the disk, and writing rows takes longer than an async worker should be held.
        let (cursor, writer, rows, out) = spawn_blocking(read).await.map_err(|_| {
            self.state = State::Over;
            broken()
        })?;
        self.writer = Some(writer);
        let last = self.cursors.len();
        self.cursors.push(cursor);
        self.cursors.swap(turn, last);
        let rows = rows.map_err(|error| {
            tracing::warn!(%error, "a reader is cut off");
            self.state = State::Over;
            error
        })?;
        self.left -= rows;
        // A follower goes on to the next partition, so that a busy one does not hide the others.
        if !self.ends.is_empty() {
            self.turn = turn + 1;
        }
        Ok(Piece { bytes: out.into(), rows })
    }

    /// The next cursor with rows to read, from `turn` on, around once.
    fn next_turn(&self) -> Option<usize> {
        let count = self.cursors.len();
        (0..count).map(|step| (self.turn + step) % count).find(|turn| self.cursors[*turn].has_more())
    }

    /// Waits until any partition has grown.
    async fn wait(&mut self) -> Woken {
        if self.ends.is_empty() || self.left == 0 {
            return Woken::End;
        }
        for end in &mut self.ends {
            end.mark_unchanged();
        }
        if self.next_turn().is_some() {
            return Woken::Grown;
        }
        let comment = self.writer.as_ref().and_then(|writer| writer.keep_alive());
        let quiet = Instant::now() + comment.map_or(FOREVER, |(after, _)| after);
        let grown = select_all(self.ends.iter_mut().map(|end| Box::pin(end.changed())));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Woken::End,
            (grown, _, _) = grown => if grown.is_ok() { Woken::Grown } else { Woken::End },
            () = sleep_until(quiet) => comment.map_or(Woken::Grown, |(_, comment)| Woken::Quiet(comment)),
        }
    }
}

/// Longer than any process lives, and short enough to be added to an instant.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why a follower goes on.
enum Woken {
    Grown,
    /// Nothing came for a while; the client is told that.
    Quiet(&'static [u8]),
    End,
}

/// Where reading a partition begins and ends.
fn cursor(partition: &Arc<Partition>, query: &Query, resume: Option<Offset>) -> Result<Cursor, Problem> {
    let now = partition.end(Visibility::Durable);
    let kept = |offset: Offset| {
        let trim_point = partition.trim_point();
        if offset >= trim_point {
            return Ok(offset);
        }
        let number = partition.key().partition.0;
        let error = ReadError::Trimmed { from: offset, trim_point };
        let remedy = "begin at `trim_point`, or with `from=earliest`; a consumer can be moved there with a commit";
        let problem = Problem::new(Kind::Trimmed, format!("partition {number}: {error}"), remedy);
        Err(problem.with("partition", number).with("trim_point", trim_point.0))
    };
    let start = match (resume, query.from) {
        (Some(offset), _) if offset > now => {
            let number = partition.key().partition.0;
            let detail = format!("partition {number} ends at {now}, and {offset} was never there: the stream is another one now");
            return Err(Problem::new(Kind::BadParameter, detail, "begin anew, with `from` and without a place from before"));
        }
        (Some(offset), _) => kept(offset)?,
        (None, Place::Earliest) => partition.trim_point(),
        (None, Place::Latest) => now,
        (None, Place::Offset(offset)) => kept(offset)?,
        (None, Place::Time(time)) => partition.seek(time).max(partition.trim_point()),
    };
    let end = match (query.follow, query.until) {
        (true, _) => None,
        (false, Some(Place::Offset(offset))) => Some(offset.min(now)),
        (false, _) => Some(now),
    };
    Ok(Cursor::new(partition.clone(), start, end).between(time(Some(query.from)), time(query.until)))
}

fn time(place: Option<Place>) -> Option<EventTime> {
    match place {
        Some(Place::Time(time)) => Some(time),
        Some(Place::Earliest | Place::Latest | Place::Offset(_)) | None => None,
    }
}
