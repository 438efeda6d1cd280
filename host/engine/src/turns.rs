//! One change of a pipeline at a time, and others meanwhile.
//!
//! ```text
//! apply fraud ──┬─ turn of `fraud` ─────────────────────────────────────────────┬──►
//!               └─ changes: check ─┐ tasks to a checkpoint, sinks to a stop ┌─ changes: documents, new tasks
//! push, apply other, …             └─ changes ──────────── changes ─────────┘
//! ```
//! The lock `changes` guards the catalog: what a plan was checked against stays until it is stored. It is never held while tasks or
//! sinks are waited for, which may take up to a minute (a request to a slow receiver, a replay that catches up). What must not change
//! then is the pipeline itself, and for that there is its turn. A turn is taken before the lock, never behind it.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tidemill_event::{PipelineName, TenantName};

use crate::deployed::Deployed;
use crate::deployments::Deployments;

type Key = (TenantName, PipelineName);

/// Pipelines that are being changed.
#[derive(Default)]
pub(crate) struct Turns {
    under_way: Mutex<BTreeSet<Key>>,
    ended: Condvar,
}

/// The right to change one pipeline, until it is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: Key,
}

impl Turns {
    /// Waits until nobody else changes the pipeline. Blocking: as long as their change takes.
    pub(crate) fn take(&self, tenant: &TenantName, pipeline: &PipelineName) -> Turn<'_> {
        let key = (tenant.clone(), pipeline.clone());
        let mut under_way = self.under_way.lock();
        while under_way.contains(&key) {
            self.ended.wait(&mut under_way);
        }
        under_way.insert(key.clone());
        Turn { turns: self, key }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.under_way.lock().remove(&self.key);
        self.turns.ended.notify_all();
    }
}

impl Deployments {
    /// Ends a run's tasks and sinks, with the catalog open for others. If they do not end in time they go on as they were, and the error
    /// says so.
    pub(crate) fn stop_aside(&self, changes: &mut MutexGuard<'_, ()>, deployed: &Deployed) -> Result<(), String> {
        let stopped = MutexGuard::unlocked(changes, || self.stop(deployed));
        if stopped.is_err() && !deployed.stored.paused && !self.is_stopping() {
            self.go_on(deployed);
        }
        stopped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn changes_of_one_pipeline_wait_for_each_other_and_for_nobody_else() {
        let turns = Arc::new(Turns::default());
        let name = |text: &str| text.parse::<PipelineName>().expect("a name");
        let tenant = TenantName::default_tenant();
        let first = turns.take(&tenant, &name("p"));
        drop(turns.take(&tenant, &name("q")));
        let at_once = Arc::new(AtomicU32::new(0));
        let others: Vec<_> = (0..4)
            .map(|_| {
                let (turns, at_once, tenant, name) = (turns.clone(), at_once.clone(), tenant.clone(), name("p"));
                std::thread::spawn(move || {
                    let _turn = turns.take(&tenant, &name);
                    assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    std::thread::sleep(Duration::from_millis(2));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        assert_eq!(at_once.load(Ordering::SeqCst), 0, "they wait");
        drop(first);
        others.into_iter().for_each(|other| other.join().expect("had its turn"));
        assert!(turns.under_way.lock().is_empty());
    }
}
