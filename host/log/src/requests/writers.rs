//! What outlives the requests of a writer that numbers them: the highest number that was forgotten.
//!
//! A writer is *silent* when none of its requests is remembered. Only silent ones are forgotten themselves, those first that have been
//! silent for the longest: from then on their numbers are new again.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::{StoredWriter, TIME_UNKNOWN};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    stream: u32,
    writer: Arc<str>,
}

/// A name that is only looked up.
struct Sought<'a>(u32, &'a str);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought(self.stream, &self.writer).hash(state);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<Name> for Sought<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        (self.0, self.1) == (name.stream, &*name.writer)
    }
}

struct Writer {
    /// The highest number of a request that was forgotten.
    forgotten: Option<u64>,
    /// How many of its requests are remembered.
    remembered: usize,
    /// The age of its newest mark: its place among the silent ones.
    age: u64,
    time: i64,
}

/// The numbering writers of one tenant.
#[derive(Default)]
pub(super) struct Writers {
    known: HashMap<Name, Writer>,
    silent: BTreeMap<u64, Name>,
}

impl Writers {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many are silent.
    pub(super) fn silent(&self) -> usize {
        self.silent.len()
    }

    /// The highest forgotten number of a writer's requests.
    pub(super) fn forgotten(&self, stream: u32, writer: &str) -> Option<u64> {
        self.known.get(&Sought(stream, writer))?.forgotten
    }

    /// A request of the writer is remembered, as the `age`-th mark of all; `is_new` if it was not before.
    pub(super) fn marked(&mut self, stream: u32, writer: &Arc<str>, age: u64, time: i64, is_new: bool) {
        let name = Name { stream, writer: Arc::clone(writer) };
        let writer = self.known.entry(name).or_insert(Writer { forgotten: None, remembered: 0, age, time });
        if writer.remembered == 0 {
            self.silent.remove(&writer.age);
        }
        writer.remembered += usize::from(is_new);
        (writer.age, writer.time) = (age, time);
    }

    /// That request of the writer is not remembered any more.
    pub(super) fn forget_request(&mut self, stream: u32, writer: &Arc<str>, sequence: u64) {
        let Some(known) = self.known.get_mut(&Sought(stream, writer)) else { return };
        known.forgotten = known.forgotten.max(Some(sequence));
        known.remembered -= 1;
        if known.remembered == 0 {
            self.silent.insert(known.age, Name { stream, writer: Arc::clone(writer) });
        }
    }

    /// Forgets the one that has been silent for the longest.
    pub(super) fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.silent.pop_first() {
            self.known.remove(&name);
        }
    }

    /// It is `now`: silent ones whose newest mark is older than `oldest` are forgotten.
    pub(super) fn pass(&mut self, oldest: i64, now: i64) {
        while let Some(name) = self.silent.first_key_value().map(|(_, name)| name)
            && let Some(writer) = self.known.get_mut(name)
        {
            if writer.time == TIME_UNKNOWN {
                writer.time = now;
            }
            if writer.time >= oldest {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Takes a writer as it was stored, silent until a mark of it is taken.
    pub(super) fn restore(&mut self, stored: StoredWriter, age: u64) {
        let name = Name { stream: stored.stream, writer: stored.writer };
        self.silent.insert(age, name.clone());
        self.known.insert(name, Writer { forgotten: Some(stored.forgotten), remembered: 0, age, time: stored.time });
    }

    /// All of which something was forgotten, the one with the oldest newest mark first.
    pub(super) fn all(&self) -> Vec<StoredWriter> {
        let forgotten = |(name, writer): (&Name, &Writer)| {
            let stored = StoredWriter {
                stream: name.stream,
                time: writer.time,
                writer: Arc::clone(&name.writer),
                forgotten: writer.forgotten?,
            };
            Some((writer.age, stored))
        };
        let mut all: Vec<_> = self.known.iter().filter_map(forgotten).collect();
        all.sort_unstable_by_key(|(age, _)| *age);
        all.into_iter().map(|(_, writer)| writer).collect()
    }
}
