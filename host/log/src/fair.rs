//! The queue in front of the writer: deficit round robin over tenants, by bytes, so that who sends much waits for itself.
//!
//! ```text
//! urgent ─────────────────────────────────────────────┐  changes of the manifest: few, small, and room is made with them
//! tenant a ─ items, sources ─┐                        ▼
//! tenant b ─ items, sources ─┼─ in turn, a quantum each ─► next group
//! tenant c ─ items, sources ─┘
//! ```
//! A tenant's items keep their order. A source's bytes are known only when it was taken: they are charged then, and a debt waits
//! with its tenant as long as others wait.

use std::collections::VecDeque;

use hashbrown::HashMap;
use tidemill_event::TenantName;

/// What a tenant may take at each of its turns.
const QUANTUM_BYTES: i64 = 64 << 10;

/// What has a size.
pub(crate) trait Measured {
    /// No less than it takes in a group.
    fn bytes(&self) -> usize;
    /// What it holds in memory.
    fn memory_bytes(&self) -> usize;
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T, S> {
    Item(T),
    /// To be asked for its rows, which are then charged ([`FairQueue::charge`]).
    Source(TenantName, S),
}

struct Waiting<T, S> {
    items: VecDeque<T>,
    sources: VecDeque<S>,
    memory_bytes: usize,
    /// What it may take; negative after a source that had more.
    deficit: i64,
    /// Items and sources take turns.
    source_next: bool,
}

impl<T, S> Waiting<T, S> {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.sources.is_empty()
    }
}

/// See the module's words.
pub(crate) struct FairQueue<T, S> {
    urgent: VecDeque<T>,
    tenants: HashMap<TenantName, Waiting<T, S>>,
    /// Tenants with something, in the order of their turns; the first one's turn it is.
    round: VecDeque<TenantName>,
    /// Whether the first one got its quantum.
    begun: bool,
    memory_bytes: usize,
    bytes: usize,
}

impl<T, S> Default for FairQueue<T, S> {
    fn default() -> Self {
        let (urgent, round) = (VecDeque::new(), VecDeque::new());
        Self { urgent, tenants: HashMap::new(), round, begun: false, memory_bytes: 0, bytes: 0 }
    }
}

impl<T: Measured, S> FairQueue<T, S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.round.is_empty()
    }

    /// What all items hold in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// What the items of one tenant hold in memory.
    pub(crate) fn tenant_memory_bytes(&self, tenant: &TenantName) -> usize {
        self.tenants.get(tenant).map_or(0, |waiting| waiting.memory_bytes)
    }

    /// What all items would take in a group.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues what goes before everything else.
    pub(crate) fn push_urgent(&mut self, item: T) {
        self.count(&item);
        self.urgent.push_back(item);
    }

    pub(crate) fn push(&mut self, tenant: &TenantName, item: T) {
        self.count(&item);
        let waiting = self.waiting(tenant);
        waiting.memory_bytes += item.memory_bytes();
        waiting.items.push_back(item);
    }

    /// Puts an item back that found no room: it is its tenant's next one, and what it was charged is given back.
    pub(crate) fn put_back(&mut self, tenant: Option<&TenantName>, item: T) {
        self.count(&item);
        match tenant {
            None => self.urgent.push_front(item),
            Some(tenant) => {
                let waiting = self.waiting(tenant);
                waiting.deficit += i64::try_from(item.bytes()).unwrap_or(i64::MAX);
                waiting.memory_bytes += item.memory_bytes();
                waiting.items.push_front(item);
            }
        }
    }

    pub(crate) fn announce(&mut self, tenant: &TenantName, source: S) {
        self.waiting(tenant).sources.push_back(source);
    }

    fn count(&mut self, item: &T) {
        self.memory_bytes += item.memory_bytes();
        self.bytes += item.bytes();
    }

    fn waiting(&mut self, tenant: &TenantName) -> &mut Waiting<T, S> {
        if !self.tenants.contains_key(tenant) {
            let (items, sources) = (VecDeque::new(), VecDeque::new());
            let waiting = Waiting { items, sources, memory_bytes: 0, deficit: 0, source_next: false };
            self.tenants.insert(tenant.clone(), waiting);
        }
        let waiting = self.tenants.get_mut(tenant).expect("it was just put there");
        if waiting.is_empty() {
            self.round.push_back(tenant.clone());
        }
        waiting
    }

    /// Whose turn it is, and what it may take: at most `room` bytes, but anything into an empty group. `None` if nothing waits, or
    /// what comes next does not fit.
    pub(crate) fn next(&mut self, room: usize, group_is_empty: bool) -> Option<Next<T, S>> {
        if let Some(item) = self.urgent.front() {
            if !group_is_empty && item.bytes() > room {
                return None;
            }
            return self.urgent.pop_front().map(|item| self.discount(item));
        }
        loop {
            let tenant = self.round.front()?;
            let waiting = self.tenants.get_mut(tenant).expect("who is in the round waits");
            if !self.begun {
                self.begun = true;
                waiting.deficit += QUANTUM_BYTES;
            }
            let source = waiting.deficit > 0 && (waiting.source_next || waiting.items.is_empty());
            if source && let Some(source) = waiting.sources.pop_front() {
                waiting.source_next = false;
                let tenant = tenant.clone();
                self.leave_if_empty();
                return Some(Next::Source(tenant, source));
            }
            if let Some(item) = waiting.items.front() {
                let bytes = i64::try_from(item.bytes()).unwrap_or(i64::MAX);
                if bytes <= waiting.deficit {
                    if !group_is_empty && item.bytes() > room {
                        return None;
                    }
                    waiting.deficit -= bytes;
                    waiting.source_next = true;
                    let item = waiting.items.pop_front()?;
                    waiting.memory_bytes -= item.memory_bytes();
                    self.leave_if_empty();
                    return Some(self.discount(item));
                }
            }
            self.round.rotate_left(1);
            self.begun = false;
        }
    }

    fn discount(&mut self, item: T) -> Next<T, S> {
        self.memory_bytes -= item.memory_bytes();
        self.bytes -= item.bytes();
        Next::Item(item)
    }

    /// The rows of a source that was taken.
    pub(crate) fn charge(&mut self, tenant: &TenantName, bytes: usize) {
        if let Some(waiting) = self.tenants.get_mut(tenant) {
            waiting.deficit -= i64::try_from(bytes).unwrap_or(i64::MAX);
        }
    }

    /// Who has nothing left leaves the round; what it may still take does not wait for it, what it owes does.
    fn leave_if_empty(&mut self) {
        let Some(tenant) = self.round.front() else { return };
        let Some(waiting) = self.tenants.get_mut(tenant) else { return };
        if waiting.is_empty() {
            waiting.deficit = waiting.deficit.min(0);
            self.round.pop_front();
            self.begun = false;
        }
    }

    /// Between two groups: when nobody waits, nobody owes anything.
    pub(crate) fn forgive(&mut self) {
        if self.round.is_empty() {
            self.tenants.clear();
        }
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> (Vec<T>, Vec<S>) {
        let (mut items, mut sources) = (Vec::from(std::mem::take(&mut self.urgent)), Vec::new());
        for (_, waiting) in self.tenants.drain() {
            items.extend(waiting.items);
            sources.extend(waiting.sources);
        }
        *self = Self::default();
        (items, sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Sized(&'static str, usize);

    impl Measured for Sized {
        fn bytes(&self) -> usize {
            self.1
        }

        fn memory_bytes(&self) -> usize {
            self.1
        }
    }

    fn tenant(name: &str) -> TenantName {
        name.parse().expect("a name")
    }

    /// What `kib` of room take, by tenant.
    fn take(queue: &mut FairQueue<Sized, usize>, kib: usize) -> String {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.next((kib << 10) - bytes, taken.is_empty()) {
            match next {
                Next::Item(Sized(name, size)) => {
                    taken.push(format!("{name}{}", size >> 10));
                    bytes += size;
                }
                Next::Source(tenant, size) => {
                    queue.charge(&tenant, size);
                    taken.push(format!("{tenant}*{}", size >> 10));
                    bytes += size;
                }
            }
            if bytes >= kib << 10 {
                break;
            }
        }
        taken.join(" ")
    }

    #[test]
    fn who_sends_much_waits_for_itself() {
        let mut queue = FairQueue::default();
        for _ in 0..6 {
            queue.push(&tenant("a"), Sized("a", 32 << 10));
        }
        queue.push(&tenant("b"), Sized("b", 1 << 10));
        queue.push(&tenant("b"), Sized("b", 2 << 10));
        queue.push_urgent(Sized("u", 3 << 10));
        assert_eq!(queue.bytes(), 198 << 10);
        assert_eq!(queue.tenant_memory_bytes(&tenant("b")), 3 << 10);
        assert_eq!(take(&mut queue, 100), "u3 a32 a32 b1 b2");
        assert_eq!(take(&mut queue, 1_000), "a32 a32 a32 a32");
        assert_eq!((queue.is_empty(), queue.bytes(), queue.memory_bytes()), (true, 0, 0));
    }

    #[test]
    fn an_entry_larger_than_a_quantum_saves_up_for_it() {
        let mut queue = FairQueue::default();
        queue.push(&tenant("a"), Sized("a", 150 << 10));
        for _ in 0..4 {
            queue.push(&tenant("b"), Sized("b", 64 << 10));
        }
        assert_eq!(take(&mut queue, 4_000), "b64 b64 a150 b64 b64");
        // Alone, it does not wait.
        queue.push(&tenant("a"), Sized("a", 9_000 << 10));
        assert_eq!(take(&mut queue, 4_000), "a9000");
    }

    #[test]
    fn a_source_that_had_much_owes_it_while_others_wait() {
        let mut queue = FairQueue::default();
        queue.announce(&tenant("a"), 200 << 10);
        for _ in 0..6 {
            queue.push(&tenant("b"), Sized("b", 60 << 10));
        }
        assert_eq!(take(&mut queue, 250), "a*200");
        queue.announce(&tenant("a"), 200 << 10);
        assert_eq!(take(&mut queue, 400), "b60 b60 b60 b60 a*200", "four turns to pay for the first one");
        queue.announce(&tenant("a"), 10 << 10);
        assert_eq!(take(&mut queue, 64), "b60");
        assert_eq!(take(&mut queue, 64), "b60 a*10");
        queue.forgive();
        queue.announce(&tenant("a"), 10 << 10);
        queue.push(&tenant("b"), Sized("b", 60 << 10));
        assert_eq!(take(&mut queue, 400), "a*10 b60");
    }

    #[test]
    fn what_found_no_room_comes_first_again() {
        let mut queue: FairQueue<Sized, usize> = FairQueue::default();
        queue.push(&tenant("a"), Sized("a", 40 << 10));
        queue.push(&tenant("a"), Sized("a", 50 << 10));
        assert_eq!(take(&mut queue, 45), "a40");
        queue.put_back(Some(&tenant("a")), Sized("x", 40 << 10));
        assert_eq!(take(&mut queue, 1_000), "x40 a50");
        queue.push(&tenant("a"), Sized("a", 1));
        queue.announce(&tenant("b"), 1);
        let (items, sources) = queue.drain();
        assert_eq!((items.len(), sources.len(), queue.is_empty(), queue.bytes()), (1, 1, true, 0));
    }
}
