//! What a task takes: a block of an input as rows with their watermarks, and how much it may take at all.

use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow_array::RecordBatch;
use tidemill_event::OffsetRange;
use tidemill_flow::{FlowBatch, Marks, Place, Side, Sources};

use crate::planted::Planted;
use crate::task::committing::Taken;
use crate::task::machine::Task;
use crate::task::neighbours::Pressure;

/// Rows that a task takes at once though a reader has too much before it, because another has nothing.
const ROWS_UNDER_PRESSURE: usize = 16;

/// A batch that is about to be taken.
pub(super) struct Block {
    /// What it is to its commit.
    pub(super) taken: Taken,
    /// Where its rows came from.
    pub(super) sources: Sources,
    pub(super) rows: FlowBatch,
    pub(super) marks: Marks,
    pub(super) side: Side,
}

impl Task {
    /// Takes rows of an input, live or once more: time goes by along them. The error is of rows that no task writes.
    pub(super) fn take_block(&mut self, at: usize, range: OffsetRange, rows: &RecordBatch, again: bool) -> Result<Block, String> {
        let input = self.inputs.get(at);
        let (partition, number) = (input.partition.key().partition, input.number());
        let first = Place { stream: input.stream().into(), partition, offset: range.start };
        let taken = Taken { stream: input.name().to_owned(), start: range.start.0, end: range.end.0, ..Taken::default() };
        let side = self.plan.side_of(self.stage, number);
        // A bug to have: time stands still along rows that are taken once more.
        let still = again && self.parts.plants.has(Planted::ReplayWithoutTime);
        let steady = self.time.watermark_now();
        let (rows, sources, marks) = if input.writers() == 0 {
            let marks = if still { Marks::steady(steady, rows.num_rows()) } else { self.time.rows(at, rows) };
            (rows.clone(), Sources::block(rows.clone(), first), marks)
        } else {
            let between = self.time.between(at, rows, self.plan.input_schema(self.stage, number));
            let between = between.map_err(|error| format!("`{}` from offset {}: {error}", input.stream(), range.start))?;
            self.marks_taken += (rows.num_rows() - between.rows.num_rows()) as u64;
            let marks = if still { Marks::steady(steady, between.rows.num_rows()) } else { self.time.rows_between(&between) };
            let sources = match between.places {
                // Only time went by.
                Some(places) if places.is_empty() => self.nowhere(),
                None => Sources::block(between.rows.clone(), first),
                Some(places) => Sources::some(between.rows.clone(), first, places),
            };
            (between.rows, sources, marks)
        };
        self.saw(&rows);
        Ok(Block { taken, sources, rows: FlowBatch::new(rows), marks, side })
    }

    /// Something may come of it though no row does.
    pub(super) fn is_pending(&self) -> bool {
        self.chain.due().is_some() || !self.waiting.is_empty()
    }

    /// How many rows the stage behind lets it take now; `None`: it waits, and is woken when that changes.
    pub(super) fn let_through(&mut self) -> Option<usize> {
        let rows = self.rows_wanted();
        if self.placing.is_none() {
            return Some(rows);
        }
        let pressure = || self.shared.neighbours.pressure(self.parts.stage_rows_max);
        let mut now = pressure();
        if let Pressure::Blocked(_) = now {
            self.shared.is_blocked.store(true, Ordering::SeqCst);
            // A reader that took rows in between did not see that.
            now = pressure();
        }
        if let Pressure::Blocked(before) = now {
            if self.held_up.is_none() {
                self.held_up = Some(Instant::now());
                let why = format!("stage {} has {before} rows before a task of it", self.stage + 2);
                self.shared.update(|seen| seen.waits_for = Some(why));
            }
            return None;
        }
        self.shared.is_blocked.store(false, Ordering::SeqCst);
        if let Some(since) = self.held_up.take() {
            self.waited += since.elapsed();
            self.shared.update(|seen| seen.waits_for = None);
        }
        Some(if now == Pressure::Slow { rows.min(ROWS_UNDER_PRESSURE) } else { rows })
    }
}
