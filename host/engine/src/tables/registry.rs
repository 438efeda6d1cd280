//! The tables of all tenants: which there are, their bytes, and those that are in memory because somebody uses them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tidemill_event::{EventTime, Field, TableName, TenantName};
use tidemill_log::Log;
use tidemill_runtime::Digest;

use crate::pipeline::nearest;
use crate::tables::fields::parse_fields;
use crate::tables::kept::{KeptEntry, KeptStatus, KeptTable};
use crate::tables::stored::{StoredTable, StoredVersion, owner};
use crate::tables::{TableContent, TableHandle, TableVersion};

pub(super) type Key = (TenantName, TableName);

/// A table, as listed.
#[derive(Debug, Clone, PartialEq)]
pub struct TableEntry {
    /// Its name.
    pub name: TableName,
    /// Counts its versions, from 1.
    pub version: u64,
    /// `sha256:…` of its bytes as they are kept.
    pub digest: String,
    /// How many rows.
    pub rows: u64,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Its columns.
    pub fields: Vec<Field>,
    /// By which no two rows are alike; empty if nobody said.
    pub key: Vec<String>,
    /// When this version came.
    pub put_at: EventTime,
    /// Older versions that are kept because a replay may look them up.
    pub kept_versions: Vec<u64>,
    /// How it stands, if it is kept up to date from a stream.
    pub from_stream: Option<KeptStatus>,
}

/// The tables of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    pub(super) inner: Arc<Registry>,
}

pub(super) struct Registry {
    pub(super) log: Log,
    pub(super) folder: PathBuf,
    /// Those that plans hold.
    handles: Mutex<HashMap<Key, Weak<TableHandle>>>,
    /// Those that are kept up to date from a stream, and how their keeper hears of rows.
    pub(super) kept: Mutex<HashMap<Key, KeptEntry>>,
    pub(super) keeper_heard: (Sender<()>, Receiver<()>),
    /// Held while a file is written and named in the log, and while files that nothing names are deleted.
    pub(super) files: Mutex<()>,
    /// How many copy files just now: what was named when they began stays.
    pub(super) copying: Arc<AtomicUsize>,
}

impl Tables {
    /// The registry over `folder`, which is made if it is missing.
    pub(crate) fn open(log: Log, folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let inner = Registry {
            log,
            folder,
            handles: Mutex::default(),
            kept: Mutex::default(),
            keeper_heard: bounded(1),
            files: Mutex::default(),
            copying: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where their bytes are.
    pub(crate) fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// One table.
    pub fn get(&self, tenant: &TenantName, name: &TableName) -> Option<TableEntry> {
        self.entry(tenant, name.clone(), &self.stored(tenant, name)?)
    }

    /// All tables of a tenant, by name.
    pub fn list(&self, tenant: &TenantName) -> Vec<TableEntry> {
        let documents = self.inner.log.documents(&StoredTable::prefix(tenant));
        documents
            .iter()
            .filter_map(|(key, bytes)| self.entry(tenant, owner(key)?.1, &serde_json::from_slice(bytes).ok()?))
            .collect()
    }

    /// The rows of a table as they are now; `None` if there is no such table. Blocking. The error says what is wrong with the host.
    pub fn content(&self, tenant: &TenantName, name: &TableName) -> Option<Result<TableContent, String>> {
        if let Some(kept) = self.kept(tenant, name) {
            return Some(kept.and_then(|kept| Ok(kept.durable()?.content())));
        }
        if let Some(handle) = self.in_use(tenant, name) {
            return Some(Ok(handle.current().content()));
        }
        // A version that is replaced while it is read may be swept away: then the next one is there.
        let mut last = None;
        for _ in 0..3 {
            let stored = self.stored(tenant, name)?;
            match self.read(stored.newest()?) {
                Ok(content) => return Some(Ok(content)),
                Err(error) => last = Some(Err(error)),
            }
        }
        last
    }

    pub(super) fn stored(&self, tenant: &TenantName, name: &TableName) -> Option<StoredTable> {
        let bytes = self.inner.log.document(&StoredTable::key(tenant, name))?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The table that a plan wants to use. The caller keeps others from changing tables meanwhile. Blocking. The error says what there is.
    pub(crate) fn handle(&self, tenant: &TenantName, name: &str) -> Result<Arc<TableHandle>, String> {
        let unknown = || {
            let all = self.list(tenant);
            match nearest(name, all.iter().map(|table| table.name.as_str())) {
                Some(near) => format!("there is no table `{name}`: did you mean `{near}`?"),
                None => format!("there is no table `{name}`"),
            }
        };
        let parsed: TableName = name.parse().map_err(|error| format!("{error}"))?;
        if let Some(handle) = self.in_use(tenant, &parsed) {
            return Ok(handle);
        }
        let stored = self.stored(tenant, &parsed).ok_or_else(unknown)?;
        let newest = stored.newest().ok_or_else(unknown)?;
        let kept = self.kept(tenant, &parsed).transpose()?;
        let version = match &kept {
            Some(kept) => kept.catch_up().map_err(|error| format!("the table `{name}` does not go on: {}", error.text()))?,
            None => Arc::new(TableVersion::new(newest.number, self.read(newest)?)),
        };
        let handle = Arc::new(TableHandle::new(parsed.clone(), version, kept));
        let mut handles = self.inner.handles.lock();
        handles.retain(|_, handle| handle.strong_count() > 0);
        handles.insert((tenant.clone(), parsed), Arc::downgrade(&handle));
        Ok(handle)
    }

    pub(super) fn in_use(&self, tenant: &TenantName, name: &TableName) -> Option<Arc<TableHandle>> {
        self.inner.handles.lock().get(&(tenant.clone(), name.clone()))?.upgrade()
    }

    /// A version that a commit names. Blocking. The error says why it cannot be had.
    pub(crate) fn version(&self, tenant: &TenantName, name: &TableName, number: u64) -> Result<Arc<TableVersion>, String> {
        if let Some(current) = self.in_use(tenant, name).map(|handle| handle.current())
            && current.number == number
        {
            return Ok(current);
        }
        let stored = self.stored(tenant, name);
        let version = stored.as_ref().and_then(|stored| stored.version(number));
        let version = version.ok_or_else(|| format!("version {number} of the table `{name}` is gone"))?;
        Ok(Arc::new(TableVersion::new(number, self.read(version)?)))
    }

    /// A kept table as of a cut that a commit names with the base it stands on. `near` may be a way there. Blocking. The error says why it
    /// cannot be had.
    pub(crate) fn kept_at(
        &self,
        tenant: &TenantName,
        table: &TableHandle,
        (base, cut): (u64, &[u64]),
        near: Option<&TableVersion>,
    ) -> Result<Arc<TableVersion>, String> {
        let name = &table.name;
        let kept = table.kept.as_ref().ok_or_else(|| format!("the table `{name}` is not kept from a stream any more"))?;
        let near = near.and_then(TableVersion::kept_rows).map(|rows| &rows.state);
        let begin = match near.filter(|state| KeptTable::leads_to(state, cut)) {
            Some(state) => state.clone(),
            None => {
                let stored = self.stored(tenant, name);
                let version = stored.as_ref().and_then(|stored| stored.version(base));
                let version = version.ok_or_else(|| format!("version {base} of the table `{name}` is gone"))?;
                kept.read_base(self.read(version)?, version.cut.clone(), version.newest.clone())?
            }
        };
        kept.as_of(base, begin, cut).map_err(|error| format!("the table `{name}`: {error}"))
    }

    pub(super) fn read(&self, version: &StoredVersion) -> Result<TableContent, String> {
        let digest: Digest = version.digest.parse().map_err(|error| format!("{error}"))?;
        let path = self.inner.folder.join(file_name(digest));
        let failed = |error: &dyn std::fmt::Display| format!("the table in `{}` cannot be read: {error}", path.display());
        let bytes = fs::read(&path).map_err(|error| failed(&error))?;
        if Digest::of(&bytes) != digest {
            return Err(failed(&"its bytes are not those that were written; put the table again"));
        }
        TableContent::decode(&bytes).map_err(|error| failed(&error))
    }

    fn entry(&self, tenant: &TenantName, name: TableName, stored: &StoredTable) -> Option<TableEntry> {
        let (newest, older) = stored.versions.split_last()?;
        let mut entry = TableEntry {
            name: name.clone(),
            version: newest.number,
            digest: newest.digest.clone(),
            rows: newest.rows,
            size_bytes: newest.size_bytes,
            fields: parse_fields(&newest.fields).ok()?,
            key: newest.key.clone(),
            put_at: EventTime(newest.put_at),
            kept_versions: older.iter().map(|version| version.number).collect(),
            from_stream: None,
        };
        if let Some(from) = &stored.from {
            self.told_kept(tenant, &name, from, &mut entry);
        }
        Some(entry)
    }
}

pub(super) fn file_name(digest: Digest) -> String {
    format!("{}.table", digest.hex())
}

/// A file that is there with all its bytes, or not at all.
pub(super) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let whole = folder.join(name);
    if whole.exists() {
        return Ok(());
    }
    let part = folder.join(format!("{name}.part"));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, &whole)?;
    File::open(folder)?.sync_all()
}
