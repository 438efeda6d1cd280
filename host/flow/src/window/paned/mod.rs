//! Windows that speak before their end and after it: early and late panes, sessions that take late rows.
//!
//! ```text
//! before each row   what its watermark has passed: early panes by event time, panes on time, late ones at the last; cells are forgotten
//! the row           into the cell of each of its windows; sessions that it brings together become one
//! behind it         its cells speak if they have rows enough
//! behind the batch  what the watermark has passed; then all that are untold, if the clock is there
//! ```
//! Rows are taken one by one in what decides, so where a batch is cut does not show, and many at once in what is counted, up to the next
//! pane that counts them (`taking.rs`, `speaking.rs`). A row costs as much as it has windows: windows that only speak at their end share
//! slices instead (`sliced.rs`).

mod cells;
mod entries;
mod rows;
mod settings;
mod speaking;
mod taking;

#[cfg(test)]
mod tests;

pub use settings::{Early, Late, PANE, PANE_NO, PaneSettings, RETRACTED, Said};

use std::time::Duration;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;
use tidemill_event::batch::times;
use tidemill_event::{Breaker, EventTime, Field};

use crate::aggregate::{AggregateRefused, Aggregates};
use crate::group::KeyIndex;
use crate::time::{Marks, Watermark};
use crate::window::paned::cells::{Cells, Rules, Side};
use crate::window::paned::rows::{PaneRows, Speaker};
use crate::window::{Bounds, Gap, Judged, LateList, Slicing, WindowSettings, output_fields};
use crate::{Extend, FlowBatch, OnFailing, Operator, Outcome, StepId, StepState};

/// Which windows a row is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PanedWindows {
    /// Windows that are the same for all keys.
    Sliced(Slicing),
    /// Rows of a key that follow each other within a gap.
    Session {
        /// How far a row reaches.
        gap: Gap,
        /// From the first to the last row of a session it is not longer; `None`: as long as rows come.
        longest: Option<Duration>,
    },
}

/// The step.
pub struct PanedWindow {
    windows: PanedWindows,
    lateness: i64,
    judged: Judged,
    settings: PaneSettings,
    speaker: Speaker,
    cells: Cells,
}

/// What is under way while a batch is taken.
struct Work<'a> {
    rows: &'a FlowBatch,
    marks: &'a Marks,
    /// Rows that were taken and not counted yet, each with a group.
    counted: Vec<(u32, u32)>,
    panes: PaneRows,
    /// The last input row behind which something was said.
    origin: u32,
    output: &'a mut Outcome,
}

impl PanedWindow {
    /// Windows without a row. Errors: an aggregate that does not go with its argument.
    ///
    /// # Panics
    /// If keys of sessions are to be ranked: they share no window.
    pub fn new(windows: PanedWindows, panes: PaneSettings, settings: WindowSettings) -> Result<Self, AggregateRefused> {
        let WindowSettings { step, by, aggregates, components, lateness, judged, top } = settings;
        let aggregates = Aggregates::with_components(&aggregates, components)?;
        let (is_half_open, has_bounds) = match &windows {
            PanedWindows::Sliced(slicing) => (true, slicing.has_bounds()),
            PanedWindows::Session { .. } => (false, true),
        };
        assert!(is_half_open || top.is_none(), "keys of sessions share no window");
        let early_every = match panes.early {
            Some(Early::EventTime(every)) => Some(micros(every).max(1)),
            Some(Early::Rows(_) | Early::Clock(_)) | None => None,
        };
        let lateness = micros(lateness);
        let rules = Rules { is_half_open, lateness, early_every, is_aligned: is_half_open && has_bounds };
        let bounds = if has_bounds { Bounds::Times } else { Bounds::None };
        let cells = Cells::new(KeyIndex::new(by), aggregates, rules);
        let speaker = Speaker { step, bounds, settings: panes, computed: None, top };
        Ok(Self { windows, lateness, judged, settings: panes, speaker, cells })
    }

    /// Computes more columns of a pane's own before keys are ranked.
    pub fn computing(mut self, computed: Extend) -> Self {
        self.speaker.computed = Some(computed);
        self
    }

    /// The columns that come out, `_time` and what is computed aside.
    pub fn fields(&self) -> Vec<Field> {
        let Cells { index, aggregates, .. } = &self.cells;
        let beside = self.settings.fields();
        let rank = self.speaker.top.as_ref().map(|top| &top.rank);
        output_fields(index.by(), self.speaker.bounds, aggregates.fields().chain(&beside), rank)
    }

    /// The rows that some window takes, with how far they reach; the others are late, or in no window.
    fn admit(&self, input: FlowBatch, marks: &Marks, output: &mut Outcome) -> (FlowBatch, Vec<i64>) {
        let (input, gaps) = match &self.windows {
            PanedWindows::Session { gap, .. } => gap.of(input, self.speaker.step, output),
            PanedWindows::Sliced(_) => (input, Vec::new()),
        };
        let (mut kept, mut late) = (BooleanBufferBuilder::new(input.len()), LateList::default());
        for (row, time) in times(&input.rows).values().iter().enumerate() {
            let judge = self.judge(marks, input.origin[row]);
            let forgotten = judge.0.saturating_sub(self.lateness);
            let missed = match &self.windows {
                PanedWindows::Session { .. } => {
                    let until = time.saturating_add(gaps[row]);
                    let is_late = forgotten > until;
                    output.dropped_late += u64::from(is_late);
                    is_late.then_some((*time, until))
                }
                PanedWindows::Sliced(slicing) => {
                    let stretch = slicing.stretch(*time);
                    if stretch.last < stretch.first {
                        kept.append(false);
                        continue;
                    }
                    let gone = slicing.ended(stretch.first, stretch.last, forgotten);
                    output.dropped_late += gone;
                    let is_late = forgotten >= stretch.last;
                    output.late_partial += u64::from(gone > 0 && !is_late);
                    is_late.then(|| (slicing.start_of(stretch.first), stretch.last))
                }
            };
            kept.append(missed.is_none());
            if let Some((start, end)) = missed {
                late.push(row as u32, judge, self.speaker.bounds.of(start, end));
            }
        }
        late.tell(self.speaker.step, &input, output);
        let kept = BooleanArray::new(kept.finish(), None);
        let gaps = if gaps.is_empty() { gaps } else { kept.values().set_indices().map(|row| gaps[row]).collect() };
        (input.filtered(&kept), gaps)
    }

    fn judge(&self, marks: &Marks, origin: u32) -> Watermark {
        match self.judged {
            Judged::ByLane => marks.judge(origin),
            Judged::ByTask => marks.before(origin),
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Operator for PanedWindow {
    fn step(&self) -> StepId {
        self.speaker.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        self.cells.aggregates.begin(self.speaker.step, output);
        let (rows, gaps) = self.admit(input, &marks, output);
        let mut slots = Vec::new();
        self.cells.index.slots_of(&rows.rows, &mut slots);
        // A key's last cell may go while rows of it are still to come.
        slots.iter().for_each(|slot| self.cells.index.hold(*slot));
        let mut work = Work { rows: &rows, marks: &marks, counted: Vec::new(), panes: PaneRows::default(), origin: 0, output };
        let mut passed = 0;
        for (row, slot) in slots.iter().enumerate() {
            let origin = rows.origin[row];
            let before = marks.before(origin).0;
            self.advance_row_by_row(passed..origin, before, &mut work);
            passed = origin;
            work.origin = work.origin.max(origin);
            let gap = gaps.get(row).copied().unwrap_or(0);
            let taken = self.take(row, *slot, gap, before, &mut work);
            self.speak_by_rows(taken, &mut work);
        }
        self.advance_row_by_row(passed..marks.len() as u32, marks.end().0, &mut work);
        self.count(&mut work);
        self.speak_by_clock(&mut work);
        let panes = work.panes;
        let made = panes.into_rows(&mut self.cells, &mut self.speaker, output);
        slots.iter().for_each(|slot| self.cells.index.release(*slot));
        self.cells.aggregates.end(output);
        made
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.cells)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        self.cells.speaks_at().map(|at| Watermark(at.saturating_add(1)))
    }

    fn due_at(&self) -> Option<EventTime> {
        let due = |side| Some(EventTime(self.cells.since(side)?.saturating_add(self.delay(side)?)));
        [Side::Early, Side::Late].into_iter().filter_map(due).min()
    }
}
