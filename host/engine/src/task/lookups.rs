//! What the lookups of a task look up: the newest version of each table, taken over between two batches; in a replay the one that the
//! commit names.
//!
//! A batch meets one version from its first row to its last, and its commit says which. So a table that was replaced while the host was
//! down, or while a batch was under way, changes nothing that was committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::TenantName;
use tidemill_flow::{LookupTable, StepId, Tables};
use tidemill_state::CheckpointId;

use crate::plan::{Plan, PlannedLookup};
use crate::tables::{TableVersion, Tables as Registry};
use crate::task::TaskShared;

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

    /// Takes newer versions over, if there are any, and says that commits behind the checkpoint may name them. Between two batches.
    pub(super) fn refresh(&mut self, shared: &TaskShared, checkpoint: CheckpointId) -> Result<(), String> {
        while self.told_behind != Some(checkpoint) || self.is_old() {
            if self.is_old() {
                self.take_over(|lookup| Ok(lookup.table.current()))?;
            }
            shared.looked_up(checkpoint, &self.versions());
            // Whatever is the newest still was not swept away before it was told, and will not be now.
            self.told_behind = Some(checkpoint);
        }
        Ok(())
    }

    fn is_old(&self) -> bool {
        self.steps.iter().any(|(_, lookup)| {
            self.versions.get(lookup.table.name.as_str()).is_none_or(|version| version.number != lookup.table.newest())
        })
    }

    /// Goes back to the versions that a commit names. Blocking, if they must be read. The error says which one cannot be had.
    pub(super) fn go_to(&mut self, recorded: &BTreeMap<String, u64>) -> Result<(), String> {
        let is_there = |(name, number): (&String, &u64)| self.versions.get(name).is_none_or(|version| version.number == *number);
        if recorded.iter().all(is_there) {
            return Ok(());
        }
        let (tenant, registry, now) = (self.tenant.clone(), self.registry.clone(), self.versions.clone());
        self.take_over(|lookup| match recorded.get(lookup.table.name.as_str()) {
            Some(number) => match now.get(lookup.table.name.as_str()).filter(|version| version.number == *number) {
                Some(version) => Ok(version.clone()),
                None => registry.version(&tenant, &lookup.table.name, *number),
            },
            // Of a plan before this one, which did not look it up.
            None => Ok(lookup.table.current()),
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

    /// What the operators look up now.
    pub(super) fn tables(&self) -> Tables {
        self.tables.clone()
    }

    /// What a commit says of it: the number of each table's version.
    pub(super) fn versions(&self) -> BTreeMap<String, u64> {
        self.versions.iter().map(|(name, version)| (name.clone(), version.number)).collect()
    }
}
