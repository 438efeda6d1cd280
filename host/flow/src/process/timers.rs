//! Timers by key: each has a name within its key and a time, and fires once the watermark has passed that.
//!
//! ```text
//! key a   cart 10 · reminder 25          queue   10 a · 12 b · …        a key stands in it with its earliest timer alone:
//! key b   cart 12                                                       what that does may replace or take back the next
//! ```
//! Of equal times the key's bytes decide, then the name. A key has at most [`TIMERS_MAX`]: they are one entry in the store, and walked through.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidemill_event::{EventTime, Field, FieldType};

use crate::aggregate::bytes::{take_i64, take_u32};
use crate::checksum::checksum;
use crate::state::corrupt;
use crate::{InStore, KeyChange, StateCorrupt, Watermark};

/// Timers of one key; whoever sets one more fails.
pub(crate) const TIMERS_MAX: usize = 1_000;

/// One timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: i64,
    pub(crate) name: Arc<str>,
}

/// A timer that is due, and of which key.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) key: Arc<[u8]>,
    pub(crate) timer: Timer,
    /// What set it.
    pub(crate) by: SetBy,
}

/// What set a timer: by default it was there before the batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetBy {
    /// The row of this batch.
    pub(crate) row: u32,
    /// Not by itself, but by a timer that it let out.
    pub(crate) is_timer: bool,
}

#[derive(Debug, Default)]
struct OfKey {
    /// Ascending.
    timers: Vec<Timer>,
    /// Those that were set in this batch, each by what.
    since: Vec<(Arc<str>, SetBy)>,
    is_changed: bool,
    is_stored: bool,
}

/// All timers of a step.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    of: HashMap<Arc<[u8]>, OfKey, ahash::RandomState>,
    queue: BTreeSet<(i64, Arc<[u8]>)>,
    changed: Vec<Arc<[u8]>>,
    /// Keys with timers that were set in this batch.
    fresh: Vec<Arc<[u8]>>,
    live: usize,
    /// The most that any key ever had.
    most: usize,
    sum: u64,
}

impl Timers {
    /// The columns of a batch of timers, beside the key's.
    pub(crate) fn fields() -> Vec<Field> {
        vec![Field::new("timer.at", FieldType::Timestamp(None), false), Field::new("timer.name", FieldType::String, false)]
    }

    /// Those of a key, ascending.
    pub(super) fn of_key(&self, key: &[u8]) -> &[Timer] {
        self.of.get(key).map_or(&[], |of| &of.timers)
    }

    /// The earliest time of all.
    pub(crate) fn earliest(&self) -> Option<i64> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The earliest time of a key.
    pub(crate) fn earliest_of(&self, key: &[u8]) -> Option<i64> {
        self.of.get(key)?.timers.first().map(|timer| timer.at)
    }

    /// The earliest timer of each key that the watermark has passed, by time and key; so many at most, and none of `held` keys.
    pub(crate) fn due(&self, watermark: Watermark, held: &BTreeSet<Arc<[u8]>>, most: usize) -> Vec<Due> {
        let is_due = |entry: &&(i64, Arc<[u8]>)| watermark.has_passed(EventTime(entry.0));
        let due = self.queue.iter().take_while(is_due).filter(|(_, key)| !held.contains(key)).take(most);
        due.map(|(_, key)| {
            let of = &self.of[key];
            let timer = of.timers[0].clone();
            let by = of.since.iter().find(|(name, _)| *name == timer.name).map_or_else(SetBy::default, |(_, by)| *by);
            Due { key: key.clone(), timer, by }
        })
        .collect()
    }

    /// The key's timer of that name fires then, and at no other time; `None`: not at all.
    pub(crate) fn set(&mut self, key: &[u8], name: &str, at: Option<i64>, by: SetBy) {
        let key: Arc<[u8]> = match self.of.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None if at.is_none() => return,
            None => key.into(),
        };
        let of = self.of.entry(key.clone()).or_default();
        let before = of.timers.first().map(|timer| timer.at);
        let was_live = before.is_some();
        let old = of.timers.iter().position(|timer| *timer.name == *name);
        match (old, at) {
            (None, None) => return,
            (Some(old), Some(at)) if of.timers[old].at == at => return,
            _ => {}
        }
        let name: Arc<str> = match old {
            Some(old) => {
                let old = of.timers.remove(old);
                self.sum = self.sum.wrapping_sub(part(&key, &old));
                old.name
            }
            None => name.into(),
        };
        of.since.retain(|(other, _)| *other != name);
        if let Some(at) = at {
            if of.since.is_empty() {
                self.fresh.push(key.clone());
            }
            of.since.push((name.clone(), by));
            let timer = Timer { at, name };
            self.sum = self.sum.wrapping_add(part(&key, &timer));
            let place = of.timers.partition_point(|other| *other < timer);
            of.timers.insert(place, timer);
            self.most = self.most.max(of.timers.len());
        }
        let after = of.timers.first().map(|timer| timer.at);
        if before != after {
            before.map(|at| self.queue.remove(&(at, key.clone())));
            after.map(|at| self.queue.insert((at, key.clone())));
        }
        self.live = self.live + usize::from(after.is_some()) - usize::from(was_live);
        if !std::mem::replace(&mut of.is_changed, true) {
            self.changed.push(key);
        }
    }

    /// The first of some changes that gives its key more timers than it may have: for each the number of its key, the name, and whether it sets it. Those
    /// that fire with the call (`firing`, as many as `keys`) are gone by then.
    pub(crate) fn first_too_many<'a>(
        &self,
        keys: &[Box<[u8]>],
        firing: &[(u32, &str)],
        changes: impl Iterator<Item = (u32, &'a str, bool)> + Clone,
    ) -> Option<usize> {
        let mut counts = vec![0usize; keys.len()];
        changes.clone().filter(|(.., is_set)| *is_set).for_each(|(key, ..)| counts[key as usize] += 1);
        // Nearly always no key comes near.
        if counts.iter().all(|count| self.most + count <= TIMERS_MAX) {
            return None;
        }
        let there = |key: &[u8]| self.of.get(key).map_or(&[][..], |of| &of.timers[..]);
        let mut names: Vec<BTreeSet<&str>> =
            keys.iter().map(|key| there(key).iter().map(|timer| &*timer.name).collect()).collect();
        for (key, name) in firing {
            names[*key as usize].remove(name);
        }
        let mut changes = changes.enumerate();
        changes.find_map(|(at, (key, name, is_set))| {
            let names = &mut names[key as usize];
            if is_set {
                names.insert(name)
            } else {
                names.remove(name)
            };
            (names.len() > TIMERS_MAX).then_some(at)
        })
    }

    /// The batch is over: what set a timer is not asked for any more.
    pub(crate) fn end_batch(&mut self) {
        for key in self.fresh.drain(..) {
            if let Some(of) = self.of.get_mut(&key) {
                of.since.clear();
            }
        }
    }

    /// How many keys have timers.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn changed_len(&self) -> usize {
        self.changed.len()
    }

    pub(crate) fn checksum(&self) -> u64 {
        self.sum
    }

    /// So many of the changes: a key's timers are one entry.
    pub(crate) fn take_some(&mut self, most: usize) -> Vec<KeyChange> {
        let left = self.changed.len().saturating_sub(most);
        let mut changes = Vec::with_capacity(self.changed.len() - left);
        for key in self.changed.split_off(left) {
            let Some(of) = self.of.get_mut(&key) else { continue };
            of.is_changed = false;
            if !of.timers.is_empty() {
                of.is_stored = true;
                changes.push(KeyChange { key: (*key).into(), value: Some(encoded(&of.timers).into()), stored: InStore::Unknown });
                continue;
            }
            if of.is_stored {
                changes.push(KeyChange { key: (*key).into(), value: None, stored: InStore::Unknown });
            }
            self.of.remove(&key);
        }
        changes
    }

    /// Takes back a key's timers.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let mut rest = value;
        let timers = decoded(&mut rest).ok_or_else(|| corrupt(key, "timers", value.len() - rest.len()))?;
        for Timer { at, name } in timers {
            self.set(key, &name, Some(at), SetBy::default());
        }
        if let Some(of) = self.of.get_mut(key) {
            (of.is_changed, of.is_stored) = (false, true);
            self.changed.pop();
        }
        self.end_batch();
        Ok(())
    }
}

/// How many, then each.
fn encoded(timers: &[Timer]) -> Vec<u8> {
    let mut value = (timers.len() as u32).to_le_bytes().to_vec();
    timers.iter().for_each(|timer| encode(timer, &mut value));
    value
}

/// Its time, the length of its name, its name.
fn encode(Timer { at, name }: &Timer, out: &mut Vec<u8>) {
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// What a timer gives to the checksum: a sum of all, so that setting one is not a walk through the others.
fn part(key: &[u8], timer: &Timer) -> u64 {
    let mut bytes = Vec::with_capacity(12 + timer.name.len());
    encode(timer, &mut bytes);
    checksum(checksum(0, key), &bytes)
}

fn decoded(bytes: &mut &[u8]) -> Option<Vec<Timer>> {
    let mut timers = Vec::new();
    for _ in 0..take_u32(bytes)? {
        let (at, length) = (take_i64(bytes)?, take_u32(bytes)? as usize);
        let (name, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        timers.push(Timer { at, name: str::from_utf8(name).ok()?.into() });
    }
    (bytes.is_empty() && !timers.is_empty() && timers.is_sorted()).then_some(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(timers: &Timers, watermark: i64) -> String {
        let due = timers.due(Watermark(watermark), &BTreeSet::new(), 9);
        due.iter().map(|due| format!("{}{}:{} ", due.timer.at, due.timer.name, due.key[0] as char)).collect()
    }

    #[test]
    fn a_key_is_due_with_its_earliest_timer_and_a_name_is_one_timer() {
        let mut timers = Timers::default();
        for (key, name, at) in [("b", "x", Some(10)), ("a", "y", Some(10)), ("a", "x", Some(30)), ("a", "z", Some(12))] {
            timers.set(key.as_bytes(), name, at, SetBy::default());
        }
        assert_eq!(due(&timers, 10), "", "a timer fires when nothing at its time can come any more");
        assert_eq!(due(&timers, 11), "10y:a 10x:b ");
        timers.set(b"a", "y", Some(40), SetBy::default());
        timers.set(b"b", "x", None, SetBy::default());
        assert_eq!((due(&timers, 99), timers.len()), ("12z:a ".to_owned(), 1));
        assert_eq!(timers.earliest(), Some(12));
    }

    #[test]
    fn what_is_stored_reads_back_and_what_went_is_taken_out() {
        let mut timers = Timers::default();
        timers.set(b"a", "x", Some(5), SetBy::default());
        timers.set(b"b", "y", Some(-7), SetBy::default());
        let stored = timers.take_some(9);
        let mut restored = Timers::default();
        for change in &stored {
            restored.restore(&change.key, change.value.as_ref().expect("set")).expect("what was stored");
        }
        assert_eq!((restored.checksum(), restored.len(), restored.changed_len()), (timers.checksum(), 2, 0));
        assert_eq!(due(&restored, 9), "-7y:b 5x:a ");
        restored.set(b"a", "x", None, SetBy::default());
        let changes = restored.take_some(9);
        assert_eq!(changes, [KeyChange { key: (*b"a").into(), value: None, stored: InStore::Unknown }]);
        assert!(restored.restore(b"c", &[1, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_key_has_so_many_timers_and_no_more() {
        let mut timers = Timers::default();
        for number in 1..TIMERS_MAX {
            timers.set(b"a", &format!("t{number}"), Some(9), SetBy::default());
        }
        let keys: [Box<[u8]>; 2] = [(*b"a").into(), (*b"b").into()];
        let first = |firing: &[(u32, &str)], changes: &[(u32, &'static str, bool)]| {
            timers.first_too_many(&keys, firing, changes.iter().copied())
        };
        assert_eq!(first(&[], &[(0, "x", true), (1, "y", true), (0, "t5", true)]), None, "t5 is there already");
        assert_eq!(first(&[], &[(0, "x", true), (1, "y", true), (0, "y", true)]), Some(2));
        assert_eq!(first(&[], &[(0, "x", true), (0, "t1", false), (0, "y", true)]), None);
        assert_eq!(first(&[(0, "t7")], &[(0, "x", true), (0, "y", true)]), None, "t7 fires, and is gone");
    }
}
