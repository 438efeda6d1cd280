//! What a backup copies of a running host, all of one moment, while everything goes on.
//!
//! ```text
//! sinks note where they stand ─► log rolls ─► hold: no state is removed ─► the log's cut ─► state as of it ─► the hold is over ─► copy
//!                                             └──────────── at most one sync ────────────┘
//! ```
//! Pipelines, components' names, consumers, tokens, marks of sinks and of requests are in the log. Beside it there are the state (the
//! checkpoints that the log names), and the components' bytes, which are there before the log names them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tidemill_log::{AppendError, Snapshot, SnapshotError};
use tidemill_state::StateSnapshot;

use crate::engine::Threads;
use crate::planted::Planted;
use crate::sinks::marks_of_targets;
use crate::{Engine, Pipelines, TablesHold};

/// Everything of one moment. What it names stays until it is dropped.
#[derive(Debug)]
pub struct HostSnapshot {
    /// Streams and documents.
    pub log: Snapshot,
    /// At least the state of every checkpoint that the log names.
    pub state: StateSnapshot,
    /// At least the bytes of every component that the log names, ascending by name.
    pub components: Vec<ComponentFile>,
    /// At least the bytes of every version of a table that the log names, ascending by name.
    pub tables: Vec<ComponentFile>,
    /// Keeps them.
    pub tables_hold: TablesHold,
    /// The names of the secrets there are, `{tenant}/{name}`, ascending. Never what they say.
    pub secrets: Vec<String>,
}

/// The bytes of a component or of a version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentFile {
    /// `{64 hexadecimal digits}.wasm`, or `.table`.
    pub name: String,
    /// Where it is. It never changes.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
}

/// There is no snapshot; the host goes on. A retry may help.
#[derive(Debug, thiserror::Error)]
pub enum HostSnapshotError {
    /// The log's part.
    #[error(transparent)]
    Log(#[from] SnapshotError),
    /// Where the sinks stand could not be noted.
    #[error("where sinks stand could not be noted: {0}")]
    Marks(AppendError),
    /// A folder of the data directory.
    #[error("cannot read `{}`: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
}

impl Engine {
    /// Everything of one moment, for a backup: whatever was acknowledged before the call is in it. Blocking, for as long as a roll
    /// of the log takes; nobody else waits but who removes state.
    pub fn snapshot(&self) -> Result<HostSnapshot, HostSnapshotError> {
        let threads = self.threads();
        note_sinks(self.pipelines(), threads)?;
        // Before the log's cut: what that names is not swept away before it is copied.
        let hold = self.tables().hold();
        let (log, state) = if threads.plants.has(Planted::StateBehindCut) {
            let (log, ()) = threads.log.snapshot_with(|| (), |()| ())?;
            // As long as copying a larger log would take.
            std::thread::sleep(std::time::Duration::from_millis(40));
            (log, threads.store.snapshot())
        } else {
            threads.log.snapshot_with(|| threads.store.hold(), |hold| hold.snapshot())?
        };
        // Behind the log's cut: bytes are never removed, and are there before the log names them.
        let components = files_of(self.components().folder(), ".wasm")?;
        let tables = files_of(self.tables().folder(), ".table")?;
        Ok(HostSnapshot { log, state, components, tables, tables_hold: hold, secrets: secret_names(&threads.targets.secrets)? })
    }
}

fn note_sinks(pipelines: &Pipelines, threads: &Threads) -> Result<(), HostSnapshotError> {
    let deployments = pipelines.deployments();
    // A pipeline that is deleted meanwhile would leave its marks to the next one of its name.
    let _changes = deployments.changes.lock();
    let marks = marks_of_targets(&threads.log, &deployments.runs(), threads.targets.random);
    if marks.is_empty() { Ok(()) } else { threads.log.put_documents(marks).map_err(HostSnapshotError::Marks) }
}

fn files_of(folder: &Path, ending: &str) -> Result<Vec<ComponentFile>, HostSnapshotError> {
    let mut files = Vec::new();
    for (name, entry) in entries(folder)? {
        if name.ends_with(ending) {
            let failed = |source| HostSnapshotError::Folder { path: entry.clone(), source };
            let bytes = fs::metadata(&entry).map_err(failed)?.len();
            files.push(ComponentFile { name, path: entry, bytes });
        }
    }
    Ok(files)
}

fn secret_names(folder: &Path) -> Result<Vec<String>, HostSnapshotError> {
    let mut names = Vec::new();
    for (tenant, of_tenant) in entries(folder)? {
        if of_tenant.is_dir() {
            names.extend(entries(&of_tenant)?.into_iter().map(|(name, _)| format!("{tenant}/{name}")));
        }
    }
    Ok(names)
}

/// What is in a folder, ascending by name; nothing if there is no folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, HostSnapshotError> {
    let failed = |source| HostSnapshotError::Folder { path: folder.to_owned(), source };
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        // What no tidemill named is none of ours.
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
