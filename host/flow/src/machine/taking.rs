//! One round: rows of different keys, each moving the machine of its key or not; and machines that time moves.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Field as ArrowField;

use crate::batch::{assemble, pick};
use crate::machine::instances::{Instances, NONE};
use crate::machine::output::{Moved, Sources, Told};
use crate::machine::{Assigned, MachineSettings};
use crate::pattern::Moment;
use crate::{Computed, Marks, Tested};

/// What a batch does.
pub(crate) struct Batch<'a> {
    pub(crate) set: &'a MachineSettings,
    pub(crate) instances: &'a mut Instances,
    pub(crate) sources: Sources,
    pub(crate) told: Vec<Told>,
    /// Rows on which an expression failed, with the reason.
    pub(crate) failed: Vec<(usize, String)>,
    pub(crate) moved: u64,
    pub(crate) timeouts: u64,
    pub(crate) illegal: u64,
    pub(crate) guarded: u64,
    /// Expressions that failed as time moved a machine.
    pub(crate) unsaid: u64,
}

/// A row of the batch on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) row: u32,
    pub(crate) slot: u32,
    pub(crate) moment: Moment,
    pub(crate) origin: u32,
}

/// Rows, or keys, that go through expressions together.
struct Together {
    batch: RecordBatch,
    /// Where variables begin among the columns.
    variables: usize,
}

impl Together {
    /// `rows`: their columns, perhaps none. The variables of the keys go behind them.
    fn new(rows: Option<RecordBatch>, variables: Vec<ArrayRef>, set: &MachineSettings, count: usize) -> Self {
        let mut fields: Vec<Arc<ArrowField>> = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        if let Some(rows) = rows {
            fields.extend(rows.schema_ref().fields().iter().cloned());
            columns.extend(rows.columns().iter().cloned());
        }
        let before = columns.len();
        fields.extend(set.variables.schema_ref().fields().iter().cloned());
        columns.extend(variables);
        Self { batch: assemble(fields, columns, count), variables: before }
    }

    fn picked(&self, places: &[u32]) -> Self {
        let batch = if places.len() == self.batch.num_rows() { self.batch.clone() } else { pick(&self.batch, places) };
        Self { batch, variables: self.variables }
    }

    /// The same with variables set. What fails goes to `failed`.
    fn with(&self, set: &[Assigned], failed: &mut Vec<(usize, String)>) -> Self {
        if set.is_empty() {
            return Self { batch: self.batch.clone(), variables: self.variables };
        }
        let fields = self.batch.schema_ref().fields().iter().cloned().collect::<Vec<_>>();
        let mut columns = self.batch.columns().to_vec();
        for Assigned { place, value } in set {
            let Computed { values, failed: errors } = value.compute(&self.batch);
            failed.extend(errors);
            let at = self.variables + *place as usize;
            columns[at] = arrow_cast::cast(&values, columns[at].data_type()).expect("a variable's own type");
        }
        Self { batch: assemble(fields, columns, self.batch.num_rows()), variables: self.variables }
    }

    fn variables(&self) -> &[ArrayRef] {
        &self.batch.columns()[self.variables..]
    }

    /// The variables alone: what time and states may look at.
    fn own(&self, set: &MachineSettings) -> Self {
        Self::new(None, self.variables().to_vec(), set, self.batch.num_rows())
    }
}

impl Batch<'_> {
    /// Time goes on for some keys, until each is where it stays at its own instant. `next`: the origin of the row that made it, per key.
    pub(crate) fn advance(&mut self, mut keys: Vec<(u32, i64, Option<u32>)>, marks: &Marks) {
        // No state is reached from itself by timeouts alone, so this ends.
        loop {
            keys.retain(|(slot, now, _)| self.instances.deadline(*slot).is_some_and(|deadline| deadline <= *now));
            if keys.is_empty() {
                return;
            }
            for state in 0..self.set.states.len() as u16 {
                let is_over = |(slot, now, _): &&(u32, i64, Option<u32>)| {
                    let is_here = self.instances.of[*slot as usize].state == state;
                    is_here && self.instances.deadline(*slot).is_some_and(|deadline| deadline <= *now)
                };
                let of_state: Vec<(u32, Option<u32>)> =
                    keys.iter().filter(is_over).map(|(slot, _, next)| (*slot, *next)).collect();
                if !of_state.is_empty() {
                    self.time_out(state, &of_state, marks);
                }
            }
        }
    }

    /// The keys' state is over.
    fn time_out(&mut self, state: u16, keys: &[(u32, Option<u32>)], marks: &Marks) {
        let Some(timeout) = self.set.states[usize::from(state)].timeout.as_ref() else { return };
        let slots: Vec<u32> = keys.iter().map(|(slot, _)| *slot).collect();
        let before = Together::new(None, self.instances.load(&slots), self.set, slots.len());
        let mut failed = Vec::new();
        let after = before.with(&timeout.set, &mut failed);
        let mut values = vec![self.sources.nulls(); slots.len()];
        self.say(&self.set.states[usize::from(state)].exit, &before, &mut values, &mut failed);
        self.say(&self.set.states[usize::from(timeout.to)].entry, &after, &mut values, &mut failed);
        self.say(&timeout.emit, &after, &mut values, &mut failed);
        // No row is to blame: what fails is null and counted, and what it would have set stays.
        self.unsaid += failed.len() as u64;
        let kept: Vec<u32> = (0..slots.len() as u32).filter(|at| failed.iter().all(|(row, _)| *row != *at as usize)).collect();
        self.store(&kept.iter().map(|at| slots[*at as usize]).collect::<Vec<_>>(), &after.picked(&kept));
        for ((slot, next), values) in keys.iter().zip(values) {
            let at = self.instances.deadline(*slot).expect("its state has one");
            let (last, number) = (self.instances.of[*slot as usize].origin, self.instances.of[*slot as usize].number);
            let by_watermark = marks.lets_out(at.saturating_sub(1)).filter(|out| next.is_none_or(|next| *out <= next));
            let origin = by_watermark.or(*next).unwrap_or(0).max(last);
            self.timeouts += 1;
            let rank = (origin, at, false, number);
            let time = at.saturating_sub(1);
            self.told.push(Told { rank, slot: *slot, from: state, to: timeout.to, moved: Moved::ByTime, time, values });
            self.go(*slot, timeout.to, at);
        }
    }

    /// Rows of different keys. `pulled`: of each trigger, whether a row of the batch pulls it.
    pub(crate) fn take(&mut self, rows: &RecordBatch, round: &[Work], pulled: &[Vec<bool>]) {
        let slots: Vec<u32> = round.iter().map(|work| work.slot).collect();
        self.instances.touch(&slots);
        let places: Vec<u32> = round.iter().map(|work| work.row).collect();
        let picked = if places.len() == rows.num_rows() { rows.clone() } else { pick(rows, &places) };
        let all = Together::new(Some(picked), self.instances.load(&slots), self.set, round.len());
        let state = |batch: &Self, work: &Work| match batch.instances.of[work.slot as usize].state {
            NONE => batch.set.initial,
            state => state,
        };
        let states: Vec<u16> = round.iter().map(|work| state(self, work)).collect();
        let (mut open, mut is_known) = (vec![true; round.len()], vec![false; round.len()]);
        for (number, transition) in self.set.transitions.iter().enumerate() {
            let pulls = |at: &u32| {
                let at = *at as usize;
                open[at]
                    && pulled[transition.trigger as usize][round[at].row as usize]
                    && transition.from.binary_search(&states[at]).is_ok()
            };
            let mut places: Vec<u32> = (0..round.len() as u32).filter(pulls).collect();
            if places.is_empty() {
                continue;
            }
            places.iter().for_each(|at| is_known[*at as usize] = true);
            if let Some(guard) = &transition.guard {
                let Tested { passes, failed } = guard.test(&all.picked(&places).batch);
                for (at, error) in &failed {
                    open[places[*at] as usize] = false;
                    self.failed.push((round[places[*at] as usize].row as usize, error.clone()));
                }
                let passes = crate::where_step::without(passes, failed.iter().map(|(at, _)| *at));
                let mut answers = passes.iter();
                places.retain(|_| answers.next().flatten() == Some(true));
            }
            if !places.is_empty() {
                places.iter().for_each(|at| open[*at as usize] = false);
                self.follow(number, &all.picked(&places), &places, round, &states);
            }
        }
        for (at, work) in round.iter().enumerate().filter(|(at, _)| open[*at]) {
            if is_known[at] {
                self.guarded += 1;
                continue;
            }
            self.illegal += 1;
            if self.set.tells_illegal {
                let rank = (work.origin, work.moment.time, true, work.moment.number);
                let (from, values) = (states[at], self.sources.nulls());
                self.told.push(Told { rank, slot: work.slot, from, to: from, moved: Moved::Not, time: work.moment.time, values });
            }
        }
        for work in round {
            self.instances.of[work.slot as usize].origin = work.origin;
        }
    }

    /// Some rows of a round take a transition.
    fn follow(&mut self, number: usize, before: &Together, places: &[u32], round: &[Work], states: &[u16]) {
        let transition = &self.set.transitions[number];
        let mut failed = Vec::new();
        let after = before.with(&transition.set, &mut failed);
        let mut values = vec![self.sources.nulls(); places.len()];
        if let Some(to) = transition.to {
            for from in transition.from.iter().filter(|from| !self.set.states[usize::from(**from)].exit.is_empty()) {
                let leaving: Vec<u32> =
                    (0..places.len() as u32).filter(|at| states[places[*at as usize] as usize] == *from).collect();
                let mut own = vec![self.sources.nulls(); leaving.len()];
                let mut errors = Vec::new();
                self.say(
                    &self.set.states[usize::from(*from)].exit,
                    &before.picked(&leaving).own(self.set),
                    &mut own,
                    &mut errors,
                );
                failed.extend(errors.into_iter().map(|(at, error)| (leaving[at] as usize, error)));
                leaving.iter().zip(own).for_each(|(at, own)| values[*at as usize] = own);
            }
            self.say(&self.set.states[usize::from(to)].entry, &after.own(self.set), &mut values, &mut failed);
        }
        self.say(&transition.emit, &after, &mut values, &mut failed);
        failed.sort_by_key(|(at, _)| *at);
        failed.dedup_by_key(|(at, _)| *at);
        let is_kept = |at: &u32| failed.binary_search_by_key(&(*at as usize), |(at, _)| *at).is_err();
        let kept: Vec<u32> = (0..places.len() as u32).filter(is_kept).collect();
        let slots: Vec<u32> = kept.iter().map(|at| round[places[*at as usize] as usize].slot).collect();
        if !transition.set.is_empty() {
            self.store(&slots, &after.picked(&kept));
        }
        for at in kept {
            let place = places[at as usize] as usize;
            let (work, from) = (&round[place], states[place]);
            self.moved += 1;
            let to = transition.to.unwrap_or(from);
            if transition.tells {
                let rank = (work.origin, work.moment.time, true, work.moment.number);
                let values = std::mem::take(&mut values[at as usize]);
                self.told.push(Told { rank, slot: work.slot, from, to, moved: Moved::ByEvent, time: work.moment.time, values });
            }
            let instance = &mut self.instances.of[work.slot as usize];
            instance.number = work.moment.number;
            // Who stays where it is keeps its timer, unless it begins here.
            if transition.to.is_some() || instance.state == NONE {
                self.go(work.slot, to, work.moment.time);
            }
        }
        self.failed.extend(failed.into_iter().map(|(at, error)| (round[places[at] as usize].row as usize, error)));
    }

    /// Values of columns, for each row or key.
    fn say(&mut self, said: &[Assigned], of: &Together, values: &mut [Vec<(u32, u32)>], failed: &mut Vec<(usize, String)>) {
        for Assigned { place, value } in said {
            let Computed { values: made, failed: errors } = value.compute(&of.batch);
            failed.extend(errors);
            let source = self.sources.add(*place, &made);
            for (row, values) in (0u32..).zip(&mut *values) {
                values[*place as usize] = (source, row);
            }
        }
    }

    fn store(&mut self, slots: &[u32], of: &Together) {
        for (column, values) in self.instances.variables.iter_mut().zip(of.variables()) {
            column.store(slots, values.as_ref(), &mut vec![false; slots.len()]);
        }
    }

    fn go(&mut self, slot: u32, to: u16, at: i64) {
        if self.set.states[usize::from(to)].is_final {
            self.instances.end(slot);
        } else {
            self.instances.enter(slot, to, at);
        }
    }
}
