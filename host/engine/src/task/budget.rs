//! Memory for state: what the tasks of a host may take together. A task that would take more stops and says so, before the machine does.
//!
//! What a task takes is what its steps have entries, times what entries of a step were like so far (`drawing.rs`): an estimate, within some
//! ten percent where keys are alike. A task that stops is held behind a checkpoint, and gives its memory back.

use prometheus_client::metrics::gauge::Gauge;

use crate::task::machine::Task;

/// The budget. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct StateBudget {
    /// In use, as metrics show it.
    used: Gauge,
    max: u64,
}

/// What a task has of it; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: StateBudget,
    bytes: u64,
}

impl StateBudget {
    /// So many bytes for all.
    pub(crate) fn new(max: u64, used: Gauge) -> Self {
        Self { used, max }
    }

    /// Nothing of it, for now.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes so many bytes instead of what it had. `false`: it took more than before, and that is more than there is for all.
    pub(super) fn set(&mut self, bytes: u64) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        // States are far from the end of these numbers.
        let grown = bytes as i64 - before as i64;
        let used = self.budget.used.inc_by(grown) + grown;
        grown <= 0 || u64::try_from(used).unwrap_or(0) <= self.budget.max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.dec_by(self.bytes as i64);
    }
}

impl Task {
    /// What its state takes in memory, about, as others see it. The largest step comes with it.
    pub(super) fn state_bytes(&mut self) -> (u64, Option<u32>) {
        let Self { chain, drawn, .. } = self;
        let sizes: Vec<(u32, u64)> =
            chain.tables().map(|(step, table)| (step.0, drawn.memory_bytes(step.0, table.len()))).collect();
        let largest = sizes.iter().max_by_key(|(_, bytes)| *bytes).map(|(step, _)| *step);
        (sizes.iter().map(|(_, bytes)| bytes).sum(), largest)
    }

    /// Accounts for its state; one that grew beyond what there is for all is held, with everything it has taken saved.
    pub(super) fn hold_if_over_budget(&mut self) {
        let (bytes, largest) = self.state_bytes();
        let fits = self.share.set(bytes);
        self.shared.update(|seen| seen.state_bytes = bytes);
        if fits {
            return;
        }
        self.take_checkpoint(false, None);
        let step = largest.map_or_else(String::new, |step| format!(", most of it in {}", self.plan.step_name(step)));
        self.hold(format!(
            "its state takes {} MiB of memory{step}, and all pipelines together more than the {} MiB they may: give state more with `state_memory`, or keep less (shorter windows, fewer keys, smaller state), then resume it",
            bytes >> 20,
            self.share.budget.max >> 20,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_for_all_until_it_is_given_back() {
        let budget = StateBudget::new(100, Gauge::default());
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.set(60) && two.set(40));
        assert!(!one.set(61), "more than there is");
        assert!(one.set(61), "it did not grow");
        assert!(two.set(10) && one.set(90));
        drop(one);
        assert_eq!(budget.used.get(), 10);
    }
}
