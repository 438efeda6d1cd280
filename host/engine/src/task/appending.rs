//! What a batch did becomes one entry: rows that came out, dead letters, late rows, and the range they came from.
//!
//! ```text
//! entry      rows 0..7000 │ part: what the commit will say, 7000 rows are written
//! entry      rows 7000..14000 │ part: … 14000
//! entry      rows 14000..15200, marks of the lane │ commit
//! ```
//! Where that is too much for one entry (a window of a million keys is due) it becomes several, of which the last has the commit. All rows are
//! there once all the same: a start that finds parts and no commit takes the range again, as it does with committed ones, and goes on behind
//! the rows that are written. So the order of the frames' rows has to follow from the batch alone; how they are cut need not.

use std::time::Instant;

use tidemill_event::batch::bytes;
use tidemill_flow::{FlowBatch, Outcome, Sources};
use tidemill_log::{Append, FrameRows};

use crate::planted::Planted;
use crate::task::machine::Task;
use crate::task::record::{Commit, Part, Record, encode};
use crate::task::{dead_letters, late_rows, matches};

/// What a batch made, as frames.
struct Frames {
    /// In an order that follows from the batch.
    rows: Vec<FrameRows>,
    /// What the lane says of itself behind them, where that stands apart.
    marks: Vec<FrameRows>,
}

impl Task {
    /// Makes a batch's effects true. `written` rows of them are already, of a life before this one.
    pub(super) fn append(
        &mut self,
        commit: &Commit,
        sources: &Sources,
        output: FlowBatch,
        outcome: &Outcome,
        written: u64,
    ) -> Result<(), String> {
        // Marks would be counted among the rows, and what the lane told last is not known after a start.
        let are_apart = written > 0 || bytes(&output.rows) > self.parts.entry_bytes_max;
        let Frames { rows, marks } = self.frames(sources, &output, outcome, are_apart, written)?;
        let can_be_cut = are_apart || self.placing.is_none();
        let is_cut = can_be_cut && (written > 0 || !fits(&rows, self.parts.entry_bytes_max));
        let mut entries = if is_cut { cut(rows, written, self.parts.entry_bytes_max) } else { vec![rows] };
        let mut last = entries.pop().unwrap_or_default();
        let mut written = written;
        for frames in entries {
            written += frames.iter().map(|frame| frame.rows.num_rows() as u64).sum::<u64>();
            self.append_entry(frames, &Record::Part(Part { commit: commit.clone(), written }))?;
        }
        last.extend(marks);
        if self.parts.plants.has(Planted::CommitWithoutRange) && !last.is_empty() {
            let apart = Append::atomic(std::mem::take(&mut last));
            let pending = self.parts.log.append_waiting(apart).map_err(|error| format!("its outputs: {error}"))?;
            // In a group of its own: in one group with the commit there is no moment between them.
            pending.wait().map_err(|error| format!("its outputs: {error}"))?;
        }
        self.append_entry(last, &Record::Commit(commit.clone()))
    }

    /// Frames and the record that makes them true.
    fn append_entry(&mut self, mut frames: Vec<FrameRows>, record: &Record) -> Result<(), String> {
        let row = encode(record, self.progress.schema(), self.parts.clock.now());
        frames.push(self.progress.frame(self.partition, row));
        let last = frames.len() - 1;
        let is_commit = matches!(record, Record::Commit(_));
        let on_durable = if is_commit { self.on_durable.take() } else { None };
        let append = Append { on_durable, ..Append::atomic(frames) };
        let asked = Instant::now();
        let pending = self.parts.log.append_waiting(append).map_err(|error| format!("its commit: {error}"))?;
        self.waited += asked.elapsed();
        self.last_commit = Some((pending, last));
        Ok(())
    }

    /// Rows that came out, of all outputs; dead letters; late rows; what matches are made of.
    fn frames(
        &mut self,
        sources: &Sources,
        output: &FlowBatch,
        outcome: &Outcome,
        are_apart: bool,
        written: u64,
    ) -> Result<Frames, String> {
        let (mut frames, mut apart) = (Vec::with_capacity(self.outputs.len() + 3), Vec::new());
        // What waits for time here is still to come: until then nobody may go on without this task.
        let head = self.time.head(!self.is_pending());
        match &mut self.placing {
            Some(placing) if !output.is_empty() || placing.has_news(head) => {
                let (side, marks) = (outcome.side(), outcome.marks());
                let marks_to = are_apart.then_some(&mut apart);
                let mut comes = placing.frames(output, side, &marks, head, self.parts.plants, &mut frames, marks_to);
                // Readers have found what is written. It is of the first frames.
                comes.iter_mut().fold(written, |left, (_, _, rows)| {
                    let there = left.min(*rows);
                    *rows -= there;
                    left - there
                });
                self.shared.neighbours.tell_readers(&comes);
            }
            Some(_) => {}
            None if output.is_empty() => {}
            None => {
                for target in &mut self.outputs {
                    target.frames(&output.rows, &self.plan.output, self.place, &mut frames)?;
                }
            }
        }
        self.sides.frames(&outcome.sides, self.partition, &mut frames)?;
        if !outcome.dead.is_empty() {
            let schema = self.dead_letters.schema();
            let rows = dead_letters::rows(&self.plan, &outcome.dead, sources, schema);
            frames.push(self.dead_letters.frame(self.dead_letters.place(self.partition), rows));
        }
        if let Some(late) = &self.late
            && !outcome.late.is_empty()
        {
            let rows = late_rows::rows(&self.plan, &outcome.late, sources, late.schema());
            frames.push(late.frame(late.place(self.partition), rows));
        }
        if let Some(matches) = &mut self.matches
            && !outcome.evidence.is_empty()
        {
            let schema = matches.schema().clone();
            let rows = matches::rows(&self.plan, &outcome.evidence, &schema);
            matches.frames(&rows, &schema, self.partition, &mut frames)?;
        }
        Ok(Frames { rows: frames, marks: apart })
    }
}

/// Whether frames take so many bytes at most, all together.
fn fits(frames: &[FrameRows], bytes_max: usize) -> bool {
    frames.iter().map(FrameRows::encoded_bytes_max).sum::<usize>() <= bytes_max
}

/// Frames without their first `written` rows, as entries of `bytes_max` at most, unless a row has more.
fn cut(frames: Vec<FrameRows>, written: u64, bytes_max: usize) -> Vec<Vec<FrameRows>> {
    let mut entries = vec![Vec::new()];
    let (mut skip, mut room) = (written as usize, bytes_max);
    for frame in frames {
        let rows = frame.rows.num_rows();
        let mut from = skip.min(rows);
        skip -= from;
        while from < rows {
            let rest = slice(&frame, from, rows - from);
            let taken = fitting(&rest, room);
            if taken == 0 && room < bytes_max {
                entries.push(Vec::new());
                room = bytes_max;
                continue;
            }
            let piece = slice(&rest, 0, taken.max(1));
            room = room.saturating_sub(piece.encoded_bytes_max());
            from += piece.rows.num_rows();
            entries.last_mut().expect("there is one").push(piece);
        }
    }
    entries
}

fn slice(frame: &FrameRows, from: usize, rows: usize) -> FrameRows {
    FrameRows { rows: frame.rows.slice(from, rows), ..frame.clone() }
}

/// How many of the first rows take so many bytes at most.
fn fitting(frame: &FrameRows, bytes_max: usize) -> usize {
    let (mut fit, mut too_many) = (0, frame.rows.num_rows() + 1);
    while too_many - fit > 1 {
        // All of them, at first.
        let tried = if too_many > frame.rows.num_rows() { frame.rows.num_rows() } else { fit.midpoint(too_many) };
        if slice(frame, 0, tried).encoded_bytes_max() <= bytes_max {
            fit = tried;
        } else {
            too_many = tried;
        }
    }
    fit
}
