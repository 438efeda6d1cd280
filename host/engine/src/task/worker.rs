//! Workers: a fixed set of threads, each with many tasks, one batch each in turn.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};
use tidemill_event::EventTime;
use tidemill_flow::StepId;
use tidemill_state::TaskId;

use crate::dead_letters::DeadLetterId;
use crate::metrics::Metrics;
use crate::open_patterns::OpenByStep;
use crate::task::checkpointer::Job;
use crate::task::machine::{Task, Turn};
use crate::task::replaying::ReplayAnswered;
use crate::task::{Asker, TaskParts, TaskSeed};

/// The shortest and the longest a worker sleeps while rows wait; the clock may be set meanwhile.
const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What a worker is told.
enum Message {
    Start(Box<TaskSeed>),
    /// End a task behind a checkpoint. `done` is told when that is true.
    Stop(TaskId, Sender<()>),
    /// Make a checkpoint. `done` is told when that is true.
    Save(TaskId, Sender<()>),
    /// Take dead letters in.
    Replay(TaskId, Vec<DeadLetterId>, bool, ReplayAnswered),
    /// Say what a step holds of a key.
    Ask(TaskId, StepId, RecordBatch, Asker),
    /// Say what is open of its patterns.
    CountOpen(TaskId, Sender<OpenByStep>),
    /// End the thread, tasks as they stand.
    Quit,
}

/// A worker's door: messages, and the word that a task may have rows. Nothing here can fill: messages are answers to requests of
/// people, and wake-ups are one flag.
#[derive(Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    bell: Condvar,
}

#[derive(Default)]
struct Inbox {
    messages: VecDeque<Message>,
    woken: bool,
}

impl Mailbox {
    fn send(&self, message: Message) {
        self.inbox.lock().messages.push_back(message);
        self.bell.notify_one();
    }

    /// A task may have rows.
    pub(crate) fn wake(&self) {
        self.inbox.lock().woken = true;
        self.bell.notify_one();
    }

    /// What came in. Sleeps until something does if `idle`, or until the time is over.
    fn take(&self, idle: bool, longest: Option<Duration>) -> VecDeque<Message> {
        let mut inbox = self.inbox.lock();
        while idle && inbox.messages.is_empty() && !inbox.woken {
            let Some(longest) = longest else {
                self.bell.wait(&mut inbox);
                continue;
            };
            if self.bell.wait_for(&mut inbox, longest).timed_out() {
                break;
            }
        }
        inbox.woken = false;
        std::mem::take(&mut inbox.messages)
    }
}

/// All workers.
pub(crate) struct Workers {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    pub(crate) fn start(count: usize, parts: &TaskParts, jobs: &Sender<Job>) -> std::io::Result<Self> {
        let mailboxes: Vec<Arc<Mailbox>> = (0..count.max(1)).map(|_| Arc::default()).collect();
        let threads = mailboxes
            .iter()
            .enumerate()
            .map(|(number, mailbox)| {
                let mut worker = Worker {
                    mailbox: mailbox.clone(),
                    parts: parts.clone(),
                    jobs: jobs.clone(),
                    tasks: Vec::new(),
                    metrics: parts.metrics.clone(),
                };
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || worker.run())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { mailboxes, threads: Mutex::new(threads) })
    }

    /// Which worker a task belongs to: always the same one, and neighbours on different ones.
    fn of(&self, task: &TaskId) -> &Arc<Mailbox> {
        let name: usize = task.pipeline.as_str().bytes().map(usize::from).sum();
        &self.mailboxes[(name + task.partition.0 as usize) % self.mailboxes.len()]
    }

    pub(crate) fn start_task(&self, seed: TaskSeed) {
        self.of(&seed.shared.id).clone().send(Message::Start(Box::new(seed)));
    }

    pub(crate) fn stop_task(&self, task: &TaskId, done: Sender<()>) {
        self.of(task).send(Message::Stop(task.clone(), done));
    }

    /// Lets a task make a checkpoint of all it has; `done` is told when that is true, or at once where there is nothing to save.
    pub(crate) fn save_task(&self, task: &TaskId, done: Sender<()>) {
        self.of(task).send(Message::Save(task.clone(), done));
    }

    /// Dead letters for a task; the answer comes when they are on disk. Dropped if there is no such task.
    pub(crate) fn replay(&self, task: &TaskId, ids: Vec<DeadLetterId>, force: bool, done: ReplayAnswered) {
        self.of(task).send(Message::Replay(task.clone(), ids, force, done));
    }

    /// What a step of a task holds of a key. `asker` is dropped if there is no such task.
    pub(crate) fn ask(&self, task: &TaskId, step: StepId, key: RecordBatch, asker: Asker) {
        self.of(task).send(Message::Ask(task.clone(), step, key, asker));
    }

    /// What is open of a task's patterns. `asker` is dropped if there is no such task, or it does not know yet.
    pub(crate) fn count_open(&self, task: &TaskId, asker: Sender<OpenByStep>) {
        self.of(task).send(Message::CountOpen(task.clone(), asker));
    }

    /// Ends the threads. Tasks that were not stopped before are as after a crash.
    pub(crate) fn join(&self) {
        for mailbox in &self.mailboxes {
            mailbox.send(Message::Quit);
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

/// One thread.
struct Worker {
    mailbox: Arc<Mailbox>,
    parts: TaskParts,
    jobs: Sender<Job>,
    tasks: Vec<Running>,
    metrics: Metrics,
}

struct Running {
    task: Task,
    /// The last turn found rows: there may be more, whatever the listener said meanwhile.
    busy: bool,
    /// Rows that wait are due then.
    due: Option<EventTime>,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let idle = !self.tasks.iter().any(|running| running.busy || running.task.shared.ready.load(Ordering::Acquire));
            let longest = self.until_due();
            for message in self.mailbox.take(idle, longest) {
                match message {
                    Message::Start(seed) => self.open(*seed),
                    Message::Stop(task, done) => self.stop(&task, done),
                    Message::Save(task, done) => self.save(&task, done),
                    Message::Replay(task, ids, force, done) => self.replay(&task, &ids, force, done),
                    Message::Ask(task, step, key, asker) => self.ask(&task, step, &key, &asker),
                    Message::CountOpen(task, asker) => {
                        let running = self.tasks.iter_mut().find(|running| running.task.shared.id == task);
                        running.into_iter().for_each(|running| running.task.count_open(&asker));
                    }
                    Message::Quit => return,
                }
            }
            self.wake_due();
            self.round();
        }
    }

    /// How long it may sleep because rows wait.
    fn until_due(&self) -> Option<Duration> {
        let due = self.tasks.iter().filter_map(|running| running.due).min()?;
        let micros = u64::try_from(due.0.saturating_sub(self.parts.clock.now().0)).unwrap_or(0);
        Some(Duration::from_micros(micros).clamp(SLEEP_MIN, SLEEP_MAX))
    }

    fn wake_due(&mut self) {
        if self.tasks.iter().all(|running| running.due.is_none()) {
            return;
        }
        let now = self.parts.clock.now();
        for running in &mut self.tasks {
            if running.due.is_some_and(|due| due <= now) {
                running.busy = true;
            }
        }
    }

    /// One batch of every task that has rows: a slow pipeline delays its neighbours by one batch, which is cut by its cost.
    fn round(&mut self) {
        let metrics = &self.metrics;
        self.tasks.retain_mut(|running| {
            if !running.busy && !running.task.shared.ready.swap(false, Ordering::AcqRel) {
                return true;
            }
            running.due = None;
            let shared = running.task.shared.clone();
            match catch_unwind(AssertUnwindSafe(|| running.task.turn())) {
                Ok(Ok(Turn::Worked)) => {
                    running.busy = true;
                    true
                }
                Ok(Ok(Turn::Idle)) => {
                    running.busy = false;
                    true
                }
                Ok(Ok(Turn::Waits(due))) => {
                    (running.busy, running.due) = (false, Some(due));
                    true
                }
                Ok(Ok(Turn::Ended)) => false,
                Ok(Err(error)) => {
                    shared.fail(error);
                    false
                }
                // A bug of the host in one pipeline must not take the others with it. The task is thrown away as it stands: what it
                // committed is true, what it had in hand is taken again.
                Err(panic) => {
                    metrics.panics.inc();
                    shared.fail(format!("a bug in the host: {}", panic_text(&*panic)));
                    false
                }
            }
        });
    }

    fn open(&mut self, seed: TaskSeed) {
        let shared = seed.shared.clone();
        // A stop that was given up on may have left a task of this name. It must not commit beside the new one, and what it committed
        // must be in the journal's order before the new one looks.
        if let Some(at) = self.tasks.iter().position(|running| running.task.shared.id == shared.id) {
            self.tasks.swap_remove(at).task.give_way();
        }
        let mailbox = self.mailbox.clone();
        let (parts, jobs) = (self.parts.clone(), self.jobs.clone());
        let opened = catch_unwind(AssertUnwindSafe(|| Task::open(seed, parts, jobs, Arc::new(move || mailbox.wake()))));
        match opened {
            Ok(Ok(task)) => self.tasks.push(Running { task, busy: true, due: None }),
            Ok(Err(error)) => shared.fail(error),
            Err(panic) => shared.fail(format!("a bug in the host: {}", panic_text(&*panic))),
        }
    }

    fn replay(&mut self, task: &TaskId, ids: &[DeadLetterId], force: bool, done: ReplayAnswered) {
        let Some(running) = self.tasks.iter_mut().find(|running| running.task.shared.id == *task) else { return };
        running.busy = true;
        let shared = running.task.shared.clone();
        match catch_unwind(AssertUnwindSafe(|| running.task.replay_letters(ids, force, done))) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => shared.fail(error),
            Err(panic) => {
                self.metrics.panics.inc();
                shared.fail(format!("a bug in the host: {}", panic_text(&*panic)));
            }
        }
        self.tasks.retain(|running| running.task.shared.id != *task);
    }

    fn ask(&mut self, task: &TaskId, step: StepId, key: &RecordBatch, asker: &Asker) {
        let Some(running) = self.tasks.iter_mut().find(|running| running.task.shared.id == *task) else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| running.task.answer(step, key, asker))) {
            self.metrics.panics.inc();
            running.task.shared.fail(format!("a bug in the host: {}", panic_text(&*panic)));
            self.tasks.retain(|running| running.task.shared.id != *task);
        }
    }

    fn save(&mut self, task: &TaskId, done: Sender<()>) {
        match self.tasks.iter_mut().find(|running| running.task.shared.id == *task) {
            Some(running) => running.task.save(done),
            // What it has was saved when it ended, or will never be.
            None => {
                let _ = done.send(());
            }
        }
    }

    fn stop(&mut self, task: &TaskId, done: Sender<()>) {
        match self.tasks.iter().position(|running| running.task.shared.id == *task) {
            Some(at) => self.tasks.swap_remove(at).task.stop(done),
            // It ended by itself, or failed.
            None => {
                let _ = done.send(());
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
