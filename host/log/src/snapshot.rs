//! A snapshot for a backup: files that hold everything up to a cut, and stay as they are while they are copied.
//!
//! ```text
//! roll ─► cut ─► manifest, mark (bytes) · journal from its start to the cut (copied) · segments (pinned: never written again)
//! ```
//! Copied under the same names into an empty folder, they are a log that opens at the cut, as after a clean stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::disk::DiskFile;
use crate::durable::{Cut, Durable};
use crate::error::{DiskError, Poisoned};
use crate::manifest;
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

/// Takes a snapshot that holds everything below `cut`.
pub(crate) fn take(core: &Arc<Core>, cut: Durable<Cut>) -> Result<Snapshot, SnapshotError> {
    let _settling = core.settling.lock();
    let mut snapshot = Snapshot { core: Arc::clone(core), cut, files: Vec::new(), segments: Vec::new(), copies: Vec::new() };
    let (covers, unfinished, start) = {
        let manifest = core.manifest.read();
        let now = core.flow.lock().durable;
        let start = core.journal.lock().start_after(0, now);
        let mut pinned = core.pinned.lock();
        for (number, segment) in &manifest.segments {
            *pinned.entry(*number).or_default() += 1;
            snapshot.segments.push(*number);
            let path = core.store.path(*number);
            let name = Path::new("segments").join(path.file_name().unwrap_or_default());
            snapshot.files.push(SnapshotFile { name, content: SnapshotContent::File { path, bytes: segment.bytes } });
        }
        (manifest.covers, manifest.snapshot(start), start)
    };
    core.wait_durable(covers)?;
    let manifest = unfinished.finish(&core.requests.lock());
    // The cut and the requests are of groups that are on disk, and maybe not yet counted as durable: whatever was written by now is
    // awaited, so that the journal that is copied holds their rows.
    let written = core.journal.lock().current.last_group;
    core.wait_durable(written)?;
    let (durable, (last, end)) = {
        let flow = core.flow.lock();
        (flow.durable, flow.durable_end)
    };
    let number = core.snapshots.fetch_add(1, Ordering::Relaxed);
    let live: Vec<_> = {
        let journal = core.journal.lock();
        let files = journal.closed.iter().chain([&journal.current]);
        let needed = files.filter(|file| file.sequence >= start.sequence && file.sequence <= last);
        needed.map(|file| (file.sequence, Arc::clone(&file.file))).collect()
    };
    for (sequence, file) in live {
        let bytes = if sequence == last { end } else { file.bytes };
        let path = core.settings.dir.join(format!("snapshot-{number}-{sequence}.journal"));
        snapshot.copies.push(path.clone());
        copy(core, &*file.file, &file.path, &path, bytes)?;
        let name = Path::new("journal").join(file.path.file_name().unwrap_or_default());
        snapshot.files.push(SnapshotFile { name, content: SnapshotContent::File { path, bytes } });
    }
    let mark = mark::file_bytes(Mark { durable, ..core.began });
    snapshot.files.push(SnapshotFile { name: MARK_NAME.into(), content: SnapshotContent::Bytes(mark) });
    snapshot.files.push(SnapshotFile { name: manifest::FILE_NAME.into(), content: SnapshotContent::Bytes(manifest) });
    Ok(snapshot)
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
                if let Some(count) = pinned.get_mut(segment) {
                    *count -= 1;
                    if *count == 0 {
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
        // Segments that went meanwhile can go now.
        self.core.uncleaned.store(true, Ordering::Release);
        self.core.clean();
    }
}
