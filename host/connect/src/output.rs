//! The standard output as a sink: one line of JSON per row. **At least once**: a terminal cannot be asked where it stopped, so the
//! reader's own mark counts, and it is noted after the lines were written.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tidemill_event::{Offset, PartitionId};

use crate::{Promise, Sink, SinkError, SinkRows};

/// An output that several pipelines write whole lines to.
pub type SharedOutput = Arc<Mutex<Box<dyn Write + Send>>>;

/// Writes rows to an output.
pub struct OutputSink {
    output: SharedOutput,
}

impl OutputSink {
    /// A sink that writes to `output`.
    pub fn new(output: SharedOutput) -> Self {
        Self { output }
    }
}

impl Sink for OutputSink {
    fn name(&self) -> &str {
        "stdout"
    }

    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn resume(&mut self, _partition: PartitionId) -> Result<Option<Offset>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, rows: &SinkRows) -> Result<(), SinkError> {
        // A writer that panicked left at worst a torn line behind; the output is still an output.
        let mut output = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        output.write_all(&rows.ndjson()).and_then(|()| output.flush()).map_err(SinkError::new("write to", "stdout"))
    }
}
