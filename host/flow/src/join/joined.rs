//! The rows that a join keeps: of each side by key and time, and as entries.
//!
//! ```text
//! side ─┬─ rows       the rows themselves, by number
//!       ├─ lists      per key, by (time, number): what partners are looked for in
//!       └─ queue      all of them, by when they are to be looked at
//! ```
//! Which rows belong together, and when one is needed no more, is the join's to say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use tidemill_event::batch::times;
use tidemill_event::{EventTime, Field};

use crate::aggregate::bytes::{take_u8, take_u64};
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::join::output::{NO_KEY, key_slots};
use crate::join::{JoinSide, Side};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::time::Watermark;
use crate::window::LateList;
use crate::{FlowBatch, Judged, KeyChange, Outcome, Save, StateCorrupt, StepId, StepState};

/// What the keys of kept rows begin with in the store.
const ROW: u8 = 3;
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
}

impl SideState {
    pub(crate) fn new(side: JoinSide, reach: Option<i64>) -> Self {
        Self {
            key: side.key,
            rows: Rows::new(side.fields),
            kept: Vec::new(),
            lists: Vec::new(),
            queue: BinaryHeap::new(),
            entries: Entries::default(),
            count: 0,
            reach,
        }
    }

    /// The last instant that can still matter to a row of that time.
    pub(crate) fn last_instant(&self, time: i64) -> i64 {
        // The greatest but one, so that the end of time is behind it.
        self.reach.map_or(i64::MAX - 1, |reach| time.saturating_add(reach).min(i64::MAX - 1))
    }

    /// Keeps a row: into the list of its key, the queue, the entries.
    fn keep(&mut self, row: u32, kept: Kept) {
        self.kept.resize(self.rows.slots(), Kept::default());
        self.kept[row as usize] = kept;
        if kept.slot != NO_KEY {
            let list = &mut self.lists[kept.slot as usize];
            let place = (kept.time, kept.number);
            let at = list.iter().rposition(|other| self.kept[*other as usize].place() < place).map_or(0, |at| at + 1);
            list.insert(at, row);
        }
        self.queue.push(Reverse((kept.time, kept.number, row)));
        self.entries.touch(row);
    }

    /// Forgets what waits for nothing any more: rows in the order they came to it, still readable until they are removed.
    pub(crate) fn forget(&mut self, side: Side, watermark: Watermark, index: &mut KeyIndex) -> Vec<u32> {
        let mut forgotten = Vec::new();
        while let Some(Reverse((time, _, row))) = self.queue.peek().copied() {
            if !watermark.has_passed(EventTime(self.last_instant(time))) {
                break;
            }
            self.queue.pop();
            self.forget_row(side, row, index);
            forgotten.push(row);
        }
        forgotten
    }

    /// Takes a row out of the list of its key and out of the entries. It is still readable until it is removed from the rows.
    pub(crate) fn forget_row(&mut self, side: Side, row: u32, index: &mut KeyIndex) {
        let kept = self.kept[row as usize];
        if kept.slot != NO_KEY {
            let list = &mut self.lists[kept.slot as usize];
            let at = list.iter().position(|other| *other == row).expect("a kept row is in the list of its key");
            list.remove(at);
            index.release(kept.slot);
        }
        self.entries.remove(row, || kept.key(side));
    }
}

impl Kept {
    fn place(&self) -> (i64, u64) {
        (self.time, self.number)
    }

    fn key(&self, side: Side) -> Vec<u8> {
        let mut key = vec![ROW, side as u8];
        key.extend_from_slice(&ordered_int(self.time).to_be_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
}

impl Joined {
    /// Nothing, for keys of the left side's columns.
    pub(crate) fn new(index: KeyIndex, left: SideState, right: SideState) -> Self {
        Self { index, left, right, is_changed: false }
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
        let Self { index, left, right, is_changed } = self;
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
            of.keep(*row, Kept { time: times[*place as usize], number: of.count, slot, has_match: false });
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

    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let mut rest = key;
        let (ROW, side) = (take_u8(&mut rest)?, take_u8(&mut rest)?) else { return None };
        let (time, number) = rest.split_first_chunk::<8>()?;
        let (time, number) = (plain_int(u64::from_be_bytes(*time)), u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?));
        let Self { index, left, right, .. } = self;
        let (side, other) = match side {
            0 => (left, right),
            1 => (right, left),
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
        side.keep(row, Kept { time, number, slot, has_match: *has_match == 1 });
        side.entries.restored(row, key, value);
        Some(())
    }
}

impl SideState {
    fn encode(side: Side, row: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, kept: &[Kept], rows: &Rows) {
        *key = kept[row as usize].key(side);
        value.push(u8::from(kept[row as usize].has_match));
        rows.encode(row, value);
    }

    fn take_some(&mut self, side: Side, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { entries, kept, rows, .. } = self;
        entries.take_some(most, save, |row, key, value| Self::encode(side, row, key, value, kept, rows))
    }

    fn checksum(&mut self, side: Side) -> u64 {
        let Self { entries, kept, rows, .. } = self;
        entries.checksum(|row, key, value| Self::encode(side, row, key, value, kept, rows))
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
        let mut changes = self.left.take_some(Side::Left, most, save);
        changes.extend(self.right.take_some(Side::Right, most, save));
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
        self.read(key, value).ok_or_else(|| corrupt(key, "a row of a join", 0))
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        self.left.checksum(Side::Left).wrapping_add(self.right.checksum(Side::Right)).wrapping_add(own)
    }
}
