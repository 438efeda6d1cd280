//! The interval join: pairs with equal keys whose times lie within bounds of each other, both bounds inclusive.
//!
//! ```text
//! low ≤ b.time − a.time ≤ high
//! a at t waits for b in [t + low, t + high]        forgotten when W > t + high, and W > t
//! b at t waits for a in [t − high, t − low]        forgotten when W > t − low, and W > t
//! a pair      comes out with its second row, at the later of the two times
//! a row without a match (outer, anti)              comes out when it is forgotten, at the last instant it waited for
//! ```
//! A row meets only rows that are not forgotten by the watermark before it, so where a batch is cut does not show. A row that is forgotten
//! before it comes is late. Null keys never join.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use tidemill_event::batch::times;
use tidemill_event::{Breaker, EventTime, Field};

use crate::aggregate::bytes::{take_u8, take_u64};
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
use crate::window::LateList;
use crate::{FlowBatch, Judged, KeyChange, OnFailing, Operator, Outcome, Predicate, StateCorrupt, StepId, StepState};

/// What the keys of kept rows begin with in the store.
const ROW: u8 = 3;
/// The entry of the step itself.
const STEP: u8 = 0xff;
/// Pairs that are looked at together.
const PAIRS_MAX: usize = 16_384;

/// What a join does.
pub struct JoinSettings {
    /// Which step it is.
    pub step: StepId,
    /// Which rows come out.
    pub kind: JoinKind,
    /// The input named first.
    pub left: JoinSide,
    /// The other.
    pub right: JoinSide,
    /// The least and the greatest right time less left time, in µs. `None`: no bound, and nothing on that account is forgotten.
    pub low_micros: Option<i64>,
    /// See `low_micros`.
    pub high_micros: Option<i64>,
    /// What else must hold of a pair, over `a.x`, `b.y` and `_time`.
    pub condition: Option<Box<dyn Predicate>>,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// The step. Which side a batch is of is said by [`Outcome::from_side`].
pub struct IntervalJoin {
    output: JoinOutput,
    low: Option<i64>,
    high: Option<i64>,
    judged: Judged,
    state: Joined,
}

/// A row that is kept.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    time: i64,
    /// Which row of its side it was, from 0: tells rows of one time apart.
    number: u64,
    slot: u32,
    has_match: bool,
}

/// What is kept of one side.
struct SideState {
    key: Vec<Field>,
    rows: Rows,
    kept: Vec<Kept>,
    /// Per slot its rows by (time, number).
    lists: Vec<VecDeque<u32>>,
    /// All rows by (time, number): the order in which they are forgotten.
    queue: BinaryHeap<Reverse<(i64, u64, u32)>>,
    entries: Entries,
    /// How many rows came so far.
    count: u64,
    /// After its time a row waits so long; `None`: for ever.
    reach: Option<i64>,
}

struct Joined {
    /// Keys of both sides, by the left side's names.
    index: KeyIndex,
    left: SideState,
    right: SideState,
    is_changed: bool,
}

/// A pair on its way: rows of both sides, and the input row that made it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    left: u32,
    right: u32,
    origin: u32,
}

impl Pair {
    fn made(self, left: &SideState, right: &SideState) -> Made {
        let time = left.kept[self.left as usize].time.max(right.kept[self.right as usize].time);
        Made { left: Some(self.left), right: Some(self.right), time, origin: self.origin, window: (0, 0) }
    }
}

impl SideState {
    fn new(side: JoinSide, reach: Option<i64>) -> Self {
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
    fn last_instant(&self, time: i64) -> i64 {
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
    fn forget(&mut self, side: Side, watermark: Watermark, index: &mut KeyIndex) -> Vec<u32> {
        let mut forgotten = Vec::new();
        while let Some(Reverse((time, _, row))) = self.queue.peek().copied() {
            if !watermark.has_passed(EventTime(self.last_instant(time))) {
                break;
            }
            self.queue.pop();
            let kept = self.kept[row as usize];
            if kept.slot != NO_KEY {
                let list = &mut self.lists[kept.slot as usize];
                let at = list.iter().position(|other| *other == row).expect("a kept row is in the list of its key");
                list.remove(at);
                index.release(kept.slot);
            }
            self.entries.remove(row, || kept.key(side));
            forgotten.push(row);
        }
        forgotten
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

impl IntervalJoin {
    /// A join without a row.
    ///
    /// # Panics
    /// If the sides' keys have not the same types: the plan casts them.
    pub fn new(settings: JoinSettings) -> Self {
        let JoinSettings { step, kind, left, right, low_micros, high_micros, condition, judged } = settings;
        let types = |side: &JoinSide| side.key.iter().map(|field| field.ty.arrow()).collect::<Vec<_>>();
        assert_eq!(types(&left), types(&right), "keys have the same types");
        let index = KeyIndex::new(left.key.clone());
        let output =
            JoinOutput { step, kind, left: left.alias.clone(), right: right.alias.clone(), condition, has_window: false };
        // A left row waits until the right side is past time + high, a right one until the left side is past time − low.
        // Where all partners are earlier, a row still matters at its own time: it is not late before the watermark has passed that.
        let reach = |micros: Option<i64>| micros.map(|micros| micros.max(0));
        let left = SideState::new(left, reach(high_micros));
        let right = SideState::new(right, reach(low_micros.map(i64::saturating_neg)));
        let state = Joined { index, left, right, is_changed: false };
        Self { output, low: low_micros, high: high_micros, judged, state }
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.state.left.rows, &self.state.right.rows)
    }

    /// Rows that came too late leave; the others are kept, by number.
    fn admit(&mut self, side: Side, input: &FlowBatch, marks: &Marks, output: &mut Outcome) -> Vec<(u32, u32)> {
        let state = &mut self.state;
        let of = match side {
            Side::Left => &mut state.left,
            Side::Right => &mut state.right,
        };
        let (mut taken, mut late) = (Vec::with_capacity(input.len()), LateList::default());
        for (row, time) in (0u32..).zip(times(&input.rows).values()) {
            let origin = input.origin[row as usize];
            let judge = match self.judged {
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
        late.tell(self.output.step, input, output);
        let slots = key_slots(&mut state.index, &of.key, &input.rows);
        let room = state.index.slots();
        state.left.lists.resize(room, VecDeque::new());
        state.right.lists.resize(room, VecDeque::new());
        let of = match side {
            Side::Left => &mut state.left,
            Side::Right => &mut state.right,
        };
        let rows = of.rows.add(&input.rows, taken.iter().copied());
        let times = times(&input.rows).values();
        for (row, place) in rows.iter().zip(&taken) {
            let slot = slots[*place as usize];
            if slot != NO_KEY {
                state.index.hold(slot);
            }
            of.keep(*row, Kept { time: times[*place as usize], number: of.count, slot, has_match: false });
            of.count += 1;
            state.is_changed = true;
        }
        // What only late rows had is a key of nobody.
        let unheld: Vec<u32> = slots.into_iter().filter(|slot| *slot != NO_KEY).collect();
        state.index.forget_unheld(&unheld);
        rows.into_iter().zip(taken).collect()
    }

    /// Pairs of new rows with rows of the other side, by new row, then (time, number) of the other.
    fn pairs(&self, side: Side, new: &[(u32, u32)], input: &FlowBatch, marks: &Marks, mut take: impl FnMut(Pair)) {
        let (own, other) = match side {
            Side::Left => (&self.state.left, &self.state.right),
            Side::Right => (&self.state.right, &self.state.left),
        };
        // What other.time − own.time may be.
        let (low, high) = match side {
            Side::Left => (self.low, self.high),
            Side::Right => (self.high.map(i64::saturating_neg), self.low.map(i64::saturating_neg)),
        };
        for (row, place) in new {
            let Kept { time, slot, .. } = own.kept[*row as usize];
            if slot == NO_KEY {
                continue;
            }
            let origin = input.origin[*place as usize];
            let watermark = marks.before(origin);
            let list = &other.lists[slot as usize];
            let at = |row: &u32| other.kept[*row as usize].time;
            let first = low.map_or(0, |low| list.partition_point(|row| at(row) < time.saturating_add(low)));
            let within = list.range(first..).take_while(|row| high.is_none_or(|high| at(row) <= time.saturating_add(high)));
            for partner in within.filter(|row| !watermark.has_passed(EventTime(other.last_instant(at(row))))) {
                let (left, right) = if side == Side::Left { (*row, *partner) } else { (*partner, *row) };
                take(Pair { left, right, origin });
            }
        }
    }

    /// Pairs of which the condition holds; what comes out of them is appended to `made`.
    fn settle(&mut self, pairs: &mut Vec<Pair>, made: &mut Vec<Made>, output: &mut Outcome) {
        let Joined { left, right, .. } = &mut self.state;
        let candidates: Vec<Made> = pairs.iter().map(|pair| pair.made(left, right)).collect();
        let keep = self.output.tested(&candidates, &left.rows, &right.rows, output);
        for (at, pair) in pairs.drain(..).enumerate() {
            if keep.as_ref().is_some_and(|keep| !keep.value(at)) {
                continue;
            }
            let own = left.kept[pair.left as usize];
            let remember = |side: Side, state: &mut SideState, row: u32| {
                if self.output.kind.remembers(side) && !std::mem::replace(&mut state.kept[row as usize].has_match, true) {
                    state.entries.touch(row);
                }
            };
            remember(Side::Left, left, pair.left);
            remember(Side::Right, right, pair.right);
            let is_told = match self.output.kind {
                JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => true,
                JoinKind::Semi => !own.has_match,
                JoinKind::Anti => false,
            };
            if is_told {
                made.push(candidates[at]);
            }
        }
    }

    /// What the watermark has passed: rows without a match that come out, by last instant, left before right, then (time, number); and what is gone.
    fn forget(&mut self, marks: &Marks, made: &mut Vec<Made>) -> (Vec<u32>, Vec<u32>) {
        let Joined { index, left, right, .. } = &mut self.state;
        let gone = (left.forget(Side::Left, marks.end(), index), right.forget(Side::Right, marks.end(), index));
        let mut alone: Vec<(i64, Side, Made)> = Vec::new();
        for (side, of, rows) in [(Side::Left, &*left, &gone.0), (Side::Right, &*right, &gone.1)] {
            for row in rows.iter().filter(|row| self.output.kind.keeps(side) && !of.kept[**row as usize].has_match) {
                let last = of.last_instant(of.kept[*row as usize].time);
                // Without a bound the row waits to the end of time, and has its own.
                let time = if of.reach.is_some() { last } else { of.kept[*row as usize].time };
                let origin = marks.lets_out(last).unwrap_or(0);
                let (left, right) = if side == Side::Left { (Some(*row), None) } else { (None, Some(*row)) };
                alone.push((last, side, Made { left, right, time, origin, window: (0, 0) }));
            }
        }
        // Both lists are by (time, number) already.
        alone.sort_by_key(|(last, side, _)| (*last, *side));
        made.extend(alone.into_iter().map(|(.., row)| row));
        gone
    }
}

impl Operator for IntervalJoin {
    fn step(&self) -> StepId {
        self.output.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let (marks, side) = (output.marks(), output.side());
        let new = self.admit(side, &input, &marks, output);
        let mut all = Vec::new();
        self.pairs(side, &new, &input, &marks, |pair| all.push(pair));
        let mut made = Vec::new();
        let mut pairs = all.into_iter().peekable();
        while pairs.peek().is_some() {
            let mut some: Vec<Pair> = pairs.by_ref().take(PAIRS_MAX).collect();
            self.settle(&mut some, &mut made, output);
        }
        let (left, right) = self.forget(&marks, &mut made);
        // A row's pairs come out with it, then what the watermark behind it let out.
        made.sort_by_key(|made| made.origin);
        let rows = self.output.rows(&made, &self.state.left.rows, &self.state.right.rows);
        let Joined { left: left_state, right: right_state, .. } = &mut self.state;
        for (state, gone) in [(left_state, left), (right_state, right)] {
            gone.into_iter().for_each(|row| state.rows.remove(row));
            let SideState { rows, queue, .. } = state;
            rows.compact(queue.iter().map(|Reverse((.., row))| *row));
        }
        rows
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.state)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        let due = |side: Side, state: &SideState| {
            let Reverse((time, ..)) = state.queue.peek().filter(|_| self.output.kind.keeps(side))?;
            Some(Watermark(state.last_instant(*time) + 1))
        };
        due(Side::Left, &self.state.left).into_iter().chain(due(Side::Right, &self.state.right)).min()
    }
}

impl Joined {
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
        side.entries.restored(row);
        Some(())
    }
}

impl SideState {
    fn encode(side: Side, row: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, kept: &[Kept], rows: &Rows) {
        *key = kept[row as usize].key(side);
        value.push(u8::from(kept[row as usize].has_match));
        rows.encode(row, value);
    }

    fn take_changes(&mut self, side: Side) -> Vec<KeyChange> {
        let Self { entries, kept, rows, .. } = self;
        entries.take_changes(|row, key, value| Self::encode(side, row, key, value, kept, rows))
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

    fn take_changes(&mut self) -> Vec<KeyChange> {
        let mut changes = self.left.take_changes(Side::Left);
        changes.extend(self.right.take_changes(Side::Right));
        if std::mem::take(&mut self.is_changed) {
            changes.push(KeyChange { key: [STEP].into(), value: Some(self.own().into()) });
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
