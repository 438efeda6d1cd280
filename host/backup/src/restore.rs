//! From a tar to a data directory. It is none before the caller says so: `tidemill.json` is not written here.
//!
//! ```text
//! parts ─► files, a fresh state store ─► every digest ─► synced ─► every checksum of the log ─► the log opens ─► keys of sinks renewed
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_connect::system_random;
use tidemill_engine::renew_batch_keys;
use tidemill_log::{AppendError, CloseError, Disk, Fault, Log, LogSettings, OpenError, RealDisk, verify};
use tidemill_state::{ImportError, StateError, StateStore};

use crate::manifest::Manifest;
use crate::read::{Complete, Parts, ReadError, read};
use crate::state_part;

/// The folders that a backup fills.
const FOLDERS: [&str; 6] = ["log", "log/segments", "log/journal", "components", "tables", "state"];
/// A piece of a file on its way.
const PIECE_BYTES: usize = 256 << 10;

/// A folder that holds what the backup held.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub backup: Complete,
    /// Damage that the backed-up host had already, each in one partition: the host starts, and these stop there.
    pub faults: Vec<Fault>,
}

/// Why a backup was not restored. What was written is left for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] ReadError),
    /// There is too little room.
    #[error("the backup needs {needed} bytes, and there are {free}: make room, or restore it elsewhere")]
    NoRoom {
        /// Bytes that come.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// The disk said no.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log does not hold, though every digest does: the host that was backed up would not have started either.
    #[error("the log in the backup is damaged: {0}")]
    Log(String),
}

/// Restores a backup into `dir`, which exists and has nothing of a host in it. Everything is on disk when it returns. Blocking.
pub fn restore(tar: impl Read, dir: &Path, begun: impl FnMut(&Manifest)) -> Result<Restored, RestoreError> {
    for folder in FOLDERS {
        let path = dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| RestoreError::Write { path, source })?;
    }
    let store = StateStore::open(&dir.join("state"))?;
    let mut folder = Folder { dir, store, begun };
    let backup = read(tar, &mut folder)?;
    folder.store.sync()?;
    drop(folder);
    for path in FOLDERS.iter().rev().map(|folder| dir.join(folder)).chain([dir.to_owned()]) {
        let synced = File::open(&path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| RestoreError::Write { path, source })?;
    }
    let faults = prepare_log(&dir.join("log"))?;
    Ok(Restored { backup, faults })
}

/// Reads all of the log, opens it, and makes it that of another host.
fn prepare_log(dir: &Path) -> Result<Vec<Fault>, RestoreError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let verified = verify(dir, &disk).map_err(|error| RestoreError::Log(error.to_string()))?;
    if let Some(fault) = verified.faults.iter().find(|fault| fault.partition.is_none()) {
        return Err(RestoreError::Log(fault.damage.to_string()));
    }
    let opened = |error: OpenError| RestoreError::Log(error.to_string());
    let log = Log::open(LogSettings::new(dir.to_owned()), disk).map_err(opened)?;
    renew_batch_keys(&log, system_random).map_err(|error: AppendError| RestoreError::Log(error.to_string()))?;
    log.close().map_err(|error: CloseError| RestoreError::Log(error.to_string()))?;
    Ok(verified.faults)
}

struct Folder<'a, F> {
    dir: &'a Path,
    store: StateStore,
    begun: F,
}

impl<F: FnMut(&Manifest)> Parts for Folder<'_, F> {
    type Error = RestoreError;

    fn begin(&mut self, manifest: &Manifest) -> Result<(), RestoreError> {
        let needed = manifest.bytes();
        // A disk that cannot say how much room it has is tried.
        if let Ok(free) = RealDisk.free_bytes(self.dir)
            && free < needed
        {
            return Err(RestoreError::NoRoom { needed, free });
        }
        (self.begun)(manifest);
        Ok(())
    }

    fn state(&mut self, name: &str, bytes: Vec<u8>) -> Result<u64, RestoreError> {
        let damaged = |what: String| ReadError::Damaged { part: name.to_owned(), what };
        let records = state_part::decode(&bytes).map_err(|what| damaged(what.to_owned()))?;
        let count = records.len() as u64;
        self.store.import(records).map_err(|error| match error {
            ImportError::State(error) => RestoreError::State(error),
            ImportError::Foreign { .. } => damaged(error.to_string()).into(),
        })?;
        Ok(count)
    }

    fn file(&mut self, path: &Path, content: &mut dyn Read) -> Result<(), RestoreError> {
        let path = self.dir.join(path);
        let failed = |source| RestoreError::Write { path: path.clone(), source };
        // A name that comes twice is refused by the disk.
        let mut file = File::create_new(&path).map_err(failed)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = content.read(&mut piece).map_err(ReadError::Io)?;
            if count == 0 {
                break;
            }
            io::Write::write_all(&mut file, &piece[..count]).map_err(failed)?;
        }
        file.sync_all().map_err(failed)
    }
}
