//! Damage to a header below the durable mark: what a cut there would lose, and the cut.
//!
//! ```text
//! group │ group │ damaged │ group │ group │ …          what lies behind cannot be reached along the chain
//!               └─ cut: the log ends here, as if the power had failed then ─┘
//! ```
//! Nothing is cut that was not shown first: the cut names the file and the byte. It is made by a new run in the mark that begins
//! with the damaged group's number, so that nothing behind it can ever join; the bytes stay where they are until they are reused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidemill_event::{Offset, PartitionKey};

use crate::Visibility;
use crate::disk::Disk;
use crate::error::{Damage, OpenError};
use crate::group::{self, Entry, GroupHeader, HEADER_BYTES, SECTOR};
use crate::manifest;
use crate::mark::Mark;
use crate::verify::Folder;
use crate::walk::{Walk, Window};

/// Rows that a cut would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRows {
    /// Whose.
    pub partition: PartitionKey,
    /// The first one; it is the offset of the next row that is written after a cut.
    pub from: Offset,
    /// Behind the last one that is known of.
    pub to: Offset,
}

/// What a cut would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What does not hold, and where: the place of the cut.
    pub damage: Damage,
    /// The group that cannot be read.
    pub group: u64,
    /// Groups behind it that can, and would go with it.
    pub groups_behind: u64,
    /// Rows in those, by partition. What the damaged group itself held is not known; where later rows follow, it is in between.
    pub rows: Vec<LostRows>,
    /// Changes of streams, documents and segments in those.
    pub changes: u64,
}

/// Why nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It cannot be read, or what is damaged is not the journal: restore a backup.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to cut.
    #[error("the journal has no damage that a cut would help")]
    Sound,
    /// The place named is not where the damage is.
    #[error("the damage is at byte {} of `{}`: name that place", .0.at_byte, .0.path.display())]
    OtherPlace(Damage),
}

/// What keeps the log in `dir` from opening, if a cut would help, and what that would lose. Only for a log that nobody has open.
pub fn damage_in(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Option<Loss>, OpenError> {
    let folder = Folder::read(dir, disk)?;
    let Folder { manifest, requests, start, mark, sources, settings, .. } = folder;
    let mut walk = Walk::begin(&sources, manifest, requests, mark, start, &settings)?;
    match walk.run() {
        Ok(()) => Ok(None),
        Err(OpenError::Damaged(damage)) => behind(&walk, damage).map(Some),
        Err(error) => Err(error),
    }
}

/// Cuts the journal in `dir` at the damage, which must be at byte `at_byte` of the journal file `file` (a name or a path). Returns what
/// was lost.
pub fn cut(dir: &Path, disk: &Arc<dyn Disk>, file: &Path, at_byte: u64) -> Result<Loss, RepairError> {
    let folder = Folder::read(dir, disk)?;
    let Folder { manifest, requests, start, mark, mut mark_file, sources, settings } = folder;
    let mut walk = Walk::begin(&sources, manifest, requests, mark, start, &settings)?;
    let damage = match walk.run() {
        Ok(()) => return Err(RepairError::Sound),
        Err(OpenError::Damaged(damage)) => damage,
        Err(error) => return Err(error.into()),
    };
    if damage.path.file_name() != file.file_name() || damage.at_byte != at_byte {
        return Err(RepairError::OtherPlace(damage));
    }
    let loss = behind(&walk, damage)?;
    let Walk { mut manifest, requests, number, .. } = walk;
    // Changes of later groups that a snapshot took in stay; those of the groups to come are not to be taken for them.
    manifest.covers = number - 1;
    manifest::replace(&**disk, dir, &manifest.snapshot(start).finish(&requests)).map_err(OpenError::Disk)?;
    let newest = sources.iter().filter_map(|source| source.header).map(|header| header.run).max();
    let run = newest.unwrap_or(0).max(mark.run) + 1;
    mark_file.write_both(Mark { run, run_start: number, durable: number - 1 }).map_err(OpenError::Disk)?;
    Ok(loss)
}

/// What lies behind the place where a walk has stopped.
fn behind(walk: &Walk<'_>, damage: Damage) -> Result<Loss, OpenError> {
    let mut lost: BTreeMap<PartitionKey, u64> = BTreeMap::new();
    let (mut groups, mut changes) = (0, 0);
    let sequence = walk.source().header.map_or(0, |header| header.sequence);
    let mut number = walk.number;
    let mut later: Vec<_> = walk.sources().iter().filter_map(|source| Some((source.header?, source))).collect();
    later.retain(|(header, _)| header.sequence >= sequence);
    later.sort_by_key(|(header, _)| (header.sequence, header.run));
    for (header, source) in later {
        let mut window = Window::new(&source.file);
        let mut at = if header.sequence == sequence { walk.at + SECTOR as u64 } else { SECTOR as u64 };
        while let Some(bytes) = window.bytes(at, HEADER_BYTES)? {
            // Groups of the file's earlier lives have lower numbers.
            let found = GroupHeader::decode(bytes).map(|(found, _)| found);
            let Some(found) = found.filter(|found| found.number > number && found.sequence == header.sequence) else {
                at += SECTOR as u64;
                continue;
            };
            let body = window.bytes(at + HEADER_BYTES as u64, found.bytes as usize)?.map(<[u8]>::to_vec);
            let Some(Ok(entries)) = body.as_deref().map(|body| group::read_body(&found, body)) else {
                at += SECTOR as u64;
                continue;
            };
            (groups, number) = (groups + 1, found.number);
            for entry in entries {
                match entry {
                    Entry::Changes(_) => changes += 1,
                    Entry::Requests(_) => {}
                    Entry::Rows(frames) => {
                        for frame in frames {
                            let Some(partition) = walk.manifest.partition(frame.head.stream, frame.head.partition) else {
                                continue;
                            };
                            let end = lost.entry(partition.key().clone()).or_default();
                            *end = (*end).max(frame.head.end());
                        }
                    }
                }
            }
            at += found.padded_bytes();
        }
    }
    let rows = lost.into_iter().filter_map(|(key, to)| {
        let stream = walk.manifest.streams.get(&key.stream)?;
        let from = stream.partition(key.partition)?.end(Visibility::Sequenced);
        (to > from.0).then_some(LostRows { partition: key, from, to: Offset(to) })
    });
    Ok(Loss { damage, group: walk.number, groups_behind: groups, rows: rows.collect(), changes })
}
