//! A task's state on its way to the checkpointer, and how a task ends: behind a checkpoint, or making way for another.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TryRecvError, bounded};
use tidemill_state::Change;

use crate::task::checkpointer::Job;
use crate::task::machine::Task;
use crate::task::record::Checkpoint;
use crate::task::restore::operator_of;
use crate::task::{TaskState, keeping};

impl Task {
    /// A checkpoint did not become true, and its task says why: what it would have saved is in no later one.
    pub(super) fn failed_to_save(&mut self) -> bool {
        match self.under_way.as_ref().map(|under_way| under_way.try_recv()) {
            Some(Ok(())) => self.under_way = None,
            Some(Err(TryRecvError::Disconnected)) => return true,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
        false
    }

    /// A checkpoint is on its way.
    fn is_saving(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| matches!(under_way.try_recv(), Err(TryRecvError::Empty)))
    }

    /// Hands the changed state to the checkpointer, unless one is on its way. Instances are replaced with it.
    pub(super) fn take_checkpoint(&mut self, finishes: bool, done: Option<Sender<()>>) {
        if self.is_saving() && !finishes && done.is_none() {
            return;
        }
        let plan = self.plan.clone();
        let state = self.state_checksum();
        let mut changes = Vec::new();
        for (step, table) in self.chain.tables() {
            let Some(operator) = operator_of(&plan, step.0) else { continue };
            changes.extend(table.take_changes().into_iter().map(|change| Change {
                operator,
                key: change.key.into_vec(),
                value: change.value.map(<[u8]>::into_vec),
            }));
        }
        changes.extend(keeping::changes(
            &plan,
            &mut self.chain,
            &mut self.waiting,
            &self.replayed,
            self.time.to_bytes(&self.inputs),
        ));
        self.checkpoint = self.checkpoint.next();
        let (commit, frame) = self.last_commit.take().map_or((None, 0), |(pending, frame)| (Some(pending), frame));
        let (told, under_way) = bounded(1);
        self.under_way = Some(under_way);
        let job = Job {
            shared: self.shared.clone(),
            progress: self.progress_partition.clone(),
            output: self.progress.clone(),
            checkpoint: Checkpoint {
                run: self.shared.id.run,
                plan: self.plan_number,
                id: self.checkpoint.0,
                // What was recovered is covered; the checkpointer knows what of this start is.
                as_of: self.recovered.end.0,
                input: self.inputs.places(),
                state,
                totals: self.totals.clone(),
            },
            changes,
            commit,
            frame,
            finishes,
            done: done.or(Some(told)),
        };
        self.cost = Duration::ZERO;
        self.saved_at = Instant::now();
        self.control.replace_instances();
        self.fresh = true;
        if self.jobs.send(job).is_err() {
            self.shared.fail("no checkpoint can be made: the host's checkpointer has stopped, restart the host".to_owned());
        }
    }

    /// Ends the task as it stands, when its last commit is on disk.
    pub(crate) fn give_way(mut self) {
        if let Some((commit, _)) = self.last_commit.take() {
            let _ = commit.wait();
        } else if let Some(under_way) = self.under_way.take() {
            // The checkpointer has the commit and waits for it first.
            let _ = under_way.recv();
        }
    }

    /// Ends the task behind a checkpoint; `done` is told when that is true. While it still replays there is nothing to save.
    pub(crate) fn stop(mut self, done: Sender<()>) {
        // Replay without a commit behind it is covered too: the next start shall have nothing to do.
        let uncovered = self.last_commit.is_some() || self.cost > Duration::ZERO || self.is_saving();
        if self.recovered.commits.is_empty() && !self.ended && uncovered && self.shared.state() != TaskState::Failed {
            self.take_checkpoint(false, Some(done));
        } else {
            let _ = done.send(());
        }
        // What it has not taken may go now, as its stream's retention says.
        self.shared.let_go();
        let blocked = self.blocked;
        self.shared.update(|seen| {
            if seen.state == TaskState::Running || blocked && seen.state == TaskState::Held {
                seen.state = TaskState::Stopped;
            }
        });
    }
}
