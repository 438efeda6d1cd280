//! What was sent and what was acknowledged, on the judge's own disk: synced before the next request leaves.
//!
//! ```text
//! producer-3.ledger    S run first last     about to be sent
//!                      A run first last     acknowledged
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{EventId, PRODUCERS};

/// The file of one producer, open for writing.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    run: u32,
}

/// Everything that all files say.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) sent: HashSet<EventId>,
    pub(crate) acknowledged: HashSet<EventId>,
}

impl Ledger {
    /// The file of `producer` in `folder`, for its life `run`.
    pub fn open(folder: &Path, producer: u32, run: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path(folder, producer))?;
        Ok(Self { file, run })
    }

    /// Events `first..=last` are about to be sent.
    pub(crate) fn sending(&mut self, first: u64, last: u64) -> io::Result<()> {
        writeln!(self.file, "S {} {first} {last}", self.run)
    }

    /// The host said that `first..=last` are on disk. So is this, when it returns.
    pub(crate) fn acknowledged(&mut self, first: u64, last: u64) -> io::Result<()> {
        writeln!(self.file, "A {} {first} {last}", self.run)?;
        self.file.sync_data()
    }
}

/// Reads every producer's file.
pub(crate) fn remember(folder: &Path) -> io::Result<Remembered> {
    let mut remembered = Remembered::default();
    for producer in 0..PRODUCERS {
        let text = match std::fs::read_to_string(path(folder, producer)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (kind, run, first, last) = match words.as_slice() {
                [kind, run, first, last] => (*kind, number(run)? as u32, number(first)?, number(last)?),
                _ => return Err(io::Error::other(format!("`{line}` is no line of a ledger"))),
            };
            let ids = (first..=last).map(|n| EventId { producer, run, n });
            match kind {
                "S" => remembered.sent.extend(ids),
                "A" => remembered.acknowledged.extend(ids),
                other => return Err(io::Error::other(format!("`{other}` is no mark of a ledger"))),
            }
        }
    }
    Ok(remembered)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("`{text}` is no number")))
}

fn path(folder: &Path, producer: u32) -> PathBuf {
    folder.join(format!("producer-{producer}.ledger"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut ledger = Ledger::open(folder.path(), 3, 7).expect("a file");
        ledger.sending(0, 2).expect("written");
        ledger.acknowledged(0, 1).expect("written");
        let remembered = remember(folder.path()).expect("read");
        assert_eq!(remembered.sent.len(), 3);
        assert!(remembered.acknowledged.contains(&EventId { producer: 3, run: 7, n: 1 }));
        assert!(!remembered.acknowledged.contains(&EventId { producer: 3, run: 7, n: 2 }));
    }
}
