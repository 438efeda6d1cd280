//! The log's threads: one that writes, one that syncs, one that rolls, one that makes files. Each has an owner that hears its end, its error or its panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::core::Core;
use crate::error::{OpenError, Poisoned};
use crate::roller::Roller;
use crate::writer::Writer;
use crate::{preparer, syncer};

pub(crate) struct Threads {
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    roller: JoinHandle<()>,
    preparer: JoinHandle<()>,
}

impl Threads {
    pub(crate) fn start(core: &Arc<Core>, writer: Writer) -> Result<Self, OpenError> {
        let roller = Roller::new(Arc::clone(core));
        let (syncing, preparing) = (Arc::clone(core), Arc::clone(core));
        Ok(Self {
            writer: start("log-writer", core, move || writer.run())?,
            syncer: start("log-syncer", core, move || syncer::run(&syncing))?,
            roller: start("log-roller", core, move || roller.run())?,
            preparer: start("log-preparer", core, move || preparer::run(&preparing))?,
        })
    }

    /// Ends them when everything queued is on disk. Returns what stopped the log, if anything did.
    pub(crate) fn end(self, core: &Core) -> Option<Poisoned> {
        preparer::end(core);
        // The roller before the writer: it needs it to end a roll.
        core.orders.lock().stop = true;
        core.roll.notify_all();
        core.rolled.notify_all();
        join(self.roller);
        join(self.preparer);
        core.flow.lock().closing = true;
        core.work.notify_all();
        core.progress.notify_all();
        join(self.writer);
        let failed = core.poisoned.borrow().clone();
        core.stop(Poisoned::Closed);
        join(self.syncer);
        failed
    }
}

/// A thread that stops the log when it fails or panics.
fn start(
    name: &'static str,
    core: &Arc<Core>,
    run: impl FnOnce() -> Result<(), Poisoned> + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let core = Arc::clone(core);
    let guarded = move || match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, thread = name, "the log has stopped"),
        Err(_) => core.stop(Poisoned::Thread(format!("thread `{name}` panicked"))),
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(guarded);
    spawned.map_err(|error| OpenError::Settings(format!("cannot start thread `{name}`: {error}")))
}

/// A callback may hold the last handle: then a thread of the log closes it, and must not wait for itself.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        // A panic was turned into `Poisoned` by the thread itself.
        let _ = thread.join();
    }
}
