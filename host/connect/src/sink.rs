//! The contract of a sink.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidemill_event::{Offset, OffsetRange, PartitionId};
use tidemill_log::Block;

/// What a sink promises of each row after crashes and repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It is there once.
    ExactlyOnce,
    /// It may be sent again, then as part of the same batch under the same key: a receiver that remembers keys has it once.
    OncePerKey,
    /// It is there at least once.
    AtLeastOnce,
}

impl Promise {
    /// As status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::OncePerKey => "once_per_key",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}

/// Names a batch: the same rows always have the same one, and no other rows ever do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchKey<'a> {
    /// Random, chosen when the sink first ran: offsets begin again with a stream of the same name, keys must not.
    pub life: &'a str,
    /// The partition.
    pub partition: PartitionId,
    /// The rows.
    pub range: OffsetRange,
}

impl fmt::Display for BatchKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.life, self.partition, self.range.start, self.range.end)
    }
}

/// What [`Sink::add`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Rows of the block, from its first; at least one.
    pub rows: usize,
    /// The size of the batch now, as the target will see it.
    pub batch_bytes: u64,
}

/// A target did not take rows. The reader throws the batch away and tries its rows again later, whatever the error.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The disk said no.
    #[error("cannot {operation} `{}`: {source}", place.display())]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// Where.
        place: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The target has rows that the stream does not have: they are of another stream.
    #[error("`{place}` has rows up to {has}, and the stream ends at {end}: they are not this stream's; move them away")]
    Foreign {
        /// Where.
        place: String,
        /// The end of what is there.
        has: Offset,
        /// The end of the stream.
        end: Offset,
    },
    /// Rows cannot be written in the target's format. A retry cannot help.
    #[error("cannot write {format}: {what}")]
    Format {
        /// The format.
        format: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The target was asked and did not take the batch.
    #[error("{what}")]
    NotTaken {
        /// Who said what.
        what: String,
        /// It asked to be left alone that long.
        asked: Option<Duration>,
    },
    /// The target was not asked: too many tries failed before.
    #[error("not tried: after {failures} failures in a row the target is left alone for a while; the last one: {last}")]
    LeftAlone {
        /// How many.
        failures: u32,
        /// What the last one said.
        last: String,
        /// When it is asked again.
        wait: Duration,
    },
    /// The target will never take these rows: not all of them, not together. Fewer may be taken.
    #[error("{what}")]
    Refused {
        /// Who said what.
        what: String,
    },
    /// The log did not take what had to be noted first.
    #[error("cannot note it in the log: {0}")]
    Log(String),
}

impl SinkError {
    pub(crate) fn disk(operation: &'static str, place: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let place = place.into();
        move |source| Self::Disk { operation, place, source }
    }
}

/// Takes over rows that a target will never take.
pub trait RefusedRows: Send {
    /// Whether the rows of a batch are kept already: a crash came before that was noted, and they must not be sent once more.
    fn is_kept(&self, key: &BatchKey<'_>) -> bool;

    /// Keeps the rows of a batch, with what the target said. Durable when it returns. Called again for the same batch, it keeps
    /// nothing twice. Blocking.
    fn keep(&self, key: &BatchKey<'_>, said: &str) -> Result<(), SinkError>;
}

/// The way of one partition's rows into a target. One thread drives it.
///
/// ```text
///  resume ──► add add add … commit ──► add … commit ──►         any error, or a crash: discard, resume
/// ```
/// The driver promises: rows come in order and without a gap from where [`Sink::resume`] said or, if it does not know, from where
/// the driver's own mark stands; after an error it calls [`Sink::discard`] and [`Sink::resume`], and rows that were not committed
/// come again, perhaps cut differently. To a sink that promises [`Promise::OncePerKey`] they come in the same batch under the same
/// key, also after a crash: the batch's range was durable before [`Sink::commit`] was called.
///
/// The sink promises: nothing of a batch is there for good before [`Sink::commit`] is called; when it has returned, the rows are
/// where they belong and stay there.
pub trait Sink: Send {
    /// What it promises.
    fn promise(&self) -> Promise;

    /// Where the target says it stopped: the first offset it does not have. `None`: it cannot know, or has nothing. Clears away
    /// what a batch that was never committed left behind.
    fn resume(&mut self) -> Result<Option<Offset>, SinkError>;

    /// Whether a block may join the batch under way; if not, the driver commits first. A sink that promises
    /// [`Promise::OncePerKey`] takes every block.
    fn fits(&self, block: &Block) -> bool;

    /// Adds rows of a block to the batch under way: all, or those that fit into `room_bytes` more. Blocking.
    fn add(&mut self, block: &Block, room_bytes: u64) -> Result<Added, SinkError>;

    /// Puts the batch under way where it belongs, all of it or nothing where the target allows that. Blocking.
    fn commit(&mut self, key: &BatchKey<'_>) -> Result<(), SinkError>;

    /// Throws the batch under way away.
    fn discard(&mut self);
}
