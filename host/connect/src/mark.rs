//! Where a sink stands, for targets that cannot be asked.

use tidemill_event::Offset;

use crate::SinkError;

/// The place of one partition's sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The first row it does not have for certain.
    pub next: Offset,
    /// The end of the batch that begins at `next` and may have been sent already.
    pub sending: Option<Offset>,
    /// The random part of this sink's batch keys.
    pub life: String,
}

/// Keeps the mark of one sink and partition.
pub trait MarkStore: Send {
    /// The last mark that was stored.
    fn load(&self) -> Option<Mark>;

    /// Replaces it. Durable when it returns. Blocking.
    fn store(&self, mark: &Mark) -> Result<(), SinkError>;
}
