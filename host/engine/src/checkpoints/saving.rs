//! Letting all tasks of a pipeline save what they have, with nothing on its way between two stages.
//!
//! ```text
//! stage 1 takes nothing ─ saves ─► stage 2 takes what is there, then nothing ─ saves ─► stage 3 …  ─► all go on
//! ```
//! A checkpoint of a pipeline with one stage needs none of that: its tasks share nothing but the log. Between stages there are rows that one
//! task has made and another has not taken, and a run that begins with the checkpoint has streams of its own between its stages, which are empty.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::ControlError;
use crate::deployed::Deployed;
use crate::deployments::{Deployments, STOP_WAIT};
use crate::status::PipelineState;
use crate::task::TaskShared;

/// How often it is looked whether a stage has taken all there is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Tasks that take nothing; they go on when this is dropped.
struct Still<'a>(Vec<&'a Arc<TaskShared>>);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        for task in &self.0 {
            task.takes_nothing.store(false, Ordering::SeqCst);
            task.neighbours.wake();
        }
    }
}

impl Deployments {
    /// Lets every task that runs save what it has; those that do not run have.
    pub(super) fn save_all(&self, deployed: &Deployed) -> Result<(), ControlError> {
        let until = Instant::now() + STOP_WAIT;
        if deployed.stored.stages.is_empty() {
            return self.save_tasks(deployed, &deployed.tasks.iter().collect::<Vec<_>>(), until);
        }
        if !matches!(deployed.state(), PipelineState::Running | PipelineState::Finished) {
            let error = format!("rows may be on their way between the stages of `{}`: resume it first", deployed.name);
            return Err(ControlError::Conflict(error));
        }
        let mut still = Still(Vec::new());
        for stage in 0..deployed.stored.stages.len() {
            let tasks: Vec<&Arc<TaskShared>> = deployed.tasks.iter().filter(|task| task.stage == stage).collect();
            while stage > 0 && tasks.iter().any(|task| task.lag() > 0) {
                if Instant::now() > until || deployed.state() != PipelineState::Running {
                    let error =
                        format!("stage {} did not take what was before it: `tidemill status {}`", stage + 1, deployed.name);
                    return Err(ControlError::Unavailable(error));
                }
                std::thread::sleep(LOOK_EVERY);
            }
            tasks.iter().for_each(|task| task.takes_nothing.store(true, Ordering::SeqCst));
            still.0.extend(&tasks);
            // Behind its turn: what it had in hand is with the next stage now.
            self.save_tasks(deployed, &tasks, until)?;
        }
        Ok(())
    }

    fn save_tasks(&self, deployed: &Deployed, tasks: &[&Arc<TaskShared>], until: Instant) -> Result<(), ControlError> {
        let (done, told) = bounded(tasks.len().max(1));
        for task in tasks {
            self.threads.workers.save_task(&task.id, done.clone());
        }
        drop(done);
        for _ in tasks {
            let error = match told.recv_deadline(until) {
                Ok(()) => continue,
                Err(RecvTimeoutError::Timeout) => "the tasks did not save their state in a minute: try again".to_owned(),
                Err(RecvTimeoutError::Disconnected) => {
                    format!("a task could not save its state: `tidemill status {}` says why", deployed.name)
                }
            };
            return Err(ControlError::Unavailable(error));
        }
        Ok(())
    }
}
