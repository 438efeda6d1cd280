//! The contract of a sink.

use std::path::PathBuf;

use tidemill_event::json::RowEncoder;
use tidemill_event::{Offset, PartitionId};
use tidemill_log::Block;

/// What a sink promises of each row after crashes and repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It is there once.
    ExactlyOnce,
    /// It is there at least once.
    AtLeastOnce,
}

/// Consecutive rows of one partition.
#[derive(Debug, Clone)]
pub struct SinkRows {
    /// The partition.
    pub partition: PartitionId,
    /// The rows, at least one block; each begins where the one before ends.
    pub blocks: Vec<Block>,
}

impl SinkRows {
    /// The first offset.
    pub fn start(&self) -> Offset {
        self.blocks[0].start
    }

    /// The first offset behind the rows.
    pub fn end(&self) -> Offset {
        let last = &self.blocks[self.blocks.len() - 1];
        last.start.plus(last.rows.num_rows())
    }

    /// The rows as NDJSON, without the host's fields.
    pub(crate) fn ndjson(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for block in &self.blocks {
            // A schema per block: a stream may change its columns between two of them.
            let encoder = RowEncoder::new(&block.schema.schema, None);
            encoder.encode(&block.rows, 0..block.rows.num_rows(), block.start, &mut out);
        }
        out
    }
}

/// A target did not take rows. The reader tries again later with the same rows.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`: {source}", place.display())]
pub struct SinkError {
    /// What was tried.
    pub operation: &'static str,
    /// Where.
    pub place: PathBuf,
    /// What the target said.
    #[source]
    pub source: std::io::Error,
}

impl SinkError {
    pub(crate) fn new(operation: &'static str, place: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let place = place.into();
        move |source| Self { operation, place, source }
    }
}

/// A target for the rows of one stream. One thread drives it.
///
/// The driver promises: rows of a partition come in order and without a gap from where [`Sink::resume`] said, or, if it does not
/// know, from where the driver's own mark stands; after an error or a crash the rows that were under way come again, perhaps cut
/// differently. The sink promises: when [`Sink::write`] returns, the rows are where they belong and stay there.
pub trait Sink: Send {
    /// Its name in status and logs: `file: results`.
    fn name(&self) -> &str;

    /// What it promises.
    fn promise(&self) -> Promise;

    /// Where the target says it stopped in `partition`: the first offset it does not have. `None`: it cannot know.
    fn resume(&mut self, partition: PartitionId) -> Result<Option<Offset>, SinkError>;

    /// Takes rows. All of them or none are there afterwards where the target allows it. Blocking.
    fn write(&mut self, rows: &SinkRows) -> Result<(), SinkError>;
}
