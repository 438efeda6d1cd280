//! A task's state on its way to the checkpointer, and how a task ends: behind a checkpoint, or making way for another.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TryRecvError, bounded};

use crate::task::checkpointer::Job;
use crate::task::drawing::{DRAW_ENTRIES, Taken};
use crate::task::machine::Task;
use crate::task::record::{Checkpoint, Hex};
use crate::task::{TaskState, keeping};

/// A checkpoint is due when the rows since the last one cost that many times what it cost: at most a fifth of the work is writing state.
const ROWS_PER_SAVING: u32 = 4;
/// But replay never costs more than that many times what it may cost where checkpoints are cheap.
const REPLAY_AT_MOST: u32 = 4;

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saving {
    /// None is on its way.
    Nothing,
    UnderWay,
    Failed,
}

impl Task {
    /// A checkpoint did not become true, and its task says why: what it would have saved is in no later one.
    pub(super) fn failed_to_save(&mut self) -> bool {
        self.hear_of_checkpoint() == Saving::Failed
    }

    /// A checkpoint is on its way.
    pub(super) fn is_saving(&mut self) -> bool {
        self.hear_of_checkpoint() == Saving::UnderWay
    }

    /// What became of the last checkpoint. Whoever asks first hears that it is true, so that is noted here.
    fn hear_of_checkpoint(&mut self) -> Saving {
        match self.under_way.as_ref().map(|under_way| under_way.try_recv()) {
            Some(Ok(spent)) => {
                self.is_true(spent);
                Saving::Nothing
            }
            Some(Err(TryRecvError::Disconnected)) => Saving::Failed,
            Some(Err(TryRecvError::Empty)) => Saving::UnderWay,
            None => Saving::Nothing,
        }
    }

    /// The last checkpoint that was taken is true, and with it all before; the checkpointer spent that much CPU time on it.
    fn is_true(&mut self, spent: Duration) {
        self.under_way = None;
        self.saved = self.checkpoint;
        self.saving_cost += spent;
    }

    /// Whether replay would cost enough for a checkpoint. State that goes soon after it came is dear to store and cheap to make again.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let after = self.parts.checkpoint_after;
        self.cost >= after.max((self.saving_cost * ROWS_PER_SAVING).min(after * REPLAY_AT_MOST))
    }

    /// Waits until the checkpoint on its way is true. `false`: there is none, or it failed, which the next turn hears.
    pub(super) fn wait_for_checkpoint(&mut self) -> bool {
        let spent = self.under_way.as_ref().and_then(|under_way| under_way.recv().ok());
        if let Some(spent) = spent {
            self.is_true(spent);
        }
        spent.is_some()
    }

    /// A checkpoint that was put off because it is dear costs nobody anything while there are no rows. Whether one was made, or brought nearer.
    pub(super) fn saves_while_idle(&mut self) -> bool {
        let is_worth_it = !self.cost.is_zero() && self.cost >= self.parts.checkpoint_after && !self.is_saving();
        if is_worth_it {
            self.draw_for_checkpoint();
        }
        is_worth_it
    }

    /// Draws some of what changed for a checkpoint, and takes it once little is left.
    pub(super) fn draw_for_checkpoint(&mut self) {
        if self.is_saving() || self.is_listing() {
            return;
        }
        if self.drawn.draw(&self.plan, &mut self.chain, DRAW_ENTRIES, self.checkpoint.next()) {
            self.take_checkpoint(false, None);
        }
    }

    /// Hands the changed state to the checkpointer, unless one is on its way. Instances are replaced with it.
    pub(super) fn take_checkpoint(&mut self, finishes: bool, done: Option<Sender<()>>) {
        if self.is_saving() && !finishes && done.is_none() {
            return;
        }
        if let Err(why) = self.list_all() {
            self.ended = true;
            return self.shared.fail(why);
        }
        let begun = Instant::now();
        // First what is left, whose checksum is made with its bytes.
        self.drawn.draw(&self.plan, &mut self.chain, usize::MAX, self.checkpoint.next());
        let state = self.state_checksum();
        let time = self.time.to_bytes(&self.inputs);
        self.drawn.add(keeping::changes(&self.plan, &mut self.chain, &mut self.waiting, &self.replayed, time));
        let Taken { changes: drawn, longest, spent } = self.drawn.take();
        let pause = longest.max(begun.elapsed());
        self.saving_cost = spent;
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
                keys: 0,
                gone: 0,
                sum: Hex(0),
            },
            drawn,
            changes: Vec::new(),
            commit,
            frame,
            finishes,
            pause,
            told,
            done,
        };
        (self.cost, self.answered_bytes) = (Duration::ZERO, 0);
        self.saved_at = Instant::now();
        self.control.replace_instances();
        self.fresh = true;
        if self.jobs.send(job).is_err() {
            self.shared.fail("no checkpoint can be made: the host's checkpointer has stopped, restart the host".to_owned());
        }
    }

    /// Makes a checkpoint of all it has; `done` is told when that is true. While it still replays there is nothing to save but what the
    /// last one has.
    pub(crate) fn save(&mut self, done: Sender<()>) {
        if self.has_unsaved() {
            self.take_checkpoint(false, Some(done));
        } else {
            let _ = done.send(());
        }
    }

    /// Whether there is something that no checkpoint covers. Replay without a commit behind it counts too: the next start shall have
    /// nothing to do.
    fn has_unsaved(&mut self) -> bool {
        let uncovered = self.last_commit.is_some() || self.cost > Duration::ZERO || self.is_saving();
        self.recovered.commits.is_empty() && !self.ended && uncovered && self.shared.state() != TaskState::Failed
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
        self.leave_open_count();
        if self.has_unsaved() {
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
