//! Tells the requests of a group that their rows are on disk: one wake-up of the async workers for all of them.
//!
//! ```text
//! log's thread ── who waits, and what became of it ──▶ queue ── one byte ──▶ pipe ──▶ task ──▶ each waiter, woken where it runs
//! ```
//! A task that is woken from a thread outside goes through a queue that all workers share, and the worker that is woken for it wakes
//! the next one to look for more: two switches between threads for nothing, for each group. A byte in a pipe comes to a worker like
//! the bytes of a connection, and what that worker wakes stays with it until another one is idle.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot::Sender;

use super::door::Settled;

/// Who waits for a fill, and what is to be told.
struct Told {
    waiters: Vec<Sender<Settled>>,
    settled: Settled,
}

#[derive(Default)]
struct Queue {
    told: Vec<Told>,
    /// Whether the task is there to empty it.
    attended: bool,
}

/// See the module's words.
pub(crate) struct Teller {
    queue: Mutex<Queue>,
    /// Without a pipe, everybody is told from the log's thread.
    pipe: Option<PipeWriter>,
    woken: Mutex<Option<PipeReader>>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        let (woken, pipe) = std::io::pipe().ok().unzip();
        Self { queue: Mutex::default(), pipe, woken: Mutex::new(woken) }
    }

    /// Called on a thread of the log.
    pub(crate) fn tell(&self, waiters: Vec<Sender<Settled>>, settled: Settled) {
        let told = Told { waiters, settled };
        let first = {
            let mut queue = self.queue.lock();
            if !queue.attended {
                drop(queue);
                return told.now();
            }
            queue.told.push(told);
            queue.told.len() == 1
        };
        // Further ones are seen together with the first.
        if first && self.pipe.as_ref().is_none_or(|mut pipe| pipe.write_all(&[0]).is_err()) {
            self.empty();
        }
    }

    fn empty(&self) {
        let told = std::mem::take(&mut self.queue.lock().told);
        told.into_iter().for_each(Told::now);
    }

    /// The task: tells whoever waits, until it is dropped.
    pub(crate) async fn attend(self: Arc<Self>) {
        let woken = self.woken.lock().take();
        let Some(Ok(woken)) = woken.map(|woken| Receiver::from_owned_fd(OwnedFd::from(woken))) else { return };
        self.queue.lock().attended = true;
        let attended = Attended(self);
        let mut bytes = [0; 64];
        while woken.readable().await.is_ok() {
            match woken.try_read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => attended.0.empty(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl Told {
    fn now(self) {
        for waiter in self.waiters {
            // Whoever went away does not want to know.
            let _ = waiter.send(self.settled);
        }
    }
}

/// Nobody waits for a task that is gone.
struct Attended(Arc<Teller>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.queue.lock().attended = false;
        self.0.empty();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn waiter(teller: &Teller) -> oneshot::Receiver<Settled> {
        let (waiter, settled) = oneshot::channel();
        teller.tell(vec![waiter], Ok(()));
        settled
    }

    #[tokio::test]
    async fn everybody_is_told_with_the_task_and_without() {
        let teller = Arc::new(Teller::new());
        assert_eq!(waiter(&teller).try_recv(), Ok(Ok(())), "before it is there, at once");
        let mut task = tokio::task::JoinSet::new();
        task.spawn(teller.clone().attend());
        while !teller.queue.lock().attended {
            tokio::task::yield_now().await;
        }
        let (first, second) = (waiter(&teller), waiter(&teller));
        assert_eq!(teller.queue.lock().told.len(), 2, "not from this thread");
        assert_eq!((first.await, second.await), (Ok(Ok(())), Ok(Ok(()))));
        let last = waiter(&teller);
        task.abort_all();
        assert_eq!(last.await, Ok(Ok(())), "what is left when it ends is told too");
        assert_eq!(waiter(&teller).try_recv(), Ok(Ok(())));
    }
}
