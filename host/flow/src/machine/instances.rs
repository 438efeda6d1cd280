//! The machines there are: per key a state, since when, and its variables, as one entry each; and the timers of their states.
//!
//! ```text
//! MACHINE key    state (u16) · entered (i64) · number of the row that moved it last (u64) · variables, each as in `state_column.rs`
//! ```
//! States are numbered in the order of the text, which is part of what the state depends on (the plan's `shape`).

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow_select::take::take;
use tidemill_event::{Field, FieldType};

use crate::aggregate::bytes::{take as take_bytes, take_i64, take_u64};
use crate::deadlines::Deadlines;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::machine::oldest::Oldest;
use crate::pattern::Waiting;
use crate::state::corrupt;
use crate::state_column::StateColumn;
use crate::{KeyChange, KeyState, Save, StateCorrupt, StepState};

/// What the keys of machines begin with in the store.
const MACHINE: u8 = 0x30;
/// A key without a machine.
pub(crate) const NONE: u16 = u16::MAX;

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instance {
    /// `NONE`: it has no machine.
    pub(crate) state: u16,
    pub(crate) entered: i64,
    /// The number of the row that moved it last.
    pub(crate) number: u64,
    /// The batch has touched it: it is held until the end.
    is_touched: bool,
    /// The input row of this batch that it last came out with.
    pub(crate) origin: u32,
}

impl Default for Instance {
    fn default() -> Self {
        Self { state: NONE, entered: 0, number: 0, is_touched: false, origin: 0 }
    }
}

/// All of them.
pub(crate) struct Instances {
    pub(crate) index: KeyIndex,
    pub(crate) waiting: Waiting,
    pub(crate) of: Vec<Instance>,
    pub(crate) variables: Vec<StateColumn>,
    first: RecordBatch,
    /// By state, what it is called.
    names: Vec<Box<str>>,
    /// By state, how long it lasts.
    after: Vec<Option<i64>>,
    /// When a state is over.
    pub(crate) deadlines: Deadlines,
    touched: Vec<u32>,
    entries: Entries,
    /// Keys in each state.
    counts: Vec<u64>,
    /// Who has been in each longest.
    oldest: Vec<Oldest>,
}

impl Instances {
    /// `states`: what each is called, and how long it lasts.
    pub(crate) fn new(
        index: KeyIndex,
        waiting: Waiting,
        first: RecordBatch,
        states: impl Iterator<Item = (Box<str>, Option<i64>)>,
    ) -> Self {
        let variable = |field: &std::sync::Arc<arrow_schema::Field>| {
            StateColumn::new(Field::from_arrow(field).unwrap_or_else(|| panic!("no variable of type {field}")).ty)
        };
        let variables = first.schema_ref().fields().iter().map(variable).collect();
        let (names, after): (Vec<_>, Vec<_>) = states.unzip();
        let states = after.len();
        let mut new = Self {
            index,
            waiting,
            of: Vec::new(),
            variables,
            first,
            names,
            after,
            deadlines: Deadlines::default(),
            touched: Vec::new(),
            entries: Entries::default(),
            counts: vec![0; states],
            oldest: (0..states).map(|_| Oldest::default()).collect(),
        };
        new.grow();
        new
    }

    /// There are as many places as the index has slots.
    pub(crate) fn grow(&mut self) {
        for _ in self.of.len()..self.index.slots() {
            self.of.push(Instance::default());
            self.variables.iter_mut().for_each(StateColumn::push_null);
        }
    }

    /// The keys stay until the end of the batch; those without a machine have the variables that one begins with.
    pub(crate) fn touch(&mut self, slots: &[u32]) {
        let mut new = Vec::new();
        for slot in slots {
            let instance = &mut self.of[*slot as usize];
            if !std::mem::replace(&mut instance.is_touched, true) {
                instance.origin = 0;
                self.index.hold(*slot);
                self.touched.push(*slot);
            }
            if instance.state == NONE {
                new.push(*slot);
            }
        }
        let zeros = UInt32Array::from(vec![0; new.len()]);
        for (column, first) in self.variables.iter_mut().zip(self.first.columns()) {
            let values = take(first, &zeros, None).expect("the first row");
            column.store(&new, &values, &mut vec![false; new.len()]);
        }
    }

    /// Variables of some keys, as columns.
    pub(crate) fn load(&self, slots: &[u32]) -> Vec<ArrayRef> {
        self.variables.iter().map(|column| column.load(slots)).collect()
    }

    /// A machine is in another state since `entered`.
    pub(crate) fn enter(&mut self, slot: u32, state: u16, entered: i64) {
        let instance = &mut self.of[slot as usize];
        if let Some(count) = self.counts.get_mut(usize::from(instance.state)) {
            *count -= 1;
        }
        self.counts[usize::from(state)] += 1;
        (instance.state, instance.entered) = (state, entered);
        self.oldest[usize::from(state)].came(entered, slot);
        self.note_deadline(slot);
    }

    /// A machine is over.
    pub(crate) fn end(&mut self, slot: u32) {
        let state = std::mem::replace(&mut self.of[slot as usize].state, NONE);
        if let Some(count) = self.counts.get_mut(usize::from(state)) {
            *count -= 1;
        }
        self.note_deadline(slot);
    }

    /// When the state of a key is over.
    pub(crate) fn deadline(&self, slot: u32) -> Option<i64> {
        let instance = &self.of[slot as usize];
        let after = (*self.after.get(usize::from(instance.state))?)?;
        Some(instance.entered.saturating_add(after))
    }

    fn note_deadline(&mut self, slot: u32) {
        self.deadlines.set(slot, self.deadline(slot));
    }

    /// Keys whose states are over by then, each once. They have no deadline until they enter another.
    pub(crate) fn take_due(&mut self, until: i64) -> Vec<u32> {
        std::iter::from_fn(|| self.deadlines.pop(until)).collect()
    }

    /// The batch is told: what changed becomes entries, and keys that nobody holds go.
    pub(crate) fn settle(&mut self, slots: &[u32]) {
        for slot in std::mem::take(&mut self.touched) {
            let Self { of, entries, index, .. } = self;
            let instance = &mut of[slot as usize];
            instance.is_touched = false;
            entries.follow(slot, instance.state != NONE, MACHINE, index);
            index.release(slot);
        }
        self.index.forget_unheld(slots);
        // What is due is looked up without being able to change anything.
        self.deadlines.next();
    }

    /// Keys in each state, and when the one that has been there longest came.
    pub(crate) fn by_state(&mut self) -> (Vec<u64>, Vec<Option<i64>>) {
        let Self { of, counts, oldest, .. } = self;
        let is_in = |state: usize, since, slot: u32| {
            of.get(slot as usize).is_some_and(|instance| usize::from(instance.state) == state && instance.entered == since)
        };
        let since = oldest.iter_mut().zip(&*counts).enumerate();
        let since = since.map(|(state, (oldest, count))| oldest.since(*count, |since, slot| is_in(state, since, slot))).collect();
        (counts.clone(), since)
    }

    /// Puts the machine of a key back. Its slot.
    fn read(&mut self, key: &[u8], mut rest: &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(key)?;
        self.grow();
        let state = u16::from_le_bytes(take_bytes(&mut rest, 2)?.try_into().ok()?);
        if usize::from(state) >= self.after.len() {
            return None;
        }
        let (entered, number) = (take_i64(&mut rest)?, take_u64(&mut rest)?);
        for column in &mut self.variables {
            column.decode(slot as usize, &mut rest)?;
        }
        self.entries.follow(slot, true, MACHINE, &mut self.index);
        self.of[slot as usize].number = number;
        self.enter(slot, state, entered);
        rest.is_empty().then_some(slot)
    }
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, of: &[Instance], variables: &[StateColumn]) {
    *key = index.tagged_key(MACHINE, slot);
    let Instance { state, entered, number, .. } = of[slot as usize];
    value.extend_from_slice(&state.to_le_bytes());
    value.extend_from_slice(&entered.to_le_bytes());
    value.extend_from_slice(&number.to_le_bytes());
    variables.iter().for_each(|column| column.encode(slot as usize, value));
}

impl StepState for Instances {
    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + self.waiting.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.waiting.take_some(most, save);
        let Self { index, entries, of, variables, .. } = self;
        changes.extend(entries.take_some(most, save, |slot, key, value| encode(slot, key, value, index, of, variables)));
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let read = match key.split_first() {
            Some((&MACHINE, of)) => self.read(of, value).map(|slot| self.entries.restored(slot, key, value)),
            _ => self.waiting.restore(key, value),
        };
        read.ok_or_else(|| corrupt(key, "the state of a machine", 0))
    }

    /// One row: the state, since when and until when, and the variables.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = self.index.asked(key);
        let there = self.of.get(slot as usize).filter(|instance| instance.state != NONE).copied();
        let name = there.iter().map(|instance| Some(&*self.names[usize::from(instance.state)]));
        let mut columns = vec![
            column("state", FieldType::String, name.collect::<StringArray>()),
            column("since", FieldType::Timestamp(None), times_of(there.iter().map(|instance| Some(instance.entered)))),
            column("until", FieldType::Timestamp(None), times_of(there.iter().map(|_| self.deadline(slot)))),
        ];
        let slots: Vec<u32> = there.iter().map(|_| slot).collect();
        for (field, values) in self.first.schema_ref().fields().iter().zip(self.load(&slots)) {
            let ty = Field::from_arrow(field).unwrap_or_else(|| panic!("no variable of type {field}")).ty;
            columns.push((Field::new(&format!("variables.{}", field.name()), ty, true), values));
        }
        Some(KeyState::new(columns, there.iter().map(|instance| instance.entered).collect()))
    }

    fn checksum(&mut self) -> u64 {
        let waiting = self.waiting.checksum();
        let Self { index, entries, of, variables, .. } = self;
        let machines = entries.checksum(|slot, key, value| encode(slot, key, value, index, of, variables));
        machines.wrapping_add(waiting)
    }
}
