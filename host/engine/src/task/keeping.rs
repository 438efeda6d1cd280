//! What a task keeps beside the keyed state of its steps: rows that wait, breakers, dead letters that were replayed, how far time is. In the state store
//! under operator numbers that no step has.

use std::collections::HashMap;

use tidemill_event::Breaker;
use tidemill_flow::{BREAKER, Chain, Group, StepBreaker, Waiting};
use tidemill_state::{Change, Stored};

use crate::plan::Plan;
use crate::task::Replayed;
use crate::task::input::Inputs;
use crate::task::time::TaskTime;
use crate::task::waiting_record::{decode, encode};

/// Rows that wait (`waiting_record.rs`).
const WAITING: u32 = u32::MAX;
/// Per component of a step (the step's number and the component's place, big-endian): [`Breaker::to_bytes`].
const BREAKERS: u32 = u32::MAX - 1;
/// Dead letters that were replayed, under no key.
pub(crate) const REPLAYED: u32 = u32::MAX - 2;
/// How far time is, under no key: [`TaskTime::to_bytes`].
pub(super) const TIME: u32 = u32::MAX - 3;
/// Numbers from here on are no step's.
pub(crate) const KEPT_FROM: u32 = TIME;

/// What [`restore`] found.
pub(crate) struct Kept {
    pub(crate) waiting: Waiting,
    /// Numbers of groups whose step is another one now.
    pub(crate) homeless: Vec<i64>,
    pub(crate) replayed: Replayed,
}

/// What changed since the last checkpoint. Breakers and time are a few bytes: they are written each time.
pub(super) fn changes(plan: &Plan, chain: &mut Chain, waiting: &mut Waiting, replayed: &Replayed, time: Vec<u8>) -> Vec<Change> {
    let components: HashMap<u32, &str> = plan.components().map(|(step, planned)| (step, &*planned.pin.name)).collect();
    let mut changes: Vec<Change> = waiting
        .take_changes()
        .into_iter()
        .map(|change| {
            let value = change.group.map(|group| encode(group, components.get(&group.step.0).copied().unwrap_or_default()));
            own(WAITING, change.number.to_be_bytes().to_vec(), value)
        })
        .collect();
    for StepBreaker { step, component, breaker, .. } in chain.breakers() {
        let value = Some(breaker.to_bytes().to_vec());
        changes.push(own(BREAKERS, [step.0.to_be_bytes(), component.to_be_bytes()].concat(), value));
    }
    changes.push(own(TIME, Vec::new(), Some(time)));
    if *replayed != Replayed::default() {
        changes.push(own(REPLAYED, Vec::new(), Some(replayed.to_bytes())));
    }
    changes
}

/// Few enough that what they replace may be looked up.
fn own(operator: u32, key: Vec<u8>, value: Option<Vec<u8>>) -> Change {
    Change { operator, key, value, stored: Stored::Unknown }
}

/// Takes what was kept out of `state`.
pub(super) fn restore(
    plan: &Plan,
    chain: &mut Chain,
    (time, inputs): (&mut TaskTime, &Inputs),
    state: &[Change],
) -> Result<Kept, String> {
    let kept: HashMap<&[u8], &[u8]> = state
        .iter()
        .filter(|change| change.operator == BREAKERS)
        .filter_map(|change| Some((change.key.as_slice(), change.value.as_deref()?)))
        .collect();
    for StepBreaker { step, component, breaker, .. } in chain.breakers() {
        let key = [step.0.to_be_bytes(), component.to_be_bytes()].concat();
        if let Some(was) = kept.get(key.as_slice()).and_then(|value| Breaker::from_bytes(BREAKER, value)) {
            *breaker = was;
        }
    }
    let (mut waiting, mut homeless) = (Waiting::default(), Vec::new());
    for change in state.iter().filter(|change| change.operator == WAITING) {
        let (Some(value), Ok(number)) = (&change.value, <[u8; 8]>::try_from(change.key.as_slice())) else { continue };
        let damaged = || format!("a group of waiting rows does not read back ({} bytes)", value.len());
        let (group, component) = decode(value).ok_or_else(damaged)?;
        let number = i64::from_be_bytes(number);
        if !fits(plan, &group, &component) {
            homeless.push(number);
        }
        waiting.restore(number, group);
    }
    let replayed = state.iter().find(|change| change.operator == REPLAYED).and_then(|change| change.value.as_deref());
    let damaged = "what dead letters were replayed does not read back";
    let replayed = replayed.map_or_else(|| Ok(Replayed::default()), |bytes| Replayed::from_bytes(bytes).ok_or(damaged))?;
    let kept = state.iter().find(|change| change.operator == TIME).and_then(|change| change.value.as_deref());
    if let Some(bytes) = kept {
        time.restore(bytes, inputs).ok_or("how far time was does not read back")?;
    }
    Ok(Kept { waiting, homeless, replayed })
}

/// Whether a group still waits for the step it was put back by: the same component, with the columns it stood before. Replayed letters
/// may wait for a step without one (`component` is empty then), or for the end, behind the last.
pub(crate) fn fits(plan: &Plan, group: &Group, component: &str) -> bool {
    let there = plan.components().find(|(step, _)| *step == group.step.0).map_or("", |(_, planned)| &*planned.pin.name);
    there == component && group.step.0 as usize <= plan.steps.len() && has_columns(plan, group)
}

/// Whether the rows have the columns that come to their step by this plan.
pub(crate) fn has_columns(plan: &Plan, group: &Group) -> bool {
    let there = group.rows.rows.schema();
    let there: Vec<_> = there.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let wanted = plan.step_input(group.step.0).arrow();
    there.into_iter().eq(wanted.fields().iter().map(|field| (field.name().as_str(), field.data_type())))
}
