//! One batch through a pattern step: rows to the runs of their keys, the clock behind them, and rows of what was found.
//!
//! A pattern alone looks its rows up all at once ([`PatternStep::meet`]); one of a list is given those that concern it
//! ([`PatternStep::arrivals`]). What follows is the same.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;

use crate::group::{KeyIndex, RowKeys, Wanted};
use crate::pattern::asking::bury;
use crate::pattern::automaton::Automaton;
use crate::pattern::condition::Bits;
use crate::pattern::conditions::{FRESH, Tested};
use crate::pattern::found::Batch;
use crate::pattern::kept::{Kept, Slot};
use crate::pattern::order::{Ordered, PatternOrder};
use crate::pattern::output::Emitted;
use crate::pattern::round::{Arrival, Meeting};
use crate::pattern::step::PatternStep;
use crate::pattern::telling::Telling;
use crate::where_step::without;
use crate::{FlowBatch, Marks, MatchId, Outcome};

impl PatternStep {
    /// Rows in their order, and what the predicates say of them; then the clock behind the batch. Answers with the matches.
    pub(super) fn meet(&mut self, ordered: &Ordered, tested: &Tested, marks: &Marks, output: &mut Outcome) -> FlowBatch {
        self.tally.failed += tested.failed;
        let bits = |row| tested.bits(row, self.of_runs);
        let (Kept { index, matcher, .. }, mut slots) = (&mut self.kept, Vec::new());
        index.slots_wanted(&ordered.rows.rows, |row| wanted(&matcher.automaton, self.order, bits(row)), &mut slots);
        let known = (0u32..).zip(slots).filter(|(_, slot)| *slot != KeyIndex::NONE);
        let arrivals: Vec<Arrival> = known.map(|(row, slot)| Arrival { row, slot, bits: bits(row as usize) }).collect();
        let mut batch = Batch::default();
        let rows = self.follow(ordered, &arrivals, marks, &mut batch, output);
        output.bury(&ordered.rows, self.step, batch.failed);
        rows.unwrap_or_else(|| self.nothing())
    }

    /// Those of these rows that concern a run of their key, or begin one. `holds`: the row of the batch, and the predicates that hold of it.
    pub(super) fn arrivals(&mut self, holds: &[(u32, u64)], keys: &RowKeys, arrivals: &mut Vec<Arrival>) {
        let Kept { index, matcher, .. } = &mut self.kept;
        for (row, holds) in holds.iter().copied() {
            let bits = Bits { holds, unknown: self.of_runs };
            let slot = index.slot_wanted(keys, row as usize, wanted(&matcher.automaton, self.order, bits));
            if slot != KeyIndex::NONE {
                arrivals.push(Arrival { row, slot, bits });
            }
        }
    }

    /// Rows to the runs of their keys, then the clock behind the batch. Answers with the matches, if there are any; `batch` is left with the rows that failed,
    /// ascending.
    pub(super) fn follow(
        &mut self,
        ordered: &Ordered,
        arrivals: &[Arrival],
        marks: &Marks,
        batch: &mut Batch,
        output: &mut Outcome,
    ) -> Option<FlowBatch> {
        self.rows(ordered, arrivals, marks, batch, output);
        self.time(marks, batch);
        batch.failed.sort_by_key(|(row, ..)| *row);
        self.keep_fresh(ordered);
        let rows = self.tell(batch, output);
        self.forget_gone();
        for slot in batch.touched.drain(..) {
            let key = &mut self.kept.slots[slot as usize];
            key.leave();
            if let Some(keys) = &mut batch.keys {
                let mut bytes = Vec::new();
                self.kept.index.put_key(slot, &mut bytes);
                keys.push((bytes.into(), !key.runs.is_empty()));
            }
            self.kept.note_entry(slot);
            self.kept.index.release(slot);
        }
        // Rows that began nothing leave no key behind.
        arrivals.iter().for_each(|arrival| self.kept.index.forget_unheld(&[arrival.slot]));
        // What is due is looked up without being able to change anything.
        self.kept.deadlines.next();
        rows
    }

    /// Each row to the matcher of its key.
    fn rows(&mut self, ordered: &Ordered, arrivals: &[Arrival], marks: &Marks, batch: &mut Batch, output: &mut Outcome) {
        let Ordered { rows, moments } = ordered;
        let Kept { index, matcher, buffer, rows: stored, slots: keys, running, .. } = &mut self.kept;
        running.meet(&rows.rows);
        keys.resize_with(index.slots(), Slot::default);
        let conditions = &self.conditions;
        let mut meeting =
            Meeting { conditions, rows, moments, arrivals, marks, index, matcher, buffer, stored, keys, running, failed: 0 };
        let unanswered = match &mut self.asking {
            Some(asking) => meeting.in_rounds(asking, batch, output),
            None => {
                meeting.in_order(batch);
                Vec::new()
            }
        };
        self.tally.failed += meeting.failed;
        bury(unanswered, rows, self.step, output);
        for slot in &batch.touched {
            self.kept.note_deadline(*slot);
        }
    }

    /// Keys whose runs' time is over by the watermark behind the batch.
    fn time(&mut self, marks: &Marks, batch: &mut Batch) {
        let end = marks.end();
        while let Some(slot) = self.kept.deadlines.pop(end.0) {
            let Kept { index, matcher, buffer, slots, .. } = &mut self.kept;
            let key = &mut slots[slot as usize];
            if key.touch() {
                index.hold(slot);
                batch.touched.push(slot);
            }
            let origin = key.origin;
            let _ = matcher.advance(&mut key.runs, buffer, end.0, &mut batch.found);
            batch.by_time(slot, origin, marks, None);
            self.kept.note_deadline(slot);
        }
    }

    /// Events of this batch that runs or matches hold are kept; the batch itself is not.
    fn keep_fresh(&mut self, ordered: &Ordered) {
        let Kept { buffer, rows: stored, .. } = &mut self.kept;
        let fresh = buffer.take_fresh(FRESH);
        if fresh.is_empty() {
            return;
        }
        let places = fresh.iter().map(|event| buffer.taken(*event).row & !FRESH);
        let added = stored.add(&ordered.rows.rows, places);
        fresh.iter().zip(added).for_each(|(event, row)| buffer.rename(*event, row));
    }

    /// Nobody needs what was found any more, and neither what ended without a word.
    fn forget_gone(&mut self) {
        let Kept { buffer, rows: stored, .. } = &mut self.kept;
        buffer.take_gone().into_iter().filter(|row| row & FRESH == 0).for_each(|row| stored.remove(row));
        stored.compact(buffer.rows());
    }

    /// Rows of what was found, in order.
    fn tell(&mut self, batch: &mut Batch, output: &mut Outcome) -> Option<FlowBatch> {
        let mut emitted = std::mem::take(&mut batch.emitted);
        emitted.sort_by_key(|(rank, _)| *rank);
        let mut told = Vec::with_capacity(emitted.len());
        for (_, one) in &emitted {
            if one.found.is_match {
                self.tally.matches += 1;
            } else {
                self.tally.timeouts += 1;
            }
            if one.found.is_match || self.output.has_timeouts {
                told.push(*one);
            }
        }
        let rows = (!told.is_empty()).then(|| self.said(&told, output));
        emitted.iter().for_each(|(_, one)| self.kept.buffer.release(one.found.node));
        rows
    }

    fn said(&mut self, told: &[Emitted], output: &mut Outcome) -> FlowBatch {
        let Kept { buffer, rows: stored, index, matcher, .. } = &self.kept;
        let evidence = self.explained.as_ref().map_or_else(Vec::new, |shown| {
            let (step, listed, stages) = (self.step, self.listed.as_ref(), &matcher.automaton.stages[..]);
            Telling { step, listed, stages, index, buffer, rows: stored, shown }.evidence(told)
        });
        let ids: Vec<MatchId> = evidence.iter().map(|evidence| evidence.id).collect();
        output.evidence.extend(evidence);
        let (rows, unsaid) = self.output.rows(told, &ids, index, buffer, stored);
        if unsaid.is_empty() {
            return rows;
        }
        let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
        let keep = without(all, unsaid.iter().map(|(row, ..)| *row));
        output.bury(&rows, self.step, unsaid);
        rows.filtered(&keep)
    }

    /// No match, in the columns that matches have.
    fn nothing(&mut self) -> FlowBatch {
        let Kept { buffer, rows, index, .. } = &self.kept;
        let nothing = self.nothing.get_or_insert_with(|| self.output.rows(&[], &[], index, buffer, rows).0.rows);
        FlowBatch { rows: nothing.clone(), origin: Vec::new() }
    }
}

/// What is wanted of a row's key.
fn wanted(automaton: &Automaton, order: PatternOrder, bits: Bits) -> Wanted {
    match bits {
        bits if automaton.may_begin(bits) => Wanted::Any,
        // By time the clock says the same of a key whether its rows that change nothing are looked at or not; by arrival, rows are its clock.
        Bits { holds: 0, unknown: 0 } if automaton.passes_over && order == PatternOrder::Time => Wanted::Nothing,
        _ => Wanted::Known,
    }
}
