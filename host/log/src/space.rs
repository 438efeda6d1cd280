//! Room on the disk: looked at before it ends, and some of it kept in reserve.
//!
//! ```text
//! Roomy  ── less is free than rolling needs, or a call ran out ──► Full     new rows are refused; the reserve is given up when
//! Roomy  ◄── a quarter more is free than that, reserve held again ── Full    a call ran out, and lets the rest be finished
//! ```
//! Full refuses clients only. What was taken is written; tasks commit, streams are deleted, and rolling goes on: each needs less
//! than the reserve, or waits until there is room, and nothing is acknowledged before it is on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::DiskError;

/// The reserve's name.
pub(crate) const FILE_NAME: &str = "reserve";

pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    reserve_bytes: u64,
    full: AtomicBool,
    /// Whether the reserve is held.
    held: Mutex<bool>,
}

impl Space {
    /// Holds the reserve if there is room for it.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, reserve_bytes: u64) -> Self {
        let space = Self { disk, dir: dir.to_owned(), reserve_bytes, full: AtomicBool::new(false), held: Mutex::new(false) };
        if !space.hold(&mut space.held.lock()) {
            tracing::warn!("there is no room for the reserve: the disk is nearly full");
            space.full.store(true, Ordering::Release);
        }
        space
    }

    /// Whether clients' rows are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// A call has run out of space: gives up the reserve, so that it may succeed when it is tried again.
    pub(crate) fn ran_out(&self, error: &DiskError) {
        if !self.full.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the disk is full: new rows are refused until there is room");
        }
        let mut held = self.held.lock();
        if *held {
            let path = self.dir.join(FILE_NAME);
            match self.disk.remove(&path) {
                Ok(()) => *held = false,
                Err(error) => tracing::error!(%error, "the reserve cannot be given up"),
            }
        }
    }

    /// Looks how much is free; `needed` is what rolling what is there now would take.
    pub(crate) fn look(&self, needed: u64) {
        // A disk that does not say is asked again by the next call that needs it.
        let free = self.disk.free_bytes(&self.dir).unwrap_or(u64::MAX);
        if !self.is_full() {
            if free < needed {
                tracing::error!(free, needed, "the disk is nearly full: new rows are refused until there is room");
                self.full.store(true, Ordering::Release);
            }
            return;
        }
        let mut held = self.held.lock();
        let reserve = if *held { 0 } else { self.reserve_bytes };
        if free >= (needed + needed / 4).saturating_add(reserve) && self.hold(&mut held) {
            tracing::info!(free, "the disk has room again: new rows are taken");
            self.full.store(false, Ordering::Release);
        }
    }

    fn hold(&self, held: &mut bool) -> bool {
        if *held || self.reserve_bytes == 0 {
            return true;
        }
        let path = self.dir.join(FILE_NAME);
        let made = self.disk.create(&path).and_then(|file| {
            // A disk that cannot reserve says yes to everything, and some take all that is left before they say no.
            if self.disk.free_bytes(&self.dir).is_ok_and(|free| free < self.reserve_bytes) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.preallocate(self.reserve_bytes)?;
            file.sync_all()
        });
        *held = made.is_ok();
        if !*held {
            // What was made of it would only take room.
            let _ = self.disk.remove(&path);
        }
        *held
    }
}
