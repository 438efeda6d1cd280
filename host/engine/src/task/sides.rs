//! Outputs of steps beside the main one: which rows go into which stream, in the commit that has the others too.

use std::sync::Arc;

use tidemill_event::{PartitionId, StreamSchema, UnknownFields};
use tidemill_flow::{ALERTS, ProcessStep, SideRows};
use tidemill_log::{FrameRows, Stream};

use crate::pipeline::SideOf;
use crate::plan::{Plan, PlannedKind, alert_schema};
use crate::task::frames::Output;

/// The streams of side outputs.
pub(super) struct Sides {
    of_steps: Vec<Side>,
    /// `{pipeline}.alerts`, if a step raises any.
    alerts: Option<Output>,
}

struct Side {
    step: u32,
    /// Which of the step's outputs.
    side: usize,
    schema: StreamSchema,
    output: Output,
}

impl Sides {
    /// Those among a task's outputs.
    pub(super) fn new(plan: &Plan, outputs: &[(Arc<Stream>, Option<SideOf>)], alerts: Option<Arc<Stream>>) -> Self {
        let side = |(stream, of): &(Arc<Stream>, Option<SideOf>)| {
            let SideOf { step, output } = of.as_ref()?;
            let PlannedKind::Process { component, by } = &plan.steps.get(*step as usize)?.kind else { return None };
            let sides = &component.component.description().memory.sides;
            let side = sides.iter().position(|side| side.name == *output)?;
            let fields = ProcessStep::made_fields(by, &sides[side].columns);
            let schema = StreamSchema { fields, unknown: UnknownFields::Drop, infer: false };
            Some(Side { step: *step, side, schema, output: Output::new(stream.clone()) })
        };
        Self { of_steps: outputs.iter().filter_map(side).collect(), alerts: alerts.map(Output::new) }
    }

    /// What a batch gave to them.
    pub(super) fn frames(&mut self, rows: &[SideRows], task: PartitionId, frames: &mut Vec<FrameRows>) -> Result<(), String> {
        for made in rows {
            if let Some(alerts) = self.alerts.as_mut().filter(|_| made.side == ALERTS) {
                alerts.frames(&made.rows.rows, &alert_schema(), task, frames)?;
                continue;
            }
            let takes = |side: &&mut Side| side.step == made.step.0 && side.side == made.side;
            for Side { schema, output, .. } in self.of_steps.iter_mut().filter(takes) {
                output.frames(&made.rows.rows, schema, task, frames)?;
            }
        }
        Ok(())
    }

    /// Rows of outputs that nobody takes, by step.
    pub(super) fn dropped(&self, rows: &[SideRows]) -> Vec<(u32, u64)> {
        let is_taken = |made: &&SideRows| {
            made.side == ALERTS || self.of_steps.iter().any(|side| side.step == made.step.0 && side.side == made.side)
        };
        rows.iter().filter(|made| !is_taken(made)).map(|made| (made.step.0, made.rows.len() as u64)).collect()
    }
}
