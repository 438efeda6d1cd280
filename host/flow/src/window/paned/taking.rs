//! Rows into the cells of their windows; sessions that a row brings together become one.

use arrow_array::UInt32Array;
use arrow_select::take::take_record_batch;
use tidemill_event::batch::times;

use crate::window::paned::{PanedWindow, PanedWindows, Work, micros};

impl PanedWindow {
    /// The cells of a row's windows, the row in them.
    pub(super) fn take(&mut self, row: usize, slot: u32, gap: i64, watermark: i64, work: &mut Work<'_>) -> Vec<u32> {
        let time = times(&work.rows.rows).value(row);
        let taken = match &self.windows {
            PanedWindows::Session { longest, .. } => {
                let longest = longest.map(micros);
                vec![self.join(slot, time, time.saturating_add(gap), longest, watermark, work)]
            }
            PanedWindows::Sliced(slicing) => {
                let (slicing, stretch) = (*slicing, slicing.stretch(time));
                let forgotten = self.judge(work.marks, work.rows.origin[row]).0.saturating_sub(self.lateness);
                // Windows that end there or before are forgotten.
                let mut end = if forgotten < stretch.first { stretch.first } else { slicing.next_end(forgotten) };
                let mut taken = Vec::with_capacity(1);
                while end <= stretch.last {
                    taken.push(self.cells.ending(slot, end).unwrap_or_else(|| {
                        let id = self.cells.open(slot, slicing.start_of(end), end);
                        let is_closed = watermark > self.cells.last(id);
                        self.cells.get_mut(id).is_closed = is_closed;
                        id
                    }));
                    if end == stretch.last {
                        break;
                    }
                    end = slicing.next_end(end);
                }
                taken
            }
        };
        for id in &taken {
            let cell = self.cells.get_mut(*id);
            cell.rows += 1;
            cell.newest = cell.newest.max(time);
            work.counted.push((row as u32, cell.group));
            self.cells.touch(*id);
        }
        taken
    }

    /// The session that a row belongs to, with what it touched.
    fn join(&mut self, slot: u32, time: i64, reach: i64, longest: Option<i64>, watermark: i64, work: &mut Work<'_>) -> u32 {
        let (mut start, mut newest) = (time, time);
        let touched: Vec<u32> = self
            .cells
            .sessions(slot, time)
            .filter(|id| {
                let cell = self.cells.get(*id);
                let (from, to) = (start.min(cell.start), newest.max(cell.newest));
                let is_one = cell.start <= reach && longest.is_none_or(|longest| to.saturating_sub(from) <= longest);
                if is_one {
                    (start, newest) = (from, to);
                }
                is_one
            })
            .collect();
        let reach = touched.iter().map(|id| self.cells.get(*id).reach).fold(reach, i64::max);
        let end = longest.map_or(reach, |longest| reach.min(start.saturating_add(longest)));
        let was_closed = touched.iter().all(|id| self.cells.get(*id).is_closed);
        let Some((into, others)) = touched.split_first() else {
            let id = self.cells.open(slot, start, end);
            let cell = self.cells.get_mut(id);
            (cell.reach, cell.is_closed) = (reach, watermark > end);
            return id;
        };
        if !others.is_empty() {
            // What came before the row is counted first, so that `first` and `last` see rows in their order.
            self.count(work);
        }
        for id in others {
            let gone = self.cells.remove(*id);
            self.cells.index.release(gone.slot);
            let cell = self.cells.get_mut(*into);
            cell.rows += gone.rows;
            cell.panes = cell.panes.max(gone.panes);
            cell.told.extend(gone.told);
            self.cells.aggregates.merge(&[(self.cells.get(*into).group, gone.group)]);
            work.panes.release(gone.group);
        }
        self.cells.stretch_to(*into, start, end);
        let cell = self.cells.get_mut(*into);
        cell.told.sort_by_key(|told| told.start);
        (cell.reach, cell.newest) = (reach, newest);
        // One that had ended, and reaches further now, ends again.
        cell.is_closed = was_closed && watermark > end;
        *into
    }

    /// Counts the rows that were taken.
    pub(super) fn count(&mut self, work: &mut Work<'_>) {
        if work.counted.is_empty() {
            return;
        }
        let (rows, groups): (Vec<u32>, Vec<u32>) = work.counted.drain(..).unzip();
        let from = rows[0] as usize;
        let is_run = rows.iter().enumerate().all(|(at, row)| *row as usize == from + at);
        let lost = if is_run {
            self.cells.aggregates.update(&groups, &work.rows.rows.slice(from, rows.len()))
        } else {
            let taken = take_record_batch(&work.rows.rows, &UInt32Array::from(rows.clone())).expect("rows of the batch");
            self.cells.aggregates.update(&groups, &taken)
        };
        let mut lost: Vec<_> = lost
            .into_iter()
            .map(|mut lost| {
                lost.row = rows[lost.row] as usize;
                lost
            })
            .collect();
        // A row dies once, in however many windows it was.
        lost.sort_by_key(|lost| lost.row);
        lost.dedup_by_key(|lost| lost.row);
        work.output.bury_lost(work.rows, self.speaker.step, lost);
    }
}
