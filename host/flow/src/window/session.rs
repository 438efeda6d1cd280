//! Session windows: rows of a key that follow each other within a gap.
//!
//! ```text
//! row at t, gap g       covers [t, t + g]; sessions that it touches become one with it
//! session               [first t, greatest t + g]; a row exactly at its end still joins, so it closes when W > end
//! ```
//! A row is too late when its own stretch has closed: W > t + g. It joins only what was open before it, so where a batch is cut does
//! not show. What has closed is emitted behind the batch, by (end, key): a session that closes later never ends before the watermark.

mod sessions;
mod spill;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, EventTime, Field};

use self::sessions::{Session, Sessions};
use crate::aggregate::{AggregateRefused, Aggregates};
use crate::time::Watermark;
use crate::window::pane::{Pane, rows_of};
use crate::window::{Bounds, Gap, Judged, LateList, WindowSettings, output_fields};
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState};

/// Why there are no such sessions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// See there.
    #[error(transparent)]
    Aggregate(#[from] AggregateRefused),
    /// What a late row changes was told already: that is for windows with panes.
    #[error("a session that takes late rows is one with panes")]
    Lateness,
}

/// The step.
pub struct SessionWindow {
    step: StepId,
    gap: Gap,
    judged: Judged,
    state: Sessions,
}

impl SessionWindow {
    /// Sessions without a row.
    pub fn new(gap: Gap, settings: WindowSettings) -> Result<Self, SessionRefused> {
        let WindowSettings { step, by, aggregates, components, lateness, judged, top: _ } = settings;
        if !lateness.is_zero() {
            return Err(SessionRefused::Lateness);
        }
        let state = Sessions::new(by, Aggregates::with_components(&aggregates, components)?);
        Ok(Self { step, gap, judged, state })
    }

    /// The columns that come out, `_time` aside.
    pub fn fields(&self) -> Vec<Field> {
        output_fields(self.state.index.by(), Bounds::Times, self.state.aggregates.fields(), None)
    }
}

impl Operator for SessionWindow {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let (input, gaps) = self.gap.of(input, self.step, output);
        let mut late = LateList::default();
        let mut kept = BooleanBufferBuilder::new(input.len());
        let times_of: Vec<i64> = times(&input.rows).values().to_vec();
        for (row, time) in times_of.iter().enumerate() {
            let judge = match self.judged {
                Judged::ByLane => marks.judge(input.origin[row]),
                Judged::ByTask => marks.before(input.origin[row]),
            };
            let is_late = judge.has_passed(EventTime(time.saturating_add(gaps[row])));
            kept.append(!is_late);
            if is_late {
                late.push(row as u32, judge, Some((*time, time.saturating_add(gaps[row]))));
            }
        }
        output.dropped_late += late.len() as u64;
        let (rows, gaps) = if late.is_empty() {
            (input, gaps)
        } else {
            late.tell(self.step, &input, output);
            let kept = BooleanArray::new(kept.finish(), None);
            (input.filtered(&kept), kept.values().set_indices().map(|row| gaps[row]).collect())
        };
        let state = &mut self.state;
        state.aggregates.begin(self.step, output);
        let mut slots = Vec::new();
        state.index.slots_of(&rows.rows, &mut slots);
        state.warm(&slots);
        let (mut groups, mut merged, mut from) = (Vec::with_capacity(rows.len()), Vec::new(), 0);
        for (row, time) in times(&rows.rows).values().iter().enumerate() {
            let watermark = marks.before(rows.origin[row]).0;
            let until = time.saturating_add(gaps[row]);
            let group = state.join(slots[row], *time, until, watermark, &mut merged);
            if !merged.is_empty() {
                // What came before the row is counted first, so that `first` and `last` see rows in their order.
                let lost = state.aggregates.update(&groups, &rows.rows.slice(from, row - from));
                if !lost.is_empty() {
                    output.bury_lost(&rows.slice(&(from..row)), self.step, lost);
                }
                groups.clear();
                from = row;
                state.aggregates.merge(&merged.iter().map(|gone| (group, *gone)).collect::<Vec<_>>());
                merged.drain(..).for_each(|gone| state.release(gone));
            }
            groups.push(group);
        }
        let lost = state.aggregates.update(&groups, &rows.rows.slice(from, rows.len() - from));
        if !lost.is_empty() {
            output.bury_lost(&rows.slice(&(from..rows.len())), self.step, lost);
        }
        let closed = state.close(marks.end());
        let panes: Vec<Pane> = closed
            .iter()
            .map(|group| {
                let Session { slot, start, until, .. } = state.session(*group);
                let origin = marks.lets_out(until).unwrap_or(0);
                Pane { slot, group: *group, start, end: until, time: EventTime(until), origin }
            })
            .collect();
        let made = rows_of(&panes, &state.index, &state.aggregates, Bounds::Times, self.step, output);
        panes.iter().for_each(|pane| state.release(pane.group));
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
        self.state.next_end().map(|until| Watermark(until.saturating_add(1)))
    }
}
