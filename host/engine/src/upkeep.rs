//! What is done every now and then whatever else happens: looking at the tasks' counters, and letting the log remove what is too old.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tidemill_event::Clock;

use crate::deployments::Deployments;
use crate::rates::SAMPLE_EVERY;

/// Handle to the thread. It ends when told, or when the deployments are gone.
pub(crate) struct Upkeep {
    quit: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    pub(crate) fn start(deployments: &Arc<Deployments>, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let (quit, told) = bounded::<()>(0);
        let deployments: Weak<Deployments> = Arc::downgrade(deployments);
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            while told.recv_timeout(SAMPLE_EVERY) == Err(RecvTimeoutError::Timeout) {
                let Some(deployments) = deployments.upgrade() else { return };
                round(&deployments, &*clock);
            }
        })?;
        Ok(Self { quit: Mutex::new(Some(quit)), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        drop(self.quit.lock().take());
        // The round that has the last hold on the engine ends it, and cannot wait for itself.
        if let Some(thread) = self.thread.lock().take().filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the upkeep panicked");
        }
    }
}

fn round(deployments: &Deployments, clock: &dyn Clock) {
    let now = Instant::now();
    for deployed in deployments.runs() {
        deployed.tasks.iter().for_each(|task| task.look(now));
    }
    if deployments.started.load(Ordering::Acquire) {
        deployments.sweep_tables();
    }
    // Before that, nobody holds yet what he needs.
    if deployments.started.load(Ordering::Acquire)
        && let Err(error) = deployments.threads.log.retain(clock.now())
    {
        tracing::debug!("retention: {error}");
    }
}
