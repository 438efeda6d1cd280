//! What is remembered in memory: the requests of the last hours, in the order in which they are forgotten.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};
use tidemill_event::TenantName;

use super::writers::Writers;
use super::{RequestBounds, RequestSeen, RequestState, StoredMark, StoredWriter, TIME_UNKNOWN};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    stream: u32,
    writer: Arc<str>,
    sequence: Option<u64>,
}

/// A key that is only looked up.
struct Sought<'a>(u32, &'a str, Option<u64>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought(self.stream, &self.writer, self.sequence).hash(state);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1, self.2).hash(state);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.0, self.1, self.2) == (key.stream, &*key.writer, key.sequence)
    }
}

struct Known {
    seen: RequestSeen,
    time: i64,
    /// Its place in the order of forgetting.
    age: u64,
    bytes: usize,
}

/// The requests of one tenant, and the order in which they were last marked.
#[derive(Default)]
struct OfTenant {
    known: HashMap<Key, Known>,
    by_age: BTreeMap<u64, Key>,
    bytes: usize,
    writers: Writers,
}

/// What is on disk of the requests of the last hours.
pub(crate) struct Requests {
    bounds: RequestBounds,
    tenants: BTreeMap<TenantName, OfTenant>,
    bytes: usize,
    marks: u64,
}

impl Requests {
    pub(crate) fn new(bounds: RequestBounds) -> Self {
        Self { bounds, tenants: BTreeMap::new(), bytes: 0, marks: 0 }
    }

    /// Takes a mark that is on disk. One that was taken before changes nothing.
    pub(crate) fn mark(&mut self, tenant: &TenantName, mark: StoredMark) {
        self.restore(tenant, mark);
        self.forget_beyond_bounds(tenant);
    }

    /// [`Requests::mark`], and nothing is forgotten for it: a manifest's writers would go before their marks came.
    pub(crate) fn restore(&mut self, tenant: &TenantName, mark: StoredMark) {
        let (age, bytes) = (self.next_age(), mark.memory_bytes());
        let of_tenant = self.of_tenant(tenant);
        let key = Key { stream: mark.stream, writer: mark.writer, sequence: mark.sequence };
        let before = of_tenant.known.get(&key);
        if let Some(known) = before {
            let further = mark.seen.rows > known.seen.rows || (known.seen.answer.is_none() && mark.seen.answer.is_some());
            if !further {
                return;
            }
        }
        let is_new = before.is_none();
        if key.sequence.is_some() {
            of_tenant.writers.marked(key.stream, &key.writer, age, mark.time, is_new);
        }
        of_tenant.by_age.insert(age, key.clone());
        let replaced = of_tenant.known.insert(key, Known { seen: mark.seen, time: mark.time, age, bytes });
        if let Some(replaced) = &replaced {
            of_tenant.by_age.remove(&replaced.age);
        }
        let bytes_before = replaced.map_or(0, |replaced| replaced.bytes);
        of_tenant.bytes = of_tenant.bytes + bytes - bytes_before;
        self.bytes = self.bytes + bytes - bytes_before;
    }

    /// Takes a writer as a manifest kept it, before any mark of it.
    pub(crate) fn restore_writer(&mut self, tenant: &TenantName, writer: StoredWriter) {
        let age = self.next_age();
        self.of_tenant(tenant).writers.restore(writer, age);
    }

    fn next_age(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }

    fn of_tenant(&mut self, tenant: &TenantName) -> &mut OfTenant {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), OfTenant::default());
        }
        self.tenants.get_mut(tenant).expect("it was just made")
    }

    fn forget_beyond_bounds(&mut self, tenant: &TenantName) {
        let bounds = self.bounds;
        let of_tenant = self.of_tenant(tenant);
        let mut freed = 0;
        while of_tenant.bytes > bounds.tenant_bytes {
            freed += of_tenant.forget_oldest();
        }
        while of_tenant.writers.silent() > bounds.tenant_writers {
            of_tenant.writers.forget_oldest();
        }
        self.bytes -= freed;
        // Whoever keeps the most gives first: a tenant with a handful of requests keeps them.
        while self.bytes > bounds.bytes {
            let Some(largest) = self.tenants.values_mut().max_by_key(|of_tenant| of_tenant.bytes) else { return };
            self.bytes -= largest.forget_oldest();
        }
        let mut silent: usize = self.tenants.values().map(|of_tenant| of_tenant.writers.silent()).sum();
        while silent > bounds.writers {
            let Some(largest) = self.tenants.values_mut().max_by_key(|of_tenant| of_tenant.writers.silent()) else { return };
            largest.writers.forget_oldest();
            silent -= 1;
        }
    }

    /// What is known of a request.
    pub(crate) fn get(&self, tenant: &TenantName, stream: u32, writer: &str, sequence: Option<u64>) -> RequestState {
        let Some(of_tenant) = self.tenants.get(tenant) else { return RequestState::New };
        if let Some(known) = of_tenant.known.get(&Sought(stream, writer, sequence)) {
            return RequestState::Seen(known.seen.clone());
        }
        match (sequence, of_tenant.writers.forgotten(stream, writer)) {
            (Some(sequence), Some(through)) if sequence <= through => RequestState::Forgotten { through },
            _ => RequestState::New,
        }
    }

    /// It is `now`: what is too old is forgotten. Marks of before the time was known are taken to be of now.
    pub(crate) fn pass(&mut self, now: i64) {
        let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let (oldest, oldest_writer) = (before(self.bounds.age), before(self.bounds.writers_age));
        for of_tenant in self.tenants.values_mut() {
            while let Some(key) = of_tenant.by_age.first_key_value().map(|(_, key)| key)
                && let Some(known) = of_tenant.known.get_mut(key)
            {
                if known.time == TIME_UNKNOWN {
                    known.time = now;
                }
                if known.time >= oldest {
                    break;
                }
                self.bytes -= of_tenant.forget_oldest();
            }
            of_tenant.writers.pass(oldest_writer, now);
        }
        self.tenants.retain(|_, of_tenant| !of_tenant.known.is_empty() || !of_tenant.writers.is_empty());
    }

    /// Every mark that is remembered, the oldest of a tenant first.
    pub(crate) fn all(&self) -> impl Iterator<Item = StoredMark> {
        self.tenants.values().flat_map(|of_tenant| {
            of_tenant.by_age.values().filter_map(|key| {
                let Known { seen, time, .. } = of_tenant.known.get(key)?;
                let (writer, seen) = (Arc::clone(&key.writer), seen.clone());
                Some(StoredMark { stream: key.stream, time: *time, writer, sequence: key.sequence, seen })
            })
        })
    }

    /// Every writer of which something was forgotten, the longest silent of a tenant first.
    pub(crate) fn all_writers(&self) -> impl Iterator<Item = StoredWriter> {
        self.tenants.values().flat_map(|of_tenant| of_tenant.writers.all())
    }
}

impl OfTenant {
    /// Forgets the request that was marked the longest ago; returns what it took.
    fn forget_oldest(&mut self) -> usize {
        let Some((_, key)) = self.by_age.pop_first() else { return 0 };
        let bytes = self.known.remove(&key).map_or(0, |known| known.bytes);
        self.bytes -= bytes;
        if let Some(sequence) = key.sequence {
            self.writers.forget_request(key.stream, &key.writer, sequence);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{decode_remembered, encode_remembered};
    use super::*;

    const AGES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_micros(1_000));

    fn mark(writer: &str, sequence: impl Into<Option<u64>>, rows: u64, time: i64) -> StoredMark {
        let seen = RequestSeen { rows, accepted: rows / 2, answer: rows.is_multiple_of(10).then(|| [rows as u8; 8][..].into()) };
        StoredMark { stream: 3, time, writer: writer.into(), sequence: sequence.into(), seen }
    }

    fn requests(tenant_bytes: usize, bytes: usize, tenant_writers: usize) -> Requests {
        let (age, writers_age) = AGES;
        Requests::new(RequestBounds { age, tenant_bytes, bytes, writers_age, tenant_writers, writers: 2 * tenant_writers })
    }

    fn rows(requests: &Requests, tenant: &TenantName, writer: &str, sequence: impl Into<Option<u64>>) -> Option<u64> {
        requests.get(tenant, 3, writer, sequence.into()).seen().map(|seen| seen.rows)
    }

    /// As a manifest brings it back.
    fn restarted(requests: &Requests) -> Requests {
        let mut bytes = Vec::new();
        encode_remembered(&requests.all_writers().collect::<Vec<_>>(), &requests.all().collect::<Vec<_>>(), &mut bytes);
        let (writers, marks) = decode_remembered(&bytes).expect("what was written");
        let (mut restarted, tenant) = (Requests::new(requests.bounds), TenantName::default_tenant());
        writers.into_iter().for_each(|writer| restarted.restore_writer(&tenant, writer));
        marks.into_iter().for_each(|mark| restarted.restore(&tenant, mark));
        restarted
    }

    #[test]
    fn the_furthest_mark_of_a_request_counts() {
        let (mut requests, tenant) = (requests(1 << 20, 1 << 20, 9), TenantName::default_tenant());
        requests.mark(&tenant, mark("a", 1, 20, 0));
        requests.mark(&tenant, mark("a", 1, 7, 0));
        requests.mark(&tenant, mark("a", 9, 3, 0));
        assert_eq!(rows(&requests, &tenant, "a", 1), Some(20));
        assert_eq!((rows(&requests, &tenant, "a", 9), rows(&requests, &tenant, "a", 2)), (Some(3), None));
        assert_eq!(requests.get(&tenant, 4, "a", Some(1)), RequestState::New, "another stream");
        assert_eq!(requests.bytes, requests.tenants[&tenant].bytes);
    }

    #[test]
    fn the_oldest_are_forgotten_and_small_tenants_keep_theirs() {
        let one = mark("a", 0, 1, 0).memory_bytes();
        let (small, large): (TenantName, TenantName) = ("small".parse().expect("a name"), "large".parse().expect("a name"));
        let mut requests = requests(5 * one, 7 * one, 9);
        for sequence in 0..3 {
            requests.mark(&small, mark("a", sequence, 1, 0));
        }
        for sequence in 0..9 {
            requests.mark(&large, mark("b", sequence, 1, 0));
        }
        let kept = |tenant, writer| (0..9).filter(|sequence| rows(&requests, tenant, writer, *sequence).is_some()).count();
        assert_eq!((kept(&small, "a"), kept(&large, "b")), (3, 4));
        assert_eq!(rows(&requests, &large, "b", 8), Some(1));
        assert_eq!(requests.get(&large, 3, "b", Some(2)), RequestState::Forgotten { through: 4 });
    }

    #[test]
    fn a_number_below_what_was_forgotten_is_not_new_and_a_key_is() {
        let one = mark("a", 0, 1, 0).memory_bytes();
        let (mut requests, tenant) = (requests(2 * one, 1 << 20, 9), TenantName::default_tenant());
        for sequence in [10, 11, 12, 20] {
            requests.mark(&tenant, mark("p", sequence, 1, 0));
        }
        requests.mark(&tenant, mark("k", None, 1, 0));
        for requests in [&requests, &restarted(&requests)] {
            let state = |sequence| requests.get(&tenant, 3, "p", Some(sequence));
            assert_eq!((state(9), state(12)), (RequestState::Forgotten { through: 12 }, RequestState::Forgotten { through: 12 }));
            assert_eq!((state(13), rows(requests, &tenant, "p", 20)), (RequestState::New, Some(1)));
        }
        requests.mark(&tenant, mark("k", None, 2, 0));
        requests.mark(&tenant, mark("l", None, 1, 0));
        requests.mark(&tenant, mark("m", None, 1, 0));
        assert_eq!(requests.get(&tenant, 3, "k", None), RequestState::New, "one request, of which nothing is kept");
        assert_eq!(requests.get(&tenant, 3, "p", Some(20)), RequestState::Forgotten { through: 20 });
    }

    #[test]
    fn time_passes_over_requests_and_then_over_their_writers() {
        let (mut requests, tenant) = (requests(1 << 20, 1 << 20, 9), TenantName::default_tenant());
        requests.mark(&tenant, mark("a", 0, 1, TIME_UNKNOWN));
        requests.mark(&tenant, mark("a", 1, 1, 1_000));
        requests.pass(1_050);
        requests.pass(1_150);
        assert_eq!((rows(&requests, &tenant, "a", 0), rows(&requests, &tenant, "a", 1)), (Some(1), Some(1)));
        requests.pass(1_151);
        assert_eq!((rows(&requests, &tenant, "a", 0), rows(&requests, &tenant, "a", 1)), (None, None));
        assert_eq!(requests.bytes, 0);
        let mut requests = restarted(&requests);
        requests.pass(2_000);
        assert_eq!(requests.get(&tenant, 3, "a", Some(0)), RequestState::Forgotten { through: 1 });
        requests.pass(2_001);
        assert_eq!(requests.get(&tenant, 3, "a", Some(0)), RequestState::New);
        assert!(requests.tenants.is_empty());
    }

    #[test]
    fn the_longest_silent_writers_are_forgotten_first() {
        let one = mark("a", 0, 1, 0).memory_bytes();
        let (mut requests, tenant) = (requests(one, 1 << 20, 2), TenantName::default_tenant());
        // Each mark lets the one before go: `b` is marked again, so that `a` and then `c` have been silent for longer.
        for (writer, sequence) in [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("d", 0)] {
            requests.mark(&tenant, mark(writer, sequence, 1, 0));
            requests = restarted(&requests);
        }
        let known = |requests: &Requests, writer| requests.get(&tenant, 3, writer, Some(0)) != RequestState::New;
        assert_eq!(["a", "b", "c", "d"].map(|writer| known(&requests, writer)), [false, true, true, true]);
        requests.mark(&tenant, mark("e", 0, 1, 0));
        assert_eq!(["b", "c", "d", "e"].map(|writer| known(&requests, writer)), [true, false, true, true]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Mark {
            writer: u8,
            sequence: u64,
            rows: u64,
        },
        Pass(i64),
        /// From a manifest, and the last marks once more from a journal.
        Restart(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..3_u8, 0..30_u64, 1..40_u64).prop_map(|(writer, sequence, rows)| Step::Mark { writer, sequence, rows }),
            2 => (0..80_i64).prop_map(Step::Pass),
            1 => (0..8_usize).prop_map(Step::Restart),
        ];
        proptest::collection::vec(step, 1..80)
    }

    proptest! {
        /// The model remembers everything for ever: what was marked is known as it was, or is known to be forgotten, and is never new.
        #[test]
        fn what_was_taken_is_never_new(steps in steps()) {
            let one = mark("0", 0, 1, 0).memory_bytes();
            let (mut requests, tenant) = (requests(6 * one, 1 << 20, 9), TenantName::default_tenant());
            requests.bounds.writers_age = Duration::from_secs(1);
            let (mut taken, mut journal, mut now) = (BTreeMap::<(u8, u64), u64>::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Mark { writer, sequence, rows } => {
                        let further = taken.entry((writer, sequence)).or_default();
                        *further = rows.max(*further);
                        let mark = mark(&writer.to_string(), sequence, *further, now);
                        journal.push(mark.clone());
                        requests.mark(&tenant, mark);
                    }
                    Step::Pass(micros) => {
                        now += micros;
                        requests.pass(now);
                    }
                    Step::Restart(again) => {
                        requests = restarted(&requests);
                        for mark in &journal[journal.len().saturating_sub(again)..] {
                            requests.mark(&tenant, mark.clone());
                        }
                    }
                }
                for writer in 0..3_u8 {
                    let highest = taken.keys().filter(|(of, _)| *of == writer).map(|(_, sequence)| *sequence).max();
                    for sequence in 0..31 {
                        let before = taken.get(&(writer, sequence));
                        match requests.get(&tenant, 3, &writer.to_string(), Some(sequence)) {
                            RequestState::Seen(seen) => prop_assert_eq!(Some(&seen.rows), before),
                            RequestState::Forgotten { through } => {
                                prop_assert!(sequence <= through && taken.contains_key(&(writer, through)));
                            }
                            RequestState::New => prop_assert_eq!(before, None),
                        }
                        if highest.is_none_or(|highest| sequence > highest) {
                            prop_assert_eq!(requests.get(&tenant, 3, &writer.to_string(), Some(sequence)), RequestState::New);
                        }
                    }
                }
                let bytes: usize = requests.all().map(|mark| mark.memory_bytes()).sum();
                prop_assert!(requests.bytes == bytes && bytes <= 6 * one + 64);
            }
        }
    }
}
