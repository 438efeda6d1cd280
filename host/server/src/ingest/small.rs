//! The rows of a small body go into the stream's shared builder: one pass over the bytes under a short lock, one answer per group of
//! the journal.

use std::fmt::Display;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tidemill_event::PartitionId;
use tidemill_event::json::BodySplitter;
use tidemill_log::{Append, FrameRows};
use tokio::task::block_in_place;

use super::content::{Ack, Content};
use super::door::{Door, NotKept};
use super::pieces::Pieces;
use super::rejected::RejectedRows;
use super::rows::{Row, RowSplitter, not_json};
use super::upload::{append_problem, stream_problem};
use super::verdict::Verdict;
use crate::bounds::LINE_BYTES_MAX;
use crate::host::Host;
use crate::problem::Problem;

/// A small body, whole.
pub(super) async fn whole<B>(host: &Host, mut pieces: Pieces<B>) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut gathered: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(piece) = pieces.next(host).await? {
        match &mut gathered {
            None if first.is_empty() => first = piece,
            None => gathered = Some([first.as_ref(), piece.as_ref()].concat().as_slice().into()),
            Some(gathered) => gathered.extend_from_slice(&piece),
        }
    }
    Ok(gathered.map_or(first, BytesMut::freeze))
}

/// Takes the rows of a small body of any form but a binary CloudEvent.
pub(super) async fn take(host: &Host, door: &Arc<Door>, content: Content, ack: Ack, body: &[u8]) -> Result<Verdict, Problem> {
    let arrival = host.clock().now();
    let mut verdict = Verdict::default();
    let mut rejected = RejectedRows::default();
    let single = content == Content::Json && body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if content.is_whole() && !single {
        // Rows in the shared builder cannot be taken back: the body must be known to be right before the first one.
        let mut dry = RowSplitter::new(content);
        dry.push(body, &mut |_| ())?;
        dry.finish(&mut |_| ())?;
    }
    let mut split = Ok(());
    let mut good_rows = 0;
    let settled = door.share(body.len() * 2 + 64, |decoder| {
        let mut each = |row: Row<'_>| {
            let index = verdict.next_row();
            match row.decode(decoder, arrival) {
                Ok(()) => good_rows += 1,
                Err(fault) => {
                    row.kept(|kept| rejected.push(arrival, &fault, kept));
                    verdict.reject(index, fault);
                }
            }
        };
        if single {
            each(Row::Json(body));
        } else {
            let mut splitter = RowSplitter::new(content);
            split = splitter.push(body, &mut each).and_then(|()| splitter.finish(&mut each));
        }
    });
    let settled = settled.map_err(NotKept::problem)?;
    // Only a header row can be wrong now, which comes before every row.
    split?;
    if single && verdict.rejected() > 0 {
        // A fault may hide that what follows it is no JSON.
        check_syntax(body)?;
    }
    let rejected = keep(door, &mut rejected);
    if ack == Ack::Memory {
        // Whatever waits for them is dropped here; the rows are on their way all the same.
        verdict.in_memory();
        verdict.accept(good_rows);
        rejected.map_err(|problem| verdict.members(problem))?;
        return Ok(verdict);
    }
    if let Some(settled) = settled {
        settled.await.unwrap_or(Err(NotKept::Stopped)).map_err(NotKept::problem)?;
        verdict.accept(good_rows);
    }
    match rejected {
        Ok(None) => {}
        Ok(Some(kept)) => _ = kept.await.map_err(|_| verdict.members(NotKept::Stopped.problem()))?,
        Err(problem) => return Err(verdict.members(problem)),
    }
    Ok(verdict)
}

/// Appends rejected rows to `{stream}.rejected`.
fn keep(door: &Door, rejected: &mut RejectedRows) -> Result<Option<tidemill_log::Pending>, Problem> {
    if rejected.rows() == 0 {
        return Ok(None);
    }
    let rows = rejected.finish(door.stream().id().stream.as_str());
    let stream = block_in_place(|| door.rejected_stream()).map_err(|error| stream_problem(&error))?;
    let frame = FrameRows { version: stream.version(), stream, partition: PartitionId(0), rows };
    let append = Append { frames: vec![frame], atomic: false, requests: Vec::new(), on_durable: None };
    door.log().append(append).map(Some).map_err(|error| append_problem(&error))
}

/// 400 with the byte, unless the body is JSON to its end.
fn check_syntax(body: &[u8]) -> Result<(), Problem> {
    let mut splitter = BodySplitter::new(LINE_BYTES_MAX);
    splitter.push(body, &mut |_| ()).map_err(|fault| not_json(&fault))?;
    splitter.finish(&mut |_| ()).map_err(|fault| not_json(&fault))
}
