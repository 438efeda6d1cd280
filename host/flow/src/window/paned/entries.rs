//! Cells as entries of the state store, and back (`docs/formats/keyed-state.md`).

use arrow_array::RecordBatch;
use tidemill_event::EventTime;

use crate::aggregate::Aggregates;
use crate::aggregate::bytes::{take_i64, take_u8, take_u32, take_u64};
use crate::checksum::checksum;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::state::corrupt;
use crate::window::Bounds;
use crate::window::asked::open_windows;
use crate::window::pane::Pane;
use crate::window::paned::cells::{Cell, Cells, Rules, Side, Told};
use crate::window::paned::rows::PaneKind;
use crate::{KeyChange, KeyState, Save, StateCorrupt, StepState};

/// What the keys of cells begin with in the store.
const CELL: u8 = 0x0a;
/// The entry of the step itself.
const STEP: u8 = 0xff;
/// No time.
const NONE: i64 = i64::MIN;

impl Cells {
    pub(super) fn remove_entry(&mut self, id: u32) {
        let Self { index, cells, entries, rules, .. } = self;
        if entries.is_live(id) {
            entries.remove(id, || key_of(&cells[id as usize], index, *rules));
        }
    }

    fn own(&self) -> Vec<u8> {
        [self.watermark(), self.since(Side::Early).unwrap_or(NONE), self.since(Side::Late).unwrap_or(NONE)]
            .into_iter()
            .flat_map(i64::to_le_bytes)
            .collect()
    }

    fn restore_own(&mut self, mut bytes: &[u8]) -> Option<()> {
        let mut time = || take_i64(&mut bytes);
        let (watermark, early, late) = (time()?, time()?, time()?);
        self.pass(watermark);
        let told = |since: i64| (since != NONE).then_some(since);
        self.set_since(Side::Early, told(early));
        self.set_since(Side::Late, told(late));
        self.is_changed = false;
        // What waits for a multiple of a length waits for the next one behind the watermark.
        (0..self.cells.len() as u32)
            .filter(|id| self.entries.is_live(*id))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|id| self.enqueue(id));
        bytes.is_empty().then_some(())
    }

    fn restore_cell(&mut self, key: &[u8], value: &mut &[u8]) -> Option<()> {
        let whole = *value;
        let mut of_key = key.get(1..)?;
        let mut time = || {
            let (rest, time) = of_key.split_last_chunk::<8>()?;
            of_key = rest;
            Some(plain_int(u64::from_be_bytes(*time)))
        };
        let end = if self.rules.is_half_open { time()? } else { NONE };
        let start = time()?;
        let slot = self.index.slot_of_key(of_key)?;
        let end = if self.rules.is_half_open { end } else { take_i64(value)? };
        let id = self.open(slot, start, end);
        let cell = self.get_mut(id);
        (cell.newest, cell.reach) = (take_i64(value)?, take_i64(value)?);
        (cell.rows, cell.panes) = (take_u64(value)?, take_u64(value)?);
        cell.is_closed = match take_u8(value)? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let group = cell.group;
        for _ in 0..take_u32(value)? {
            let (start, end, time, number) = (take_i64(value)?, take_i64(value)?, take_i64(value)?, take_u64(value)?);
            let kind = PaneKind::of_byte(take_u8(value)?)?;
            let group = self.aggregates.allocate();
            self.aggregates.decode(group, value)?;
            self.get_mut(id).told.push(Told { start, end, time, number, kind, group });
        }
        self.aggregates.decode(group, value)?;
        self.entries.restored(id, key, whole);
        self.enqueue(id);
        value.is_empty().then_some(())
    }
}

fn key_of(cell: &Cell, index: &KeyIndex, rules: Rules) -> Vec<u8> {
    let mut key = vec![CELL];
    index.put_key(cell.slot, &mut key);
    key.extend_from_slice(&ordered_int(cell.start).to_be_bytes());
    if rules.is_half_open {
        key.extend_from_slice(&ordered_int(cell.end).to_be_bytes());
    }
    key
}

fn encode(cell: &Cell, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, aggregates: &Aggregates, rules: Rules) {
    *key = key_of(cell, index, rules);
    if !rules.is_half_open {
        value.extend_from_slice(&cell.end.to_le_bytes());
    }
    [cell.newest, cell.reach].iter().for_each(|time| value.extend_from_slice(&time.to_le_bytes()));
    [cell.rows, cell.panes].iter().for_each(|count| value.extend_from_slice(&count.to_le_bytes()));
    value.push(u8::from(cell.is_closed));
    value.extend_from_slice(&(cell.told.len() as u32).to_le_bytes());
    for Told { start, end, time, number, kind, group } in &cell.told {
        [start, end, time].iter().for_each(|time| value.extend_from_slice(&time.to_le_bytes()));
        value.extend_from_slice(&number.to_le_bytes());
        value.push(kind.byte());
        aggregates.encode(*group, value);
    }
    aggregates.encode(cell.group, value);
}

impl StepState for Cells {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { index, aggregates, cells, entries, rules, .. } = self;
        let mut changes =
            entries.take_some(most, save, |id, key, value| encode(&cells[id as usize], key, value, index, aggregates, *rules));
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.own()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        match key.first() {
            Some(&CELL) => {
                let mut rest = value;
                self.restore_cell(key, &mut rest).ok_or_else(|| {
                    let fields: Vec<&str> = self.aggregates.fields().map(|field| &*field.name).collect();
                    corrupt(key, &format!("a pane's cell, {}", fields.join(", ")), value.len() - rest.len())
                })
            }
            Some(&STEP) => self.restore_own(value).ok_or_else(|| corrupt(key, "watermark, since", 0)),
            _ => Err(corrupt(key, "a window with panes", 0)),
        }
    }

    fn checksum(&mut self) -> u64 {
        let Self { index, aggregates, cells, entries, rules, .. } = self;
        let sum = entries.checksum(|id, key, value| encode(&cells[id as usize], key, value, index, aggregates, *rules));
        sum.wrapping_add(checksum(checksum(0, &[STEP]), &self.own()))
    }

    /// A row for each window of the key that still takes rows.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = self.index.asked(key);
        let of_key = |id: &u32| self.entries.is_live(*id) && self.cells[*id as usize].slot == slot;
        let mut panes: Vec<Pane> = (0..self.cells.len() as u32)
            .filter(of_key)
            .map(|id| {
                let Cell { slot, group, start, end, newest, .. } = self.cells[id as usize];
                Pane { slot, group, start, end, time: EventTime(newest), origin: 0 }
            })
            .collect();
        panes.sort_by_key(|pane| (pane.end, pane.start));
        let bounds = if panes.iter().any(|pane| pane.end == i64::MAX) { Bounds::None } else { Bounds::Times };
        Some(open_windows(&panes, &self.aggregates, bounds))
    }
}
