//! An append made ready on its caller's thread: checked, measured, cut into entries. What is left for the writer is order and bytes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::{Offset, SchemaVersion, TenantName};
use tokio::sync::oneshot;

use crate::append::{Append, Appended, FrameRows, OnDurable};
use crate::columns;
use crate::durable::Durable;
use crate::error::{AppendError, Poisoned};
use crate::frame;
use crate::group;
use crate::partition::Partition;
use crate::requests::{self, ANSWER_BYTES_MAX, RequestMark, StoredMark, WRITER_BYTES_MAX};

/// Rows whose buffers are this much larger than what they need are copied: a slice would keep its whole batch in memory.
const SLACK_BYTES: usize = 4 << 10;

/// Rows of one partition.
pub(crate) struct PreparedFrame {
    pub(crate) partition: Arc<Partition>,
    pub(crate) version: SchemaVersion,
    pub(crate) rows: RecordBatch,
    /// In memory.
    pub(crate) bytes: usize,
    pub(crate) times: (i64, i64),
}

/// Rows `[start, start + rows)` of frame `frame`: what becomes one frame in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) frame: usize,
    pub(crate) start: usize,
    pub(crate) rows: usize,
}

/// Who waits for an append.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) sender: Option<oneshot::Sender<Appended>>,
    pub(crate) callback: Option<OnDurable>,
}

impl Reply {
    pub(crate) fn durable(self, offsets: Vec<Offset>) {
        self.answer(Ok(Durable::new(offsets)));
    }

    pub(crate) fn failed(self, why: &Poisoned) {
        self.answer(Err(why.clone()));
    }

    fn answer(self, answer: Appended) {
        match (self.sender, self.callback) {
            (Some(sender), Some(callback)) => {
                // A dropped `Pending` is no loss: nobody asks.
                let _ = sender.send(answer.clone());
                callback(answer);
            }
            (Some(sender), None) => {
                let _ = sender.send(answer);
            }
            (None, Some(callback)) => callback(answer),
            (None, None) => {}
        }
    }
}

/// An append, ready for the writer.
pub(crate) struct Prepared {
    /// Whose rows they are: those of one append are one tenant's. `None` if it holds nothing.
    pub(crate) tenant: Option<TenantName>,
    pub(crate) frames: Vec<PreparedFrame>,
    /// Each is one entry.
    pub(crate) entries: Vec<Vec<Piece>>,
    /// The requests it decides, and the entry that says so; empty without any.
    pub(crate) marks: Vec<(TenantName, StoredMark)>,
    pub(crate) marks_payload: Vec<u8>,
    /// No less than it takes in a group.
    pub(crate) encoded_max: usize,
    pub(crate) memory_bytes: usize,
    pub(crate) reply: Reply,
}

/// How large things may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// What is cut is cut into entries of about this size.
    pub(crate) entry_bytes: usize,
    /// What a group can hold at all.
    pub(crate) group_bytes: usize,
}

/// Checks an append and cuts it into entries; a source that was gathered comes with `atomic: false`.
/// `now` is what the log was last told the time is.
pub(crate) fn prepare(append: Append, sizes: Sizes, now: i64) -> Result<Prepared, (AppendError, Option<OnDurable>)> {
    let Append { frames, atomic, requests, on_durable } = append;
    let prepared = prepare_marks(&requests, now).and_then(|marks| Ok((marks, prepare_frames(frames, atomic, sizes)?)));
    match prepared {
        Ok((marks, (frames, entries, mut encoded_max))) => {
            let stored: Vec<_> = marks.iter().map(|(_, mark)| mark.clone()).collect();
            let marks_payload = if stored.is_empty() { Vec::new() } else { requests::encode_all(&stored) };
            if !marks_payload.is_empty() {
                encoded_max += group::entry_bytes(1, marks_payload.len());
            }
            if encoded_max > sizes.group_bytes {
                let error = AppendError::TooLarge { bytes: encoded_max as u64, bytes_max: sizes.group_bytes as u64 };
                return Err((error, on_durable));
            }
            let memory_bytes = frames.iter().map(|frame| frame.bytes).sum::<usize>() + 2 * marks_payload.len();
            let of_frames = frames.first().map(|frame| &frame.partition.key().stream.tenant);
            let tenant = of_frames.or(marks.first().map(|(tenant, _)| tenant)).cloned();
            let reply = Reply { sender: None, callback: on_durable };
            Ok(Prepared { tenant, frames, entries, marks, marks_payload, encoded_max, memory_bytes, reply })
        }
        Err(error) => Err((error, on_durable)),
    }
}

fn prepare_marks(requests: &[RequestMark], now: i64) -> Result<Vec<(TenantName, StoredMark)>, AppendError> {
    let prepare = |mark: &RequestMark| {
        let answer_bytes = mark.answer.as_ref().map_or(0, |answer| answer.len());
        for (what, bytes, bytes_max) in
            [("writer", mark.writer.len(), WRITER_BYTES_MAX), ("answer", answer_bytes, ANSWER_BYTES_MAX)]
        {
            if bytes > bytes_max {
                return Err(AppendError::Request { what, bytes, bytes_max });
            }
        }
        Ok((mark.stream.id().tenant.clone(), StoredMark::new(mark, now)))
    };
    requests.iter().map(prepare).collect()
}

type PreparedFrames = (Vec<PreparedFrame>, Vec<Vec<Piece>>, usize);

fn prepare_frames(frames: Vec<FrameRows>, atomic: bool, sizes: Sizes) -> Result<PreparedFrames, AppendError> {
    let mut prepared = Vec::with_capacity(frames.len());
    let mut encoded = Vec::with_capacity(frames.len());
    for frame in frames {
        let (frame, bytes) = prepare_frame(frame)?;
        prepared.push(frame);
        encoded.push(bytes);
    }
    let mut entries = vec![Vec::new()];
    let mut entry_bytes = 0;
    let mut total = 0;
    for (index, (frame, bytes)) in prepared.iter().zip(&encoded).enumerate() {
        let rows = frame.rows.num_rows();
        if rows == 0 {
            continue;
        }
        let pieces = if atomic { 1 } else { bytes.div_ceil(sizes.entry_bytes).clamp(1, rows) };
        for piece in 0..pieces {
            let (start, end) = (rows * piece / pieces, rows * (piece + 1) / pieces);
            let bytes = if pieces == 1 { *bytes } else { columns::encoded_bytes_max(&frame.rows.slice(start, end - start)) };
            let bytes = group::entry_bytes(1, bytes);
            if !atomic && entry_bytes + bytes > sizes.entry_bytes && entry_bytes > 0 {
                entries.push(Vec::new());
                entry_bytes = 0;
            }
            entry_bytes += bytes;
            total += bytes;
            if let Some(entry) = entries.last_mut() {
                entry.push(Piece { frame: index, start, rows: end - start });
            }
        }
    }
    entries.retain(|entry| !entry.is_empty());
    Ok((prepared, entries, total))
}

fn prepare_frame(frame: FrameRows) -> Result<(PreparedFrame, usize), AppendError> {
    let FrameRows { stream, version, partition, mut rows } = frame;
    let Some(place) = stream.partition(partition) else {
        return Err(AppendError::NoPartition { stream: stream.id().clone(), partition: partition.0 });
    };
    if stream.is_deleted() {
        return Err(AppendError::Deleted(stream.id().clone()));
    }
    if let Some(damage) = place.damage() {
        return Err(AppendError::Damaged { partition: place.key().clone(), damage });
    }
    let schema_error = |what| AppendError::Schema { stream: stream.id().clone(), version, what };
    let Some(layout) = stream.layout(version) else {
        return Err(schema_error("there is no such version".to_owned()));
    };
    rows = layout.fit(rows).map_err(schema_error)?;
    let encoded = columns::encoded_bytes_max(&rows);
    let mut bytes = rows.get_array_memory_size();
    if bytes > 4 * encoded + SLACK_BYTES {
        let mut payload = Vec::with_capacity(encoded);
        columns::encode_rows(&rows, &mut payload);
        if let Ok(copy) = columns::decode_rows(&payload, rows.num_rows(), &layout) {
            rows = copy;
            bytes = rows.get_array_memory_size();
        }
    }
    let times = frame::time_range(&rows);
    Ok((PreparedFrame { partition: Arc::clone(place), version, rows, bytes, times }, encoded))
}
