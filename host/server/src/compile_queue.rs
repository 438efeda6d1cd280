//! Who may have a component compiled: one at a time per tenant, two more waiting, the next is told to come again.
//!
//! ```text
//! upload ─► place (3 a tenant, or 429) ─► body is read ─► turn of its tenant ─► turn at a compiler (2 in all) ─► answer
//! ```
//! A tenant whose uploads take the compiler their whole ten seconds holds up its own, and takes one of the two compilers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tidemill_event::TenantName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::bounds::{COMPILES_MAX, COMPILES_WAITING_MAX};

/// The lines before the compilers, one a tenant.
#[derive(Debug)]
pub(crate) struct CompileQueue {
    lines: Mutex<HashMap<TenantName, Weak<Line>>>,
    compilers: Arc<Semaphore>,
}

/// What the uploads of one tenant share, for as long as there are any.
#[derive(Debug)]
struct Line {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A place in a line; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    line: Arc<Line>,
    compilers: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
}

/// The right to compile, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _compiler: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
    /// The tenant's line lasts while anybody is in it.
    _line: Arc<Line>,
}

impl CompileQueue {
    pub(crate) fn new() -> Self {
        Self { lines: Mutex::default(), compilers: Arc::new(Semaphore::new(COMPILES_MAX)) }
    }

    /// A place in the tenant's line; `None` if all are taken.
    pub(crate) fn enter(&self, tenant: &TenantName) -> Option<Place> {
        let mut lines = self.lines.lock();
        lines.retain(|_, line| line.strong_count() > 0);
        let line = lines.get(tenant).and_then(Weak::upgrade).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(1 + COMPILES_WAITING_MAX));
            let line = Arc::new(Line { places, turn: Arc::new(Semaphore::new(1)) });
            lines.insert(tenant.clone(), Arc::downgrade(&line));
            line
        });
        let held = line.places.clone().try_acquire_owned().ok()?;
        Some(Place { line, compilers: self.compilers.clone(), held })
    }
}

impl Place {
    /// Waits for the turn, first the tenant's, then the host's. Dropping the future gives the place up.
    pub(crate) async fn turn(self) -> Turn {
        let Self { line, compilers, held } = self;
        let turn = line.turn.clone().acquire_owned().await.expect("never closed");
        let compiler = compilers.acquire_owned().await.expect("never closed");
        Turn { _compiler: compiler, _turn: turn, _place: held, _line: line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    fn tenant(name: &str) -> TenantName {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn one_works_two_wait_the_fourth_is_refused_and_others_are_not_held_up() {
        let queue = CompileQueue::new();
        let [a, b, c] = ["a", "b", "c"].map(tenant);
        let first = queue.enter(&a).expect("a place").turn().await;
        let mut tasks = JoinSet::new();
        let second = tasks.spawn(queue.enter(&a).expect("a place").turn());
        let third = queue.enter(&a).expect("a place");
        assert!(queue.enter(&a).is_none(), "all places are taken");

        let others = queue.enter(&b).expect("another line").turn().await;
        let waiting = tasks.spawn(queue.enter(&c).expect("another line").turn());
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && !waiting.is_finished(), "one of a tenant, two in all");
        drop(others);
        drop(tasks.join_next().await.expect("a task").expect("its turn"));
        assert!(waiting.is_finished() && !second.is_finished());

        drop(first);
        let second = tasks.join_next().await.expect("a task").expect("its turn");
        drop(third);
        assert!(queue.enter(&a).is_some(), "a place was given up");
        drop(second);
        assert!(queue.enter(&b).is_some());
        assert_eq!(queue.lines.lock().len(), 1, "lines without uploads are forgotten");
    }
}
