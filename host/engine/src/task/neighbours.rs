//! The tasks before and behind one, as far as it has to know of them: who waits for rows, who is too far behind, who must be woken.
//!
//! ```text
//! stage 1 ─rows─► stage 2 ─rows─► stage 3
//!    ▲──── takes less ────┘          a reader that has more than a bound before it holds its writers back, unless another has nothing
//!    └──── nothing comes ──►         silence counts only when everybody before is at the end of what there is
//! ```
//! Nothing of this is state, and no result hangs on it: what a task decides by it (to wait, to let a clock speak) is in its commits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use tidemill_event::PartitionId;

use crate::task::{TaskShared, TaskState};

/// What wakes a task's worker.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Set once, before the tasks run.
#[derive(Default)]
pub(crate) struct Neighbours {
    linked: OnceLock<Linked>,
    wake: OnceLock<Wake>,
}

struct Linked {
    /// All tasks of the stages before.
    before: Vec<Weak<TaskShared>>,
    /// Those of the stage just before.
    writers: Vec<Weak<TaskShared>>,
    /// Those of the stage just behind.
    readers: Vec<Weak<TaskShared>>,
    /// All tasks of the stages behind.
    behind: Vec<Weak<TaskShared>>,
}

/// How much the stage behind lets a task take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// What it likes.
    Free,
    /// A little: one reader has too much before it, and another nothing.
    Slow,
    /// Nothing. The number of rows the reader with the most has before it.
    Blocked(u64),
}

fn alive(tasks: &[Weak<TaskShared>]) -> impl Iterator<Item = Arc<TaskShared>> {
    tasks.iter().filter_map(Weak::upgrade)
}

impl Neighbours {
    /// Links the tasks of a run, stage by stage.
    pub(crate) fn link(stages: &[Vec<Arc<TaskShared>>]) {
        for (at, stage) in stages.iter().enumerate() {
            let weak = |stages: &[Vec<Arc<TaskShared>>]| stages.iter().flatten().map(Arc::downgrade).collect::<Vec<_>>();
            for task in stage {
                let linked = Linked {
                    before: weak(&stages[..at]),
                    writers: weak(&stages[at.saturating_sub(1)..at]),
                    readers: weak(&stages[at + 1..(at + 2).min(stages.len())]),
                    behind: weak(&stages[at + 1..]),
                };
                // A task is made for one run and linked once.
                let _ = task.neighbours.linked.set(linked);
            }
        }
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        let _ = self.wake.set(wake);
    }

    pub(crate) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// There is something before it or behind it to look at: those behind look again.
    pub(crate) fn wake_behind(&self) {
        if let Some(linked) = self.linked.get() {
            alive(&linked.behind).for_each(|task| task.neighbours.wake());
        }
    }

    /// Rows were taken: writers that wait for that look again.
    pub(crate) fn wake_blocked_writers(&self) {
        if let Some(linked) = self.linked.get() {
            alive(&linked.writers).filter(|writer| writer.is_blocked.swap(false, Ordering::SeqCst)).for_each(|writer| {
                writer.neighbours.wake();
            });
        }
    }

    /// Nobody before it has rows to take, or waits for time and will let some out then.
    pub(crate) fn is_quiet_before(&self) -> bool {
        let is_quiet = |task: Arc<TaskShared>| !task.is_pending.load(Ordering::SeqCst) && task.lag() == 0;
        self.linked.get().is_none_or(|linked| alive(&linked.before).all(is_quiet))
    }

    /// Rows are about to be handed to the log, for partitions of what the readers take.
    pub(crate) fn tell_readers(&self, written: &[(usize, PartitionId, u64)]) {
        let Some(linked) = self.linked.get() else { return };
        for (number, partition, rows) in written {
            if let Some(reader) = linked.readers.get(partition.0 as usize).and_then(Weak::upgrade) {
                reader.comes(*number, *rows);
            }
        }
    }

    /// Everybody who writes for it has come to its end.
    pub(crate) fn have_writers_finished(&self) -> bool {
        self.linked.get().is_some_and(|linked| {
            linked.writers.iter().all(|task| task.upgrade().is_some_and(|task| task.state() == TaskState::Finished))
        })
    }

    /// What the stage behind lets it take, where no reader shall have more than `rows_max` before it.
    pub(crate) fn pressure(&self, rows_max: u64) -> Pressure {
        let Some(linked) = self.linked.get() else { return Pressure::Free };
        let lags: Vec<u64> = alive(&linked.readers).map(|reader| reader.lag()).collect();
        let most = lags.iter().copied().max().unwrap_or(0);
        if most <= rows_max {
            Pressure::Free
        } else if lags.contains(&0) {
            // It may be what the others wait for, and it does not come by waiting.
            Pressure::Slow
        } else {
            Pressure::Blocked(most)
        }
    }
}
