//! What clients' requests became, so that a retry is answered and not appended again.
//!
//! A request is named by its stream, its writer (a key, a producer) and a number of the writer's; gaps are allowed. The mark of a
//! request is written in the same group as its rows, and is known here only when that group is on disk: what is remembered is
//! exactly what a crash keeps.
//!
//! ```text
//! kind 3 entry:  count u32 | count × mark
//! mark:  stream u32 | time i64 | writer text | sequence u64 | rows u64 | accepted u64 | answer bytes?
//! ```
//! `time` is what the log was last told the time is ([`crate::Log::retain`]); `i64::MIN` before it was told.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};
use tidemill_event::TenantName;

use crate::stream::Stream;
use crate::wire::{Malformed, Put, Take};

/// The longest writer's name.
pub(crate) const WRITER_BYTES_MAX: usize = 256;
/// The longest answer that is kept.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What an entry takes in memory beside its texts.
const OVERHEAD_BYTES: usize = 192;
/// The time of a mark that was written before the log was told the time.
pub(crate) const TIME_UNKNOWN: i64 = i64::MIN;

/// What of a client's request is decided when the append that carries this is on disk. Of the marks of one request the one with
/// the most rows counts.
#[derive(Debug, Clone)]
pub struct RequestMark {
    /// The stream it was sent to. A later stream of the same name has requests of its own.
    pub stream: Arc<Stream>,
    /// Whose sequence it is: at most 256 bytes.
    pub writer: Arc<str>,
    /// Which of the writer's requests.
    pub sequence: u64,
    /// Rows of the request, accepted or rejected, that are decided by this append and those before it, counted from its first.
    pub rows: u64,
    /// How many of them were accepted.
    pub accepted: u64,
    /// On the request's last append: the answer it was given, at most 16 KiB. The request is done.
    pub answer: Option<Arc<[u8]>>,
}

/// What is on disk of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSeen {
    /// Its first rows that are decided: a retry skips them.
    pub rows: u64,
    /// How many of them were accepted.
    pub accepted: u64,
    /// The answer, if the request is done.
    pub answer: Option<Arc<[u8]>>,
}

/// A mark as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMark {
    pub(crate) stream: u32,
    pub(crate) time: i64,
    pub(crate) writer: Arc<str>,
    pub(crate) sequence: u64,
    pub(crate) seen: RequestSeen,
}

impl StoredMark {
    pub(crate) fn new(mark: &RequestMark, time: i64) -> Self {
        let seen = RequestSeen { rows: mark.rows, accepted: mark.accepted, answer: mark.answer.clone() };
        Self { stream: mark.stream.number(), time, writer: Arc::clone(&mark.writer), sequence: mark.sequence, seen }
    }

    fn memory_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.writer.len() + self.seen.answer.as_ref().map_or(0, |answer| answer.len())
    }
}

pub(crate) fn encode(mark: &StoredMark, out: &mut Vec<u8>) {
    out.put_u32(mark.stream);
    out.put_i64(mark.time);
    out.put_str(&mark.writer);
    out.put_u64(mark.sequence);
    out.put_u64(mark.seen.rows);
    out.put_u64(mark.seen.accepted);
    out.put_u8(u8::from(mark.seen.answer.is_some()));
    if let Some(answer) = &mark.seen.answer {
        out.put_bytes(answer);
    }
}

pub(crate) fn encode_all(marks: &[StoredMark]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + marks.len() * 96);
    out.put_u32(marks.len() as u32);
    for mark in marks {
        encode(mark, &mut out);
    }
    out
}

pub(crate) fn decode(take: &mut Take<'_>) -> Result<StoredMark, Malformed> {
    let (stream, time) = (take.u32()?, take.i64()?);
    let writer = take.str()?.into();
    let (sequence, rows, accepted) = (take.u64()?, take.u64()?, take.u64()?);
    let answer = if take.flag()? { Some(take.bytes()?.into()) } else { None };
    Ok(StoredMark { stream, time, writer, sequence, seen: RequestSeen { rows, accepted, answer } })
}

pub(crate) fn decode_all(bytes: &[u8]) -> Result<Vec<StoredMark>, Malformed> {
    let mut take = Take(bytes);
    let count = take.u32()?;
    let marks = (0..count).map(|_| decode(&mut take)).collect::<Result<Vec<_>, _>>()?;
    if take.is_empty() { Ok(marks) } else { Err(Malformed) }
}

/// How much is remembered, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestBounds {
    pub(crate) age: Duration,
    pub(crate) tenant_bytes: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    stream: u32,
    writer: Arc<str>,
    sequence: u64,
}

/// A key that is only looked up.
struct Sought<'a>(u32, &'a str, u64);

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
        self.marks += 1;
        let (age, bytes) = (self.marks, mark.memory_bytes());
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), OfTenant::default());
        }
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return };
        let key = Key { stream: mark.stream, writer: mark.writer, sequence: mark.sequence };
        if let Some(known) = of_tenant.known.get(&key) {
            let further = mark.seen.rows > known.seen.rows || (known.seen.answer.is_none() && mark.seen.answer.is_some());
            if !further {
                return;
            }
            self.bytes -= of_tenant.forget(known.age);
        }
        of_tenant.by_age.insert(age, key.clone());
        of_tenant.known.insert(key, Known { seen: mark.seen, time: mark.time, age, bytes });
        of_tenant.bytes += bytes;
        self.bytes += bytes;
        while of_tenant.bytes > self.bounds.tenant_bytes {
            self.bytes -= of_tenant.forget_oldest();
        }
        while self.bytes > self.bounds.bytes {
            // Whoever keeps the most gives first: a tenant with a handful of requests keeps them.
            let Some(largest) = self.tenants.values_mut().max_by_key(|of_tenant| of_tenant.bytes) else { return };
            self.bytes -= largest.forget_oldest();
        }
    }

    pub(crate) fn get(&self, tenant: &TenantName, stream: u32, writer: &str, sequence: u64) -> Option<RequestSeen> {
        Some(self.tenants.get(tenant)?.known.get(&Sought(stream, writer, sequence))?.seen.clone())
    }

    /// It is `now`: what is too old is forgotten. Marks of before the time was known are taken to be of now.
    pub(crate) fn pass(&mut self, now: i64) {
        let age = i64::try_from(self.bounds.age.as_micros()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(age);
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
        }
        self.tenants.retain(|_, of_tenant| !of_tenant.known.is_empty());
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
}

impl OfTenant {
    fn forget_oldest(&mut self) -> usize {
        let oldest = self.by_age.first_key_value().map(|(age, _)| *age);
        oldest.map_or(0, |age| self.forget(age))
    }

    /// Forgets a request; returns what it took.
    fn forget(&mut self, age: u64) -> usize {
        let bytes = self.by_age.remove(&age).and_then(|key| self.known.remove(&key)).map_or(0, |known| known.bytes);
        self.bytes -= bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(writer: &str, sequence: u64, rows: u64, time: i64) -> StoredMark {
        let seen = RequestSeen { rows, accepted: rows / 2, answer: rows.is_multiple_of(10).then(|| [rows as u8; 8][..].into()) };
        StoredMark { stream: 3, time, writer: writer.into(), sequence, seen }
    }

    fn requests(tenant_bytes: usize, bytes: usize) -> Requests {
        Requests::new(RequestBounds { age: Duration::from_micros(100), tenant_bytes, bytes })
    }

    fn rows(requests: &Requests, tenant: &TenantName, writer: &str, sequence: u64) -> Option<u64> {
        requests.get(tenant, 3, writer, sequence).map(|seen| seen.rows)
    }

    #[test]
    fn marks_come_back_as_they_were_and_cut_ones_are_refused() {
        let marks = [mark("key:é", 0, 7, TIME_UNKNOWN), mark("", u64::MAX, 10, 5)];
        let bytes = encode_all(&marks);
        assert_eq!(decode_all(&bytes).as_deref(), Ok(&marks[..]));
        for end in 0..bytes.len() {
            assert_eq!(decode_all(&bytes[..end]), Err(Malformed), "cut at {end}");
        }
    }

    #[test]
    fn the_furthest_mark_of_a_request_counts() {
        let (mut requests, tenant) = (requests(1 << 20, 1 << 20), TenantName::default_tenant());
        requests.mark(&tenant, mark("a", 1, 20, 0));
        requests.mark(&tenant, mark("a", 1, 7, 0));
        requests.mark(&tenant, mark("a", 9, 3, 0));
        assert_eq!(rows(&requests, &tenant, "a", 1), Some(20));
        assert_eq!((rows(&requests, &tenant, "a", 9), rows(&requests, &tenant, "a", 2)), (Some(3), None));
        assert_eq!(requests.get(&tenant, 4, "a", 1), None, "another stream");
        assert_eq!(requests.bytes, requests.tenants[&tenant].bytes);
    }

    #[test]
    fn the_oldest_are_forgotten_and_small_tenants_keep_theirs() {
        let one = mark("a", 0, 1, 0).memory_bytes();
        let (small, large): (TenantName, TenantName) = ("small".parse().expect("a name"), "large".parse().expect("a name"));
        let mut requests = requests(5 * one, 7 * one);
        for sequence in 0..3 {
            requests.mark(&small, mark("a", sequence, 1, 0));
        }
        for sequence in 0..9 {
            requests.mark(&large, mark("b", sequence, 1, 0));
        }
        let kept = |tenant, writer| (0..9).filter(|sequence| rows(&requests, tenant, writer, *sequence).is_some()).count();
        assert_eq!((kept(&small, "a"), kept(&large, "b")), (3, 4));
        assert_eq!(rows(&requests, &large, "b", 8), Some(1));
    }

    #[test]
    fn time_passes() {
        let (mut requests, tenant) = (requests(1 << 20, 1 << 20), TenantName::default_tenant());
        requests.mark(&tenant, mark("a", 0, 1, TIME_UNKNOWN));
        requests.mark(&tenant, mark("a", 1, 1, 1_000));
        requests.pass(1_050);
        requests.pass(1_150);
        assert_eq!((rows(&requests, &tenant, "a", 0), rows(&requests, &tenant, "a", 1)), (Some(1), Some(1)));
        requests.pass(1_151);
        assert_eq!((rows(&requests, &tenant, "a", 0), rows(&requests, &tenant, "a", 1)), (None, None));
        assert_eq!(requests.bytes, 0);
    }
}
