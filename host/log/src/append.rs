//! What is appended: frames for any partitions, as one entry or cut into several, and the promise of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use tidemill_event::{Offset, PartitionId, SchemaVersion, TenantName};
use tokio::sync::oneshot;

use crate::durable::Durable;
use crate::error::Poisoned;
use crate::requests::RequestMark;
use crate::stream::Stream;

/// The first offset of each frame, in the order of the frames; its rows follow without a gap. Only when the entry is on disk.
pub type Appended = Result<Durable<Vec<Offset>>, Poisoned>;

/// Called once, on a thread of the log: it must return at once and take no lock that is held while appending.
pub type OnDurable = Box<dyn FnOnce(Appended) + Send>;

/// Rows of one partition, at one schema version: an event batch (`tidemill_event::batch`), at least one row.
#[derive(Debug, Clone)]
pub struct FrameRows {
    /// The stream.
    pub stream: Arc<Stream>,
    /// The version whose columns the rows have. String columns may be `Utf8` or `Dictionary(UInt32, Utf8)`.
    pub version: SchemaVersion,
    /// The partition.
    pub partition: PartitionId,
    /// The rows, in the order they get their offsets. The log keeps them in memory: slices hold their whole buffers.
    pub rows: RecordBatch,
}

impl FrameRows {
    /// No fewer bytes than it takes in an entry.
    pub fn encoded_bytes_max(&self) -> usize {
        crate::columns::encoded_bytes_max(&self.rows)
    }
}

/// One append.
pub struct Append {
    /// Its frames, for any partitions; several may be for the same one and keep their order.
    pub frames: Vec<FrameRows>,
    /// All or nothing after a crash. Otherwise the log may cut it into entries: each stands or falls alone, in order.
    pub atomic: bool,
    /// The requests that these rows decide, wholly or in part: known to be seen ([`crate::Log::request`]) when the rows are on
    /// disk, and together with them. There may be requests and no frames.
    pub requests: Vec<RequestMark>,
    /// Called when everything is on disk, or when it is certain that no acknowledgement will come.
    pub on_durable: Option<OnDurable>,
}

impl Append {
    /// An atomic append of no client's request, without a callback.
    pub fn atomic(frames: Vec<FrameRows>) -> Self {
        Self { frames, atomic: true, requests: Vec::new(), on_durable: None }
    }
}

impl std::fmt::Debug for Append {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append").field("frames", &self.frames.len()).field("atomic", &self.atomic).finish_non_exhaustive()
    }
}

/// A source of rows that are gathered until the next group is formed: rows of concurrent requests become one frame.
pub trait Gathered: Send + Sync {
    /// Whose rows they are: tenants take turns.
    fn tenant(&self) -> &TenantName;

    /// Hands over what was gathered since the last call; `None` if that is nothing. Called on the writer's thread when it forms a
    /// group: it must be quick and must not append. After it the source announces itself again before, or when, its next row
    /// comes. What it hands over is cut into entries where it is too large for one. The answer comes through
    /// [`Append::on_durable`], also when the log has stopped.
    fn take(&self) -> Option<Append>;
}

/// The answer to an append, to come. Dropping it takes nothing back.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Appended>,
}

impl Pending {
    pub(crate) fn new() -> (oneshot::Sender<Appended>, Self) {
        let (sender, answer) = oneshot::channel();
        (sender, Self { answer })
    }

    /// Blocks this thread until the entry is on disk. Not for async workers: await the future instead.
    ///
    /// # Panics
    /// Inside an async runtime.
    pub fn wait(self) -> Appended {
        self.answer.blocking_recv().unwrap_or(Err(Poisoned::Closed))
    }
}

impl Future for Pending {
    type Output = Appended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Appended> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(Poisoned::Closed)))
    }
}
