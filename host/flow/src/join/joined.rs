//! The rows that a join keeps: of each side by key and time, and as entries.
//!
//! ```text
//! side ─┬─ rows       the rows themselves, by number
//!       ├─ lists      per key, by (time, number): what partners are looked for in
//!       └─ queue      all of them, by when they are to be looked at
//!
//! stored key     ROW │ side │ place │ key │ time │ number      place: an instant not after the time (`cold/dated.rs`); no key: one with a null
//! stored value   whether it had a match │ row
//! ```
//! Which rows belong together, and when one is needed no more, is the join's to say.

mod asked;
mod spill;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use tidemill_event::batch::times;
use tidemill_event::{EventTime, Field};

use crate::aggregate::bytes::{take_u8, take_u64};
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::cold::{Dated, Hand, place_of, put_place, take_place};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::join::output::{NO_KEY, key_slots};
use crate::join::{JoinSide, Side};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::LateList;
use crate::{FlowBatch, Judged, KeyChange, KeyState, Outcome, Save, Spills, StateCorrupt, StepId, StepState};

/// What the keys of kept rows begin with in the store.
const ROW: u8 = 3;
/// Behind a stored key's key: time and number.
const PLACE_BYTES: usize = 16;
/// What a row's entry says.
const ROW_FIELDS: &str = "a row of a join";
/// The entry of the step itself.
const STEP: u8 = 0xff;

/// A row that is kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) time: i64,
    /// Which row of its side it was, from 0: tells rows of one time apart.
    pub(crate) number: u64,
    pub(crate) slot: u32,
    pub(crate) has_match: bool,
    /// Where its entry lies in the store.
    place: i64,
}

/// What is kept of one side.
pub(crate) struct SideState {
    key: Vec<Field>,
    pub(crate) rows: Rows,
    pub(crate) kept: Vec<Kept>,
    /// Per slot its rows by (time, number).
    pub(crate) lists: Vec<VecDeque<u32>>,
    /// All rows by (an instant, number): when to look at each. Their time, until the join says otherwise.
    pub(crate) queue: BinaryHeap<Reverse<(i64, u64, u32)>>,
    pub(crate) entries: Entries,
    cold: Dated,
    /// Over slots.
    hand: Hand,
    /// How many rows came so far.
    count: u64,
    /// After its time a row waits so long; `None`: for ever.
    pub(crate) reach: Option<i64>,
}

/// What is kept of both.
pub(crate) struct Joined {
    /// Keys of both sides, by the left side's names.
    pub(crate) index: KeyIndex,
    pub(crate) left: SideState,
    pub(crate) right: SideState,
    is_changed: bool,
    /// Rows of one side that go with one of the other lie so close together; `None`: that is not known, and all rows have to be there.
    spread: Option<i64>,
}

impl SideState {
    pub(crate) fn new(which: Side, side: JoinSide, reach: Option<i64>) -> Self {
        Self {
            key: side.key,
            rows: Rows::new(side.fields),
            kept: Vec::new(),
            lists: Vec::new(),
            queue: BinaryHeap::new(),
            entries: Entries::default(),
            cold: Dated::new(&[ROW, which as u8], PLACE_BYTES),
            hand: Hand::default(),
            count: 0,
            reach,
        }
    }

    /// The last instant that can still matter to a row of that time.
    pub(crate) fn last_instant(&self, time: i64) -> i64 {
        // The greatest but one, so that the end of time is behind it.
        self.reach.map_or(i64::MAX - 1, |reach| time.saturating_add(reach).min(i64::MAX - 1))
    }

    /// Keeps a row: into the list of its key, and the queue.
    fn keep(&mut self, row: u32, kept: Kept) {
        self.kept.resize(self.rows.slots(), Kept::default());
        self.kept[row as usize] = kept;
        if kept.slot != NO_KEY {
            let list = &mut self.lists[kept.slot as usize];
            let order = (kept.time, kept.number);
            let is_before = |other: &u32| self.kept[*other as usize].order() < order;
            let at = if list.back().is_none_or(is_before) { list.len() } else { list.partition_point(is_before) };
            list.insert(at, row);
        }
        self.queue.push(Reverse((kept.time, kept.number, row)));
    }

    /// Forgets what waits for nothing any more: rows in the order they came to it, still readable until they are removed.
    pub(crate) fn forget(&mut self, side: Side, watermark: Watermark, index: &mut KeyIndex) -> Vec<u32> {
        let mut forgotten = Vec::new();
        while let Some(Reverse((time, number, row))) = self.queue.peek().copied() {
            if !watermark.has_passed(EventTime(self.last_instant(time))) {
                break;
            }
            self.queue.pop();
            // It may have left memory since, and come back: then it is in the queue more than once.
            if self.entries.is_live(row) && self.kept[row as usize].order() == (time, number) {
                self.forget_row(side, row, index);
                forgotten.push(row);
            }
        }
        forgotten
    }

    /// Takes a row out of the list of its key and out of the entries. It is still readable until it is removed from the rows.
    pub(crate) fn forget_row(&mut self, side: Side, row: u32, index: &mut KeyIndex) {
        let kept = self.kept[row as usize];
        self.entries.remove(row, || kept.key(side, index));
        if kept.slot != NO_KEY {
            let list = &mut self.lists[kept.slot as usize];
            let at = list.iter().position(|other| *other == row).expect("a kept row is in the list of its key");
            list.remove(at);
            index.release(kept.slot);
        }
    }

    /// Gathers the rows anew, if most of what is held is needed no more.
    pub(crate) fn compact(&mut self) {
        let Self { rows, entries, .. } = self;
        rows.compact((0..rows.slots() as u32).filter(|row| entries.is_live(*row)));
    }
}

impl Kept {
    fn order(&self) -> (i64, u64) {
        (self.time, self.number)
    }

    fn key(&self, side: Side, index: &KeyIndex) -> Vec<u8> {
        let mut key = vec![ROW, side as u8];
        put_place(self.place, &mut key);
        if self.slot != NO_KEY {
            index.put_key(self.slot, &mut key);
        }
        key.extend_from_slice(&ordered_int(self.time).to_be_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
}

impl Joined {
    /// Nothing, for keys of the left side's columns.
    pub(crate) fn new(index: KeyIndex, left: SideState, right: SideState, spread: Option<i64>) -> Self {
        Self { index, left, right, is_changed: false, spread }
    }

    pub(crate) fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// Rows of `step` that came too late leave; the others are kept. Answers each with its place in the batch.
    pub(crate) fn admit(
        &mut self,
        side: Side,
        step: StepId,
        judged: Judged,
        input: &FlowBatch,
        output: &mut Outcome,
    ) -> Vec<(u32, u32)> {
        let (marks, of) = (output.marks(), self.side(side));
        let (mut taken, mut late) = (Vec::with_capacity(input.len()), LateList::default());
        for (row, time) in (0u32..).zip(times(&input.rows).values()) {
            let origin = input.origin[row as usize];
            let judge = match judged {
                Judged::ByLane => marks.judge(origin),
                Judged::ByTask => marks.before(origin),
            };
            if judge.has_passed(EventTime(of.last_instant(*time))) {
                late.push(row, judge, None);
            } else {
                taken.push(row);
            }
        }
        output.dropped_late += late.len() as u64;
        late.tell(step, input, output);
        let spread = self.spread.unwrap_or(0);
        let Self { index, left, right, is_changed, .. } = self;
        let (of, other) = if side == Side::Left { (left, right) } else { (right, left) };
        let slots = key_slots(index, &of.key, &input.rows);
        of.lists.resize(index.slots(), VecDeque::new());
        other.lists.resize(index.slots(), VecDeque::new());
        let rows = of.rows.add(&input.rows, taken.iter().copied());
        let times = times(&input.rows).values();
        for (row, place) in rows.iter().zip(&taken) {
            let slot = slots[*place as usize];
            if slot != NO_KEY {
                index.hold(slot);
            }
            let time = times[*place as usize];
            of.keep(*row, Kept { time, number: of.count, slot, has_match: false, place: place_of(time, spread) });
            of.entries.touch(*row);
            of.count += 1;
            *is_changed = true;
        }
        // What only late rows had is a key of nobody.
        let unheld: Vec<u32> = slots.into_iter().filter(|slot| *slot != NO_KEY).collect();
        index.forget_unheld(&unheld);
        rows.into_iter().zip(taken).collect()
    }

    fn own(&self) -> Vec<u8> {
        let mut bytes = self.left.count.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.right.count.to_le_bytes());
        bytes
    }

    /// Puts a row back. It, which is no entry yet.
    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<(Side, u32)> {
        let mut rest = key;
        let (ROW, side) = (take_u8(&mut rest)?, take_u8(&mut rest)?) else { return None };
        let (place, order) = (take_place(&mut rest)?, rest.split_last_chunk::<PLACE_BYTES>()?.1);
        let (time, number) = order.split_first_chunk::<8>()?;
        let (time, number) = (plain_int(u64::from_be_bytes(*time)), u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?));
        let Self { index, left, right, .. } = self;
        let (which, side, other) = match side {
            0 => (Side::Left, left, right),
            1 => (Side::Right, right, left),
            _ => return None,
        };
        let (has_match, row) = value.split_first()?;
        let row = side.rows.decode(row)?;
        let fields = side.rows.fields().iter().map(|field| Arc::new(field.arrow().with_nullable(true))).collect();
        let batch = assemble(fields, side.rows.gather([Some(row)].into_iter()), 1);
        let slot = key_slots(index, &side.key, &batch)[0];
        side.lists.resize(index.slots(), VecDeque::new());
        other.lists.resize(index.slots(), VecDeque::new());
        if slot != NO_KEY {
            index.hold(slot);
        }
        side.keep(row, Kept { time, number, slot, has_match: *has_match == 1, place });
        Some((which, row))
    }
}

impl SideState {
    fn encode(
        (side, row): (Side, u32),
        key: &mut Vec<u8>,
        value: &mut Vec<u8>,
        (kept, rows, index): (&[Kept], &Rows, &KeyIndex),
    ) {
        *key = kept[row as usize].key(side, index);
        value.push(u8::from(kept[row as usize].has_match));
        rows.encode(row, value);
    }

    fn take_some(&mut self, side: Side, index: &KeyIndex, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { entries, kept, rows, .. } = self;
        entries.take_some(most, save, |row, key, value| Self::encode((side, row), key, value, (kept, rows, index)))
    }

    fn checksum(&mut self, side: Side, index: &KeyIndex) -> u64 {
        let Self { entries, kept, rows, .. } = self;
        entries.checksum(|row, key, value| Self::encode((side, row), key, value, (kept, rows, index)))
    }
}

impl StepState for Joined {
    fn len(&self) -> usize {
        self.left.entries.len() + self.right.entries.len()
    }

    fn changed_len(&self) -> usize {
        self.left.entries.changed_len() + self.right.entries.changed_len() + usize::from(self.is_changed)
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.left.take_some(Side::Left, &self.index, most, save);
        changes.extend(self.right.take_some(Side::Right, &self.index, most, save));
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange::of_step([STEP], &self.own()));
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        if key == [STEP] {
            let mut rest = value;
            let counts = take_u64(&mut rest).zip(take_u64(&mut rest)).filter(|_| rest.is_empty());
            (self.left.count, self.right.count) =
                counts.ok_or_else(|| corrupt(key, "rows left, rows right", value.len() - rest.len()))?;
            return Ok(());
        }
        let (side, row) = self.read(key, value).ok_or_else(|| corrupt(key, ROW_FIELDS, 0))?;
        self.side(side).entries.restored(row, key, value);
        Ok(())
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        let rows = self.left.checksum(Side::Left, &self.index).wrapping_add(self.right.checksum(Side::Right, &self.index));
        rows.wrapping_add(own)
    }

    fn spills(&mut self) -> Option<&mut dyn Spills> {
        self.spread.is_some().then_some(self)
    }

    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        Some(self.asked(key))
    }
}
