//! A subscription of a WebSocket: a reader, and how many rows its client still wants.
//!
//! A subscription without credit left is set aside; one that gave rows comes back when the socket has taken them. So each holds
//! at most the rows of one frame, however slow its client is.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tidemill_log::{ReadLimit, Stream};
use tokio_util::sync::CancellationToken;

use super::frame::{Id, plain};
use crate::bounds::{WEBSOCKET_READ_BYTES, WEBSOCKET_READ_ROWS};
use crate::problem::Problem;
use crate::read::{Lines, Places, Query, Reader, RowWriter, Taken};

/// One subscription.
pub(super) struct Subscription {
    pub(super) id: Id,
    reader: Reader,
    /// Rows that may still be sent; `None`: as many as the socket takes.
    credit: Option<u64>,
    /// Ends it.
    stop: CancellationToken,
}

/// What a subscription gave when it was asked.
pub(super) struct Given {
    pub(super) subscription: Subscription,
    /// Text of a frame; `None` at the end.
    pub(super) frame: Option<Result<Bytes, io::Error>>,
}

impl Subscription {
    pub(super) fn open(
        id: Id,
        stream: &Stream,
        query: &Query,
        resume: &Places,
        credit: Option<u64>,
        stop: CancellationToken,
    ) -> Result<Self, Problem> {
        let limit = ReadLimit { rows_max: WEBSOCKET_READ_ROWS, bytes_max: WEBSOCKET_READ_BYTES };
        let frames = Frames { id: id.clone(), lines: Lines::default(), line: Vec::new() };
        let reader = Reader::open(stream, query, resume, limit, stop.clone(), |_| Box::new(frames))?;
        Ok(Self { id, reader, credit, stop })
    }

    /// Whether rows may be sent now.
    pub(super) fn may_send(&self) -> bool {
        self.credit != Some(0) || self.stop.is_cancelled()
    }

    /// Lets it send that many more rows.
    pub(super) fn add_credit(&mut self, rows: u64) {
        self.credit = self.credit.map(|credit| credit.saturating_add(rows));
    }

    /// The next frame.
    pub(super) async fn next(mut self) -> Given {
        if self.stop.is_cancelled() {
            return Given { subscription: self, frame: None };
        }
        let piece = self.reader.next_of(self.credit.unwrap_or(u64::MAX)).await;
        let frame = piece.map(|piece| {
            piece.map(|piece| {
                self.credit = self.credit.map(|credit| credit - piece.rows);
                piece.bytes
            })
        });
        Given { subscription: self, frame }
    }
}

/// Writes each block as one `rows` frame.
struct Frames {
    id: Id,
    lines: Lines,
    line: Vec<u8>,
}

impl RowWriter for Frames {
    fn begin(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(plain("subscribed", &self.id).as_bytes());
        Ok(())
    }

    fn rows(&mut self, taken: &Taken, out: &mut Vec<u8>) -> io::Result<()> {
        let next = taken.runs.last().map_or(taken.block.start, |run| taken.block.start.plus(run.end));
        let head = format!(
            "{{\"type\":\"rows\",\"id\":{},\"next\":{{\"{}\":{}}},\"rows\":[",
            self.id.as_json(),
            taken.partition.0,
            next.0
        );
        out.extend_from_slice(head.as_bytes());
        self.line.clear();
        self.lines.rows(taken, &mut self.line)?;
        // JSON has no line feed in it, so each one ends a row.
        self.line.pop();
        out.extend(self.line.iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
        out.extend_from_slice(b"]}");
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        // The session says so, however it came to an end.
        Ok(())
    }

    fn keep_alive(&self) -> Option<(Duration, &'static [u8])> {
        None
    }
}
