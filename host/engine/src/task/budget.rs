//! Memory for state: what the tasks of a host may take together. Where that gets tight, entries leave memory (`spilling.rs`); a task that would
//! take more with what cannot leave stops and says so, before the machine does.
//!
//! What a task takes is what its steps have entries, times what entries of a step were like so far (`drawing.rs`): an estimate, within some
//! ten percent where keys are alike. A task that stops is held behind a checkpoint, and gives its memory back.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tidemill_event::TenantName;

use crate::task::machine::Task;

/// The budget. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct StateBudget {
    /// In use, as metrics show it.
    used: Gauge,
    max: u64,
    /// What one tenant's tasks may take of it.
    tenant_max: u64,
    tenants: Arc<Mutex<HashMap<TenantName, Gauge>>>,
}

/// What a task has of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: StateBudget,
    /// What its tenant's tasks have.
    tenant: Gauge,
    bytes: u64,
}

impl StateBudget {
    /// So many bytes for all, and for one tenant.
    pub(crate) fn new(max: u64, tenant_max: u64, used: Gauge) -> Self {
        Self { used, max, tenant_max, tenants: Arc::default() }
    }

    /// Nothing of it, for now.
    pub(super) fn share(&self, tenant: &TenantName) -> Share {
        Share { budget: self.clone(), tenant: self.of(tenant), bytes: 0 }
    }

    /// What a tenant has.
    fn of(&self, tenant: &TenantName) -> Gauge {
        // One that has nothing keeps its number: its tasks may hold that, and take something later.
        self.tenants.lock().entry(tenant.clone()).or_default().clone()
    }

    /// What there is that nobody has, for this tenant.
    pub(super) fn free(&self, tenant: &TenantName) -> u64 {
        self.max.saturating_sub(bytes(&self.used)).min(self.tenant_max.saturating_sub(bytes(&self.of(tenant))))
    }
}

impl Share {
    /// Takes so many bytes instead of what it had. `false`: it took more than before, and that is more than there is.
    pub(super) fn set(&mut self, bytes: u64) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        // States are far from the end of these numbers.
        let grown = bytes as i64 - before as i64;
        self.budget.used.inc_by(grown);
        self.tenant.inc_by(grown);
        grown <= 0 || !self.is_over()
    }

    /// All tasks together, or those of the tenant, have nearly all there is: what can leave memory should.
    pub(super) fn is_tight(&self) -> bool {
        self.reaches(|max| max / 8 * 7)
    }

    /// They have more than half of it: what may have to leave soon should be stored by then.
    pub(super) fn is_filling(&self) -> bool {
        self.reaches(|max| max / 2)
    }

    /// They have more than there is.
    pub(super) fn is_over(&self) -> bool {
        self.reaches(|max| max)
    }

    fn reaches(&self, mark: impl Fn(u64) -> u64) -> bool {
        bytes(&self.budget.used) > mark(self.budget.max) || bytes(&self.tenant) > mark(self.budget.tenant_max)
    }

    /// Whose bound it meets, in words.
    fn bound(&self) -> String {
        if bytes(&self.tenant) > self.budget.tenant_max {
            let max = self.budget.tenant_max >> 20;
            return format!("all pipelines of this tenant together more than the {max} MiB they may (`tenant_state_memory`)");
        }
        format!("all pipelines together more than the {} MiB they may (`state_memory`)", self.budget.max >> 20)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.dec_by(self.bytes as i64);
        self.tenant.dec_by(self.bytes as i64);
    }
}

fn bytes(used: &Gauge) -> u64 {
    u64::try_from(used.get()).unwrap_or(0)
}

impl Task {
    /// What its state takes in memory, about, as others see it. The largest step comes with it.
    pub(super) fn state_bytes(&mut self) -> (u64, Option<u32>) {
        let Self { chain, drawn, .. } = self;
        let sizes: Vec<(u32, u64)> = chain
            .tables()
            .map(|(step, table)| {
                let entries = table.len();
                let (cold, cold_bytes) = table.spills().map_or((0, 0), |spills| (spills.cold_len(), spills.cold_bytes()));
                (step.0, drawn.memory_bytes(step.0, entries - cold) + cold_bytes)
            })
            .collect();
        let largest = sizes.iter().max_by_key(|(_, bytes)| *bytes).map(|(step, _)| *step);
        (sizes.iter().map(|(_, bytes)| bytes).sum(), largest)
    }

    /// Takes its share of memory as its state is now. Whether that fits, and the largest step.
    pub(super) fn account_for_state(&mut self) -> (bool, Option<u32>) {
        let (bytes, largest) = self.state_bytes();
        let fits = self.share.set(bytes);
        let cold = self.chain.tables().map(|(_, table)| table.spills().map_or(0, |spills| spills.cold_len() as u64)).sum();
        self.shared.update(|seen| (seen.state_bytes, seen.state_entries_on_disk) = (bytes, cold));
        (fits, largest)
    }

    /// Accounts for its state, and lets some of it leave memory where that gets tight; one that grew beyond what there is for all, and
    /// cannot leave, is held with everything it has taken saved.
    pub(super) fn keep_within_budget(&mut self) {
        let (fits, largest) = self.account_for_state();
        if self.share.is_tight() {
            self.spill_or_store();
        } else if self.share.is_filling() && self.is_unsaved(2) {
            // What is not stored cannot leave. It is drawn bit by bit, so that it need not be drawn at once when there is no room left.
            self.draw_for_checkpoint();
        }
        if fits {
            return;
        }
        self.spill_until_it_fits();
        if !self.share.is_over() {
            return;
        }
        self.take_checkpoint(false, None);
        let step = largest.map_or_else(String::new, |step| format!(", most of it in {}", self.plan.step_name(step)));
        self.hold(format!(
            "its state takes {} MiB of memory{step}, and {}; what can leave memory has left: give state more, or keep less (shorter windows, fewer keys, smaller state), then resume it",
            self.share.bytes >> 20,
            self.share.bound(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_for_all_until_it_is_given_back() {
        let budget = StateBudget::new(100, 70, Gauge::default());
        let (tenant, other) = ("one".parse().expect("a name"), "other".parse().expect("a name"));
        let (mut one, mut two) = (budget.share(&tenant), budget.share(&other));
        assert!(one.set(60) && two.set(40));
        assert!(!one.set(61), "more than there is");
        assert!(one.set(61), "it did not grow");
        assert!(one.is_tight() && one.is_over() && budget.free(&tenant) == 0);
        assert!(two.set(10) && one.set(69));
        assert!(one.is_tight() && !one.is_over() && !two.is_tight(), "only its own tenant's");
        assert_eq!((budget.free(&tenant), budget.free(&other)), (1, 21));
        assert!(!one.set(71) && one.is_over() && !two.is_over());
        assert!(one.bound().contains("tenant_state_memory") && two.bound().contains("`state_memory`"));
        drop(one);
        assert_eq!((budget.used.get(), budget.free(&tenant)), (10, 70));
    }
}
