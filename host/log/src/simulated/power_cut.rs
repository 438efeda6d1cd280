//! A disk whose writes stay in this process until they are synced: killing the process is then a power cut.
//!
//! File data reaches the disk below at a sync of the file, and names at a sync of their folder: a file whose name was never synced
//! is lost however often its data was. [`PowerCutDisk::cut`] is the in-process power cut: of what is not synced, a random subset
//! of 512-byte sectors and of name changes reaches the disk below, and every handle is dead. [`PowerCutDisk::fail`] makes one call
//! fail as a kernel does: a sync that failed has dropped what it should have written, and a write that failed has begun.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::{Content, Pending};
use super::{Call, Fault, Random};
use crate::disk::{Disk, DiskFile};

/// Of eight, how many unsynced sectors and names a cut keeps: all, none, few, most, half.
const KEPT_OF_EIGHT: [u64; 8] = [4, 0, 8, 1, 7, 4, 3, 5];

/// See the module's words. Clones are the same disk.
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
    /// Calls of each kind since the fault was planted.
    calls: HashMap<Call, u64>,
    fault: Option<Fault>,
    fault_met: bool,
}

enum NameChange {
    Created(PathBuf, Arc<Mutex<Content>>),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

/// What becomes of a call.
enum Fate {
    Works,
    /// The power fails while it works: what it did is there by chance.
    CutOff,
    Fails(io::Error),
}

impl Fate {
    /// Whether any of it may have happened.
    fn begins(&self) -> bool {
        matches!(self, Self::Works | Self::CutOff)
    }

    fn result(self) -> io::Result<()> {
        match self {
            Self::Works => Ok(()),
            Self::CutOff => Err(power_is_off()),
            Self::Fails(error) => Err(error),
        }
    }
}

impl PowerCutDisk {
    /// A disk over `below`, which holds only what was synced.
    pub fn new(below: Arc<dyn Disk>) -> Self {
        let shared = Shared {
            below,
            files: HashMap::new(),
            changes: HashMap::new(),
            changes_made: 0,
            power_until: None,
            off: false,
            calls: HashMap::new(),
            fault: None,
            fault_met: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// The power fails during the `calls`-th call from now that changes something (writes, syncs, names): it and all later ones
    /// fail, and what it did is there by chance.
    pub fn fail_after(&self, calls: u64) {
        let mut shared = self.shared.lock();
        shared.power_until = Some(shared.changes_made + calls);
    }

    /// One call fails. Instead of a fault that was planted before.
    pub fn fail(&self, fault: Fault) {
        let mut shared = self.shared.lock();
        shared.calls.clear();
        shared.fault = Some(fault);
        shared.fault_met = false;
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        self.shared.lock().off
    }

    /// Whether the fault that was planted last has met a call.
    pub fn fault_met(&self) -> bool {
        self.shared.lock().fault_met
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
        let mut random = Random::new(seed);
        let kept = KEPT_OF_EIGHT[random.below(8) as usize];
        let mut keep = || random.chance(kept, 8);
        let mut folders: Vec<_> = shared.changes.drain().collect();
        folders.sort_by(|a, b| a.0.cmp(&b.0));
        let mut files: Vec<_> = shared.files.drain().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, changes) in folders {
            keep_names(&*shared.below, changes, &mut keep)?;
        }
        for (_, content) in files {
            content.lock().keep_sectors(&mut keep)?;
        }
        Ok(())
    }
}

/// Makes a random subset of name changes true. A file whose making is lost may still be there under the name it was given next.
fn keep_names(below: &dyn Disk, changes: Vec<NameChange>, keep: &mut impl FnMut() -> bool) -> io::Result<()> {
    let mut nameless: HashMap<PathBuf, Arc<Mutex<Content>>> = HashMap::new();
    for change in changes {
        match (change, keep()) {
            (NameChange::Created(path, content), true) => {
                nameless.remove(&path);
                content.lock().create(below, &path)?;
            }
            (NameChange::Created(path, content), false) => {
                nameless.insert(path, content);
            }
            (NameChange::Renamed(from, to), keeps) => match nameless.remove(&from) {
                Some(content) if keeps => content.lock().create(below, &to)?,
                Some(content) => {
                    nameless.insert(to, content);
                }
                None if keeps => or_gone(below.rename(&from, &to))?,
                None => {}
            },
            (NameChange::Removed(path), keeps) => {
                if nameless.remove(&path).is_none() && keeps {
                    or_gone(below.remove(&path))?;
                }
            }
        }
    }
    Ok(())
}

/// What a lost change should have brought is not there to be changed again.
fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl Shared {
    fn enter(&mut self, call: Call) -> Fate {
        if self.off {
            return Fate::Fails(power_is_off());
        }
        let calls = self.calls.entry(call).or_default();
        *calls += 1;
        if let Some(fault) = self.fault
            && fault.call == call
            && (*calls == fault.nth || (fault.stays && *calls > fault.nth))
        {
            self.fault_met = true;
            return Fate::Fails(fault.error.into());
        }
        if call.changes() {
            self.changes_made += 1;
            if self.power_until.is_some_and(|until| self.changes_made >= until) {
                self.off = true;
                return Fate::CutOff;
            }
        }
        Fate::Works
    }

    fn name_change(&mut self, path: &Path, change: NameChange) {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        self.changes.entry(dir).or_default().push(change);
    }

    /// Whether a name was given up since its folder was synced.
    fn is_gone(&self, path: &Path) -> bool {
        let dir = path.parent().unwrap_or(Path::new(""));
        self.changes.get(dir).into_iter().flatten().any(|change| match change {
            NameChange::Created(..) => false,
            NameChange::Renamed(gone, _) | NameChange::Removed(gone) => gone == path,
        })
    }

    /// The file of that name.
    fn content(&mut self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        if let Some(content) = self.files.get(path) {
            return Ok(Arc::clone(content));
        }
        if self.is_gone(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let content = Arc::new(Mutex::new(Content::on(self.below.open(path)?)));
        self.files.insert(path.to_owned(), Arc::clone(&content));
        Ok(content)
    }
}

impl PowerCutDisk {
    fn file(&self, content: Arc<Mutex<Content>>) -> Arc<dyn DiskFile> {
        Arc::new(PowerCutFile { shared: Arc::clone(&self.shared), content })
    }
}

impl Disk for PowerCutDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.shared.lock();
        shared.enter(Call::Open).result()?;
        Ok(self.file(shared.content(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.shared.lock();
        let fate = shared.enter(Call::Create);
        let content = Arc::new(Mutex::new(Content::default()));
        if fate.begins() {
            shared.files.insert(path.to_owned(), Arc::clone(&content));
            shared.name_change(path, NameChange::Created(path.to_owned(), Arc::clone(&content)));
        }
        fate.result()?;
        Ok(self.file(content))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        let fate = shared.enter(Call::Rename);
        if fate.begins() {
            let content = shared.content(from)?;
            shared.files.remove(from);
            shared.files.insert(to.to_owned(), content);
            shared.name_change(from, NameChange::Renamed(from.to_owned(), to.to_owned()));
        }
        fate.result()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        let fate = shared.enter(Call::Remove);
        if fate.begins() {
            shared.content(path)?;
            shared.files.remove(path);
            shared.name_change(path, NameChange::Removed(path.to_owned()));
        }
        fate.result()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut shared = self.shared.lock();
        shared.enter(Call::List).result()?;
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
        shared.enter(Call::CreateDir).result()?;
        shared.below.create_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.shared.lock().below.free_bytes(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.enter(Call::SyncDir).result()?;
        let changes = shared.changes.remove(dir).unwrap_or_default();
        keep_names(&*shared.below, changes, &mut || true)?;
        shared.below.sync_dir(dir)
    }
}

struct PowerCutFile {
    shared: Arc<Mutex<Shared>>,
    content: Arc<Mutex<Content>>,
}

// Every call holds the disk until it is done: one that had begun would otherwise go on behind the power cut.
impl PowerCutFile {
    fn sync(&self) -> io::Result<()> {
        let mut shared = self.shared.lock();
        let fate = shared.enter(Call::Sync);
        let mut content = self.content.lock();
        match fate {
            Fate::Works => content.sync(),
            Fate::CutOff => Err(power_is_off()),
            Fate::Fails(error) => {
                content.lose_pending();
                Err(error)
            }
        }
    }
}

impl DiskFile for PowerCutFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.enter(Call::Read).result()?;
        self.content.lock().read_at(at, buffer)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut shared = self.shared.lock();
        if shared.off {
            return Err(power_is_off());
        }
        let fate = shared.enter(Call::Write);
        // A write that fails half way has done the first half.
        let done = if fate.begins() { bytes.len() } else { bytes.len() / 2 };
        self.content.lock().pending.push(Pending::Write { at, bytes: bytes[..done].to_owned(), lost: false });
        fate.result()
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let mut shared = self.shared.lock();
        let fate = shared.enter(Call::Preallocate);
        if fate.begins() {
            self.content.lock().pending.push(Pending::Length(bytes));
        }
        fate.result()
    }

    fn len(&self) -> io::Result<u64> {
        let mut shared = self.shared.lock();
        shared.enter(Call::Read).result()?;
        self.content.lock().len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
