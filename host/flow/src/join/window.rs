//! The window join: pairs with equal keys in the same window, when the watermark has passed its end.
//!
//! ```text
//! rows ──► kept by slice and key ──► window over: per key left × right, stamped end − 1 µs ──► slices that no later window has go
//! ```
//! Whether a row has a match is asked window by window. A row that missed some of its windows counts for the others only. What comes out of a
//! window is in the order of keys (a key with a null, which never joins, first), then of left rows by (time, arrival), each with its matches in the same order,
//! then of right rows without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, Field};

use crate::aggregate::bytes::{take_i64, take_u8, take_u64};
use crate::batch::assemble;
use crate::checksum::checksum;
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::group::ordered::{ordered_int, plain_int};
use crate::join::output::{JoinOutput, Made, NO_KEY, key_slots};
use crate::join::{JoinKind, JoinSide, Side};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::time::{Marks, Watermark};
use crate::window::{LateList, Stretch};
use crate::{
    FlowBatch, Judged, KeyChange, OnFailing, Operator, Outcome, Predicate, Save, Slicing, StateCorrupt, StepId, StepState,
};

/// What the keys of kept rows begin with in the store.
const ROW: u8 = 6;
/// The entry of the step itself.
const STEP: u8 = 0xff;
/// Pairs that are looked at together.
const PAIRS_MAX: usize = 16_384;

/// What a window join does.
pub struct WindowJoinSettings {
    /// Which step it is.
    pub step: StepId,
    /// Which rows come out.
    pub kind: JoinKind,
    /// The windows.
    pub slicing: Slicing,
    /// The input named first.
    pub left: JoinSide,
    /// The other.
    pub right: JoinSide,
    /// What else must hold of a pair, over `a.x`, `b.y`, the window's bounds and `_time`.
    pub condition: Option<Box<dyn Predicate>>,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// The step. Which side a batch is of is said by [`Outcome::from_side`].
pub struct WindowJoin {
    output: JoinOutput,
    judged: Judged,
    state: WindowJoined,
}

/// A row that is kept.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    time: i64,
    /// Which row of its side it was, from 0.
    number: u64,
    slot: u32,
    /// It counts for windows that end there or later.
    from: i64,
}

/// One side's rows.
struct SideState {
    key: Vec<Field>,
    rows: Rows,
    kept: Vec<Kept>,
    entries: Entries,
    count: u64,
}

/// The rows of a slice by slot, of either side; `NO_KEY` for those whose key has a null.
#[derive(Debug, Default)]
struct Slice {
    left: HashMap<u32, Vec<u32>, ahash::RandomState>,
    right: HashMap<u32, Vec<u32>, ahash::RandomState>,
}

struct WindowJoined {
    slicing: Slicing,
    index: KeyIndex,
    left: SideState,
    right: SideState,
    /// By where they begin.
    slices: BTreeMap<i64, Slice>,
    /// Windows that end there or before have come out.
    emitted: i64,
    is_changed: bool,
}

impl Slice {
    fn of(&mut self, side: Side) -> &mut HashMap<u32, Vec<u32>, ahash::RandomState> {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}

impl Kept {
    fn key(&self, side: Side) -> Vec<u8> {
        let mut key = vec![ROW, side as u8];
        key.extend_from_slice(&ordered_int(self.time).to_be_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }
}

impl SideState {
    fn new(side: JoinSide) -> Self {
        Self { key: side.key, rows: Rows::new(side.fields), kept: Vec::new(), entries: Entries::default(), count: 0 }
    }

    fn keep(&mut self, row: u32, kept: Kept) {
        self.kept.resize(self.rows.slots(), Kept::default());
        self.kept[row as usize] = kept;
        self.entries.touch(row);
    }

    /// Rows of a window in the order of (time, arrival), those that count for it.
    fn of_window(&self, rows: impl Iterator<Item = u32>, end: i64) -> Vec<u32> {
        let mut rows: Vec<u32> = rows.filter(|row| self.kept[*row as usize].from <= end).collect();
        rows.sort_by_key(|row| (self.kept[*row as usize].time, self.kept[*row as usize].number));
        rows
    }

    fn encode(side: Side, row: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, kept: &[Kept], rows: &Rows) {
        *key = kept[row as usize].key(side);
        value.extend_from_slice(&kept[row as usize].from.to_le_bytes());
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

impl WindowJoined {
    fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// A row into its slice.
    fn keep(&mut self, side: Side, row: u32, kept: Kept, start: i64) {
        if kept.slot != NO_KEY {
            self.index.hold(kept.slot);
        }
        self.slices.entry(start).or_default().of(side).entry(kept.slot).or_default().push(row);
        self.side(side).keep(row, kept);
    }

    /// The keys of a window, in their order, with their rows.
    fn keys(&self, start: i64, end: i64) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
        let slices: Vec<&Slice> = self.slices.range(start..end).map(|(_, slice)| slice).collect();
        let mut slots: Vec<u32> = slices.iter().flat_map(|slice| slice.left.keys().chain(slice.right.keys())).copied().collect();
        slots.sort_unstable();
        slots.dedup();
        let without_key = slots.pop_if(|slot| *slot == NO_KEY);
        self.index.sort(&mut slots, |slot| *slot);
        let rows = |slot: u32| {
            let left = slices.iter().filter_map(|slice| slice.left.get(&slot)).flatten().copied();
            let right = slices.iter().filter_map(|slice| slice.right.get(&slot)).flatten().copied();
            (slot, self.left.of_window(left, end), self.right.of_window(right, end))
        };
        without_key.into_iter().chain(slots).map(rows).collect()
    }

    /// Slices whose last window has ended go.
    fn forget(&mut self, watermark: Watermark) {
        let slicing = self.slicing;
        while let Some(entry) = self.slices.first_entry().filter(|entry| slicing.stretch(*entry.key()).last <= watermark.0) {
            let mut slice = entry.remove();
            for side in [Side::Left, Side::Right] {
                for row in slice.of(side).drain().flat_map(|(_, rows)| rows) {
                    let state = self.side(side);
                    let kept = state.kept[row as usize];
                    state.entries.remove(row, || kept.key(side));
                    state.rows.remove(row);
                    if kept.slot != NO_KEY {
                        self.index.release(kept.slot);
                    }
                }
            }
        }
        let Self { left, right, slices, .. } = self;
        left.rows.compact(slices.values().flat_map(|slice| slice.left.values().flatten()).copied());
        right.rows.compact(slices.values().flat_map(|slice| slice.right.values().flatten()).copied());
    }
}

impl WindowJoin {
    /// A join without a row.
    ///
    /// # Panics
    /// If the sides' keys have not the same types: the plan casts them.
    pub fn new(settings: WindowJoinSettings) -> Self {
        let WindowJoinSettings { step, kind, slicing, left, right, condition, judged } = settings;
        let types = |side: &JoinSide| side.key.iter().map(|field| field.ty.arrow()).collect::<Vec<_>>();
        assert_eq!(types(&left), types(&right), "keys have the same types");
        let aliases = (left.alias.clone(), right.alias.clone());
        let output = JoinOutput { step, kind, left: aliases.0, right: aliases.1, condition, has_window: slicing.has_bounds() };
        let index = KeyIndex::new(left.key.clone());
        let state = WindowJoined {
            slicing,
            index,
            left: SideState::new(left),
            right: SideState::new(right),
            slices: BTreeMap::new(),
            emitted: i64::MIN,
            is_changed: false,
        };
        Self { output, judged, state }
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.state.left.rows, &self.state.right.rows)
    }

    /// The first window that a row counts for. `None`: all its windows have ended, or it has none.
    fn first_window(&self, stretch: &Stretch, judge: Watermark, output: &mut Outcome) -> Option<i64> {
        output.dropped_late += self.state.slicing.ended(stretch.first, stretch.last, judge.0);
        if stretch.first > judge.0 {
            return Some(stretch.first);
        }
        let next = self.state.slicing.next_end(judge.0);
        output.late_partial += u64::from(next <= stretch.last);
        (next <= stretch.last).then_some(next)
    }

    fn admit(&mut self, side: Side, input: &FlowBatch, marks: &Marks, output: &mut Outcome) {
        let key = self.state.side(side).key.clone();
        let slots = key_slots(&mut self.state.index, &key, &input.rows);
        let times = times(&input.rows).values();
        let (mut taken, mut late) = (Vec::with_capacity(input.len()), LateList::default());
        for (row, time) in (0u32..).zip(times) {
            let origin = input.origin[row as usize];
            let judge = match self.judged {
                Judged::ByLane => marks.judge(origin),
                Judged::ByTask => marks.before(origin),
            };
            let stretch = self.state.slicing.stretch(*time);
            match (stretch.first <= stretch.last).then(|| self.first_window(&stretch, judge, output)) {
                // A row in no window is no match of anything, and not late.
                None => {}
                Some(None) => {
                    let start = self.state.slicing.start_of(stretch.first);
                    late.push(row, judge, Some((start, stretch.last)));
                }
                // A key with a null has no match: such a row is kept only if it comes out without one.
                Some(Some(_)) if slots[row as usize] == NO_KEY && !self.output.kind.keeps(side) => {}
                Some(Some(from)) => taken.push((row, stretch.start, from)),
            }
        }
        late.tell(self.output.step, input, output);
        let rows = self.state.side(side).rows.add(&input.rows, taken.iter().map(|(row, ..)| *row));
        for (row, (place, start, from)) in rows.into_iter().zip(taken) {
            let state = self.state.side(side);
            let kept = Kept { time: times[place as usize], number: state.count, slot: slots[place as usize], from };
            state.count += 1;
            self.state.keep(side, row, kept, start);
            self.state.is_changed = true;
        }
        let unheld: Vec<u32> = slots.into_iter().filter(|slot| *slot != NO_KEY).collect();
        self.state.index.forget_unheld(&unheld);
    }

    /// The end of the next window that has a row.
    fn next_end(&self) -> Option<i64> {
        let emitted = self.state.emitted;
        let stretch =
            self.state.slices.keys().map(|start| self.state.slicing.stretch(*start)).find(|stretch| stretch.last > emitted)?;
        Some(stretch.first.max(self.state.slicing.next_end(emitted)))
    }

    /// What comes out of one window.
    fn window(&self, end: i64, origin: u32, made: &mut Vec<Made>, output: &mut Outcome) {
        let start = self.state.slicing.start_of(end);
        let WindowJoined { left: left_state, right: right_state, .. } = &self.state;
        let newest = |rows: &[u32], state: &SideState| rows.iter().map(|row| state.kept[*row as usize].time).max();
        for (slot, left, right) in self.state.keys(start, end) {
            let newest = newest(&left, left_state).max(newest(&right, right_state)).unwrap_or(0);
            let time = self.state.slicing.last_instant(end, newest).0;
            let row = |left: Option<u32>, right: Option<u32>| Made { left, right, time, origin, window: (start, end) };
            let mut has_match = vec![false; right.len()];
            // As many left rows at a time as there may be pairs.
            let at_once = (PAIRS_MAX / right.len().max(1)).max(1);
            for some in left.chunks(at_once) {
                let candidates: Vec<Made> = if slot == NO_KEY {
                    Vec::new()
                } else {
                    some.iter().flat_map(|left| right.iter().map(|right| row(Some(*left), Some(*right)))).collect()
                };
                let keep = self.output.tested(&candidates, &left_state.rows, &right_state.rows, output);
                for (at, left) in some.iter().enumerate() {
                    let mut is_alone = true;
                    let pairs = if candidates.is_empty() { 0..0 } else { at * right.len()..(at + 1) * right.len() };
                    for pair in pairs.filter(|pair| keep.as_ref().is_none_or(|keep| keep.value(*pair))) {
                        has_match[pair - at * right.len()] = true;
                        match self.output.kind {
                            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => made.push(candidates[pair]),
                            JoinKind::Semi if is_alone => made.push(candidates[pair]),
                            JoinKind::Semi | JoinKind::Anti => {}
                        }
                        is_alone = false;
                    }
                    if is_alone && self.output.kind.keeps(Side::Left) {
                        made.push(row(Some(*left), None));
                    }
                }
            }
            if self.output.kind.keeps(Side::Right) {
                made.extend(
                    right.iter().zip(has_match).filter(|(_, has_match)| !has_match).map(|(right, _)| row(None, Some(*right))),
                );
            }
        }
    }
}

impl Operator for WindowJoin {
    fn step(&self) -> StepId {
        self.output.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let (marks, side) = (output.marks(), output.side());
        self.admit(side, &input, &marks, output);
        let mut made = Vec::new();
        while let Some(end) = self.next_end().filter(|end| *end <= marks.end().0) {
            self.window(end, marks.lets_out(end.saturating_sub(1)).unwrap_or(0), &mut made, output);
            self.state.emitted = end;
            self.state.is_changed = true;
        }
        let rows = self.output.rows(&made, &self.state.left.rows, &self.state.right.rows);
        if marks.end().0 > self.state.emitted {
            self.state.emitted = marks.end().0;
            self.state.is_changed = true;
        }
        self.state.forget(marks.end());
        rows
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.next_end().map(Watermark)
    }
}

impl WindowJoined {
    fn own(&self) -> Vec<u8> {
        let mut bytes = self.emitted.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.left.count.to_le_bytes());
        bytes.extend_from_slice(&self.right.count.to_le_bytes());
        bytes
    }

    fn read_own(&mut self, mut bytes: &[u8]) -> Option<()> {
        let (emitted, left, right) = (take_i64(&mut bytes)?, take_u64(&mut bytes)?, take_u64(&mut bytes)?);
        (self.emitted, self.left.count, self.right.count) = (emitted, left, right);
        bytes.is_empty().then_some(())
    }

    fn read(&mut self, mut key: &[u8], mut value: &[u8]) -> Option<()> {
        let (whole_key, whole_value) = (key, value);
        let (ROW, side) = (take_u8(&mut key)?, take_u8(&mut key)?) else { return None };
        let side = match side {
            0 => Side::Left,
            1 => Side::Right,
            _ => return None,
        };
        let (time, number) = key.split_first_chunk::<8>()?;
        let (time, number) = (plain_int(u64::from_be_bytes(*time)), u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?));
        let from = take_i64(&mut value)?;
        let state = self.side(side);
        let row = state.rows.decode(value)?;
        let fields = state.rows.fields().iter().map(|field| Arc::new(field.arrow().with_nullable(true))).collect();
        let batch = assemble(fields, state.rows.gather([Some(row)].into_iter()), 1);
        let of_key = state.key.clone();
        let slot = key_slots(&mut self.index, &of_key, &batch)[0];
        self.keep(side, row, Kept { time, number, slot, from }, self.slicing.stretch(time).start);
        self.side(side).entries.restored(row, whole_key, whole_value);
        Some(())
    }
}

impl StepState for WindowJoined {
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
        let (read, what) = if key == [STEP] {
            (self.read_own(value), "emitted, rows left, rows right")
        } else {
            (self.read(key, value), "a row of a join")
        };
        read.ok_or_else(|| corrupt(key, what, 0))
    }

    fn checksum(&mut self) -> u64 {
        let own = checksum(checksum(0, &[STEP]), &self.own());
        self.left.checksum(Side::Left).wrapping_add(self.right.checksum(Side::Right)).wrapping_add(own)
    }
}
