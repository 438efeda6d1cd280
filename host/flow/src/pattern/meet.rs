//! One batch through a pattern step: rows to the runs of their keys, the clock behind them, and rows of what was found.

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;

use crate::group::Wanted;
use crate::pattern::asking::bury;
use crate::pattern::condition::Bits;
use crate::pattern::conditions::{FRESH, Tested};
use crate::pattern::found::Batch;
use crate::pattern::kept::{Kept, Slot};
use crate::pattern::order::{Ordered, PatternOrder};
use crate::pattern::round::Meeting;
use crate::pattern::step::PatternStep;
use crate::pattern::telling::Telling;
use crate::where_step::without;
use crate::{FlowBatch, Marks, MatchId, Outcome};

impl PatternStep {
    /// Rows in their order, and what the predicates say of them; then the clock behind the batch. Answers with the matches.
    pub(crate) fn meet(&mut self, ordered: &Ordered, tested: &Tested, marks: &Marks, output: &mut Outcome) -> FlowBatch {
        let mut batch = Batch::default();
        self.rows(ordered, tested, marks, &mut batch, output);
        self.time(marks, &mut batch);
        if !batch.failed.is_empty() {
            batch.failed.sort_by_key(|(row, ..)| *row);
            output.bury(&ordered.rows, self.step, std::mem::take(&mut batch.failed));
        }
        let rows = self.tell(&mut batch, ordered, output);
        for slot in batch.touched {
            self.kept.slots[slot as usize].leave();
            self.kept.note_entry(slot);
            self.kept.index.release(slot);
        }
        // Rows that began nothing leave no key behind.
        self.kept.index.forget_unheld(&batch.slots);
        // What is due is looked up without being able to change anything.
        self.kept.deadlines.next();
        rows
    }

    /// Each row to the matcher of its key.
    fn rows(&mut self, ordered: &Ordered, tested: &Tested, marks: &Marks, batch: &mut Batch, output: &mut Outcome) {
        let Ordered { rows, moments } = ordered;
        self.tally.failed += tested.failed;
        let mut slots = Vec::new();
        let Kept { index, matcher, buffer, rows: stored, slots: keys, running, .. } = &mut self.kept;
        running.meet(&rows.rows);
        let bits = |row| tested.bits(row, self.of_runs);
        // By time the clock says the same of a key whether its rows that change nothing are looked at or not; by arrival, rows are its clock.
        let passes_over = matcher.automaton.passes_over && self.order == PatternOrder::Time;
        let wanted = |row| match bits(row) {
            bits if matcher.automaton.may_begin(bits) => Wanted::Any,
            Bits { holds: 0, unknown: 0 } if passes_over => Wanted::Nothing,
            _ => Wanted::Known,
        };
        index.slots_wanted(&rows.rows, wanted, &mut slots);
        keys.resize_with(index.slots(), Slot::default);
        let mut meeting = Meeting {
            conditions: &self.conditions,
            of_runs: self.of_runs,
            rows,
            moments,
            tested,
            slots: &slots,
            marks,
            index,
            matcher,
            buffer,
            stored,
            keys,
            running,
            failed: 0,
        };
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
        batch.slots = slots;
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

    /// Rows of what was found, in order; then nobody needs it any more.
    fn tell(&mut self, batch: &mut Batch, ordered: &Ordered, output: &mut Outcome) -> FlowBatch {
        let mut emitted = std::mem::take(&mut batch.emitted);
        emitted.sort_by_key(|(rank, _)| *rank);
        let Kept { buffer, rows: stored, index, matcher, .. } = &mut self.kept;
        // Events of this batch that runs or matches hold are kept; the batch itself is not.
        let fresh = buffer.take_fresh(FRESH);
        let places = fresh.iter().map(|event| buffer.taken(*event).row & !FRESH);
        let added = stored.add(&ordered.rows.rows, places);
        fresh.iter().zip(added).for_each(|(event, row)| buffer.rename(*event, row));
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
        let evidence = self.explained.as_ref().map_or_else(Vec::new, |shown| {
            Telling { step: self.step, stages: &matcher.automaton.stages, index, buffer, rows: stored, shown }.evidence(&told)
        });
        let ids: Vec<MatchId> = evidence.iter().map(|evidence| evidence.id).collect();
        output.evidence.extend(evidence);
        let (rows, unsaid) = self.output.rows(&told, &ids, index, buffer, stored);
        emitted.iter().for_each(|(_, one)| buffer.release(one.found.node));
        buffer.take_gone().into_iter().filter(|row| row & FRESH == 0).for_each(|row| stored.remove(row));
        stored.compact(buffer.rows());
        if unsaid.is_empty() {
            return rows;
        }
        let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
        let keep = without(all, unsaid.iter().map(|(row, ..)| *row));
        output.bury(&rows, self.step, unsaid);
        rows.filtered(&keep)
    }
}
