//! Putting and deleting tables beside the pipelines that look them up: what they need of a table stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_event::{TableName, TenantName};
use tidemill_runtime::Digest;

use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::pipeline::{StepKind, parse};
use crate::plan::PlannedLookup;
use crate::tables::bounds::{TABLES_MAX, TENANT_BYTES_MAX};
use crate::tables::fields::fields_json;
use crate::tables::kept::KeptState;
use crate::tables::read::{Faults, Unreadable, read};
use crate::tables::registry::{file_name, write_whole};
use crate::tables::stored::{StoredFrom, StoredTable, StoredVersion};
use crate::tables::{TableContent, TableEntry, TableRowFault, TableRows, TableVersion};

/// What shall be a table.
#[derive(Debug, Clone)]
pub struct PutTable {
    /// Whose.
    pub tenant: TenantName,
    /// Its name.
    pub name: TableName,
    /// Its rows.
    pub rows: TableRows,
}

/// What a put did.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePut {
    /// There was no table of that name.
    pub created: bool,
    /// `false`: it had exactly these rows already, and stays at its version.
    pub changed: bool,
    /// The table now.
    pub table: TableEntry,
}

/// Why a table was not put. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PutTableError {
    /// Rows that are none (422).
    #[error("{total} rows cannot be taken")]
    Rows {
        /// The first of them.
        faults: Vec<TableRowFault>,
        /// How many.
        total: usize,
    },
    /// The body, or what was said of it (422).
    #[error("{0}")]
    Refused(String),
    /// More than there may be (413).
    #[error("{0}")]
    TooLarge(String),
    /// Pipelines look it up by what it would not have any more (409).
    #[error("used by {}: {why}", pipelines.join(", "))]
    Used {
        /// Their names, sorted.
        pipelines: Vec<String>,
        /// What they miss.
        why: String,
    },
    /// There is a table of that name, of another kind (409).
    #[error("{0}: delete it first")]
    Other(String),
    /// The disk or the log failed (503).
    #[error("the table could not be stored: {0}")]
    Storage(String),
}

/// Why a table was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTableError {
    /// No such table (404).
    #[error("there is no table `{0}`")]
    Unknown(TableName),
    /// Pipelines look it up (409).
    #[error("used by {}: delete or change them first", pipelines.join(", "))]
    Used {
        /// Their names, sorted.
        pipelines: Vec<String>,
    },
    /// The log failed (503).
    #[error("the deletion could not be stored: {0}")]
    Storage(String),
}

impl From<Unreadable> for PutTableError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Rows(Faults { listed, total }) => Self::Rows { faults: listed, total },
            Unreadable::Body(error) => Self::Refused(error),
            Unreadable::TooLarge(error) => Self::TooLarge(error),
        }
    }
}

impl Deployments {
    pub(crate) fn put_table(&self, put: &PutTable) -> Result<TablePut, PutTableError> {
        let content = read(&put.rows)?;
        let _files = self.tables.inner.files.lock();
        if self.tables.stored(&put.tenant, &put.name).is_some_and(|stored| stored.from.is_some()) {
            return Err(PutTableError::Other("it is kept up to date from a stream".to_owned()));
        }
        let done = self.put_content(&put.tenant, &put.name, content);
        if done.is_err() {
            self.tables.delete_unnamed();
        }
        done
    }

    /// Stores a version. The files are the caller's.
    fn put_content(&self, tenant: &TenantName, name: &TableName, content: TableContent) -> Result<TablePut, PutTableError> {
        let written = self.write_version(tenant, name, &content)?;
        let version = Arc::new(TableVersion::new(written.number, content));
        // Indexes are made here and not by the first task that meets the version, while everything goes on.
        if let Some(handle) = self.tables.in_use(tenant, name) {
            for wanted in handle.current().uses() {
                // What does not fit is told below, with the pipeline's name.
                let _ = version.looked_up(&wanted);
            }
        }

        let _changes = self.changes.lock();
        let before = self.tables.stored(tenant, name);
        if let (Some(entry), Some(newest)) = (self.tables.get(tenant, name), before.as_ref().and_then(StoredTable::newest))
            && newest.digest == written.digest
        {
            return Ok(TablePut { created: false, changed: false, table: entry });
        }
        self.refuse_misfit(tenant, name, &version)?;
        self.store_version(tenant, name, written, None)?;
        // Durable now: a commit may name it.
        if let Some(handle) = self.tables.in_use(tenant, name) {
            handle.replace(version);
        }
        let table = self.tables.get(tenant, name).ok_or_else(|| PutTableError::Storage("it is not there".to_owned()))?;
        Ok(TablePut { created: before.is_none(), changed: true, table })
    }

    /// Writes the bytes of what shall be the next version. The files are the caller's.
    pub(super) fn write_version(
        &self,
        tenant: &TenantName,
        name: &TableName,
        content: &TableContent,
    ) -> Result<StoredVersion, PutTableError> {
        let storage = |error: &dyn std::fmt::Display| PutTableError::Storage(error.to_string());
        let bytes = content.encode().map_err(|error| storage(&error))?;
        let digest = Digest::of(&bytes);
        let inner = &self.tables.inner;
        write_whole(&inner.folder, &file_name(digest), &bytes).map_err(|error| storage(&error))?;
        // Only puts and deletions of tables change the count, and they come one at a time.
        let counted = inner.log.document(&StoredTable::count_key(tenant, name));
        let number = counted.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse::<u64>().ok()).unwrap_or(0) + 1;
        Ok(StoredVersion {
            number,
            digest: digest.to_string(),
            rows: content.rows.num_rows() as u64,
            size_bytes: bytes.len() as u64,
            fields: fields_json(&content.fields),
            key: content.key.iter().map(|name| name.to_string()).collect(),
            put_at: self.threads.targets.clock.now().0,
            cut: Vec::new(),
            newest: Vec::new(),
        })
    }

    /// Makes a version that is written the newest one, and tells its number. Files and changes are the caller's. `kept`: of a table that is
    /// kept from there, and is so far.
    pub(super) fn store_version(
        &self,
        tenant: &TenantName,
        name: &TableName,
        mut written: StoredVersion,
        kept: Option<(StoredFrom, &KeptState)>,
    ) -> Result<u64, PutTableError> {
        self.refuse_crowd_of_tables(tenant, name, written.size_bytes)?;
        let mut stored = self.tables.stored(tenant, name).unwrap_or(StoredTable { from: None, versions: Vec::new() });
        let number = written.number;
        if let Some((from, state)) = kept {
            stored.from = Some(from);
            (written.cut, written.newest) = state.told();
        }
        stored.versions.push(written);
        let document = serde_json::to_vec(&stored).map_err(|error| PutTableError::Storage(error.to_string()))?;
        let count = (StoredTable::count_key(tenant, name), Some(number.to_string().into_bytes()));
        let changes = vec![(StoredTable::key(tenant, name), Some(document)), count];
        self.tables.inner.log.put_documents(changes).map_err(|error| PutTableError::Storage(error.to_string()))?;
        Ok(number)
    }

    pub(crate) fn delete_table(&self, tenant: &TenantName, name: &TableName) -> Result<(), DeleteTableError> {
        let _files = self.tables.inner.files.lock();
        let _changes = self.changes.lock();
        if self.tables.stored(tenant, name).is_none() {
            return Err(DeleteTableError::Unknown(name.clone()));
        }
        let users = self.using_table(tenant, name);
        if !users.is_empty() {
            let pipelines = users.iter().map(|deployed| deployed.name.to_string()).collect::<BTreeSet<_>>();
            return Err(DeleteTableError::Used { pipelines: pipelines.into_iter().collect() });
        }
        let removed = vec![(StoredTable::key(tenant, name), None)];
        self.tables.inner.log.put_documents(removed).map_err(|error| DeleteTableError::Storage(error.to_string()))?;
        self.tables.forget_kept(tenant, name);
        self.tables.delete_unnamed();
        Ok(())
    }

    /// Everything that runs, or would, and looks the table up.
    pub(crate) fn using_table(&self, tenant: &TenantName, name: &TableName) -> Vec<Arc<Deployed>> {
        let uses = |deployed: &Arc<Deployed>| deployed.tenant == *tenant && deployed.tables().contains(name.as_str());
        self.runs().into_iter().filter(uses).collect()
    }

    /// A tenant's tables together have their bound.
    fn refuse_crowd_of_tables(&self, tenant: &TenantName, name: &TableName, bytes: u64) -> Result<(), PutTableError> {
        let others: Vec<TableEntry> = self.tables.list(tenant).into_iter().filter(|table| table.name != *name).collect();
        if others.len() >= TABLES_MAX {
            let error = format!("there are {} tables, and at most {TABLES_MAX} are possible: delete one", others.len());
            return Err(PutTableError::Refused(error));
        }
        let held: u64 = others.iter().map(|table| table.size_bytes).sum();
        if held + bytes > TENANT_BYTES_MAX {
            return Err(PutTableError::TooLarge(format!(
                "the table has {bytes} bytes, the others have {held}, and all together at most {TENANT_BYTES_MAX}: delete one, or put fewer rows"
            )));
        }
        Ok(())
    }

    /// Whoever looks the table up must find in it what his plan is made for.
    fn refuse_misfit(&self, tenant: &TenantName, name: &TableName, version: &TableVersion) -> Result<(), PutTableError> {
        let mut misfits: Vec<(String, String)> = Vec::new();
        for deployed in self.using_table(tenant, name) {
            let Ok(plan) = &deployed.plan else { continue };
            for lookup in plan.lookups().filter(|lookup| lookup.table.name == *name) {
                if let Err(why) = version.looked_up(&lookup.wanted) {
                    misfits.push((deployed.name.to_string(), why));
                }
            }
        }
        let Some((_, why)) = misfits.first().cloned() else { return Ok(()) };
        let pipelines: BTreeSet<String> = misfits.into_iter().map(|(name, _)| name).collect();
        Err(PutTableError::Used { pipelines: pipelines.into_iter().collect(), why })
    }
}

impl Deployed {
    /// The tables that its steps name, whether it can be planned or not.
    pub(crate) fn tables(&self) -> BTreeSet<String> {
        if let Ok(plan) = &self.plan {
            return plan.lookups().map(|lookup: &Arc<PlannedLookup>| lookup.table.name.to_string()).collect();
        }
        let Ok(definition) = parse(&self.name, &self.stored.text) else { return BTreeSet::new() };
        let mut named = BTreeSet::new();
        for step in definition.steps {
            if let StepKind::Lookup(lookup) = step.kind {
                named.insert(lookup.table.text);
            }
        }
        named
    }
}
