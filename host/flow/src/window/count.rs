//! Windows that count rows: the 1st to Nth row of a key, the N+1st to 2Nth, … in order of arrival. Unfilled ones say nothing.
//!
//! No row is late for them. A result comes out with the row that fills its window, and has the greatest time of its rows.

mod spill;

use arrow_array::RecordBatch;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, EventTime, Field};

use crate::aggregate::bytes::{take_i64, take_u32, take_u64};
use crate::aggregate::{AggregateRefused, Aggregates};
use crate::cold::{Cold, Hand};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::asked::{asked, counted, open_windows};
use crate::window::pane::{Pane, rows_of};
use crate::window::{Bounds, WindowSettings, output_fields};
use crate::{FlowBatch, KeyChange, KeyState, OnFailing, Operator, Outcome, Save, Spills, StateCorrupt, StepId, StepState};

/// What the keys of counted windows begin with in the store.
const COUNTED: u8 = 2;

/// The window of a key that is being filled.
#[derive(Debug, Clone, Copy, Default)]
struct Filling {
    /// How many of the key were filled before.
    number: u64,
    /// Rows in it; a group belongs to it only if there are any.
    rows: u32,
    group: u32,
    newest: i64,
    is_known: bool,
}

/// The step.
pub struct CountWindow {
    step: StepId,
    size: u32,
    state: Counting,
}

struct Counting {
    index: KeyIndex,
    aggregates: Aggregates,
    filling: Vec<Filling>,
    /// By slot: a key stays, its number goes on.
    entries: Entries,
    cold: Cold,
    hand: Hand,
}

impl CountWindow {
    /// Windows of `size` rows, without a row. `lateness`, `judged` and `top` of the settings mean nothing here. Errors: an aggregate that does not go with
    /// its argument.
    ///
    /// # Panics
    /// If the size is 0.
    pub fn new(size: u32, settings: WindowSettings) -> Result<Self, AggregateRefused> {
        assert!(size > 0, "a window has rows");
        let aggregates = Aggregates::with_components(&settings.aggregates, settings.components)?;
        let state = Counting {
            index: KeyIndex::new(settings.by),
            aggregates,
            filling: Vec::new(),
            entries: Entries::default(),
            cold: Cold::default(),
            hand: Hand::default(),
        };
        Ok(Self { step: settings.step, size, state })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        output_fields(self.state.index.by(), Bounds::Number, self.state.aggregates.fields(), None)
    }
}

impl Counting {
    /// Puts a key back. Its slot.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<u32, StateCorrupt> {
        let mut rest = value;
        let mut read = || {
            let (COUNTED, of_key) = key.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
            let slot = self.index.slot_of_key(of_key)?;
            self.filling.resize(self.index.slots(), Filling::default());
            self.know(slot);
            let filling = &mut self.filling[slot as usize];
            (filling.number, filling.rows) = (take_u64(&mut rest)?, take_u32(&mut rest)?);
            if filling.rows > 0 {
                filling.newest = take_i64(&mut rest)?;
                filling.group = self.aggregates.allocate();
                self.aggregates.decode(filling.group, &mut rest)?;
            }
            rest.is_empty().then_some(slot)
        };
        let read = read();
        read.ok_or_else(|| {
            let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
            corrupt(key, &format!("number, rows, newest, {}", fields.join(", ")), value.len() - rest.len())
        })
    }

    fn know(&mut self, slot: u32) {
        let filling = &mut self.filling[slot as usize];
        if !filling.is_known {
            *filling = Filling { is_known: true, ..Filling::default() };
            self.index.hold(slot);
        }
    }
}

impl Operator for CountWindow {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let state = &mut self.state;
        state.aggregates.begin(self.step, output);
        let (mut slots, mut groups, mut panes) = (Vec::new(), Vec::with_capacity(input.len()), Vec::new());
        state.index.slots_of(&input.rows, &mut slots);
        state.filling.resize(state.index.slots(), Filling::default());
        state.warm(&slots);
        for (row, (slot, time)) in slots.iter().zip(times(&input.rows).values()).enumerate() {
            state.know(*slot);
            let filling = &mut state.filling[*slot as usize];
            if filling.rows == 0 {
                filling.group = state.aggregates.allocate();
                filling.newest = *time;
            }
            groups.push(filling.group);
            filling.rows += 1;
            filling.newest = filling.newest.max(*time);
            if filling.rows == self.size {
                let (number, newest) = (filling.number as i64, EventTime(filling.newest));
                let origin = input.origin[row];
                panes.push(Pane { slot: *slot, group: filling.group, start: number, end: 0, time: newest, origin });
                filling.number += 1;
                filling.rows = 0;
            }
            state.entries.touch(*slot);
        }
        let lost = state.aggregates.update(&groups, &input.rows);
        output.bury_lost(&input, self.step, lost);
        let made = rows_of(&panes, &state.index, &state.aggregates, Bounds::Number, self.step, output);
        panes.iter().for_each(|pane| state.aggregates.release(pane.group));
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
        None
    }
}

fn key_of(slot: u32, index: &KeyIndex) -> Vec<u8> {
    index.tagged_key(COUNTED, slot)
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, filling: &[Filling], index: &KeyIndex, aggregates: &Aggregates) {
    *key = key_of(slot, index);
    let Filling { number, rows, group, newest, .. } = filling[slot as usize];
    value.extend_from_slice(&number.to_le_bytes());
    value.extend_from_slice(&rows.to_le_bytes());
    if rows > 0 {
        value.extend_from_slice(&newest.to_le_bytes());
        aggregates.encode(group, value);
    }
}

impl StepState for Counting {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, aggregates, filling, entries, .. } = self;
        entries.take_some(most, save, |slot, key, value| encode(slot, key, value, filling, index, aggregates))
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let slot = self.read(key, value)?;
        self.entries.restored(slot, key, value);
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, aggregates, filling, entries, .. } = self;
        entries.checksum(|slot, key, value| encode(slot, key, value, filling, index, aggregates))
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        Some(self)
    }

    /// The window that is being filled.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = asked(
            self,
            key,
            |state| &mut state.index,
            |state, slots| {
                state.filling.resize(state.index.slots(), Filling::default());
                state.warm(slots);
                state.filling.resize(state.index.slots(), Filling::default());
            },
        );
        let filling = self.filling[slot as usize];
        let is_open = filling.is_known && filling.rows > 0;
        let pane =
            Pane { slot, group: filling.group, start: filling.number as i64, end: 0, time: EventTime(filling.newest), origin: 0 };
        let panes: Vec<Pane> = is_open.then_some(pane).into_iter().collect();
        Some(counted(open_windows(&panes, &self.aggregates, Bounds::Number), i64::from(filling.rows)))
    }
}
