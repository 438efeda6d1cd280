//! The checkpointer: one thread that makes checkpoints of all tasks true, so that no worker waits for a disk.
//!
//! ```text
//! worker: changed state, the last commit ──► wait until that commit is on disk ─► slices ─► one sync for all that wait
//!                                                                              ─► progress record ─► on disk: true
//!                                                                              ─► the one before the last: retired, progress trimmed
//! ```
//! A crash between any two of these leaves the checkpoint before: it is the record that counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tidemill_event::{Clock, Offset};
use tidemill_log::{Append, Log, Partition, Pending, Visibility};
use tidemill_state::{Change, CheckpointId, Replaced, StateError, StateStore, TaskId};

use crate::metrics::Metrics;
use crate::planted::{Planted, Plants};
use crate::task::drawing::settled;
use crate::task::frames::Output;
use crate::task::machine::cpu_time;
use crate::task::record::{Checkpoint, Record, encode};
use crate::task::shared::Saved;
use crate::task::{TaskShared, TaskState};

/// Checkpoints that may wait; a worker that has one more waits for room.
const JOBS_MAX: usize = 64;

/// A checkpoint to make.
pub(crate) struct Job {
    pub(crate) shared: Arc<TaskShared>,
    pub(crate) progress: Arc<Partition>,
    pub(crate) output: Arc<Output>,
    /// What it says; `as_of` is at least what was recovered, and follows from the commit's offset.
    pub(crate) checkpoint: Checkpoint,
    /// In the order they were drawn: of several changes of a key the last counts.
    pub(crate) drawn: Vec<Vec<Change>>,
    /// What of it is written: each key once.
    pub(crate) changes: Vec<Change>,
    /// The last commit that is in it; `None`: there was none since the last one.
    pub(crate) commit: Option<Pending>,
    /// Where the progress frame stands among the commit's frames.
    pub(crate) frame: usize,
    /// The task is at its end.
    pub(crate) finishes: bool,
    /// How long rows waited at most while changed state was made bytes.
    pub(crate) pause: Duration,
    /// Told when it is true, with the CPU time that was spent on it here, and dropped when it is certain that it never will be.
    pub(crate) told: Sender<Duration>,
    /// The same for whoever asked for it.
    pub(crate) done: Option<Sender<()>>,
}

/// Handle to the thread.
pub(crate) struct Checkpointer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(
        log: Log,
        store: StateStore,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        plants: Plants,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(JOBS_MAX);
        let mut maker = Maker { log, store, clock, metrics, plants, previous: HashMap::new(), covered: HashMap::new() };
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || maker.run(&receiver))?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    /// Where jobs go.
    pub(crate) fn jobs(&self) -> Sender<Job> {
        self.jobs.clone().expect("there until it is stopped")
    }

    /// Finishes what waits and ends the thread. Workers must be gone: they hold senders.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer panicked");
        }
    }
}

/// What is known of a task's last true checkpoint.
struct Previous {
    id: CheckpointId,
    as_of: Offset,
    input: BTreeMap<String, u64>,
    replaced: Replaced,
}

struct Maker {
    log: Log,
    store: StateStore,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    plants: Plants,
    previous: HashMap<TaskId, Previous>,
    /// Per task, the progress offset behind the last commit that a checkpoint took.
    covered: HashMap<TaskId, u64>,
}

impl Maker {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter());
            let started = Instant::now();
            let count = group.len();
            self.make(group);
            self.metrics.checkpoints.inc_by(count as u64);
            self.metrics.checkpoint_seconds.observe(started.elapsed().as_secs_f64());
        }
    }

    fn make(&mut self, group: Vec<Job>) {
        let mut written = Vec::new();
        for mut job in group {
            let begun = cpu_time();
            // The changes of a checkpoint that failed are in no later one: nothing of this task becomes true any more, and the next start goes
            // on from the last one that did.
            if job.shared.state() == TaskState::Failed {
                continue;
            }
            // Not the end of the progress stream: the task goes on meanwhile, and its next commits are not in this state.
            let covered = self.covered.entry(job.shared.id.clone()).or_default();
            *covered = (*covered).max(job.checkpoint.as_of);
            if self.plants.has(Planted::CheckpointAhead) {
                *covered = job.progress.end(Visibility::Sequenced).0;
            } else if let Some(commit) = job.commit.take() {
                match commit.wait() {
                    Ok(offsets) => *covered = offsets.into_inner()[job.frame].0 + 1,
                    // The log has stopped, and with it everything else: the last true checkpoint stands.
                    Err(_) => continue,
                }
            }
            job.checkpoint.as_of = *covered;
            job.changes = settled(std::mem::take(&mut job.drawn));
            match self.store.write(&job.shared.id, CheckpointId(job.checkpoint.id), &job.changes) {
                Ok(what) => {
                    job.checkpoint.set_written(what);
                    written.push((job, cpu_time().saturating_sub(begun)));
                }
                Err(error) => job.shared.fail(format!("its checkpoint could not be written: {error}")),
            }
        }
        if let Err(error) = self.sync() {
            for (job, _) in &written {
                job.shared.fail(format!("its checkpoint could not be written: {error}"));
            }
            return;
        }
        let appended: Vec<_> = written
            .into_iter()
            .filter_map(|(job, spent)| {
                if self.plants.has(Planted::RetiredEarly) {
                    // What it would be told a moment later.
                    let id = CheckpointId(job.checkpoint.id);
                    let _ = self.store.retire(&job.shared.id, id, Replaced::by(&job.shared.id, id, &job.changes));
                    let _ = self.store.sync();
                }
                let rows = encode(&Record::Checkpoint(job.checkpoint.clone()), job.output.schema(), self.clock.now());
                let frame = job.output.frame(job.shared.id.partition, rows);
                match self.log.append_waiting(Append::atomic(vec![frame])) {
                    Ok(pending) => Some((job, spent, pending)),
                    Err(error) => {
                        job.shared.fail(format!("its checkpoint could not be recorded: {error}"));
                        None
                    }
                }
            })
            .collect();
        for (job, spent, pending) in appended {
            if pending.wait().is_ok() {
                self.became_true(job, spent);
            }
        }
    }

    fn sync(&self) -> Result<(), StateError> {
        if self.plants.has(Planted::StateNotSynced) { Ok(()) } else { self.store.sync() }
    }

    /// `spent`: what writing it cost.
    fn became_true(&mut self, job: Job, spent: Duration) {
        let begun = cpu_time();
        let Job { shared, progress, checkpoint, changes, finishes, pause, told, done, .. } = job;
        let id = CheckpointId(checkpoint.id);
        let bytes =
            changes.iter().map(|change| change.key.len() + change.value.as_ref().map_or(0, Vec::len)).sum::<usize>() as u64;
        self.metrics.checkpoint_bytes.inc_by(bytes);
        self.metrics.checkpoint_pause_seconds.observe(pause.as_secs_f64());
        // The one before may be needed once more, should this one turn out to be damaged, and its rows with it.
        let before = self.previous.get(&shared.id).map(|before| &before.input);
        shared.saved(&Saved { id, bytes, keys: changes.len() as u64, pause }, before, Instant::now());
        for (partition, next) in before.map(|places| shared.done_with(places)).unwrap_or_default() {
            if let Err(error) = self.log.trim(partition.key(), next) {
                tracing::debug!(task = %shared.id, "rows between stages are not trimmed: {error}");
            }
        }
        let replaced = Replaced::by(&shared.id, id, &changes);
        drop(changes);
        let before = if finishes {
            shared.let_go();
            shared.update(|seen| seen.state = TaskState::Finished);
            // Those who read what it wrote may be at their end now, too.
            shared.neighbours.wake_behind();
            // There is no next one: what this one replaced stays until the task is loaded or forgotten.
            self.previous.remove(&shared.id)
        } else {
            let now = Previous { id, as_of: Offset(checkpoint.as_of), input: checkpoint.input, replaced };
            self.previous.insert(shared.id.clone(), now)
        };
        if let Some(before) = before {
            // Nobody will load anything older than `before` again, nor replay what it covers.
            if let Err(error) = self.store.retire(&shared.id, before.id, before.replaced) {
                tracing::warn!(task = %shared.id, "old state is not cleared away: {error}");
            }
            if let Err(error) = self.log.trim(progress.key(), before.as_of) {
                tracing::debug!(task = %shared.id, "progress is not trimmed: {error}");
            }
        }
        // Whoever waited may have given up at its deadline.
        let _ = told.send(spent + cpu_time().saturating_sub(begun));
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}
