//! What a batch did is committed, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use tidemill_event::batch::checksum;
use tidemill_event::{BreakerState, EventTime, Offset};
use tidemill_flow::{FlowBatch, Outcome, Sources, StepId};

use crate::planted::Planted;
use crate::status::BreakerStatus;
use crate::task::machine::{Task, cpu_time};
use crate::task::record::{Back, Commit, Hex, TimeStep};

/// A checksum of state costs a look at each entry that changed: for so many rows of them each it is cheap.
const ROWS_PER_CHECKED_ENTRY: u64 = 8;
/// A task that takes rows makes a checkpoint at least this often, however little they cost: until then its sources keep them.
const CHECKPOINT_AT_LATEST: Duration = Duration::from_secs(600);
/// And when components have answered so much, if any of it is state: how large its entries are is only known once they are drawn, and until then a few
/// large ones pass for small ones.
const ANSWERED_BYTES_MAX: u64 = 64 << 20;

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
        self.append(&commit, sources, output, outcome, 0)?;
        self.replace_after(outcome);
        self.account(&commit, outcome, cpu_time().saturating_sub(begun));
        self.tell_of_breakers();
        if let Some(at) = self.inputs.named(&commit.stream) {
            self.took(at, Offset(commit.end));
        }
        self.parts.metrics.commits.inc();
        self.keep_within_budget();
        let has_grown =
            self.answered_bytes >= ANSWERED_BYTES_MAX && self.chain.tables().any(|(_, table)| table.changed_len() > 0);
        if self.is_checkpoint_due() || self.saved_at.elapsed() >= CHECKPOINT_AT_LATEST || has_grown {
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
        if self.is_listing() {
            return false;
        }
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

    /// A call that did not return costs every step its instance: a replay does not make the call, and can still do the same.
    pub(super) fn replace_after(&self, outcome: &Outcome) {
        if !outcome.endings.is_empty() {
            self.control.replace_instances();
        }
    }

    /// How many entries each step has, as others see it.
    pub(super) fn tell_keys(&mut self) {
        let (keys, plan) = (self.keys(), &self.plan);
        self.shared.update(|seen| {
            for (step, keys) in keys {
                seen.step(plan, step).keys = keys;
            }
        });
    }

    fn keys(&mut self) -> Vec<(u32, u64)> {
        self.chain.tables().map(|(step, table)| (step.0, table.len() as u64)).collect()
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
        self.answered_bytes += outcome.calls.iter().map(|call| call.usage.output_bytes).sum::<u64>();
        let per_row = spent / u32::try_from(commit.rows_taken().max(1)).unwrap_or(u32::MAX);
        self.row_cost = if self.row_cost.is_zero() { per_row } else { (self.row_cost * 3 + per_row) / 4 };
        let (keys, draining) = (self.keys(), self.draining());
        let plan = &self.plan;
        let breakers: Vec<(u32, BreakerState)> = self.chain.breakers().map(|of| (of.step.0, of.breaker.state())).collect();
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
            keys.into_iter().for_each(|(step, keys)| seen.step(plan, step).keys = keys);
            draining.into_iter().for_each(|(step, draining)| seen.step(plan, step).draining = draining);
            for call in &outcome.calls {
                let step = seen.step(plan, call.step.0);
                step.called(call);
            }
            for late in &outcome.late {
                let step = seen.step(plan, late.step.0);
                step.late += late.rows.len() as u64;
            }
            for lookup in &outcome.lookups {
                let step = seen.step(plan, lookup.step.0);
                step.looked_up(lookup, commit);
            }
            for report in &outcome.patterns {
                seen.step(plan, report.step.0).found(report);
            }
            for machine in &outcome.machines {
                let step = seen.step(plan, machine.step.0);
                step.took(machine, plan);
            }
            for found in &outcome.correlations {
                seen.step(plan, found.step.0).correlated(found);
            }
            for rules in &outcome.rules {
                let step = seen.step(plan, rules.step.0);
                step.judged(rules, plan);
            }
            // Of a step with several components, the breaker that is furthest from closed.
            for of_step in breakers.chunk_by(|(a, _), (b, _)| a == b) {
                let step = of_step[0].0;
                let worst = of_step.iter().map(|(_, state)| BreakerStatus::from(*state)).max().unwrap_or(BreakerStatus::Closed);
                seen.step(plan, step).breaker = worst;
            }
        });
    }
}
