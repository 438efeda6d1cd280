//! The as-of join: each left row with one right row of its key, the one that was there at its time, or the nearest.
//!
//! ```text
//! right, one key        · 3 ········ 10 ···· 14 ·
//! left at 12, backward             (10)                comes out when W > 12, at 12
//!             forward                       (14)       comes out when W > 14, at 14: nothing can come between any more
//!             nearest                       (14)       two away on either side: the later one
//! ```
//! Backward without a tolerance is the temporal join: right rows are versions, each valid from its time until the next one's. A version at
//! exactly the left row's time counts; of several at one time the last that came. Rows behind the watermark are late on both sides, so what
//! came out never changes. Kept are left rows that wait, the newest right row behind the watermark, and all right rows before it.

use std::cmp::Reverse;
use std::collections::VecDeque;

use tidemill_event::{Breaker, Field};

use crate::group::KeyIndex;
use crate::join::joined::{Joined, Kept, SideState};
use crate::join::output::{JoinOutput, Made, NO_KEY};
use crate::join::{JoinKind, JoinSide, Side};
use crate::time::{Marks, Watermark};
use crate::{FlowBatch, Judged, OnFailing, Operator, Outcome, StepId, StepState};

/// The last instant of a row that waits for no particular one: the greatest but one, so that the end of time is behind it.
const NEVER: i64 = i64::MAX - 1;
/// No row has the number.
const GONE: u64 = u64::MAX;

/// Which right row a left row goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The newest that is not after it.
    Backward,
    /// The first that is not before it.
    Forward,
    /// The nearest in time; of two as near the later.
    Nearest,
}

/// What a join does.
pub struct AsOfSettings {
    /// Which step it is.
    pub step: StepId,
    /// Whether left rows without a partner come out too.
    pub keeps_unmatched: bool,
    /// The input whose rows come out.
    pub left: JoinSide,
    /// The one that is looked at.
    pub right: JoinSide,
    /// Where.
    pub direction: AsOf,
    /// How far at most, in µs, inclusive. `None`: however far.
    pub tolerance_micros: Option<i64>,
    /// What decides that a row is late.
    pub judged: Judged,
}

/// The step. Which side a batch is of is said by [`Outcome::from_side`].
pub struct AsOfJoin {
    output: JoinOutput,
    direction: AsOf,
    tolerance: Option<i64>,
    judged: Judged,
    state: Joined,
    /// Per slot the newest right row behind the watermark.
    current: Vec<Option<u32>>,
    /// Those that a tolerance lets go one day, by time, each with its number.
    expiring: VecDeque<(u32, u64)>,
    /// Per left row, the earliest instant it is in the queue for.
    due: Vec<i64>,
}

impl AsOfJoin {
    /// A join without a row.
    ///
    /// # Panics
    /// If the sides' keys have not the same types: the plan casts them.
    pub fn new(settings: AsOfSettings) -> Self {
        let AsOfSettings { step, keeps_unmatched, left, right, direction, tolerance_micros, judged } = settings;
        let types = |side: &JoinSide| side.key.iter().map(|field| field.ty.arrow()).collect::<Vec<_>>();
        assert_eq!(types(&left), types(&right), "keys have the same types");
        let kind = if keeps_unmatched { JoinKind::Left } else { JoinKind::Inner };
        let (own, other) = (left.alias.clone(), right.alias.clone());
        let output = JoinOutput { step, kind, left: own, right: other, condition: None, has_window: false };
        let index = KeyIndex::new(left.key.clone());
        // No reach: a row behind the watermark is late.
        let state =
            Joined::new(index, SideState::new(Side::Left, left, Some(0)), SideState::new(Side::Right, right, Some(0)), None);
        Self {
            output,
            direction,
            tolerance: tolerance_micros,
            judged,
            state,
            current: Vec::new(),
            expiring: VecDeque::new(),
            due: Vec::new(),
        }
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        self.output.fields(&self.state.left.rows, &self.state.right.rows)
    }

    /// The last instant at which a right row could come that is a left row's, as far as is known, and the one that is until then.
    fn best(&self, row: u32) -> (i64, Option<u32>) {
        let Kept { time, slot, .. } = self.state.left.kept[row as usize];
        if slot == NO_KEY {
            return (time, None);
        }
        let (kept, list) = (&self.state.right.kept, &self.state.right.lists[slot as usize]);
        let at = |row: &u32| kept[*row as usize].time;
        let limit = self.tolerance.map_or(NEVER, |tolerance| time.saturating_add(tolerance).min(NEVER));
        let last_until = |instant: i64| list.partition_point(|row| at(row) <= instant).checked_sub(1).map(|place| list[place]);
        let before = last_until(time).map(|row| (time.saturating_sub(at(&row)), row));
        let before = before.filter(|(distance, _)| self.tolerance.is_none_or(|tolerance| *distance <= tolerance));
        let after = list.get(list.partition_point(|row| at(row) < time)).map(at).filter(|after| *after <= limit);
        match self.direction {
            AsOf::Backward => (time, before.map(|(_, row)| row)),
            AsOf::Forward => (after.unwrap_or(limit), after.and_then(last_until)),
            AsOf::Nearest => {
                let reach = before.map_or(limit, |(distance, _)| time.saturating_add(distance).min(limit));
                match after.filter(|after| *after <= reach) {
                    Some(after) => (after, last_until(after)),
                    None => (reach, before.map(|(_, row)| row)),
                }
            }
        }
    }

    /// A right row may bring the instant forward for which left rows of its key wait.
    fn bring_forward(&mut self, new: &[(u32, u32)]) {
        let mut slots: Vec<u32> = new.iter().map(|(row, _)| self.state.right.kept[*row as usize].slot).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots.into_iter().filter(|slot| *slot != NO_KEY) {
            for row in self.state.left.lists[slot as usize].clone() {
                self.wait(row);
            }
        }
    }

    /// Puts a left row into the queue for when it may come out, unless it is there for that instant or an earlier one.
    fn wait(&mut self, row: u32) {
        let (last, _) = self.best(row);
        let due = &mut self.due[row as usize];
        if last < *due {
            *due = last;
            let number = self.state.left.kept[row as usize].number;
            self.state.left.queue.push(Reverse((last, number, row)));
        }
    }

    /// Left rows that no other right row can come for, by the instant that was passed, then as they came; and all that are gone.
    fn let_out(&mut self, marks: &Marks) -> (Vec<Made>, Vec<u32>) {
        let (mut made, mut gone) = (Vec::new(), Vec::new());
        while let Some(Reverse((at, number, row))) = self.state.left.queue.peek().copied() {
            if marks.end().0 <= at {
                break;
            }
            self.state.left.queue.pop();
            if self.state.left.kept[row as usize].number != number {
                // It is out; it was in the queue more than once.
                continue;
            }
            let (last, partner) = self.best(row);
            if marks.end().0 <= last {
                self.due[row as usize] = i64::MAX;
                self.wait(row);
                continue;
            }
            let time = if last == NEVER { self.state.left.kept[row as usize].time } else { last };
            if partner.is_some() || self.output.kind.keeps(Side::Left) {
                let origin = marks.lets_out(last).unwrap_or(0);
                made.push((last, number, Made { left: Some(row), right: partner, time, origin, window: (0, 0) }));
            }
            let Joined { index, left, .. } = &mut self.state;
            left.forget_row(Side::Left, row, index);
            left.kept[row as usize].number = GONE;
            gone.push(row);
        }
        made.sort_by_key(|(last, number, _)| (*last, *number));
        (made.into_iter().map(|(.., made)| made).collect(), gone)
    }

    /// Right rows that no left row can go with any more.
    fn forget(&mut self, watermark: Watermark) -> Vec<u32> {
        let Self { state: Joined { index, right, .. }, current, expiring, direction, tolerance, .. } = self;
        let mut gone = Vec::new();
        let mut forget = |right: &mut SideState, row: u32| {
            right.forget_row(Side::Right, row, index);
            right.kept[row as usize].number = GONE;
            gone.push(row);
        };
        while let Some(Reverse((time, number, row))) = right.queue.peek().copied() {
            if watermark.0 <= time {
                break;
            }
            right.queue.pop();
            let slot = right.kept[row as usize].slot;
            if slot == NO_KEY || *direction == AsOf::Forward {
                forget(right, row);
                continue;
            }
            if let Some(older) = current[slot as usize].replace(row) {
                forget(right, older);
            }
            expiring.push_back((row, number));
        }
        // A left row as late as the tolerance may wait as long again for a nearer one.
        let keeps = tolerance.map(|tolerance| if *direction == AsOf::Nearest { tolerance.saturating_mul(2) } else { tolerance });
        while let Some((row, number)) = expiring.front().copied() {
            let Kept { time, slot, number: now, .. } = right.kept[row as usize];
            if now == number {
                let is_needed = watermark < Watermark::END && keeps.is_none_or(|keeps| watermark.0 <= time.saturating_add(keeps));
                if is_needed && keeps.is_some() {
                    break;
                }
                if !is_needed {
                    current[slot as usize] = None;
                    forget(right, row);
                }
            }
            expiring.pop_front();
        }
        if watermark == Watermark::END {
            for row in current.iter_mut().filter_map(Option::take) {
                forget(right, row);
            }
        }
        gone
    }
}

impl Operator for AsOfJoin {
    fn step(&self) -> StepId {
        self.output.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let (marks, side) = (output.marks(), output.side());
        let new = self.state.admit(side, self.output.step, self.judged, &input, output);
        self.current.resize(self.state.index.slots(), None);
        self.due.resize(self.state.left.rows.slots(), i64::MAX);
        match side {
            // It is in the queue for its own time, and nothing can be due before that.
            Side::Left => new.iter().for_each(|(row, _)| self.due[*row as usize] = i64::MAX),
            Side::Right if self.direction != AsOf::Backward => self.bring_forward(&new),
            Side::Right => {}
        }
        let (made, left) = self.let_out(&marks);
        let rows = self.output.rows(&made, &self.state.left.rows, &self.state.right.rows);
        let right = self.forget(marks.end());
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
        self.state.left.queue.peek().map(|Reverse((at, ..))| Watermark(at.saturating_add(1)))
    }
}
