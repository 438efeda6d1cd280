//! How much is open of a run's patterns: asked of its tasks between two batches, or what they left when they ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use tidemill_flow::OpenRuns;

use crate::deployed::Deployed;
use crate::deployments::Deployments;
use crate::plan::{Plan, PlannedKind};
use crate::task::{TaskShared, TaskState};

/// Per step, what is open of each of its patterns in the order of the text.
pub(crate) type OpenByStep = BTreeMap<u32, Vec<OpenRuns>>;

/// How long a dry run waits for tasks. One that works on a batch answers behind it.
const COUNT_WAIT: Duration = Duration::from_secs(10);

impl Plan {
    /// Whether some step follows partial matches.
    fn has_patterns(&self) -> bool {
        let is_one =
            |kind: &PlannedKind| matches!(kind, PlannedKind::Pattern(_) | PlannedKind::Patterns(_) | PlannedKind::Match(_));
        self.steps.iter().any(|step| is_one(&step.kind))
    }
}

impl Deployments {
    /// What is open in all tasks. `None`: nobody knows, because a task has failed, is not there, or still takes committed rows again. Blocking, as
    /// long as a batch takes; the catalog shall not be held meanwhile.
    pub(crate) fn open_patterns(&self, deployed: &Deployed) -> Option<OpenByStep> {
        self.open_of(deployed, |task| match task.state() {
            TaskState::Running => {
                let (asker, told) = bounded(1);
                self.threads.workers.count_open(&task.id, asker);
                told.recv_deadline(Instant::now() + COUNT_WAIT).ok()
            }
            TaskState::Failed | TaskState::Held | TaskState::Finished | TaskState::Stopped => task.open_when_it_ended(),
        })
    }

    /// The same of a run whose tasks have been stopped.
    pub(crate) fn open_when_stopped(&self, deployed: &Deployed) -> Option<OpenByStep> {
        self.open_of(deployed, |task| task.open_when_it_ended())
    }

    fn open_of(&self, deployed: &Deployed, of: impl Fn(&Arc<TaskShared>) -> Option<OpenByStep>) -> Option<OpenByStep> {
        let plan = deployed.plan.as_ref().ok()?;
        let mut all = OpenByStep::new();
        if !plan.has_patterns() {
            return Some(all);
        }
        // One that was paused through a restart has no tasks, and its state lies in the store.
        if deployed.tasks.is_empty() {
            return None;
        }
        for task in &deployed.tasks {
            for (step, open) in of(task)? {
                let sum = all.entry(step).or_default();
                sum.resize(open.len(), OpenRuns { pattern: None, runs: 0, keys: 0 });
                for (sum, open) in sum.iter_mut().zip(open) {
                    *sum = OpenRuns { runs: sum.runs + open.runs, keys: sum.keys + open.keys, ..open };
                }
            }
        }
        Some(all)
    }
}
