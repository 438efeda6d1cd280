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

use tidemill_event::{Breaker, EventTime, Field};

use crate::group::KeyIndex;
use crate::join::joined::{Joined, Kept, SideState};
use crate::join::output::{JoinOutput, Made, NO_KEY};
use crate::join::{JoinKind, JoinSide, Side};
use crate::time::{Marks, Watermark};
use crate::{FlowBatch, Judged, OnFailing, Operator, Outcome, Predicate, StepId, StepState};

/// Pairs that are looked at together.
const PAIRS_MAX: usize = 16_384;

/// How far apart rows are taken to be that go together, where there is no bound: an hour.
const UNBOUNDED_MICROS: i64 = 3_600_000_000;

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
        let left = SideState::new(Side::Left, left, reach(high_micros));
        let right = SideState::new(Side::Right, right, reach(low_micros.map(i64::saturating_neg)));
        let spread = low_micros.zip(high_micros).map_or(UNBOUNDED_MICROS, |(low, high)| high.saturating_sub(low));
        let state = Joined::new(index, left, right, Some(spread));
        Self { output, low: low_micros, high: high_micros, judged, state }
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.state.left.rows, &self.state.right.rows)
    }

    /// What other.time − own.time may be, for rows of `side`.
    fn bounds(&self, side: Side) -> (Option<i64>, Option<i64>) {
        match side {
            Side::Left => (self.low, self.high),
            Side::Right => (self.high.map(i64::saturating_neg), self.low.map(i64::saturating_neg)),
        }
    }

    /// Pairs of a new row with rows of the other side, by (time, number) of those.
    fn pairs(&self, side: Side, row: u32, origin: u32, marks: &Marks, pairs: &mut Vec<Pair>) {
        let (own, other) = match side {
            Side::Left => (&self.state.left, &self.state.right),
            Side::Right => (&self.state.right, &self.state.left),
        };
        let (low, high) = self.bounds(side);
        let Kept { time, slot, .. } = own.kept[row as usize];
        if slot == NO_KEY {
            return;
        }
        let watermark = marks.before(origin);
        let list = &other.lists[slot as usize];
        let at = |row: &u32| other.kept[*row as usize].time;
        let first = low.map_or(0, |low| list.partition_point(|row| at(row) < time.saturating_add(low)));
        let within = list.range(first..).take_while(|row| high.is_none_or(|high| at(row) <= time.saturating_add(high)));
        let there = within.filter(|row| !watermark.has_passed(EventTime(other.last_instant(at(row)))));
        pairs.extend(there.map(|partner| {
            let (left, right) = if side == Side::Left { (row, *partner) } else { (*partner, row) };
            Pair { left, right, origin }
        }));
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
        self.state.thaw(marks.end());
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
        let new = self.state.admit(side, self.output.step, self.judged, &input, output);
        let bounds = self.bounds(side);
        self.state.warm(side, &new, bounds);
        let (mut made, mut pairs) = (Vec::new(), Vec::new());
        for (row, place) in new {
            self.pairs(side, row, input.origin[place as usize], &marks, &mut pairs);
            // One key may have most rows: candidates are looked at before all of them are there.
            while pairs.len() >= PAIRS_MAX {
                let mut some: Vec<Pair> = pairs.drain(..PAIRS_MAX).collect();
                self.settle(&mut some, &mut made, output);
            }
        }
        if !pairs.is_empty() {
            self.settle(&mut pairs, &mut made, output);
        }
        let (left, right) = self.forget(&marks, &mut made);
        // A row's pairs come out with it, then what the watermark behind it let out.
        made.sort_by_key(|made| made.origin);
        let rows = self.output.rows(&made, &self.state.left.rows, &self.state.right.rows);
        let Joined { left: left_state, right: right_state, .. } = &mut self.state;
        for (state, gone) in [(left_state, left), (right_state, right)] {
            gone.into_iter().for_each(|row| state.rows.remove(row));
            state.compact();
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
            let first = state.first_time().filter(|_| self.output.kind.keeps(side))?;
            Some(Watermark(first.saturating_add(1)))
        };
        due(Side::Left, &self.state.left).into_iter().chain(due(Side::Right, &self.state.right)).min()
    }
}
