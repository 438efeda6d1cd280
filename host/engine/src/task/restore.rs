//! Stored state back into the steps it belongs to.

use std::collections::HashMap;

use tidemill_flow::Chain;
use tidemill_state::Change;

use crate::plan::Plan;

/// A key and its state row.
type Row = (Vec<u8>, Vec<u8>);

/// The number under which the state of a step is kept.
pub(crate) fn operator_of(plan: &Plan, step: u32) -> Option<u32> {
    plan.state_of(step).map(|state| state.operator)
}

/// Puts stored state into the steps it belongs to. State of a step that the plan no longer has stays where it is.
pub(crate) fn restore(plan: &Plan, chain: &mut Chain, state: Vec<Change>) -> Result<(), String> {
    let mut by_operator: HashMap<u32, Vec<Row>> = HashMap::new();
    for change in state {
        if let Some(value) = change.value {
            by_operator.entry(change.operator).or_default().push((change.key, value));
        }
    }
    for (step, table) in chain.tables() {
        if let Some(rows) = operator_of(plan, step.0).and_then(|operator| by_operator.remove(&operator)) {
            table.restore(rows).map_err(|error| format!("state of {}: {error}", plan.step_name(step.0)))?;
        }
    }
    Ok(())
}
