//! The thread that keeps kept tables: takes rows in when nobody looks up, makes large layers one, writes bases.
//!
//! A base is written when as many rows were taken in since the last one as the table has, and at least [`ROWS_PER_BASE_MIN`]: what is written
//! stays in proportion to what came, and a start takes no more rows again than the table has.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use parking_lot::Mutex;

use crate::deployments::Deployments;
use crate::tables::kept::KeptTable;

/// Rows between two bases, at least.
const ROWS_PER_BASE_MIN: u64 = 1 << 16;
/// Rows that come one by one are taken in together.
const ROUND_EVERY: Duration = Duration::from_millis(20);
/// Whether or not anything was heard.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A base that could not be written is tried again.
const BASE_AGAIN: Duration = Duration::from_secs(5);

/// Handle to the thread. It ends when told, or when the deployments are gone.
pub(crate) struct Keeper {
    quit: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(crate) fn start(deployments: &Arc<Deployments>) -> std::io::Result<Self> {
        let (quit, told) = bounded::<()>(0);
        let heard = deployments.tables.inner.keeper_heard.1.clone();
        let deployments = Arc::downgrade(deployments);
        let thread = std::thread::Builder::new().name("tables".to_owned()).spawn(move || run(&deployments, &told, heard))?;
        Ok(Self { quit: Mutex::new(Some(quit)), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        drop(self.quit.lock().take());
        // The round that has the last hold on the engine ends it, and cannot wait for itself.
        if let Some(thread) = self.thread.lock().take().filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the keeper of tables panicked");
        }
    }
}

fn run(deployments: &Weak<Deployments>, told: &Receiver<()>, mut heard: Receiver<()>) {
    loop {
        select! {
            recv(told) -> _ => return,
            recv(heard) -> said => if said.is_err() { heard = never() },
            default(LOOK_EVERY) => {},
        }
        {
            let Some(deployments) = deployments.upgrade() else { return };
            round(&deployments);
        }
        select! {
            recv(told) -> _ => return,
            default(ROUND_EVERY) => {},
        }
    }
}

fn round(deployments: &Deployments) {
    for (key, table) in deployments.tables.all_kept() {
        let was_well = table.error().is_none();
        if let Err(error) = table.catch_up() {
            if was_well {
                tracing::error!(tenant = %key.0, table = %key.1, "a table does not go on: {}", error.text());
            }
            continue;
        }
        table.settle();
        if !table.is_base_due() {
            continue;
        }
        let written = deployments.write_base(&key, &table);
        if let Err(error) = &written {
            tracing::warn!(tenant = %key.0, table = %key.1, "how far a table is cannot be written: {error}");
        }
        // Somebody else was at work, or something is wrong: it costs too much to try at once.
        table.master.lock().not_before = (!matches!(written, Ok(true))).then(|| Instant::now() + BASE_AGAIN);
    }
}

impl KeptTable {
    /// Makes layers one, while others go on.
    fn settle(&self) {
        let before = self.master.lock().state.rows.clone();
        if !before.is_unsettled() {
            return;
        }
        let mut settled = before.clone();
        settled.settle(usize::MAX);
        let mut master = self.master.lock();
        if master.state.rows.take_over_settled(&before, &settled) {
            self.publish(&master);
        }
    }

    fn is_base_due(&self) -> bool {
        let master = self.master.lock();
        master.taken >= ROWS_PER_BASE_MIN.max(master.state.rows.len() as u64)
            && master.not_before.is_none_or(|at| Instant::now() >= at)
    }
}
