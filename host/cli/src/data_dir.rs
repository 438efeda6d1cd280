//! The data directory: made, locked against a second host, its format checked. What is inside belongs to the parts.
//!
//! ```text
//! DIR/tidemill.json   {"format": 2}: which layout the rest has
//! DIR/lock            flock held while a host runs; its text is that host's process id
//! DIR/log state components cache files     of their owners
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The layout this program reads and writes.
const FORMAT: u32 = tidemill_backup::DATA_FORMAT;
/// In a folder that a restore fills, until it is whole.
pub(crate) const RESTORING: &str = "restoring";

/// A data directory that no other process has; unlocked when dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock ends with the file, also when the process is killed.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// The disk said no.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another host runs on it.
    #[error("`{}` is in use by another host (process {process}): stop that one, or choose another --data", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says.
        process: String,
    },
    /// It holds something else.
    #[error("`{}` has files in it but no tidemill.json: choose an empty or new folder for --data", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A restore fills it, or was killed while it did.
    #[error("`{}` is being restored from a backup, or was when the restore was killed: let it end, or remove the folder and restore again", path.display())]
    Unrestored {
        /// The directory.
        path: PathBuf,
    },
    /// A later version made it.
    #[error("`{}` has format {format}, this program reads {FORMAT}: it is newer, upgrade tidemill to the version that wrote it", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// An earlier version made it.
    #[error(
        "`{}` has format {format}, this program reads {FORMAT}: it is older and is not converted, use the tidemill that wrote it, \
         or choose a new folder for --data and send the events again",
        path.display()
    )]
    Older {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Its format file says nothing that a version of this program wrote.
    #[error("`{}` says {text}, which no tidemill wrote: restore the file (this program writes {{\"format\":{FORMAT}}})", path.join("tidemill.json").display())]
    NoFormat {
        /// The directory.
        path: PathBuf,
        /// What stands there.
        text: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatFile {
    format: u32,
}

impl DataDir {
    /// Makes `path` if it is missing, takes its lock and checks its format.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(|source| io_error("make", path, source))?;
        refuse_foreign(path)?;
        let lock = take_lock(path)?;
        check_format(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder of something else must not get our files strewn into it. Ours without `tidemill.json` has at most what a kill
/// between the lock and the format left.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    if path.join("tidemill.json").exists() {
        return Ok(());
    }
    if path.join(RESTORING).exists() {
        return Err(DataDirError::Unrestored { path: path.to_owned() });
    }
    for entry in fs::read_dir(path).map_err(|source| io_error("read", path, source))? {
        let name = entry.map_err(|source| io_error("read", path, source))?.file_name();
        if name != "lock" && name != "tidemill.json.new" && name != "lost+found" {
            return Err(DataDirError::Foreign { path: path.to_owned() });
        }
    }
    Ok(())
}

pub(crate) fn take_lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| io_error("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // Who holds it is for the message only: unreadable is as good as unknown.
            let _ = (&mut file).take(32).read_to_string(&mut process);
            let process = if process.trim().is_empty() { "unknown".to_owned() } else { process.trim().to_owned() };
            return Err(DataDirError::InUse { path: dir.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|source| io_error("write", &path, source))?;
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("tidemill.json");
    match fs::read_to_string(&path) {
        Ok(text) => match serde_json::from_str::<FormatFile>(&text) {
            Ok(FormatFile { format: FORMAT }) => Ok(()),
            Ok(FormatFile { format }) if format > FORMAT => Err(DataDirError::Newer { path: dir.to_owned(), format }),
            Ok(FormatFile { format }) => Err(DataDirError::Older { path: dir.to_owned(), format }),
            Err(_) => Err(DataDirError::NoFormat { path: dir.to_owned(), text: format!("`{}`", text.trim()) }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_format(dir, &path).map_err(|source| io_error("write", &path, source))
        }
        Err(source) => Err(io_error("read", &path, source)),
    }
}

/// Whole or not at all: a torn format file would lock its owner out.
pub(crate) fn write_format(dir: &Path, path: &Path) -> io::Result<()> {
    let text = serde_json::to_string(&FormatFile { format: FORMAT }).map_err(io::Error::other)?;
    let new = dir.join("tidemill.json.new");
    let mut file = File::create(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_is_told_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/data");
        let first = DataDir::open(&path).expect("a new folder");
        let refused = DataDir::open(&path).expect_err("it is in use").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn folders_of_others_and_other_formats_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.tex"), "").expect("a file");
        assert!(matches!(DataDir::open(folder.path()), Err(DataDirError::Foreign { .. })));
        assert!(!folder.path().join("lock").exists(), "nothing was strewn into it");

        let folder = tempfile::tempdir().expect("a folder");
        let cases = [
            (
                r#"{"format":1}"#,
                "has format 1, this program reads 2: it is older and is not converted, use the tidemill that wrote it",
            ),
            (r#"{"format":3}"#, "has format 3, this program reads 2: it is newer, upgrade tidemill"),
            ("", "says ``, which no tidemill wrote"),
            (r#"{"format":2,"more":1}"#, "which no tidemill wrote"),
        ];
        for (text, expected) in cases {
            fs::write(folder.path().join("tidemill.json"), text).expect("a file");
            let refused = DataDir::open(folder.path()).expect_err("another format").to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
            let after = fs::read_to_string(folder.path().join("tidemill.json")).expect("still there");
            assert_eq!(after, text, "nothing is changed");
        }
    }
}
