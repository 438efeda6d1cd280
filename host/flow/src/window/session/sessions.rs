//! All sessions of a step: which one a row belongs to, when each ends, and each as an entry.
//!
//! ```text
//! stored key     SESSION │ place │ key │ start     place: an instant not after its end (`cold/dated.rs`); the end moves on, and now and then the place
//! stored value   until │ accumulators
//! ```
//! A key's sessions are a list by their start, whatever order they came in: what is merged is merged in that order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::RecordBatch;
use tidemill_event::{EventTime, Field};

use crate::aggregate::Aggregates;
use crate::aggregate::bytes::take_i64;
use crate::cold::{Dated, Hand, place_of, put_place, take_place};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::Bounds;
use crate::window::asked::{asked, open_windows};
use crate::window::pane::Pane;
use crate::{KeyChange, KeyState, Save, Spills, StateCorrupt, StepState};

/// What the keys of sessions begin with in the store.
const SESSION: u8 = 1;
/// Behind a stored key's key: the start.
const START_BYTES: usize = 8;
/// Fewer timers are not worth a look.
const TIMERS_MIN: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Session {
    pub(super) slot: u32,
    pub(super) start: i64,
    pub(super) until: i64,
    /// Where its entry lies in the store.
    pub(super) place: i64,
    /// The next session of the same key, or `NONE`.
    next: u32,
    /// Tells this session from others that had the group before.
    generation: u32,
}

/// All sessions; each is a group of the aggregates.
pub(super) struct Sessions {
    pub(super) index: KeyIndex,
    pub(super) aggregates: Aggregates,
    sessions: Vec<Session>,
    /// Per slot its first session, or `NONE`.
    first: Vec<u32>,
    /// When to look at a session: never later than it ends.
    timers: BinaryHeap<Reverse<(i64, u32, u32)>>,
    pub(super) entries: Entries,
    pub(super) cold: Dated,
    pub(super) hand: Hand,
    /// How far the watermark was when sessions closed last.
    passed: Watermark,
}

impl Sessions {
    /// None.
    pub(super) fn new(by: Vec<Field>, aggregates: Aggregates) -> Self {
        Self {
            index: KeyIndex::new(by),
            aggregates,
            sessions: Vec::new(),
            first: Vec::new(),
            timers: BinaryHeap::new(),
            entries: Entries::default(),
            cold: Dated::new(&[SESSION], START_BYTES),
            hand: Hand::default(),
            passed: Watermark::NONE,
        }
    }

    /// The session that has a group.
    pub(super) fn session(&self, group: u32) -> Session {
        self.sessions[group as usize]
    }

    /// How many groups were ever used.
    pub(super) fn groups(&self) -> usize {
        self.sessions.len()
    }

    /// Room for all slots there are.
    pub(super) fn resize(&mut self) {
        self.first.resize(self.index.slots(), NONE);
    }

    /// The session that a row belongs to, with what it touched; `merged`: sessions that became part of it and are gone.
    pub(super) fn join(&mut self, slot: u32, start: i64, until: i64, watermark: i64, merged: &mut Vec<u32>) -> u32 {
        let place = place_of(until, until.saturating_sub(start));
        let (mut into, mut at, mut before) = (NONE, self.first[slot as usize], NONE);
        while at != NONE {
            let session = self.sessions[at as usize];
            let touches = session.until >= watermark && start <= session.until && until >= session.start;
            if touches && into == NONE {
                into = at;
                before = at;
            } else if touches {
                // It takes over the row's session in what follows.
                self.unlink(slot, before, session.next);
                self.grow(into, session);
                self.remove_entry(at);
                merged.push(at);
            } else {
                before = at;
            }
            at = session.next;
        }
        let row = Session { slot, start, until, place, ..Session::default() };
        if into == NONE {
            into = self.open(row);
        } else {
            self.grow(into, row);
        }
        self.entries.touch(into);
        into
    }

    fn unlink(&mut self, slot: u32, before: u32, next: u32) {
        match before {
            NONE => self.first[slot as usize] = next,
            before => self.sessions[before as usize].next = next,
        }
    }

    /// Takes a session out of the list of its key.
    fn take_out(&mut self, group: u32) {
        let Session { slot, next, .. } = self.sessions[group as usize];
        let (mut at, mut before) = (self.first[slot as usize], NONE);
        while at != group {
            before = at;
            at = self.sessions[at as usize].next;
        }
        self.unlink(slot, before, next);
    }

    /// A session reaches as far as `other` too.
    fn grow(&mut self, group: u32, other: Session) {
        let session = self.sessions[group as usize];
        let (start, until) = (session.start.min(other.start), session.until.max(other.until));
        let place = session.place.max(other.place);
        let is_moved = (start, place) != (session.start, session.place);
        if is_moved {
            // Both are part of the entry's key.
            self.remove_entry(group);
        }
        self.sessions[group as usize] = Session { start, until, place, ..session };
        if is_moved {
            self.entries.touch(group);
        }
    }

    /// A session of its own, into the list of its key. It is no entry yet.
    pub(super) fn open(&mut self, new: Session) -> u32 {
        let group = self.aggregates.allocate();
        self.sessions.resize(self.aggregates.groups(), Session::default());
        let (mut next, mut before) = (self.first[new.slot as usize], NONE);
        while next != NONE && self.sessions[next as usize].start < new.start {
            before = next;
            next = self.sessions[next as usize].next;
        }
        self.unlink(new.slot, before, group);
        let generation = self.sessions[group as usize].generation.wrapping_add(1);
        self.sessions[group as usize] = Session { next, generation, ..new };
        self.index.hold(new.slot);
        self.timers.push(Reverse((new.until, group, generation)));
        group
    }

    fn remove_entry(&mut self, group: u32) {
        let Self { index, sessions, entries, .. } = self;
        entries.remove(group, || key_of(&sessions[group as usize], index));
    }

    /// What the watermark has passed, by (end, key); out of the lists already, its group and key still there.
    pub(super) fn close(&mut self, watermark: Watermark) -> Vec<u32> {
        self.thaw(watermark);
        self.passed = watermark;
        let mut closed = Vec::new();
        while let Some(Reverse((until, group, generation))) = self.timers.peek().copied() {
            if !watermark.has_passed(EventTime(until)) {
                break;
            }
            self.timers.pop();
            let session = self.sessions[group as usize];
            if session.generation != generation {
                continue;
            }
            if session.until > until {
                self.timers.push(Reverse((session.until, group, generation)));
                continue;
            }
            closed.push(group);
        }
        self.index.sort(&mut closed, |group| self.sessions[*group as usize].slot);
        closed.sort_by_key(|group| self.sessions[*group as usize].until);
        for group in &closed {
            self.take_out(*group);
            self.remove_entry(*group);
        }
        closed
    }

    /// What was closed or merged is needed no more.
    pub(super) fn release(&mut self, group: u32) {
        let session = &mut self.sessions[group as usize];
        session.generation = session.generation.wrapping_add(1);
        self.index.release(session.slot);
        self.aggregates.release(group);
    }

    /// Lets a session leave memory, if it may: one that is about to end stays.
    pub(super) fn let_go(&mut self, group: u32, saved: Save) -> usize {
        let session = self.session(group);
        let Some(save) = self.entries.can_leave(group, saved).filter(|_| session.place > self.passed.0) else { return 0 };
        self.cold.left(&key_of(&session, &self.index), save, session.until);
        self.entries.leave(group);
        self.take_out(group);
        self.release(group);
        1
    }

    /// Timers of sessions that left are no use, and more of them come each time one leaves.
    pub(super) fn forget_timers(&mut self) {
        if self.timers.len() > 2 * (self.entries.len() - self.entries.cold_len()) + TIMERS_MIN {
            let sessions = &self.sessions;
            self.timers.retain(|Reverse((_, group, generation))| sessions[*group as usize].generation == *generation);
        }
    }

    /// When the next session ends, or earlier.
    pub(super) fn next_end(&self) -> Option<i64> {
        let timer = self.timers.peek().map(|Reverse((until, ..))| *until);
        timer.into_iter().chain(self.cold.first()).min()
    }

    /// Puts a session back. Its group, which is no entry yet; or where in the value reading stopped.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<u32, StateCorrupt> {
        let mut rest = value;
        let mut read = || {
            let (SESSION, mut of_key) = key.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
            let place = take_place(&mut of_key)?;
            let (of_key, start) = of_key.split_last_chunk::<START_BYTES>()?;
            let slot = self.index.slot_of_key(of_key)?;
            self.resize();
            let (start, until) = (plain_int(u64::from_be_bytes(*start)), take_i64(&mut rest)?);
            let group = self.open(Session { slot, start, until, place, ..Session::default() });
            self.aggregates.decode(group, &mut rest)?;
            rest.is_empty().then_some(group)
        };
        let read = read();
        read.ok_or_else(|| {
            let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
            corrupt(key, &format!("until, {}", fields.join(", ")), value.len() - rest.len())
        })
    }
}

fn key_of(session: &Session, index: &KeyIndex) -> Vec<u8> {
    let mut key = vec![SESSION];
    put_place(session.place, &mut key);
    index.put_key(session.slot, &mut key);
    key.extend_from_slice(&ordered_int(session.start).to_be_bytes());
    key
}

fn encode(group: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, sessions: &[Session], index: &KeyIndex, aggregates: &Aggregates) {
    let session = &sessions[group as usize];
    *key = key_of(session, index);
    value.extend_from_slice(&session.until.to_le_bytes());
    aggregates.encode(group, value);
}

impl StepState for Sessions {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, aggregates, sessions, entries, .. } = self;
        entries.take_some(most, save, |group, key, value| encode(group, key, value, sessions, index, aggregates))
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let group = self.read(key, value)?;
        self.entries.restored(group, key, value);
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, aggregates, sessions, entries, .. } = self;
        entries.checksum(|group, key, value| encode(group, key, value, sessions, index, aggregates))
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// A row for each session of the key; its end is where it would end if no row came.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = asked(self, key, |sessions| &mut sessions.index, Self::warm);
        let (mut panes, mut at) = (Vec::new(), self.first.get(slot as usize).copied().unwrap_or(NONE));
        while at != NONE {
            let Session { slot, start, until, next, .. } = self.sessions[at as usize];
            panes.push(Pane { slot, group: at, start, end: until, time: EventTime(until), origin: 0 });
            at = next;
        }
        Some(open_windows(&panes, &self.aggregates, Bounds::Times))
    }
}
