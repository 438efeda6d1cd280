//! What a pattern keeps: per key its runs, held matches and the events they share, as one entry each.
//!
//! ```text
//! RUNS key    events   count, then each: time, number, length of the row, row            times, counts, numbers little-endian
//!             links    count, then each: event, link before (ffffffff: none), stage      a link stands behind the one before it
//!             runs     count, then each: state, link, begun (time, number), last time
//!             held     count, then each: link, begun (time, number), known at
//! ```
//! States are the compiler's numbers for this very pattern. Numbers of events and links count within the entry, in the order in which runs meet them, so that the
//! same runs have the same bytes wherever they lie in memory.

use std::collections::HashMap;

use arrow_array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use tidemill_event::{Field, FieldType};

use crate::aggregate::bytes::{take_i64, take_u32};
use crate::deadlines::Deadlines;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::pattern::automaton::{StageId, StateId, Then};
use crate::pattern::buffer::{Buffer, Moment, NO_NODE};
use crate::pattern::matcher::Matcher;
use crate::pattern::order::Waiting;
use crate::pattern::run::{Held, KeyRuns, Run};
use crate::pattern::running::{Places, Running};
use crate::pattern::telling::chain_shown;
use crate::rows::Rows;
use crate::state::corrupt;
use crate::{KeyChange, KeyState, OpenRuns, Save, StateCorrupt, StepState};

/// What the keys of entries of runs begin with in the store.
pub(super) const RUNS: u8 = 0x20;

/// A key's runs, and what the step remembers of it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) runs: KeyRuns,
    /// Runs that were counted among all.
    pub(crate) counted: u32,
    /// The input row of this batch that its last event came out with; `UNTOUCHED`: it is not among those that the batch has touched.
    pub(crate) origin: u32,
}

/// Of a key that no row of the batch has come to.
const UNTOUCHED: u32 = u32::MAX;

impl Default for Slot {
    fn default() -> Self {
        Self { runs: KeyRuns::default(), counted: 0, origin: UNTOUCHED }
    }
}

impl Slot {
    /// The batch comes to the key. Answers whether it is the first time.
    pub(crate) fn touch(&mut self) -> bool {
        let is_first = self.origin == UNTOUCHED;
        if is_first {
            self.origin = 0;
        }
        is_first
    }

    /// The batch is over.
    pub(crate) fn leave(&mut self) {
        self.origin = UNTOUCHED;
    }
}

/// All that is kept.
pub(crate) struct Kept {
    pub(crate) index: KeyIndex,
    pub(crate) waiting: Waiting,
    pub(crate) matcher: Matcher,
    pub(crate) buffer: Buffer,
    pub(crate) rows: Rows,
    pub(crate) slots: Vec<Slot>,
    /// When a key's next run is over.
    pub(crate) deadlines: Deadlines,
    pub(crate) entries: Entries,
    /// Runs of all keys, and matches that wait for one that began before.
    pub(crate) open: u64,
    /// What conditions ask of runs.
    pub(crate) running: Running,
}

impl Kept {
    pub(crate) fn new(index: KeyIndex, waiting: Waiting, matcher: Matcher, kept: Vec<Field>, running: Running) -> Self {
        Self {
            index,
            waiting,
            matcher,
            buffer: Buffer::default(),
            rows: Rows::new(kept),
            slots: Vec::new(),
            deadlines: Deadlines::default(),
            entries: Entries::default(),
            open: 0,
            running,
        }
    }

    /// Notes when a key's next run is over.
    pub(crate) fn note_deadline(&mut self, slot: u32) {
        self.deadlines.set(slot, self.slots[slot as usize].runs.deadline());
    }

    /// Notes what became of a key: its entry, and whether the step holds it.
    pub(crate) fn note_entry(&mut self, slot: u32) {
        let Self { slots, entries, index, open, .. } = self;
        let of = &mut slots[slot as usize];
        let runs = (of.runs.runs.len() + of.runs.held.len()) as u32;
        *open = *open + u64::from(runs) - u64::from(std::mem::replace(&mut of.counted, runs));
        if entries.follow(slot, !of.runs.is_empty(), RUNS, index) {
            of.runs = KeyRuns::default();
        }
    }

    /// Puts the runs of a key back. Its slot.
    fn read(&mut self, key: &[u8], mut rest: &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(key)?;
        self.slots.resize_with(self.index.slots(), Slot::default);
        let mut events = Vec::new();
        for _ in 0..take_u32(&mut rest)? {
            let moment = Moment::decode(&mut rest)?;
            let row = self.rows.decode_sized(&mut rest)?;
            events.push(self.buffer.event(moment, row));
        }
        let (mut links, stages) = (Vec::new(), self.matcher.automaton.stages.len());
        for _ in 0..take_u32(&mut rest)? {
            let event = *events.get(take_u32(&mut rest)? as usize)?;
            let previous = match take_u32(&mut rest)? {
                NO_NODE => NO_NODE,
                previous => *links.get(previous as usize)?,
            };
            let stage = StageId(u16::try_from(take_u32(&mut rest)?).ok().filter(|stage| usize::from(*stage) < stages)?);
            let link = self.buffer.take(event, stage, previous);
            self.running.took(&self.buffer, link, Places { batch: None, kept: &self.rows });
            links.push(link);
        }
        let mut runs = KeyRuns::default();
        let states = self.matcher.automaton.states.len();
        for _ in 0..take_u32(&mut rest)? {
            let state = StateId(take_u32(&mut rest).filter(|state| (*state as usize) < states)?);
            let node = *links.get(take_u32(&mut rest)? as usize)?;
            let begun = Moment::decode(&mut rest)?;
            let last = take_i64(&mut rest)?;
            self.buffer.hold(node);
            runs.runs.push(Run { state, node, begun, last });
        }
        for _ in 0..take_u32(&mut rest)? {
            let node = *links.get(take_u32(&mut rest)? as usize)?;
            let begun = Moment::decode(&mut rest)?;
            let at = take_i64(&mut rest)?;
            self.buffer.hold(node);
            runs.held.push(Held { node, begun, at });
        }
        // Runs and later links hold them now.
        events.into_iter().for_each(|event| self.buffer.let_go(event));
        links.into_iter().for_each(|link| self.buffer.release(link));
        self.matcher.settle(&mut runs);
        self.slots[slot as usize].runs = runs;
        self.note_deadline(slot);
        self.note_entry(slot);
        rest.is_empty().then_some(slot)
    }
}

impl Kept {
    /// The events of a chain as a JSON array: stage, time, and the kept columns as `row`.
    fn events_shown(&self, node: u32) -> String {
        let shown = chain_shown(node, &self.buffer, &self.matcher.automaton.stages, &self.rows, |_| true);
        format!("[{}]", shown.join(","))
    }

    /// The stages that a run in this state waits for, by name, each once.
    fn awaited(&self, state: StateId) -> String {
        let automaton = &self.matcher.automaton;
        let mut stages: Vec<StageId> = Vec::new();
        for step in &automaton.state(state).moves {
            match step.then {
                Then::Take(stage, _) if !stages.contains(&stage) => stages.push(stage),
                Then::Take(..) | Then::Ignore(_) | Then::Stop => {}
            }
        }
        json!(stages.iter().map(|stage| &*automaton.stages[usize::from(stage.0)]).collect::<Vec<_>>()).to_string()
    }

    /// What a run that still waits becomes when its time is over.
    fn ends_as(&self, run: &Run) -> &'static str {
        match self.matcher.automaton.state(run.state).is_absence {
            true => "match",
            false if self.matcher.deadline(run) < i64::MAX => "timeout",
            false => "none",
        }
    }
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, slots: &[Slot], buffer: &Buffer, rows: &Rows) {
    *key = index.tagged_key(RUNS, slot);
    let KeyRuns { runs, held, .. } = &slots[slot as usize].runs;
    let (mut events, mut links) = (Vec::new(), Vec::new());
    let (mut event_numbers, mut link_numbers) = (HashMap::new(), HashMap::new());
    for node in runs.iter().map(|run| run.node).chain(held.iter().map(|held| held.node)) {
        let mut new: Vec<(u32, u32)> = buffer.links(node).take_while(|(link, _)| !link_numbers.contains_key(link)).collect();
        new.reverse();
        for (link, event) in new {
            let event_number = *event_numbers.entry(event).or_insert_with(|| {
                events.push(event);
                events.len() as u32 - 1
            });
            let previous = match buffer.previous(link) {
                NO_NODE => NO_NODE,
                previous => link_numbers[&previous],
            };
            link_numbers.insert(link, links.len() as u32);
            links.push((event_number, previous, buffer.stage(link)));
        }
    }
    let put = |number: usize, value: &mut Vec<u8>| value.extend_from_slice(&(number as u32).to_le_bytes());
    put(events.len(), value);
    for event in events {
        let taken = buffer.taken(event);
        taken.moment.encode(value);
        rows.encode_sized(taken.row, value);
    }
    put(links.len(), value);
    for (event, previous, stage) in links {
        put(event as usize, value);
        put(previous as usize, value);
        put(usize::from(stage.0), value);
    }
    put(runs.len(), value);
    for run in runs {
        put(run.state.0 as usize, value);
        put(link_numbers[&run.node] as usize, value);
        run.begun.encode(value);
        value.extend_from_slice(&run.last.to_le_bytes());
    }
    put(held.len(), value);
    for held in held {
        put(link_numbers[&held.node] as usize, value);
        held.begun.encode(value);
        value.extend_from_slice(&held.at.to_le_bytes());
    }
}

impl StepState for Kept {
    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + self.waiting.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.waiting.take_some(most, save);
        let Self { index, entries, slots, buffer, rows, .. } = self;
        changes.extend(entries.take_some(most, save, |slot, key, value| encode(slot, key, value, index, slots, buffer, rows)));
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let read = match key.split_first() {
            Some((&RUNS, of)) => self.read(of, value).map(|slot| self.entries.restored(slot, key, value)),
            _ => self.waiting.restore(key, value),
        };
        read.ok_or_else(|| corrupt(key, "runs of a pattern", 0))
    }

    /// A row for each partial match: the stage it came to, those it waits for, when it began, until when it may go on, what becomes of it then, and its events. A match that waits for one that
    /// began before it is `complete`.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = self.index.asked(key);
        let none = KeyRuns::default();
        let runs = self.slots.get(slot as usize).map_or(&none, |slot| &slot.runs);
        let open = runs.runs.iter().map(|run| (run.node, run.begun, Some(run)));
        let held = runs.held.iter().map(|held| (held.node, held.begun, None));
        let all: Vec<(u32, Moment, Option<&Run>)> = open.chain(held).collect();
        let stage = |node: u32| Some(&*self.matcher.automaton.stages[usize::from(self.buffer.stage(node).0)]);
        let until = |run: &Run| Some(self.matcher.deadline(run)).filter(|until| *until < i64::MAX);
        let texts = |of: &dyn Fn(&Run) -> String| all.iter().map(|(.., run)| run.map(of)).collect::<StringArray>();
        let events = all.iter().map(|(node, ..)| i64::from(self.buffer.length(*node)));
        let columns = vec![
            column("stage", FieldType::String, all.iter().map(|(node, ..)| stage(*node)).collect::<StringArray>()),
            column("complete", FieldType::Bool, all.iter().map(|(.., run)| Some(run.is_none())).collect::<BooleanArray>()),
            column("waits_for", FieldType::Json, texts(&|run| self.awaited(run.state))),
            column("at_end", FieldType::String, texts(&|run| self.ends_as(run).to_owned())),
            column("begun", FieldType::Timestamp(None), times_of(all.iter().map(|(_, begun, _)| Some(begun.time)))),
            column("last", FieldType::Timestamp(None), times_of(all.iter().map(|(.., run)| run.map(|run| run.last)))),
            column("until", FieldType::Timestamp(None), times_of(all.iter().map(|(.., run)| run.and_then(until)))),
            column("count", FieldType::Int64, events.collect::<Int64Array>()),
            column(
                "events",
                FieldType::Json,
                all.iter().map(|(node, ..)| Some(self.events_shown(*node))).collect::<StringArray>(),
            ),
        ];
        Some(KeyState::new(columns, all.iter().map(|(_, begun, ..)| begun.time).collect()))
    }

    fn open_runs(&self) -> Vec<OpenRuns> {
        vec![OpenRuns { pattern: None, runs: self.open, keys: self.entries.len() as u64 }]
    }

    fn checksum(&mut self) -> u64 {
        let waiting = self.waiting.checksum();
        let Self { index, entries, slots, buffer, rows, .. } = self;
        let runs = entries.checksum(|slot, key, value| encode(slot, key, value, index, slots, buffer, rows));
        runs.wrapping_add(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The goal is 200 bytes an open run; vectors may have twice the room they need. What a key takes beside its runs is one line of cache.
    #[test]
    fn an_open_run_is_small() {
        let bytes = 2 * (size_of::<Run>() + Buffer::BYTES_PER_EVENT);
        assert!(bytes <= 200, "{bytes} bytes for a run with its last event");
        assert_eq!(size_of::<Slot>(), 64);
    }
}
