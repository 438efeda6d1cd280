//! The window join: pairs with equal keys in the same window, when the watermark has passed its end.
//!
//! ```text
//! rows ──► kept by slice and key ──► window over: per key left × right, stamped end − 1 µs ──► slices that no later window has go
//! ```
//! Whether a row has a match is asked window by window. A row that missed some of its windows counts for the others only. What comes out of a
//! window is in the order of keys (a key with a null, which never joins, first), then of left rows by (time, arrival), each with its matches in the same order,
//! then of right rows without one.

mod kept;
mod spill;

use tidemill_event::batch::times;
use tidemill_event::{Breaker, Field};

use self::kept::{Kept, SideState, WindowJoined};
use crate::group::KeyIndex;
use crate::join::output::{JoinOutput, Made, NO_KEY, key_slots};
use crate::join::{JoinKind, JoinSide, Side};
use crate::time::{Marks, Watermark};
use crate::window::{LateList, Stretch};
use crate::{FlowBatch, Judged, OnFailing, Operator, Outcome, Predicate, Slicing, StepId, StepState};

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
        let state = WindowJoined::new(slicing, index, left, right);
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
            self.state.side(side).entries.touch(row);
            self.state.is_changed = true;
        }
        let unheld: Vec<u32> = slots.into_iter().filter(|slot| *slot != NO_KEY).collect();
        self.state.index.forget_unheld(&unheld);
    }

    /// What comes out of one window.
    fn window(&mut self, end: i64, origin: u32, made: &mut Vec<Made>, output: &mut Outcome) {
        let start = self.state.slicing.start_of(end);
        self.state.thaw(start..end);
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
        while let Some(end) = self.state.next_end().filter(|end| *end <= marks.end().0) {
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
        self.state.next_end().map(Watermark)
    }
}
