//! A file as programs see it, over what of it is on the disk below.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

const SECTOR: u64 = 512;

/// What a file has above the disk below.
#[derive(Default)]
pub(super) struct Content {
    /// The file below, once its name was synced.
    below: Option<Arc<dyn DiskFile>>,
    /// What was synced before the name was.
    synced: Vec<u8>,
    synced_bytes: u64,
    /// What was written and not synced, in order.
    pub(super) pending: Vec<Pending>,
}

pub(super) enum Pending {
    /// `lost`: a sync of it failed. Programs still read it, and no later sync writes it.
    Write {
        at: u64,
        bytes: Vec<u8>,
        lost: bool,
    },
    Length(u64),
}

impl Content {
    /// Of a file that is there.
    pub(super) fn on(below: Arc<dyn DiskFile>) -> Self {
        Self { below: Some(below), ..Self::default() }
    }

    /// Gives it a name on the disk below, with what was synced.
    pub(super) fn create(&mut self, below: &dyn Disk, path: &Path) -> io::Result<()> {
        if self.below.is_none() {
            let file = below.create(path)?;
            file.preallocate(self.synced_bytes)?;
            file.write_at(0, &self.synced)?;
            file.sync_all()?;
            self.synced = Vec::new();
            self.below = Some(file);
        }
        Ok(())
    }

    /// Everything pending reaches the disk below, or is kept for it until it has a name there.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            match (&self.below, change) {
                (_, change @ Pending::Write { lost: true, .. }) => self.pending.push(change),
                (Some(below), Pending::Write { at, bytes, .. }) => below.write_at(at, &bytes)?,
                (Some(below), Pending::Length(bytes)) => below.preallocate(bytes)?,
                (None, Pending::Write { at, bytes, .. }) => {
                    let end = at as usize + bytes.len();
                    if self.synced.len() < end {
                        self.synced.resize(end, 0);
                    }
                    self.synced[at as usize..end].copy_from_slice(&bytes);
                    self.synced_bytes = self.synced_bytes.max(end as u64);
                }
                (None, Pending::Length(bytes)) => self.synced_bytes = self.synced_bytes.max(bytes),
            }
        }
        match &self.below {
            Some(below) => below.sync_all(),
            None => Ok(()),
        }
    }

    /// A sync has failed: the kernel calls these pages clean from now on.
    pub(super) fn lose_pending(&mut self) {
        for change in &mut self.pending {
            if let Pending::Write { lost, .. } = change {
                *lost = true;
            }
        }
    }

    /// The power is gone: a subset of the sectors that writes touched is on the disk below.
    pub(super) fn keep_sectors(&mut self, keep: &mut impl FnMut() -> bool) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let Some(below) = &self.below else { return Ok(()) };
        for change in pending {
            match change {
                Pending::Write { at, bytes, .. } => {
                    let (mut from, end) = (at, at + bytes.len() as u64);
                    while from < end {
                        let to = ((from / SECTOR + 1) * SECTOR).min(end);
                        if keep() {
                            below.write_at(from, &bytes[(from - at) as usize..(to - at) as usize])?;
                        }
                        from = to;
                    }
                }
                Pending::Length(bytes) if keep() => below.preallocate(bytes)?,
                Pending::Length(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        let synced = match &self.below {
            Some(below) => below.len()?,
            None => self.synced_bytes,
        };
        let ends = self.pending.iter().map(|change| match change {
            Pending::Write { at, bytes, .. } => at + bytes.len() as u64,
            Pending::Length(bytes) => *bytes,
        });
        Ok(ends.fold(synced, u64::max))
    }

    pub(super) fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = at + buffer.len() as u64;
        if end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        match &self.below {
            Some(below) => {
                let there = below.len()?.min(end).saturating_sub(at) as usize;
                // All of it may be pending yet, and lie behind the end of the file below.
                if there > 0 {
                    below.read_at(at, &mut buffer[..there])?;
                }
            }
            None => overlay(buffer, at, 0, &self.synced),
        }
        for change in &self.pending {
            if let Pending::Write { at: from, bytes, .. } = change {
                overlay(buffer, at, *from, bytes);
            }
        }
        Ok(())
    }
}

/// Copies what of `bytes` (at `from` in the file) lies in `buffer` (at `at` in the file).
fn overlay(buffer: &mut [u8], at: u64, from: u64, bytes: &[u8]) {
    let start = at.max(from);
    let end = (at + buffer.len() as u64).min(from + bytes.len() as u64);
    if start < end {
        let source = &bytes[(start - from) as usize..(end - from) as usize];
        buffer[(start - at) as usize..(end - at) as usize].copy_from_slice(source);
    }
}
