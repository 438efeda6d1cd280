//! A disk whose writes stay in this process until they are synced: killing the process is then a power cut.
//!
//! File data reaches the disk below at a sync of the file, and names at a sync of their folder: a file whose name was never synced
//! is lost however often its data was. [`PowerCutDisk::cut`] is the in-process power cut: of what is not synced, a random subset
//! of 512-byte sectors and a random prefix of the name changes of each folder reach the disk below, and every handle is dead.
//! For tests only: nothing of a real disk's other habits (lost syncs, bit rot) is here.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

const SECTOR: u64 = 512;

/// See the module's words.
#[derive(Clone)]
pub struct PowerCutDisk {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    below: Arc<dyn Disk>,
    /// Files by the name they have now, where that or their content is not on the disk below yet.
    files: HashMap<PathBuf, Arc<Mutex<Content>>>,
    /// Name changes since the last sync of their folder, in order.
    changes: HashMap<PathBuf, Vec<NameChange>>,
    /// Calls that change something, since the disk was made.
    changes_made: u64,
    /// The power fails at this many of them.
    power_until: Option<u64>,
    off: bool,
}

enum NameChange {
    Created(PathBuf, Arc<Mutex<Content>>),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

/// What a file has above the disk below.
#[derive(Default)]
struct Content {
    /// The file below, once its name was synced.
    below: Option<Arc<dyn DiskFile>>,
    /// What was synced before the name was.
    synced: Vec<u8>,
    synced_bytes: u64,
    pending: Vec<Pending>,
}

enum Pending {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

impl PowerCutDisk {
    /// A disk over `below`, which holds only what was synced.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        let (files, changes) = (HashMap::new(), HashMap::new());
        let shared = Shared { below, files, changes, changes_made: 0, power_until: None, off: false };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// The power fails at the `calls`-th call from now that changes something (writes, syncs, names): it and all later ones fail.
    pub fn fail_after(&self, calls: u64) {
        let mut shared = self.shared.lock();
        shared.power_until = Some(shared.changes_made + calls);
    }

    /// How many calls changed something since the disk was made.
    pub fn changes(&self) -> u64 {
        self.shared.lock().changes_made
    }

    /// Cuts the power: the subset that `seed` chooses reaches the disk below, nothing else ever will, and all handles are dead. The
    /// machine comes back with a new `PowerCutDisk` over the same disk.
    pub fn cut(&self, seed: u64) -> io::Result<()> {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        shared.off = true;
        let mut random = Random(seed);
        let mut folders: Vec<_> = shared.changes.drain().collect();
        folders.sort_by(|a, b| a.0.cmp(&b.0));
        let mut files: Vec<_> = shared.files.drain().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, changes) in folders {
            let kept = (random.next() % (changes.len() as u64 + 1)) as usize;
            for change in changes.into_iter().take(kept) {
                apply_name(&*shared.below, change)?;
            }
        }
        for (_, content) in files {
            let mut content = content.lock();
            let pending = std::mem::take(&mut content.pending);
            let Some(below) = content.below.clone() else { continue };
            for change in pending {
                match change {
                    Pending::Write { at, bytes } => keep_sectors(&*below, at, &bytes, &mut random)?,
                    Pending::Length(bytes) if random.next().is_multiple_of(2) => below.preallocate(bytes)?,
                    Pending::Length(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Writes a random subset of the sectors that a write touches.
fn keep_sectors(below: &dyn DiskFile, at: u64, bytes: &[u8], random: &mut Random) -> io::Result<()> {
    let (mut from, end) = (at, at + bytes.len() as u64);
    while from < end {
        let to = (from / SECTOR + 1) * SECTOR;
        let to = to.min(end);
        if random.next().is_multiple_of(2) {
            below.write_at(from, &bytes[(from - at) as usize..(to - at) as usize])?;
        }
        from = to;
    }
    Ok(())
}

/// splitmix64: the same seed cuts the same way.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl Shared {
    /// Counts a call that changes something.
    fn change(&mut self) -> io::Result<()> {
        self.changes_made += 1;
        if self.power_until.is_some_and(|until| self.changes_made >= until) {
            self.off = true;
        }
        self.live()
    }

    fn live(&self) -> io::Result<()> {
        if self.off { Err(power_is_off()) } else { Ok(()) }
    }

    fn name_change(&mut self, path: &Path, change: NameChange) {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        self.changes.entry(dir).or_default().push(change);
    }
}

fn apply_name(below: &dyn Disk, change: NameChange) -> io::Result<()> {
    match change {
        NameChange::Created(path, content) => {
            let mut content = content.lock();
            if content.below.is_none() {
                let file = below.create(&path)?;
                file.preallocate(content.synced_bytes)?;
                file.write_at(0, &content.synced)?;
                file.sync_all()?;
                content.synced = Vec::new();
                content.below = Some(file);
            }
            Ok(())
        }
        NameChange::Renamed(from, to) => below.rename(&from, &to),
        NameChange::Removed(path) => match below.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    }
}

impl Disk for PowerCutDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.shared.lock();
        shared.live()?;
        let content = match shared.files.get(path) {
            Some(content) => Arc::clone(content),
            None => {
                let dir = path.parent().unwrap_or(Path::new(""));
                let gone = shared.changes.get(dir).into_iter().flatten().any(|change| match change {
                    NameChange::Created(..) => false,
                    NameChange::Renamed(gone, _) | NameChange::Removed(gone) => gone == path,
                });
                if gone {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let below = Some(shared.below.open(path)?);
                let content = Arc::new(Mutex::new(Content { below, ..Content::default() }));
                shared.files.insert(path.to_owned(), Arc::clone(&content));
                content
            }
        };
        Ok(Arc::new(PowerCutFile { shared: Arc::clone(&self.shared), content }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.shared.lock();
        shared.change()?;
        let content = Arc::new(Mutex::new(Content::default()));
        shared.files.insert(path.to_owned(), Arc::clone(&content));
        shared.name_change(path, NameChange::Created(path.to_owned(), Arc::clone(&content)));
        Ok(Arc::new(PowerCutFile { shared: Arc::clone(&self.shared), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.change()?;
        let content = match shared.files.remove(from) {
            Some(content) => content,
            None => Arc::new(Mutex::new(Content { below: Some(shared.below.open(from)?), ..Content::default() })),
        };
        shared.files.insert(to.to_owned(), content);
        shared.name_change(from, NameChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.change()?;
        shared.files.remove(path);
        shared.name_change(path, NameChange::Removed(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let shared = self.shared.lock();
        shared.live()?;
        let mut names = shared.below.list(dir)?;
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        for change in shared.changes.get(dir).into_iter().flatten() {
            match change {
                NameChange::Created(path, _) => names.push(name(path)),
                NameChange::Renamed(from, to) => {
                    names.retain(|known| *known != name(from));
                    names.push(name(to));
                }
                NameChange::Removed(path) => names.retain(|known| *known != name(path)),
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // Folders are made once, at the first start, and are not worth a power cut of their own.
        let mut shared = self.shared.lock();
        shared.change()?;
        shared.below.create_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.shared.lock().below.free_bytes(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.change()?;
        for change in shared.changes.remove(dir).unwrap_or_default() {
            apply_name(&*shared.below, change)?;
        }
        shared.below.sync_dir(dir)
    }
}

struct PowerCutFile {
    shared: Arc<Mutex<Shared>>,
    content: Arc<Mutex<Content>>,
}

impl PowerCutFile {
    fn change(&self, change: Pending) -> io::Result<()> {
        self.shared.lock().change()?;
        self.content.lock().pending.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.lock().change()?;
        let mut content = self.content.lock();
        let content = &mut *content;
        for change in content.pending.drain(..) {
            match (&content.below, change) {
                (Some(below), Pending::Write { at, bytes }) => below.write_at(at, &bytes)?,
                (Some(below), Pending::Length(bytes)) => below.preallocate(bytes)?,
                (None, Pending::Write { at, bytes }) => {
                    let end = at as usize + bytes.len();
                    if content.synced.len() < end {
                        content.synced.resize(end, 0);
                    }
                    content.synced[at as usize..end].copy_from_slice(&bytes);
                    content.synced_bytes = content.synced_bytes.max(end as u64);
                }
                (None, Pending::Length(bytes)) => content.synced_bytes = content.synced_bytes.max(bytes),
            }
        }
        match &content.below {
            Some(below) => below.sync_all(),
            None => Ok(()),
        }
    }
}

impl Content {
    fn len(&self) -> io::Result<u64> {
        let synced = match &self.below {
            Some(below) => below.len()?,
            None => self.synced_bytes,
        };
        let ends = self.pending.iter().map(|change| match change {
            Pending::Write { at, bytes } => at + bytes.len() as u64,
            Pending::Length(bytes) => *bytes,
        });
        Ok(ends.fold(synced, u64::max))
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = at + buffer.len() as u64;
        if end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        match &self.below {
            Some(below) => {
                let there = below.len()?.min(end).saturating_sub(at) as usize;
                below.read_at(at, &mut buffer[..there])?;
            }
            None => overlay(buffer, at, 0, &self.synced),
        }
        for change in &self.pending {
            if let Pending::Write { at: from, bytes } = change {
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

impl DiskFile for PowerCutFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.shared.lock().live()?;
        self.content.lock().read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Pending::Write { at, bytes: bytes.to_owned() })
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.change(Pending::Length(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.shared.lock().live()?;
        self.content.lock().len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
