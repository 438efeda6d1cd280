//! A file that is being written: bytes at its end, through a buffer, until it is finished.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_log::{Disk, DiskFile};

use crate::SinkError;

/// Bytes are handed to the disk in pieces of about this size.
const BUFFER_BYTES: usize = 128 << 10;

/// An unfinished file.
pub(super) struct Part {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    written: u64,
    buffer: Vec<u8>,
}

impl Part {
    /// Makes an empty one, in place of what is there.
    pub(super) fn create(disk: &dyn Disk, path: PathBuf) -> Result<Self, SinkError> {
        let file = disk.create(&path).map_err(SinkError::disk("create", &path))?;
        Ok(Self { path, file, written: 0, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Appends what `fill` appends to the buffer; the length of the file with it.
    pub(super) fn append(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Result<u64, SinkError> {
        fill(&mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES {
            self.hand_over().map_err(SinkError::disk("write", &self.path))?;
        }
        Ok(self.bytes())
    }

    /// Its length, buffered bytes included.
    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Puts all of it on disk. Its name is not: that is the folder's.
    pub(super) fn finish(mut self) -> Result<(), SinkError> {
        self.hand_over().map_err(SinkError::disk("write", &self.path))?;
        self.file.sync_all().map_err(SinkError::disk("sync", self.path))
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: whoever writes Parquet flushes after every page.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
