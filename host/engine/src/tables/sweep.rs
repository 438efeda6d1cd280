//! Versions and files that nobody needs any more.
//!
//! A version that was replaced is kept as long as a commit names it that no checkpoint covers: a replay would look it up. Every task says which
//! those are (`TaskShared::tables_needed`); as long as one of a table's pipelines cannot say, all versions stay.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill_event::{TableName, TenantName};

use crate::deployments::Deployments;
use crate::tables::Tables;
use crate::tables::registry::file_name;
use crate::tables::stored::{StoredTable, TABLES, owner};

/// No file of a table is deleted while it lives: for whoever copies what a cut of the log names, begun before the cut.
#[derive(Debug)]
pub struct TablesHold(Arc<AtomicUsize>);

impl Drop for TablesHold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tables {
    /// Keeps every file that is there.
    pub(crate) fn hold(&self) -> TablesHold {
        self.inner.copying.fetch_add(1, Ordering::AcqRel);
        TablesHold(self.inner.copying.clone())
    }

    /// Deletes files that no document names; `files` is held. Not while somebody copies them: the next sweep does.
    pub(super) fn delete_unnamed(&self) {
        // Whoever begins to copy from now on copies what the log names now.
        if self.inner.copying.load(Ordering::Acquire) > 0 {
            return;
        }
        let mut named = BTreeSet::new();
        for (_, bytes) in self.inner.log.documents(TABLES) {
            // What cannot be read may name anything.
            let Ok(stored) = serde_json::from_slice::<StoredTable>(&bytes) else { return };
            named.extend(stored.versions.iter().filter_map(|version| version.digest.parse().ok().map(file_name)));
        }
        let Ok(entries) = fs::read_dir(&self.inner.folder) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_ours = name.ends_with(".table") || name.ends_with(".table.part");
            if is_ours
                && !named.contains(&name)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(name, "a table's file that nobody needs is not deleted: {error}");
            }
        }
    }

    /// At a start: what a crash left behind.
    pub(crate) fn clear(&self) {
        let _files = self.inner.files.lock();
        self.delete_unnamed();
    }
}

impl Deployments {
    /// Forgets versions that no replay would look up.
    pub(crate) fn sweep_tables(&self) {
        let inner = &self.tables.inner;
        let stored = |bytes: &[u8]| serde_json::from_slice::<StoredTable>(bytes).ok().filter(|stored| stored.versions.len() > 1);
        let with_older: Vec<(TenantName, TableName)> = inner
            .log
            .documents(TABLES)
            .iter()
            .filter(|(_, bytes)| stored(bytes).is_some())
            .filter_map(|(key, _)| owner(key))
            .collect();
        for (tenant, name) in with_older {
            let Some(_files) = inner.files.try_lock() else { return };
            // Nobody who samples counters waits for a change of a pipeline.
            let Some(_changes) = self.changes.try_lock() else { return };
            let Some(mut table) = self.tables.stored(&tenant, &name) else { continue };
            let Some(needed) = self.versions_needed(&tenant, &name) else { continue };
            let newest = table.newest().map(|version| version.number);
            let before = table.versions.len();
            table.versions.retain(|version| Some(version.number) == newest || needed.contains(&version.number));
            if table.versions.len() == before {
                continue;
            }
            let Ok(document) = serde_json::to_vec(&table) else { continue };
            if let Err(error) = inner.log.put_documents(vec![(StoredTable::key(&tenant, &name), Some(document))]) {
                tracing::debug!(table = %name, "old versions of a table stay: {error}");
                return;
            }
            if let Some(oldest) = table.versions.first().filter(|_| table.from.is_some()) {
                self.tables.hold_behind(&tenant, &name, &oldest.cut);
            }
            self.tables.delete_unnamed();
        }
    }

    /// The versions that commits behind checkpoints name; `None`: somebody cannot say.
    fn versions_needed(&self, tenant: &TenantName, name: &TableName) -> Option<BTreeSet<u64>> {
        let mut needed = BTreeSet::new();
        for deployed in self.using_table(tenant, name) {
            if deployed.tasks.is_empty() {
                return None;
            }
            for task in &deployed.tasks {
                needed.extend(task.tables_needed(name.as_str())?);
            }
        }
        Some(needed)
    }
}
