//! Reads a large body to its end, decoding and appending as it comes.

use std::fmt::Display;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use tidemill_event::arrow::TableReader;
use tidemill_event::cloudevents;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::content::json_too_large;
use super::pieces::Pieces;
use super::rows::{Row, RowSplitter, no_table};
use super::upload::Upload;
use crate::bounds::{JSON_BODY_BYTES_MAX, LINE_BYTES_MAX, TABLE_ROWS, WHOLE_BODY_BYTES_PER_SECOND_MIN};
use crate::host::Host;
use crate::problem::{Kind, Problem};

/// A form of which nothing counts before its end: rows are decoded as they come, and appended then.
pub(super) async fn whole<B>(host: &Host, upload: &mut Upload, pieces: &mut Pieces<B>) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut splitter = RowSplitter::new(upload.content());
    let mut room = WholeRoom::new(host);
    while let Some(piece) = pieces.next(host).await? {
        room.take(piece.len(), JSON_BODY_BYTES_MAX)?;
        splitter.push(&piece, &mut |row| upload.row(row))?;
    }
    splitter.finish(&mut |row| upload.row(row))?;
    upload.end().await
}

/// A form whose rows stand alone: they are appended while the body comes.
pub(super) async fn rows<B>(host: &Host, upload: &mut Upload, pieces: &mut Pieces<B>, known_length: bool) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut splitter = RowSplitter::new(upload.content());
    let ended = loop {
        // A body that comes in drips is appended as it comes, each time with what came while the last append was syncing.
        let drips = !known_length && upload.has_rows();
        let waiting = upload.is_waiting();
        let piece = tokio::select! {
            biased;
            piece = pieces.next(host) => piece,
            settled = upload.settle_oldest(), if drips && waiting => {
                settled?;
                continue;
            }
            () = std::future::ready(()), if drips && !waiting => {
                upload.flush().await?;
                continue;
            }
        };
        match piece {
            Ok(Some(piece)) => {
                upload.arrived(host.clock().now());
                if let Err(problem) = splitter.push_to(&piece, upload) {
                    break Err(problem);
                }
                upload.submit().await?;
            }
            Ok(None) => break splitter.finish(&mut |row| upload.row(row)),
            // The row that broke off is not taken, the complete ones before it are.
            Err(problem) => break Err(problem),
        }
    };
    match ended {
        Ok(()) => upload.end().await,
        Err(problem) => {
            upload.flush().await?;
            upload.settle().await?;
            Err(problem)
        }
    }
}

/// A CloudEvent in binary mode: its header lines and its body are one row.
pub(super) async fn cloud_event<B>(
    host: &Host,
    upload: &mut Upload,
    headers: &HeaderMap,
    pieces: &mut Pieces<B>,
) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut body = Vec::new();
    let mut room = WholeRoom::new(host);
    while let Some(piece) = pieces.next(host).await? {
        room.take(piece.len(), LINE_BYTES_MAX as u64)?;
        body.extend_from_slice(&piece);
    }
    let attributes = headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value.as_bytes())));
    let content_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match cloudevents::row(attributes, content_type.as_deref(), &body) {
        Ok(row) => upload.row(Row::CloudEvent(&row)),
        Err(fault) => upload.row(Row::Fault(&fault, &body)),
    }
    upload.end().await
}

/// An Arrow stream: its tables are appended as they come, some thousand rows at a time.
pub(super) async fn tables<B>(host: &Host, upload: &mut Upload, pieces: &mut Pieces<B>, known_length: bool) -> Result<(), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut reader = TableReader::new();
    let mut room = HeldRoom::new(host);
    let ended = loop {
        let (tables, fault) = match pieces.next(host).await {
            Ok(Some(piece)) => {
                let mut tables = Vec::new();
                let read = reader.push(&piece, &mut |table| tables.push(table.clone()));
                (tables, read.err().map(|fault| no_table(&fault)))
            }
            Ok(None) => break reader.finish().map_err(|fault| no_table(&fault)),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        if let Err(problem) = room.hold(reader.held_bytes()) {
            break Err(problem);
        }
        upload.arrived(host.clock().now());
        for table in &tables {
            for start in (0..table.rows()).step_by(TABLE_ROWS) {
                (start..table.rows().min(start + TABLE_ROWS)).for_each(|row| upload.row(Row::Table(table, row)));
                upload.submit().await?;
                tokio::task::yield_now().await;
            }
        }
        if !known_length && !tables.is_empty() {
            upload.flush().await?;
        }
        if let Some(problem) = fault {
            break Err(problem);
        }
    };
    match ended {
        Ok(()) => upload.end().await,
        Err(problem) => {
            upload.flush().await?;
            upload.settle().await?;
            Err(problem)
        }
    }
}

/// A body that is held until its end, measured.
struct WholeRoom<'a> {
    room: HeldRoom<'a>,
    length: u64,
    began: Instant,
}

impl<'a> WholeRoom<'a> {
    fn new(host: &'a Host) -> Self {
        Self { room: HeldRoom::new(host), length: 0, began: Instant::now() }
    }

    fn take(&mut self, bytes: usize, bytes_max: u64) -> Result<(), Problem> {
        self.length += bytes as u64;
        if self.length > JSON_BODY_BYTES_MAX {
            return Err(json_too_large());
        }
        if self.length > bytes_max {
            let detail = format!("the data of one event has at most {bytes_max} bytes");
            return Err(Problem::new(Kind::TooLarge, detail, "send smaller events"));
        }
        // It holds room that others want: it may neither stand still nor crawl.
        let late = self.began.elapsed().saturating_sub(self.room.host.settings().body_idle);
        if self.length < late.as_millis() as u64 * WHOLE_BODY_BYTES_PER_SECOND_MIN / 1_000 {
            let detail = format!(
                "the body, of which nothing counts before its end, comes slower than {WHOLE_BODY_BYTES_PER_SECOND_MIN} bytes a second"
            );
            return Err(Problem::new(
                Kind::BodyTooSlow,
                detail,
                "send smaller bodies, or `application/x-ndjson`, which may come as it likes",
            ));
        }
        self.room.hold(self.length as usize)
    }
}

/// What a request holds of the room that all of them share.
struct HeldRoom<'a> {
    host: &'a Host,
    held: Option<OwnedSemaphorePermit>,
}

impl<'a> HeldRoom<'a> {
    fn new(host: &'a Host) -> Self {
        Self { host, held: None }
    }

    /// Holds so many bytes from now on.
    fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if bytes <= held {
            if let Some(permit) = &mut self.held {
                drop(permit.split(held - bytes));
            }
            return Ok(());
        }
        let more = self
            .host
            .json_room()
            .try_acquire_many_owned((bytes - held) as u32)
            .map_err(|_| Problem::overloaded("too many large bodies that are held whole at once"))?;
        match &mut self.held {
            None => self.held = Some(more),
            Some(held) => held.merge(more),
        }
        Ok(())
    }
}
