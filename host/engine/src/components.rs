//! The registry of components: immutable versions, bytes by digest in `components/`, names as documents in the log.

use tidemill_event::{ComponentName, TenantName};

/// What a publication did.
#[derive(Clone)]
pub struct Published {
    /// `false`: the same bytes were there under that version already.
    pub created: bool,
    /// Its name.
    pub name: ComponentName,
    /// Its version.
    pub version: semver::Version,
    /// `sha256:…` of its bytes.
    pub digest: String,
}

/// One version of a component, as listed.
#[derive(Clone)]
pub struct ComponentEntry {
    /// Its name.
    pub name: ComponentName,
    /// Its version.
    pub version: semver::Version,
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Bytes of the upload.
    pub size_bytes: u64,
}

/// Why a component was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The runtime refuses it; the text says what to change (422).
    #[error("{0}")]
    Refused(String),
    /// Other bytes are published under that version (409).
    #[error("`{name}` {version} is published with other bytes ({digest}): versions never change, publish a new one")]
    Taken {
        /// The name.
        name: ComponentName,
        /// The version.
        version: semver::Version,
        /// What is there.
        digest: String,
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

/// The components of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Components {}

impl Components {
    /// Checks, compiles, stores. Blocking and CPU heavy: seconds for a large component.
    pub fn publish(
        &self,
        tenant: &TenantName,
        name: &ComponentName,
        version: &semver::Version,
        wasm: &[u8],
    ) -> Result<Published, PublishError> {
        unimplemented!("{tenant} {name} {version} {}", wasm.len())
    }

    /// One version.
    pub fn get(&self, tenant: &TenantName, name: &ComponentName, version: &semver::Version) -> Option<ComponentEntry> {
        unimplemented!("{tenant} {name} {version}")
    }

    /// All versions of a tenant, by name and version.
    pub fn list(&self, tenant: &TenantName) -> Vec<ComponentEntry> {
        unimplemented!("{tenant}")
    }

    /// Removes a version that no pipeline uses.
    pub fn delete(
        &self,
        tenant: &TenantName,
        name: &ComponentName,
        version: &semver::Version,
    ) -> Result<(), DeleteComponentError> {
        unimplemented!("{tenant} {name} {version}")
    }

    /// What `high-value@1`, `@1.2`, `@1.2.3` or `@sha256:…` means now: the newest version that fits. The error says what there is.
    pub fn resolve(&self, tenant: &TenantName, reference: &str) -> Result<ComponentEntry, String> {
        unimplemented!("{tenant} {reference}")
    }
}
