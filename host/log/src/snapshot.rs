//! A snapshot for a backup: files that hold everything up to a cut, and stay as they are while they are copied.
//!
//! ```text
//! roll ─► cut ─► manifest, mark (bytes) · journal from its start to the cut (copied) · segments (pinned: never written again)
//!             └─ enter … leave: whoever wants something else as of the same moment
//! ```
//! Copied under the same names into an empty folder, they are a log that opens at the cut, as after a clean stop.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::disk::DiskFile;
use crate::durable::{Cut, Durable};
use crate::error::{DiskError, Poisoned};
use crate::manifest::{self, Manifest};
use crate::mark::{self, Mark};
use crate::recovery::MARK_NAME;

/// Copies of journal files are made in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

/// A consistent set of files; they stay until this is dropped.
pub struct Snapshot {
    core: Arc<Core>,
    cut: Durable<Cut>,
    files: Vec<SnapshotFile>,
    segments: Vec<u64>,
    copies: Vec<PathBuf>,
    copied_bytes: u64,
}

/// One file of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Its name below the log's folder, there and in the copy.
    pub name: PathBuf,
    /// What is in it.
    pub content: SnapshotContent,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum SnapshotContent {
    /// Here.
    Bytes(Vec<u8>),
    /// The first `bytes` of this file.
    File {
        /// Where it is.
        path: PathBuf,
        /// How much of it.
        bytes: u64,
    },
}

impl SnapshotFile {
    /// How long it is.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            SnapshotContent::Bytes(bytes) => bytes.len() as u64,
            SnapshotContent::File { bytes, .. } => *bytes,
        }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The log has stopped.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A copy could not be made; the log goes on. Retry when the cause is gone.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Snapshot {
    /// Every row below it is in the snapshot, and maybe some behind it.
    pub fn cut(&self) -> &Durable<Cut> {
        &self.cut
    }

    /// The files, in the order in which they are to be copied: the manifest last, because without it the copy is no log yet.
    pub fn files(&self) -> &[SnapshotFile] {
        &self.files
    }

    /// The bytes of one of them, from its first: exactly [`SnapshotFile::bytes`] of them, or an error. Blocking.
    pub fn read<'a>(&self, file: &'a SnapshotFile) -> Result<SnapshotReader<'a>, DiskError> {
        let source = match &file.content {
            SnapshotContent::Bytes(bytes) => Source::Bytes(bytes),
            SnapshotContent::File { path, .. } => Source::File(self.core.disk.open(path).map_err(DiskError::new("open", path))?),
        };
        Ok(SnapshotReader { source, at: 0, end: file.bytes() })
    }
}

/// A file of a snapshot, being read.
pub struct SnapshotReader<'a> {
    source: Source<'a>,
    at: u64,
    end: u64,
}

enum Source<'a> {
    Bytes(&'a [u8]),
    File(Arc<dyn DiskFile>),
}

impl Read for SnapshotReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.end - self.at).min(buffer.len() as u64) as usize;
        match &self.source {
            Source::Bytes(bytes) => buffer[..count].copy_from_slice(&bytes[self.at as usize..][..count]),
            Source::File(file) => file.read_at(self.at, &mut buffer[..count])?,
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl std::fmt::Debug for SnapshotReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("at", &self.at).field("end", &self.end).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

/// Whether a file in the log's folder is a copy for a snapshot.
pub(crate) fn is_copy(name: &str) -> bool {
    name.starts_with("snapshot-")
}

/// Takes a snapshot that holds everything below `cut`, and everything that was durable when `enter` returned.
pub(crate) fn take<G, T>(
    core: &Arc<Core>,
    cut: Durable<Cut>,
    enter: impl FnOnce() -> G,
    leave: impl FnOnce(G) -> T,
) -> Result<(Snapshot, T), SnapshotError> {
    let _settling = core.settling.lock();
    let mut snapshot =
        Snapshot { core: Arc::clone(core), cut, files: Vec::new(), segments: Vec::new(), copies: Vec::new(), copied_bytes: 0 };
    let (covers, unfinished, start) = {
        let manifest = core.manifest.read();
        let now = core.flow.lock().durable;
        let start = core.journal.lock().start_after(0, now);
        snapshot.pin(&manifest);
        (manifest.covers, manifest.snapshot(start), start)
    };
    core.wait_durable(covers)?;
    let manifest = unfinished.finish(&core.requests.lock());
    let entered = enter();
    // The cut and the requests are of groups that are on disk, and maybe not yet counted as durable: whatever was written by now is
    // awaited, so that the journal that is copied holds their rows.
    let written = core.journal.lock().current.last_group;
    core.wait_durable(written)?;
    let (durable, end) = {
        let flow = core.flow.lock();
        (flow.durable, flow.durable_end)
    };
    let beside = leave(entered);
    snapshot.copy_journal(start.sequence, end)?;
    let mark = mark::file_bytes(Mark { durable, ..core.began });
    snapshot.files.push(SnapshotFile { name: MARK_NAME.into(), content: SnapshotContent::Bytes(mark) });
    snapshot.files.push(SnapshotFile { name: manifest::FILE_NAME.into(), content: SnapshotContent::Bytes(manifest) });
    Ok((snapshot, beside))
}

impl Snapshot {
    /// Segments stay as they are from now on.
    fn pin(&mut self, manifest: &Manifest) {
        let mut pinned = self.core.pinned.lock();
        for (number, segment) in &manifest.segments {
            let pin = pinned.entry(*number).or_default();
            (pin.count, pin.bytes) = (pin.count + 1, segment.bytes);
            self.segments.push(*number);
            let path = self.core.store.path(*number);
            let name = Path::new("segments").join(path.file_name().unwrap_or_default());
            self.files.push(SnapshotFile { name, content: SnapshotContent::File { path, bytes: segment.bytes } });
        }
    }

    /// Journal files are used again, so they are copied: from the one of that sequence up to the byte where the snapshot ends.
    fn copy_journal(&mut self, from: u64, (last, end): (u64, u64)) -> Result<(), DiskError> {
        let core = Arc::clone(&self.core);
        let number = core.snapshots.fetch_add(1, Ordering::Relaxed);
        let live: Vec<_> = {
            let journal = core.journal.lock();
            let files = journal.closed.iter().chain([&journal.current]);
            let needed = files.filter(|file| file.sequence >= from && file.sequence <= last);
            needed.map(|file| (file.sequence, Arc::clone(&file.file))).collect()
        };
        for (sequence, file) in live {
            let bytes = if sequence == last { end } else { file.bytes };
            let path = core.settings.dir.join(format!("snapshot-{number}-{sequence}.journal"));
            self.copies.push(path.clone());
            self.copied_bytes += bytes;
            core.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
            copy(&core, &*file.file, &file.path, &path, bytes)?;
            let name = Path::new("journal").join(file.path.file_name().unwrap_or_default());
            self.files.push(SnapshotFile { name, content: SnapshotContent::File { path, bytes } });
        }
        Ok(())
    }
}

fn copy(core: &Core, from: &dyn DiskFile, from_path: &Path, to: &Path, bytes: u64) -> Result<(), DiskError> {
    let file = core.disk.create(to).map_err(DiskError::new("create", to))?;
    let mut buffer = vec![0; COPY_BYTES.min(bytes) as usize];
    let mut at = 0;
    while at < bytes {
        let piece = &mut buffer[..COPY_BYTES.min(bytes - at) as usize];
        from.read_at(at, piece).map_err(DiskError::new("read", from_path))?;
        file.write_at(at, piece).map_err(DiskError::new("write", to))?;
        at += piece.len() as u64;
    }
    Ok(())
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        {
            let mut pinned = self.core.pinned.lock();
            for segment in &self.segments {
                if let Some(pin) = pinned.get_mut(segment) {
                    pin.count -= 1;
                    if pin.count == 0 {
                        pinned.remove(segment);
                    }
                }
            }
        }
        for path in &self.copies {
            if let Err(error) = self.core.disk.remove(path) {
                tracing::warn!(path = %path.display(), %error, "a copy is left until the next start");
            }
        }
        self.core.copied_bytes.fetch_sub(self.copied_bytes, Ordering::Relaxed);
        // Segments that went meanwhile can go now.
        self.core.uncleaned.store(true, Ordering::Release);
        self.core.clean();
    }
}
