//! What a batch did becomes one entry: rows that came out, dead letters, and the range they came from; and it is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use tidemill_event::batch::checksum;
use tidemill_event::{BreakerState, EventTime, Offset};
use tidemill_flow::{FlowBatch, Outcome, Sources, StepId};
use tidemill_log::Append;

use crate::planted::Planted;
use crate::status::StepStatus;
use crate::task::machine::{Task, cpu_time};
use crate::task::record::{Back, Commit, Hex, Record, TimeStep, encode};
use crate::task::{dead_letters, late_rows};

/// A checksum of state costs a look at each entry that changed: for so many rows of them each it is cheap.
const ROWS_PER_CHECKED_ENTRY: u64 = 8;
/// A task that takes rows makes a checkpoint at least this often, however little they cost: until then its sources keep them.
const CHECKPOINT_AT_LATEST: Duration = Duration::from_secs(600);

/// What a commit took: rows of an input, or what was waiting.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) stream: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) back: Option<Back>,
    pub(super) homeless: Vec<i64>,
    pub(super) replayed: Vec<u64>,
    /// Time that no row moved.
    pub(super) time: Option<TimeStep>,
}

impl Task {
    /// Makes a batch's effects one entry, and counts them.
    pub(super) fn commit(
        &mut self,
        mut commit: Commit,
        sources: &Sources,
        output: FlowBatch,
        outcome: &Outcome,
        begun: Duration,
    ) -> Result<(), String> {
        self.lost.check()?;
        commit.state = self.checks(commit.rows_taken()).then(|| self.state_checksum());
        self.append(&commit, sources, output, outcome)?;
        self.replace_after(outcome);
        self.account(&commit, outcome, cpu_time().saturating_sub(begun));
        self.tell_of_breakers();
        if let Some(at) = self.inputs.named(&commit.stream) {
            self.took(at, Offset(commit.end));
        }
        self.parts.metrics.commits.inc();
        self.keep_within_budget();
        if self.cost >= self.parts.checkpoint_after || self.saved_at.elapsed() >= CHECKPOINT_AT_LATEST {
            self.draw_for_checkpoint();
        }
        Ok(())
    }

    /// Takes over what a batch put back, and says what it did. The same for a batch that is taken again.
    pub(super) fn settle(
        &mut self,
        taken: Taken,
        sources: &Sources,
        output: &FlowBatch,
        outcome: &mut Outcome,
        clock: EventTime,
    ) -> Commit {
        let took_state = taken.back.is_some() || !taken.replayed.is_empty();
        let needs_clock = outcome.needs_clock() || took_state;
        let from_line = taken.back.filter(|back| back.line).map(|back| StepId(back.step));
        self.totals.put_back += outcome.put_back.iter().map(|back| back.rows.len() as u64).sum::<u64>();
        self.waiting.take_over(outcome, sources, clock, from_line);
        let Taken { stream, start, end, back, homeless, replayed, time } = taken;
        Commit {
            run: self.shared.id.run,
            plan: self.plan_number,
            stream,
            start,
            end,
            fresh: std::mem::take(&mut self.fresh),
            rows: (output.len() + outcome.sides.iter().map(|side| side.rows.len()).sum::<usize>()) as u64,
            sum: Hex(outcome
                .sides
                .iter()
                .fold(checksum(&output.rows), |sum, side| sum.rotate_left(7) ^ checksum(&side.rows.rows))),
            dead: outcome.dead.len() as u64,
            late: outcome.late.iter().map(|late| late.rows.len() as u64).sum(),
            state: None,
            watermark: self.time.watermark(),
            time: time.filter(|_| !self.parts.plants.has(Planted::ClockNotRecorded)),
            answers: self.control.take_answers().iter().map(Into::into).collect(),
            endings: outcome.endings.iter().map(Into::into).collect(),
            clock: needs_clock.then_some(clock.0),
            back,
            probe: std::mem::take(&mut self.probed),
            homeless,
            replayed,
            // Where nothing was looked up, a replay looks nothing up.
            tables: if outcome.lookups.is_empty() { BTreeMap::new() } else { self.lookups.versions() },
            cuts: if outcome.lookups.is_empty() { BTreeMap::new() } else { self.lookups.cuts() },
        }
    }

    /// Whether a commit of a batch says what all state is: if that costs little beside the rows since the last one that did.
    pub(super) fn checks(&mut self, rows: u64) -> bool {
        self.unchecked_rows += rows;
        let changed: u64 = self.chain.tables().map(|(_, table)| table.changed_len() as u64).sum();
        let checks = self.unchecked_rows >= changed * ROWS_PER_CHECKED_ENTRY;
        if checks {
            self.unchecked_rows = 0;
        }
        checks
    }

    /// One number for all state.
    pub(super) fn state_checksum(&mut self) -> Hex {
        Hex(self.chain.state_checksum().wrapping_add(self.waiting.checksum()))
    }

    /// No rows, as they come out of the steps.
    pub(super) fn nothing(&self) -> FlowBatch {
        FlowBatch::new(RecordBatch::new_empty(Arc::new(self.plan.leaves(self.stage).arrow())))
    }

    /// Outputs, dead letters, late rows and progress: one entry.
    pub(super) fn append(
        &mut self,
        commit: &Commit,
        sources: &Sources,
        output: FlowBatch,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let mut frames = Vec::with_capacity(self.outputs.len() + 3);
        // What waits for time here is still to come: until then nobody may go on without this task.
        let head = self.time.head(!self.is_pending());
        match &mut self.placing {
            Some(placing) if !output.is_empty() || placing.has_news(head) => {
                let (side, marks) = (outcome.side(), outcome.marks());
                let written = placing.frames(&output, side, &marks, head, self.parts.plants, &mut frames);
                self.shared.neighbours.tell_readers(&written);
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
        if self.parts.plants.has(Planted::CommitWithoutRange) && !frames.is_empty() {
            let apart = Append::atomic(std::mem::take(&mut frames));
            let pending = self.parts.log.append_waiting(apart).map_err(|error| format!("its outputs: {error}"))?;
            // In a group of its own: in one group with the commit there is no moment between them.
            pending.wait().map_err(|error| format!("its outputs: {error}"))?;
        }
        let record = encode(&Record::Commit(commit.clone()), self.progress.schema(), self.parts.clock.now());
        frames.push(self.progress.frame(self.partition, record));
        let last = frames.len() - 1;
        let append = Append { on_durable: self.on_durable.take(), ..Append::atomic(frames) };
        let asked = Instant::now();
        let pending = self.parts.log.append_waiting(append).map_err(|error| format!("its commit: {error}"))?;
        self.waited += asked.elapsed();
        self.last_commit = Some((pending, last));
        Ok(())
    }

    /// A call that did not return costs every step its instance: a replay does not make the call, and can still do the same.
    pub(super) fn replace_after(&self, outcome: &Outcome) {
        if !outcome.endings.is_empty() {
            self.control.replace_instances();
        }
    }

    pub(super) fn account(&mut self, commit: &Commit, outcome: &Outcome, spent: Duration) {
        self.totals.rows_in += commit.end - commit.start - std::mem::take(&mut self.marks_taken);
        self.totals.rows_out += commit.rows;
        self.totals.dead += commit.dead;
        self.totals.late += commit.late;
        self.totals.dropped_late += outcome.dropped_late;
        self.totals.late_partial += outcome.late_partial;
        for (step, rows) in &outcome.dropped {
            *self.totals.dropped.entry(self.plan.step_name(step.0)).or_default() += rows;
        }
        for (step, rows) in self.sides.dropped(&outcome.sides) {
            *self.totals.dropped.entry(self.plan.step_name(step)).or_default() += rows;
        }
        self.totals.commits += 1;
        for ending in &outcome.endings {
            *self.totals.endings.entry(ending.ending.as_str().to_owned()).or_default() += 1;
        }
        self.cost += spent;
        let per_row = spent / u32::try_from(commit.rows_taken().max(1)).unwrap_or(u32::MAX);
        self.row_cost = if self.row_cost.is_zero() { per_row } else { (self.row_cost * 3 + per_row) / 4 };
        let keys: Vec<(u32, u64)> = self.chain.tables().map(|(step, table)| (step.0, table.len() as u64)).collect();
        let plan = &self.plan;
        let breakers: Vec<(u32, BreakerState)> =
            self.chain.breakers().map(|(step, breaker, _)| (step.0, breaker.state())).collect();
        let waiting = self.waiting.rows() as u64;
        let waited = std::mem::take(&mut self.waited);
        let time = self.time.seen();
        self.shared.update(|seen| {
            seen.totals.clone_from(&self.totals);
            seen.waiting = waiting;
            seen.busy += spent;
            seen.blocked += waited;
            seen.event_time = self.newest;
            seen.time = time;
            for call in &outcome.calls {
                let step = seen.steps.entry(call.step.0).or_insert_with(|| StepStatus::new(plan, call.step.0));
                step.called(call);
            }
            for late in &outcome.late {
                let step = seen.steps.entry(late.step.0).or_insert_with(|| StepStatus::new(plan, late.step.0));
                step.late += late.rows.len() as u64;
            }
            for lookup in &outcome.lookups {
                let step = seen.steps.entry(lookup.step.0).or_insert_with(|| StepStatus::new(plan, lookup.step.0));
                step.looked_up(lookup, commit);
            }
            for report in &outcome.patterns {
                seen.steps.entry(report.step.0).or_insert_with(|| StepStatus::new(plan, report.step.0)).found(report);
            }
            for rules in &outcome.rules {
                let step = seen.steps.entry(rules.step.0).or_insert_with(|| StepStatus::new(plan, rules.step.0));
                step.judged(rules, plan);
            }
            for (step, keys) in keys {
                seen.steps.entry(step).or_insert_with(|| StepStatus::new(plan, step)).keys = keys;
            }
            for (step, breaker) in breakers {
                seen.steps.entry(step).or_insert_with(|| StepStatus::new(plan, step)).breaker = breaker.into();
            }
        });
    }
}
