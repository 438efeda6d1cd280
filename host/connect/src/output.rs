//! The standard output as a sink: one line of JSON per row. **At least once**: a terminal cannot be asked where it stopped, so the
//! reader's own mark counts, and it is noted after the lines were written.
//!
//! Lines are whole, also when several pipelines write: each batch goes out under one lock, and a line that an error tore is ended
//! before the next one begins. A pipe that nobody reads holds this sink back and nothing else; one that was closed is an error,
//! and the rows stay in the log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_event::Offset;
use tidemill_log::Block;

use crate::ndjson::encode_rows;
use crate::{Added, BatchKey, Promise, Sink, SinkError};

/// An output that several pipelines write whole lines to. Cheap to clone.
#[derive(Clone)]
pub struct SharedOutput(Arc<Mutex<Lines>>);

struct Lines {
    output: Box<dyn Write + Send>,
    /// The last write ended inside a line.
    is_torn: bool,
}

impl SharedOutput {
    /// Whole lines to `output`.
    pub fn new(output: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Lines { output: Box::new(output), is_torn: false })))
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        // A writer that panicked left at worst a torn line behind; the output is still an output.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_torn {
            shared.output.write_all(b"\n")?;
            shared.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match shared.output.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    shared.is_torn = rest[written - 1] != b'\n';
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        shared.output.flush()
    }
}

/// Writes rows to an output.
pub struct OutputSink {
    output: SharedOutput,
    lines: Vec<u8>,
}

impl OutputSink {
    /// A sink that writes to `output`.
    pub fn new(output: SharedOutput) -> Self {
        Self { output, lines: Vec::new() }
    }
}

impl Sink for OutputSink {
    fn promise(&self) -> Promise {
        Promise::AtLeastOnce
    }

    fn resume(&mut self) -> Result<Option<Offset>, SinkError> {
        Ok(None)
    }

    fn fits(&self, _block: &Block) -> bool {
        true
    }

    fn add(&mut self, block: &Block, _room_bytes: u64) -> Result<Added, SinkError> {
        encode_rows(block, 0..block.rows.num_rows(), &mut self.lines);
        Ok(Added { rows: block.rows.num_rows(), batch_bytes: self.lines.len() as u64 })
    }

    fn commit(&mut self, _key: &BatchKey<'_>) -> Result<(), SinkError> {
        self.output.write(&self.lines).map_err(SinkError::disk("write to", "stdout"))?;
        self.lines.clear();
        Ok(())
    }

    fn discard(&mut self) {
        self.lines.clear();
    }
}
