//! The steps of a task, one after the other.

use tidemill_event::{Breaker, EventTime};

use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// What takes a component of a step out.
pub struct StepBreaker<'a> {
    /// The step.
    pub step: StepId,
    /// Which of its components, as the plan lists them.
    pub component: u32,
    /// The breaker.
    pub breaker: &'a mut Breaker,
    /// What happens while it is open.
    pub on_failing: OnFailing,
}

/// All steps of one task, with their state.
#[derive(Default)]
pub struct Chain {
    steps: Vec<Box<dyn Operator>>,
}

impl Chain {
    /// Steps in the order rows meet them. None at all is a chain that hands rows on.
    ///
    /// # Panics
    /// If the steps' numbers do not ascend: state and recordings are kept by number.
    pub fn new(steps: Vec<Box<dyn Operator>>) -> Self {
        assert!(steps.is_sorted_by(|a, b| a.step() < b.step()), "step numbers ascend");
        Self { steps }
    }

    /// Runs a batch through every step. The answer may be empty; what became of the other rows is in `output`.
    pub fn run(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        self.steps.iter_mut().fold(input, |batch, step| step.apply(batch, output))
    }

    /// Runs rows through `first` and every step behind it: rows that come back to a step.
    pub fn run_from(&mut self, first: StepId, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        self.steps.iter_mut().filter(|step| step.step() >= first).fold(input, |batch, step| step.apply(batch, output))
    }

    /// The breakers of the steps' components, by number, then in the order in which the plan lists the components of a step.
    pub fn breakers(&mut self) -> impl Iterator<Item = StepBreaker<'_>> {
        self.steps.iter_mut().flat_map(|step| {
            let id = step.step();
            let one = |(component, (breaker, on_failing))| StepBreaker { step: id, component, breaker, on_failing };
            (0..).zip(step.breakers()).map(one).collect::<Vec<_>>()
        })
    }

    /// The least watermark at which some step would act though no row comes.
    pub fn due(&self) -> Option<Watermark> {
        self.steps.iter().filter_map(|step| step.due()).min()
    }

    /// The least time of the clock at which some step would act though nothing else happens.
    pub fn due_at(&self) -> Option<EventTime> {
        self.steps.iter().filter_map(|step| step.due_at()).min()
    }

    /// The steps with state, by number.
    pub fn tables(&mut self) -> impl Iterator<Item = (StepId, &mut dyn StepState)> {
        self.steps.iter_mut().filter_map(|step| {
            let id = step.step();
            step.state().map(|table| (id, table))
        })
    }

    /// One number over all state: the same for the same state, however it came about. See [`StepState::checksum`].
    pub fn state_checksum(&mut self) -> u64 {
        self.tables().fold(0, |sum, (step, table)| sum.wrapping_add(table.checksum().wrapping_mul(2 * u64::from(step.0) + 1)))
    }
}
