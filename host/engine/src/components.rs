//! The registry of components: immutable versions, bytes by digest in `components/`, names as documents in the log.
//!
//! ```text
//! components/{64 hex digits}.wasm            written new, synced, renamed, folder synced: a name is whole bytes
//! component/{tenant}/{name}/{version}  →  {"digest": "sha256:…", "kind": "rule", "size_bytes": 12345}      in the log
//! ```
//! The bytes come first, so a document never names bytes that are not there. Bytes without a document (a crash between the two, a
//! deleted version) are harmless and found again by the next upload of the same bytes.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidemill_event::{ComponentName, TenantName};
use tidemill_log::Log;
use tidemill_runtime::{Component, Digest, Refused, Runtime};

use crate::pipeline::nearest;
use crate::stored::StoredPipeline;

/// What a publication did.
#[derive(Clone)]
pub struct Published {
    /// `false`: the same bytes were there under that version already.
    pub created: bool,
    /// Its name.
    pub name: ComponentName,
    /// Its version.
    pub version: semver::Version,
    /// What was published.
    pub component: Arc<Component>,
}

/// One version of a component, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentEntry {
    /// Its name.
    pub name: ComponentName,
    /// Its version.
    pub version: semver::Version,
    /// `sha256:…` of its bytes.
    pub digest: Digest,
    /// `rule` or `transform`.
    pub kind: String,
    /// Bytes of the upload.
    pub size_bytes: u64,
}

/// Why a component was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The runtime refuses it; the text says what to change (422).
    #[error("{0}")]
    Refused(String),
    /// The host could not compile it just now; the same upload may be taken a little later (429).
    #[error("{0}")]
    NotNow(String),
    /// Other bytes are published under that version (409).
    #[error("`{name}` {version} is published with other bytes ({digest}): versions never change, publish a new one")]
    Taken {
        /// The name.
        name: ComponentName,
        /// The version.
        version: semver::Version,
        /// What is there.
        digest: Digest,
    },
    /// The disk or the log failed (503).
    #[error("the component could not be stored: {0}")]
    Storage(String),
}

/// Why a component was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteComponentError {
    /// No such version (404).
    #[error("there is no component `{name}` {version}")]
    Unknown {
        /// The name.
        name: ComponentName,
        /// The version.
        version: semver::Version,
    },
    /// Pipelines use it (409).
    #[error("used by {}: delete or change them first", pipelines.join(", "))]
    Used {
        /// Their names, sorted.
        pipelines: Vec<String>,
    },
    /// The log failed (503).
    #[error("the deletion could not be stored: {0}")]
    Storage(String),
}

/// What the log keeps of a version.
#[derive(Debug, Serialize, Deserialize)]
struct StoredComponent {
    digest: String,
    kind: String,
    size_bytes: u64,
}

/// The components of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Components {
    inner: Arc<Registry>,
}

struct Registry {
    log: Log,
    runtime: Runtime,
    folder: PathBuf,
    prepared: Mutex<HashMap<Digest, Arc<Component>>>,
    /// Held while a version or a pipeline is stored or removed: what a pipeline was checked against stays until it is stored.
    changes: Arc<Mutex<()>>,
}

impl Components {
    /// The registry over `folder`, which is made if it is missing. `changes` is shared with the pipelines.
    pub(crate) fn open(log: Log, runtime: Runtime, folder: PathBuf, changes: Arc<Mutex<()>>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { inner: Arc::new(Registry { log, runtime, folder, prepared: Mutex::default(), changes }) })
    }

    /// Where their bytes are.
    pub(crate) fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Checks, compiles, stores. Blocking and CPU heavy: seconds for a large component.
    pub fn publish(
        &self,
        tenant: &TenantName,
        name: &ComponentName,
        version: &semver::Version,
        wasm: &[u8],
    ) -> Result<Published, PublishError> {
        let digest = Digest::of(wasm);
        let taken =
            |entry: &ComponentEntry| PublishError::Taken { name: name.clone(), version: version.clone(), digest: entry.digest };
        if let Some(entry) = self.get(tenant, name, version)
            && entry.digest != digest
        {
            return Err(taken(&entry));
        }
        let known = self.inner.prepared.lock().get(&digest).cloned();
        let component = match known {
            Some(component) => component,
            None => self.inner.runtime.prepare(wasm).map_err(|refused| match refused {
                Refused::NotNow(_) => PublishError::NotNow(refused.to_string()),
                refused => PublishError::Refused(refused.to_string()),
            })?,
        };
        write_whole(&self.inner.folder, &file_name(digest), wasm).map_err(|error| PublishError::Storage(error.to_string()))?;

        let _changes = self.inner.changes.lock();
        // Somebody may have published this version while the component was compiled.
        let created = match self.get(tenant, name, version) {
            Some(entry) if entry.digest != digest => return Err(taken(&entry)),
            Some(_) => false,
            None => {
                let stored = StoredComponent {
                    digest: digest.to_string(),
                    kind: component.kind().as_str().to_owned(),
                    size_bytes: wasm.len() as u64,
                };
                let bytes = serde_json::to_vec(&stored).map_err(|error| PublishError::Storage(error.to_string()))?;
                self.inner
                    .log
                    .put_documents(vec![(document_key(tenant, name, version), Some(bytes))])
                    .map_err(|error| PublishError::Storage(error.to_string()))?;
                true
            }
        };
        self.inner.prepared.lock().insert(digest, component.clone());
        Ok(Published { created, name: name.clone(), version: version.clone(), component })
    }

    /// One version.
    pub fn get(&self, tenant: &TenantName, name: &ComponentName, version: &semver::Version) -> Option<ComponentEntry> {
        let key = document_key(tenant, name, version);
        let bytes = self.inner.log.document(&key)?;
        read_entry(&key, &bytes)
    }

    /// All versions of a tenant, by name and version.
    pub fn list(&self, tenant: &TenantName) -> Vec<ComponentEntry> {
        self.entries(&format!("component/{tenant}/"))
    }

    fn entries(&self, prefix: &str) -> Vec<ComponentEntry> {
        let documents = self.inner.log.documents(prefix);
        let mut entries: Vec<ComponentEntry> = documents.iter().filter_map(|(key, bytes)| read_entry(key, bytes)).collect();
        entries.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
        entries
    }

    /// The prepared component of a version. Blocking, and heavy if no cache has it. The error says what is wrong with the host.
    pub fn load(&self, digest: Digest) -> Result<Arc<Component>, String> {
        if let Some(component) = self.inner.prepared.lock().get(&digest) {
            return Ok(component.clone());
        }
        let path = self.inner.folder.join(file_name(digest));
        let wasm = fs::read(&path)
            .map_err(|error| format!("the bytes of {digest} cannot be read from `{}`: {error}", path.display()))?;
        if Digest::of(&wasm) != digest {
            return Err(format!("`{}` is damaged: its bytes are not {digest}; publish the component again", path.display()));
        }
        let component =
            self.inner.runtime.prepare(&wasm).map_err(|refused| format!("{digest} is not taken any more: {refused}"))?;
        Ok(self.inner.prepared.lock().entry(digest).or_insert(component).clone())
    }

    /// Removes a version that no pipeline uses.
    pub fn delete(
        &self,
        tenant: &TenantName,
        name: &ComponentName,
        version: &semver::Version,
    ) -> Result<(), DeleteComponentError> {
        let _changes = self.inner.changes.lock();
        if self.get(tenant, name, version).is_none() {
            return Err(DeleteComponentError::Unknown { name: name.clone(), version: version.clone() });
        }
        let version_text = version.to_string();
        let mut users = BTreeSet::new();
        for (key, bytes) in self.inner.log.documents(&StoredPipeline::prefix(tenant)) {
            let Ok(pipeline) = StoredPipeline::read(&bytes) else { continue };
            if pipeline.pinned.iter().any(|pin| pin.name == name.as_str() && pin.version == version_text) {
                users.extend(key.rsplit('/').next().map(str::to_owned));
            }
        }
        if !users.is_empty() {
            return Err(DeleteComponentError::Used { pipelines: users.into_iter().collect() });
        }
        // The bytes stay: another name, another tenant or a stored pipeline's history may refer to them.
        self.inner
            .log
            .put_documents(vec![(document_key(tenant, name, version), None)])
            .map_err(|error| DeleteComponentError::Storage(error.to_string()))
    }

    /// What `high-value@1`, `@1.2`, `@1.2.3` or `@sha256:…` means now: the newest version that fits. The error says what there is.
    pub fn resolve(&self, tenant: &TenantName, reference: &str) -> Result<ComponentEntry, String> {
        let Some((name, wanted)) = reference.split_once('@') else {
            return Err(format!("`{reference}` names no version: write `{reference}@1`, `@1.2`, `@1.2.3` or `@sha256:…`"));
        };
        let name: ComponentName = name.parse().map_err(|error| format!("{error}"))?;
        let versions = self.entries(&format!("component/{tenant}/{name}/"));
        if versions.is_empty() {
            let all = self.list(tenant);
            let near = nearest(name.as_str(), all.iter().map(|entry| entry.name.as_str()));
            return Err(match near {
                Some(near) => format!("there is no component `{name}`: did you mean `{near}`?"),
                None => format!("there is no component `{name}`: push it first"),
            });
        }
        let wanted = Wanted::parse(wanted)?;
        let there: Vec<String> = versions.iter().map(|entry| entry.version.to_string()).collect();
        versions
            .into_iter()
            .rfind(|entry| wanted.fits(entry))
            .ok_or_else(|| format!("no version of `{name}` is {wanted:?}: there is {}", there.join(", ")))
    }
}

/// The part of a reference behind the `@`.
enum Wanted {
    Major(u64),
    Minor(u64, u64),
    Exactly(semver::Version),
    Digest(Digest),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`@{text}` is no version: write `@1`, `@1.2`, `@1.2.3` or `@sha256:…`");
        if text.starts_with("sha256:") {
            return text.parse().map(Self::Digest).map_err(|error| format!("{error}"));
        }
        let number = |part: &str| part.parse().map_err(|_| wrong());
        match text.split('.').collect::<Vec<_>>().as_slice() {
            [major] => Ok(Self::Major(number(major)?)),
            [major, minor] => Ok(Self::Minor(number(major)?, number(minor)?)),
            _ => text.parse().map(Self::Exactly).map_err(|_| wrong()),
        }
    }

    /// A pre-release is taken only by its whole name.
    fn fits(&self, entry: &ComponentEntry) -> bool {
        let version = &entry.version;
        match self {
            Self::Major(major) => version.major == *major && version.pre.is_empty(),
            Self::Minor(major, minor) => (version.major, version.minor) == (*major, *minor) && version.pre.is_empty(),
            Self::Exactly(exactly) => version == exactly,
            Self::Digest(digest) => entry.digest == *digest,
        }
    }
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Major(major) => write!(f, "{major}"),
            Self::Minor(major, minor) => write!(f, "{major}.{minor}"),
            Self::Exactly(version) => write!(f, "{version}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

fn document_key(tenant: &TenantName, name: &ComponentName, version: &semver::Version) -> String {
    format!("component/{tenant}/{name}/{version}")
}

fn read_entry(key: &str, bytes: &[u8]) -> Option<ComponentEntry> {
    let mut parts = key.splitn(4, '/').skip(2);
    let (name, version) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let stored: StoredComponent = serde_json::from_slice(bytes).ok()?;
    Some(ComponentEntry { name, version, digest: stored.digest.parse().ok()?, kind: stored.kind, size_bytes: stored.size_bytes })
}

fn file_name(digest: Digest) -> String {
    format!("{}.wasm", digest.hex())
}

/// A file that is there with all its bytes, or not at all.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let whole = folder.join(name);
    if whole.exists() {
        return Ok(());
    }
    // Two uploads of the same bytes at once write the same content; the thread's id keeps their halves apart.
    let part = folder.join(format!("{name}.{:?}.part", std::thread::current().id()));
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, &whole)?;
    File::open(folder)?.sync_all()
}
