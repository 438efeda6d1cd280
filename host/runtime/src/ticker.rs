//! The thread behind every deadline: it advances the engine's epoch until its owner is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How often the epoch advances. Deadlines are a backstop of hundreds of milliseconds, so this is often enough, and a hundred wake-ups
/// a second cost nothing that shows.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Owns the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic, and if it did there would be nothing to save.
            let _ = thread.join();
        }
    }
}

/// The ticks after which a call that began now has certainly had its time.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).saturating_add(1).min(u64::MAX / 2)
}
