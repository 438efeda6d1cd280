//! What retention must leave: rows that somebody will read again, from an offset on.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_event::Offset;

use super::Partition;

/// Offsets that are held, by how many. Boxed: most partitions are held by nobody.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a map is three times the pointer, and there is one in every partition")]
pub(super) struct Holds(Option<Box<BTreeMap<u64, u32>>>);

impl Holds {
    fn add(&mut self, from: u64) {
        *self.0.get_or_insert_default().entry(from).or_default() += 1;
    }

    fn remove(&mut self, from: u64) {
        let Some(holds) = &mut self.0 else { return };
        if let Some(count) = holds.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&from);
            }
        }
        if holds.is_empty() {
            self.0 = None;
        }
    }

    /// The lowest offset that is held.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.0.as_ref()?.first_key_value().map(|(from, _)| *from)
    }
}

/// While this lives, retention by age and size removes no row at or above its offset; [`crate::Log::trim`] and the deletion of
/// the stream still do. A hold does not outlive the process: who needs rows again after a restart holds them again before the
/// first [`crate::Log::retain`].
#[derive(Debug)]
#[must_use = "dropping it lets the rows go"]
pub struct Hold {
    partition: Arc<Partition>,
    from: u64,
}

impl Hold {
    /// Moves on: rows below `from` are not needed any more. Never back.
    pub fn advance(&mut self, from: Offset) {
        if from.0 > self.from {
            let mut state = self.partition.state.lock();
            state.holds.remove(self.from);
            state.holds.add(from.0);
            self.from = from.0;
        }
    }

    /// The first offset it holds.
    pub fn from(&self) -> Offset {
        Offset(self.from)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.partition.state.lock().holds.remove(self.from);
    }
}

impl Partition {
    /// Holds the rows from `from` on against retention. Those below the trim point are gone already, and no error: reading says so.
    pub fn hold(self: &Arc<Self>, from: Offset) -> Hold {
        self.state.lock().holds.add(from.0);
        Hold { partition: Arc::clone(self), from: from.0 }
    }
}
