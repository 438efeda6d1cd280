//! What the lookups of a task look up: the newest version of each table, taken over between two batches; in a replay the one that the
//! commit names.
//!
//! A batch meets one version from its first row to its last, and its commit says which. So a table that was replaced while the host was
//! down, or while a batch was under way, changes nothing that was committed. A kept table is taken as far as its stream is when the batch is
//! taken: what was in the stream before it is met by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::TenantName;
use tidemill_flow::{LookupTable, StepId, Tables};
use tidemill_state::CheckpointId;

use crate::plan::{Plan, PlannedLookup};
use crate::tables::{TableHandle, TableVersion, Tables as Registry};
use crate::task::TaskShared;
use crate::task::record::Commit;

/// The lookups of a task.
pub(super) struct Lookups {
    tenant: TenantName,
    registry: Registry,
    steps: Vec<(StepId, Arc<PlannedLookup>)>,
    /// The version of each table that is looked up now, by name.
    versions: BTreeMap<String, Arc<TableVersion>>,
    /// As the operators are given them.
    tables: Tables,
    /// The checkpoint behind which others know that they are needed.
    told_behind: Option<CheckpointId>,
}

impl Lookups {
    /// Those of a plan, at the newest versions.
    pub(super) fn open(plan: &Plan, registry: &Registry) -> Result<Self, String> {
        let steps = plan.steps.iter().enumerate().filter_map(|(at, step)| Some((StepId(at as u32), step.kind.lookup()?.clone())));
        let mut lookups = Self {
            tenant: plan.tenant.clone(),
            registry: registry.clone(),
            steps: steps.collect(),
            versions: BTreeMap::new(),
            tables: Arc::new([]),
            told_behind: None,
        };
        lookups.take_over(|lookup| Ok(lookup.table.current()))?;
        Ok(lookups)
    }

    /// Takes newer versions over, if there are any, and says that commits behind the checkpoint may name them. Between two batches. The error
    /// says why a table does not go on.
    pub(super) fn refresh(&mut self, shared: &TaskShared, checkpoint: CheckpointId) -> Result<(), String> {
        let mut wants_newer = self.any(TableHandle::is_behind);
        while wants_newer || self.told_behind != Some(checkpoint) {
            if wants_newer {
                self.take_over(|lookup| lookup.table.refreshed())?;
            }
            shared.looked_up(checkpoint, &self.versions());
            // Whatever is the newest still was not swept away before it was told, and will not be now.
            self.told_behind = Some(checkpoint);
            wants_newer = self.any(TableHandle::is_replaced);
        }
        Ok(())
    }

    fn any(&self, is: impl Fn(&TableHandle, &TableVersion) -> bool) -> bool {
        self.steps
            .iter()
            .any(|(_, lookup)| self.versions.get(lookup.table.name.as_str()).is_none_or(|version| is(&lookup.table, version)))
    }

    /// Goes back to the versions that a commit names, kept tables to how far they were. Blocking, if they must be read. The error says which
    /// one cannot be had.
    pub(super) fn go_to(&mut self, commit: &Commit) -> Result<(), String> {
        let is_there = |(name, number): (&String, &u64)| {
            self.versions.get(name).is_none_or(|version| match commit.cuts.get(name) {
                Some(cut) => version.cut() == Some(cut.as_slice()),
                None => version.number == *number && version.cut().is_none(),
            })
        };
        if commit.tables.iter().all(is_there) {
            return Ok(());
        }
        let (tenant, registry, now) = (self.tenant.clone(), self.registry.clone(), self.versions.clone());
        self.take_over(|lookup| {
            let name = lookup.table.name.as_str();
            let now = now.get(name);
            match (commit.tables.get(name), commit.cuts.get(name)) {
                (Some(base), Some(cut)) => registry.kept_at(&tenant, &lookup.table, (*base, cut), now.map(AsRef::as_ref)),
                (Some(number), None) => match now.filter(|version| version.number == *number) {
                    Some(version) => Ok(version.clone()),
                    None => registry.version(&tenant, &lookup.table.name, *number),
                },
                // Of a plan before this one, which did not look it up.
                (None, _) => Ok(lookup.table.current()),
            }
        })
    }

    fn take_over(&mut self, version_of: impl Fn(&PlannedLookup) -> Result<Arc<TableVersion>, String>) -> Result<(), String> {
        let mut versions: BTreeMap<String, Arc<TableVersion>> = BTreeMap::new();
        let mut tables: Vec<(StepId, Arc<dyn LookupTable>)> = Vec::new();
        for (step, lookup) in &self.steps {
            let name = lookup.table.name.to_string();
            // Two steps of one table meet the same version.
            let version = match versions.get(&name) {
                Some(version) => version.clone(),
                None => version_of(lookup)?,
            };
            let table = version.looked_up(&lookup.wanted);
            tables.push((
                *step,
                table.map_err(|error| format!("{}: `{name}` version {}: {error}", lookup.step_name, version.number))?,
            ));
            versions.insert(name, version);
        }
        self.versions = versions;
        self.tables = tables.into();
        Ok(())
    }

    /// There is nothing to do: what kept tables were for the last batch is let go, so that a pipeline that waits holds no rows of theirs that
    /// were replaced long ago. The next batch takes them as they are then.
    pub(super) fn rest(&mut self) {
        if self.versions.values().all(|version| version.cut().is_none()) {
            return;
        }
        self.versions.retain(|_, version| version.cut().is_none());
        let is_put = |step: &StepId| self.steps.iter().any(|(of, lookup)| of == step && lookup.table.kept.is_none());
        self.tables = self.tables.iter().filter(|(step, _)| is_put(step)).cloned().collect();
    }

    /// What the operators look up now.
    pub(super) fn tables(&self) -> Tables {
        self.tables.clone()
    }

    /// What a commit says of it: the number of each table's version.
    pub(super) fn versions(&self) -> BTreeMap<String, u64> {
        self.versions.iter().map(|(name, version)| (name.clone(), version.number)).collect()
    }

    /// And how far kept ones are in their streams.
    pub(super) fn cuts(&self) -> BTreeMap<String, Vec<u64>> {
        self.versions.iter().filter_map(|(name, version)| Some((name.clone(), version.cut()?.to_vec()))).collect()
    }
}
