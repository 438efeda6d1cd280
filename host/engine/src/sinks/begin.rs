//! Where a target begins that a change of plan adds: with the rows from there on, whatever of earlier ones is still kept for others.

use tidemill_connect::Mark;
use tidemill_log::{Stream, Visibility};

use super::mark::{key, stored};
use crate::plan::Plan;

/// Marks for the sinks of `plan` that `before` does not have, as documents. `output` is complete: no task writes to it now.
pub(crate) fn marks_of_added(plan: &Plan, before: &Plan, output: &Stream, random: fn() -> u64) -> Vec<(String, Option<Vec<u8>>)> {
    let had: Vec<String> = before.sinks().map(|(name, _)| name).collect();
    let mut marks = Vec::new();
    for (name, _) in plan.sinks().filter(|(name, _)| !had.contains(name)) {
        for partition in output.partitions() {
            let next = partition.end(Visibility::Durable);
            let mark = Mark::new(next, format!("{:016x}", random()));
            marks.push((key(&plan.tenant, &plan.definition.name, &name, partition.key().partition), Some(stored(&mark))));
        }
    }
    marks
}
