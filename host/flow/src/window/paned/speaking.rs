//! Cells say what they have: when the watermark has passed something, with rows enough, and when the clock is there.

use std::ops::Range;

use crate::window::Bounds;
use crate::window::paned::cells::{Side, Told};
use crate::window::paned::rows::PaneKind;
use crate::window::paned::settings::{Early, Late, Said};
use crate::window::paned::{PanedWindow, Work, micros};

/// Panes that are made into rows at once.
const PANES_MAX: usize = 16_384;

impl PanedWindow {
    /// The same as the watermark goes on from row to row of the task's input, up to `watermark`: also past rows that are not here, because a step before
    /// took them or no window has them. What it leaps over in one go is told once, and a leap must not hang on how rows are cut into batches.
    pub(super) fn advance_row_by_row(&mut self, rows: Range<u32>, watermark: i64, work: &mut Work<'_>) {
        if self.cells.is_due(watermark) {
            rows.for_each(|row| self.advance(work.marks.before(row).0, work));
        }
        self.advance(watermark, work);
    }

    /// What the watermark has passed happens.
    pub(super) fn advance(&mut self, watermark: i64, work: &mut Work<'_>) {
        if !self.cells.is_due(watermark) {
            return self.cells.pass(watermark);
        }
        self.count(work);
        self.cells.pass(watermark);
        while let Some((at, ids)) = self.cells.due() {
            work.origin = work.origin.max(work.marks.lets_out(at).unwrap_or(0));
            for ids in self.units(ids) {
                self.act(at, &ids, work);
            }
        }
    }

    /// Cells that speak together: each alone, or all of a window whose keys are ranked. `ids` is in order.
    fn units(&self, ids: Vec<u32>) -> Vec<Vec<u32>> {
        if self.speaker.top.is_none() {
            return ids.into_iter().map(|id| vec![id]).collect();
        }
        let mut ends: Vec<i64> = ids.iter().map(|id| self.cells.get(*id).end).collect();
        ends.dedup();
        ends.into_iter().map(|end| self.cells.in_order(self.cells.of_window(end).collect())).collect()
    }

    /// What cells of one window do at an instant that has passed.
    fn act(&mut self, at: i64, ids: &[u32], work: &mut Work<'_>) {
        let first = ids[0];
        let (is_closed, last) = (self.cells.get(first).is_closed, self.cells.last(first));
        if is_closed {
            if ids.iter().any(|id| self.cells.get(*id).rows > 0) {
                self.speak(ids, PaneKind::Late, true, work);
            }
            ids.iter().for_each(|id| self.forget(*id, work));
        } else if at >= last {
            let is_last = self.lateness == 0;
            self.speak(ids, PaneKind::OnTime, is_last, work);
            for id in ids {
                if is_last {
                    self.forget(*id, work);
                } else {
                    self.cells.get_mut(*id).is_closed = true;
                    self.cells.touch(*id);
                }
            }
        } else if self.cells.watermark() > last {
            // The same watermark ends the window: nobody asks what it was on the way there.
            ids.iter().for_each(|id| self.cells.await_end(*id));
        } else {
            self.speak(ids, PaneKind::Early, false, work);
        }
    }

    fn forget(&mut self, id: u32, work: &mut Work<'_>) {
        let cell = self.cells.remove(id);
        self.cells.index.release(cell.slot);
        cell.told.iter().for_each(|told| work.panes.release(told.group));
        work.panes.release(cell.group);
    }

    /// Cells say what they have. `is_last`: nobody asks them again.
    fn speak(&mut self, ids: &[u32], kind: PaneKind, is_last: bool, work: &mut Work<'_>) {
        for id in ids {
            let slot = self.cells.get(*id).slot;
            for told in std::mem::take(&mut self.cells.get_mut(*id).told) {
                work.panes.say(&mut self.cells, slot, told, true, work.origin);
                work.panes.release(told.group);
            }
        }
        let is_ranked = self.speaker.top.is_some();
        if is_ranked && work.panes.len() > 0 {
            // What is taken back is a ranking of its own.
            work.panes.finish(&mut self.cells, &mut self.speaker, work.output);
        }
        // Keys that are ranked together are in one pane of their window.
        let number = ids.iter().map(|id| self.cells.get(*id).panes).max().unwrap_or(0);
        for id in ids {
            let cell = self.cells.get(*id);
            let (slot, start, end, own) = (cell.slot, cell.start, cell.end, cell.group);
            let time = if self.speaker.bounds == Bounds::Times { self.cells.last(*id) } else { cell.newest };
            let group = if is_last { own } else { self.said(*id, own, work) };
            let told = Told { start, end, time, number, kind, group };
            work.panes.say(&mut self.cells, slot, told, false, work.origin);
            let cell = self.cells.get_mut(*id);
            (cell.rows, cell.panes) = (0, number + 1);
            if !is_last {
                if self.settings.said == Said::Retracting {
                    cell.told.push(told);
                }
                self.cells.touch(*id);
            }
        }
        if is_ranked || work.panes.len() >= PANES_MAX {
            work.panes.finish(&mut self.cells, &mut self.speaker, work.output);
        }
    }

    /// The group of what a cell says now, which stays as it is while the cell goes on.
    fn said(&mut self, id: u32, own: u32, work: &mut Work<'_>) -> u32 {
        let other = self.cells.aggregates.allocate();
        match self.settings.said {
            Said::Discarding => {
                self.cells.get_mut(id).group = other;
                work.panes.release(own);
                own
            }
            Said::Accumulating => {
                self.cells.aggregates.merge(&[(other, own)]);
                work.panes.release(other);
                other
            }
            Said::Retracting => {
                self.cells.aggregates.merge(&[(other, own)]);
                other
            }
        }
    }

    /// Cells that a row came to speak if they have rows enough.
    pub(super) fn speak_by_rows(&mut self, ids: Vec<u32>, work: &mut Work<'_>) {
        let early = match self.settings.early {
            Some(Early::Rows(rows)) => Some(rows),
            Some(Early::EventTime(_) | Early::Clock(_)) | None => None,
        };
        let late = match self.settings.late {
            Late::Rows(rows) => Some(rows),
            Late::Clock(_) => None,
        };
        for id in ids {
            let cell = self.cells.get(id);
            let (wanted, kind) = if cell.is_closed { (late, PaneKind::Late) } else { (early, PaneKind::Early) };
            let Some(wanted) = wanted else { continue };
            let rows = match self.speaker.top {
                Some(_) => self.cells.of_window(cell.end).map(|id| self.cells.get(id).rows).sum(),
                None => cell.rows,
            };
            if rows >= wanted {
                self.count(work);
                for ids in self.units(vec![id]) {
                    self.speak(&ids, kind, false, work);
                }
            }
        }
    }

    /// How long the clock waits for more.
    pub(super) fn delay(&self, side: Side) -> Option<i64> {
        match (side, self.settings.early, self.settings.late) {
            (Side::Early, Some(Early::Clock(delay)), _) | (Side::Late, _, Late::Clock(delay)) => Some(micros(delay)),
            _ => None,
        }
    }

    /// All that is untold is told when the clock says so; else the clock is asked to.
    pub(super) fn speak_by_clock(&mut self, work: &mut Work<'_>) {
        for (side, kind) in [(Side::Early, PaneKind::Early), (Side::Late, PaneKind::Late)] {
            let Some(delay) = self.delay(side) else { continue };
            if !self.cells.has_untold(side) {
                self.cells.set_since(side, None);
                continue;
            }
            let now = work.output.clock().0;
            let since = self.cells.since(side).unwrap_or(now);
            if now.saturating_sub(since) < delay {
                self.cells.set_since(side, Some(since));
                continue;
            }
            self.count(work);
            work.origin = work.origin.max((work.marks.len() as u32).saturating_sub(1));
            let ids = self.cells.in_order(self.cells.untold(side));
            for ids in self.units(ids) {
                self.speak(&ids, kind, false, work);
            }
            self.cells.set_since(side, None);
        }
    }
}
