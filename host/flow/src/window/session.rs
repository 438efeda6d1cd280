//! Session windows: rows of a key that follow each other within a gap.
//!
//! ```text
//! row at t, gap g       covers [t, t + g]; sessions that it touches become one with it
//! session               [first t, greatest t + g]; a row exactly at its end still joins, so it closes when W > end
//! ```
//! A row is too late when its own stretch has closed: W > t + g. It joins only what was open before it, so where a batch is cut does
//! not show. What has closed is emitted behind the batch, by (end, key): a session that closes later never ends before the watermark.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, EventTime, Field};

use crate::aggregate::bytes::take_i64;
use crate::aggregate::{AggregateRefused, Aggregates};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::pane::{Pane, rows_of};
use crate::window::{Bounds, Gap, Judged, LateList, WindowSettings, output_fields};
use crate::{FlowBatch, KeyChange, OnFailing, Operator, Outcome, Save, StateCorrupt, StepId, StepState};

/// What the keys of sessions begin with in the store.
const SESSION: u8 = 1;
const NONE: u32 = u32::MAX;

/// Why there are no such sessions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// See there.
    #[error(transparent)]
    Aggregate(#[from] AggregateRefused),
    /// What a late row changes was told already: that is for windows with panes.
    #[error("a session that takes late rows is one with panes")]
    Lateness,
}

/// The step.
pub struct SessionWindow {
    step: StepId,
    gap: Gap,
    judged: Judged,
    state: Sessions,
}

#[derive(Debug, Clone, Copy, Default)]
struct Session {
    slot: u32,
    start: i64,
    until: i64,
    /// The next session of the same key, or `NONE`.
    next: u32,
    /// Tells this session from others that had the group before.
    generation: u32,
}

/// All sessions; each is a group of the aggregates.
struct Sessions {
    index: KeyIndex,
    aggregates: Aggregates,
    sessions: Vec<Session>,
    /// Per slot its first session, or `NONE`.
    first: Vec<u32>,
    /// When to look at a session: never later than it ends.
    timers: BinaryHeap<Reverse<(i64, u32, u32)>>,
    entries: Entries,
}

impl SessionWindow {
    /// Sessions without a row.
    pub fn new(gap: Gap, settings: WindowSettings) -> Result<Self, SessionRefused> {
        let WindowSettings { step, by, aggregates, components, lateness, judged, top: _ } = settings;
        if !lateness.is_zero() {
            return Err(SessionRefused::Lateness);
        }
        let state = Sessions {
            index: KeyIndex::new(by),
            aggregates: Aggregates::with_components(&aggregates, components)?,
            sessions: Vec::new(),
            first: Vec::new(),
            timers: BinaryHeap::new(),
            entries: Entries::default(),
        };
        Ok(Self { step, gap, judged, state })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        output_fields(self.state.index.by(), Bounds::Times, self.state.aggregates.fields(), None)
    }
}

impl Sessions {
    /// The session that a row belongs to, with what it touched; `merged`: sessions that became part of it and are gone.
    fn join(&mut self, slot: u32, start: i64, until: i64, watermark: i64, merged: &mut Vec<u32>) -> u32 {
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
                self.grow(into, session.start, session.until);
                self.remove_entry(at);
                merged.push(at);
            } else {
                before = at;
            }
            at = session.next;
        }
        if into == NONE {
            return self.open(slot, start, until);
        }
        self.grow(into, start, until);
        self.entries.touch(into);
        into
    }

    fn unlink(&mut self, slot: u32, before: u32, next: u32) {
        match before {
            NONE => self.first[slot as usize] = next,
            before => self.sessions[before as usize].next = next,
        }
    }

    fn grow(&mut self, group: u32, start: i64, until: i64) {
        let session = &mut self.sessions[group as usize];
        session.until = session.until.max(until);
        if start < session.start {
            // The start is part of the entry's key.
            self.remove_entry(group);
            self.sessions[group as usize].start = start;
            self.entries.touch(group);
        }
    }

    fn open(&mut self, slot: u32, start: i64, until: i64) -> u32 {
        let group = self.aggregates.allocate();
        self.sessions.resize(self.aggregates.groups(), Session::default());
        let session = &mut self.sessions[group as usize];
        let generation = session.generation.wrapping_add(1);
        *session = Session { slot, start, until, next: self.first[slot as usize], generation };
        self.first[slot as usize] = group;
        self.index.hold(slot);
        self.timers.push(Reverse((until, group, generation)));
        self.entries.touch(group);
        group
    }

    fn remove_entry(&mut self, group: u32) {
        let Self { index, sessions, entries, .. } = self;
        entries.remove(group, || key_of(&sessions[group as usize], index));
    }

    /// What the watermark has passed, by (end, key); out of the lists already, its group and key still there.
    fn close(&mut self, watermark: Watermark) -> Vec<u32> {
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
            self.sessions[group as usize].generation = generation.wrapping_add(1);
            closed.push(group);
        }
        self.index.sort(&mut closed, |group| self.sessions[*group as usize].slot);
        closed.sort_by_key(|group| self.sessions[*group as usize].until);
        for group in &closed {
            let Session { slot, next, .. } = self.sessions[*group as usize];
            let (mut at, mut before) = (self.first[slot as usize], NONE);
            while at != *group {
                before = at;
                at = self.sessions[at as usize].next;
            }
            self.unlink(slot, before, next);
            self.remove_entry(*group);
        }
        closed
    }
}

impl Operator for SessionWindow {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let (input, gaps) = self.gap.of(input, self.step, output);
        let mut late = LateList::default();
        let mut kept = BooleanBufferBuilder::new(input.len());
        let times_of: Vec<i64> = times(&input.rows).values().to_vec();
        for (row, time) in times_of.iter().enumerate() {
            let judge = match self.judged {
                Judged::ByLane => marks.judge(input.origin[row]),
                Judged::ByTask => marks.before(input.origin[row]),
            };
            let is_late = judge.has_passed(EventTime(time.saturating_add(gaps[row])));
            kept.append(!is_late);
            if is_late {
                late.push(row as u32, judge, Some((*time, time.saturating_add(gaps[row]))));
            }
        }
        output.dropped_late += late.len() as u64;
        let (rows, gaps) = if late.is_empty() {
            (input, gaps)
        } else {
            late.tell(self.step, &input, output);
            let kept = BooleanArray::new(kept.finish(), None);
            (input.filtered(&kept), kept.values().set_indices().map(|row| gaps[row]).collect())
        };
        let state = &mut self.state;
        state.aggregates.begin(self.step, output);
        let mut slots = Vec::new();
        state.index.slots_of(&rows.rows, &mut slots);
        state.first.resize(state.index.slots(), NONE);
        let (mut groups, mut merged, mut from) = (Vec::with_capacity(rows.len()), Vec::new(), 0);
        for (row, time) in times(&rows.rows).values().iter().enumerate() {
            let watermark = marks.before(rows.origin[row]).0;
            let until = time.saturating_add(gaps[row]);
            let group = state.join(slots[row], *time, until, watermark, &mut merged);
            if !merged.is_empty() {
                // What came before the row is counted first, so that `first` and `last` see rows in their order.
                let lost = state.aggregates.update(&groups, &rows.rows.slice(from, row - from));
                if !lost.is_empty() {
                    output.bury_lost(&rows.slice(&(from..row)), self.step, lost);
                }
                groups.clear();
                from = row;
                state.aggregates.merge(&merged.iter().map(|gone| (group, *gone)).collect::<Vec<_>>());
                for gone in merged.drain(..) {
                    let session = &mut state.sessions[gone as usize];
                    session.generation = session.generation.wrapping_add(1);
                    state.index.release(session.slot);
                    state.aggregates.release(gone);
                }
            }
            groups.push(group);
        }
        let lost = state.aggregates.update(&groups, &rows.rows.slice(from, rows.len() - from));
        if !lost.is_empty() {
            output.bury_lost(&rows.slice(&(from..rows.len())), self.step, lost);
        }
        let closed = state.close(marks.end());
        let panes: Vec<Pane> = closed
            .iter()
            .map(|group| {
                let Session { slot, start, until, .. } = state.sessions[*group as usize];
                let origin = marks.lets_out(until).unwrap_or(0);
                Pane { slot, group: *group, start, end: until, time: EventTime(until), origin }
            })
            .collect();
        let made = rows_of(&panes, &state.index, &state.aggregates, Bounds::Times, self.step, output);
        for pane in panes {
            state.index.release(pane.slot);
            state.aggregates.release(pane.group);
        }
        state.aggregates.end(output);
        made
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.state.timers.peek().map(|Reverse((until, ..))| Watermark(until.saturating_add(1)))
    }
}

fn key_of(session: &Session, index: &KeyIndex) -> Vec<u8> {
    let mut key = vec![SESSION];
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
        let mut rest = value;
        let mut read = || {
            let (SESSION, of_key) = key.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
            let (of_key, start) = of_key.split_last_chunk::<8>()?;
            let slot = self.index.slot_of_key(of_key)?;
            self.first.resize(self.index.slots(), NONE);
            let until = take_i64(&mut rest)?;
            let group = self.open(slot, plain_int(u64::from_be_bytes(*start)), until);
            self.entries.restored(group, key, value);
            self.aggregates.decode(group, &mut rest)?;
            rest.is_empty().then_some(())
        };
        let read = read();
        read.ok_or_else(|| {
            let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
            corrupt(key, &format!("until, {}", fields.join(", ")), value.len() - rest.len())
        })
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, aggregates, sessions, entries, .. } = self;
        entries.checksum(|group, key, value| encode(group, key, value, sessions, index, aggregates))
    }
}
