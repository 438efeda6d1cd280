//! Who follows a partition's ends. Made when the first follower comes: a partition nobody follows pays nothing.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tidemill_event::Offset;
use tokio::sync::watch;

use crate::partition::Visibility;

type Listener = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Followed {
    sequenced: Option<watch::Sender<Offset>>,
    durable: Option<watch::Sender<Offset>>,
    listeners: Vec<(u64, Visibility, Listener)>,
    next_listener: u64,
}

/// The followers of one partition.
#[derive(Default)]
pub(crate) struct Followers(Mutex<Option<Box<Followed>>>);

impl Followers {
    /// `end` is read under the lock that [`Followers::moved`] takes: no move is missed in between.
    pub(crate) fn subscribe(&self, visibility: Visibility, end: impl FnOnce() -> Offset) -> watch::Receiver<Offset> {
        let mut followed = self.0.lock();
        let followed = followed.get_or_insert_default();
        let sender = match visibility {
            Visibility::Sequenced => &mut followed.sequenced,
            Visibility::Durable => &mut followed.durable,
        };
        sender.get_or_insert_with(|| watch::Sender::new(end())).subscribe()
    }

    pub(crate) fn listen(self: &Arc<Self>, visibility: Visibility, listener: Listener) -> Listening {
        let mut followed = self.0.lock();
        let followed = followed.get_or_insert_default();
        followed.next_listener += 1;
        let id = followed.next_listener;
        followed.listeners.push((id, visibility, listener));
        Listening { followers: Arc::downgrade(self), id }
    }

    /// Wakes everybody without a move: there is something else to see.
    pub(crate) fn wake(&self) {
        let listeners: Vec<Listener> = {
            let followed = self.0.lock();
            let Some(followed) = followed.as_deref() else { return };
            for sender in [&followed.sequenced, &followed.durable].into_iter().flatten() {
                sender.send_modify(|_| {});
            }
            followed.listeners.iter().map(|(_, _, listener)| Arc::clone(listener)).collect()
        };
        for listener in listeners {
            listener();
        }
    }

    /// Tells everybody that the end has moved.
    pub(crate) fn moved(&self, visibility: Visibility, end: Offset) {
        let listeners: Vec<Listener> = {
            let followed = self.0.lock();
            let Some(followed) = followed.as_deref() else { return };
            let sender = match visibility {
                Visibility::Sequenced => &followed.sequenced,
                Visibility::Durable => &followed.durable,
            };
            if let Some(sender) = sender {
                sender.send_if_modified(|seen| {
                    let ahead = end > *seen;
                    if ahead {
                        *seen = end;
                    }
                    ahead
                });
            }
            followed
                .listeners
                .iter()
                .filter(|(_, of, _)| *of == visibility)
                .map(|(_, _, listener)| Arc::clone(listener))
                .collect()
        };
        // Called without the lock: a listener may end its own listening.
        for listener in listeners {
            listener();
        }
    }
}

/// A listener is called as long as this lives; a call that has begun may still end after it.
#[must_use = "dropping it ends the listening"]
pub struct Listening {
    followers: Weak<Followers>,
    id: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(followers) = self.followers.upgrade()
            && let Some(followed) = followers.0.lock().as_deref_mut()
        {
            followed.listeners.retain(|(id, _, _)| *id != self.id);
        }
    }
}
